#include "py/coro.h"

void
tdl_coro_stop(PyObject *value)
{
    /* as an instance: a tuple or an exception would be taken for its arguments */
    PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, value);
    if (stop != NULL)
        tdl_err_put_steal(stop);
}

/* Whether it does not matter that `value` lives until the next StopIteration is raised. */
static bool
may_outlive(PyObject *value)
{
    if (PyBool_Check(value) || PyFloat_CheckExact(value))
        return true;
    int overflow = 1;
    if (PyLong_CheckExact(value))
        PyLong_AsLongAndOverflow(value, &overflow);
    return overflow == 0;
}

/* Whether nobody else has the StopIteration made in advance, nor has marked it. */
static bool
is_untouched(PyObject *op)
{
    PyBaseExceptionObject *exc = (PyBaseExceptionObject *)op;
    return Py_REFCNT(op) == 1 && exc->traceback == NULL && exc->context == NULL &&
           exc->cause == NULL && exc->dict == NULL && exc->notes == NULL;
}

/* To make an exception costs as much as all the rest, so one serves again and again. */
void
tdl_coro_stop_lent(struct tdl_state *st, PyObject *value)
{
    PyObject *stop = st->objects.sync_stop;
    if (TDL_FREE_THREADED || stop == NULL) {
        tdl_coro_stop(value);
        return;
    }
    if (!is_untouched(stop)) {
        tdl_coro_stop(value); /* somebody kept it: the next one is new */
        PyObject *raised = tdl_err_take();
        PyObject *made = PyObject_CallNoArgs(PyExc_StopIteration);
        PyErr_Clear();
        Py_XSETREF(st->objects.sync_stop, made);
        if (raised != NULL)
            tdl_err_put_steal(raised);
        return;
    }
    Py_XSETREF(((PyStopIterationObject *)stop)->value, Py_NewRef(value));
    tdl_err_put_steal(Py_NewRef(stop));
}

void
tdl_coro_stop_quietly(struct tdl_state *st, PyObject *value)
{
    if (may_outlive(value))
        tdl_coro_stop_lent(st, value);
    else
        tdl_coro_stop(value);
}

void
tdl_coro_forget(struct tdl_state *st, PyObject *value)
{
    PyStopIterationObject *stop = (PyStopIterationObject *)st->objects.sync_stop;
    if (!TDL_FREE_THREADED && stop != NULL && stop->value == value)
        Py_CLEAR(stop->value);
}

PyObject *
tdl_coro_take_stopped(void)
{
    if (!PyErr_ExceptionMatches(PyExc_StopIteration))
        return NULL;
    PyObject *stop = tdl_err_take();
    PyObject *value = ((PyStopIterationObject *)stop)->value;
    Py_XINCREF(value);
    Py_DECREF(stop);
    return value == NULL ? Py_NewRef(Py_None) : value;
}

int
tdl_coro_set_thrown(PyObject *type, PyObject *value, PyObject *traceback)
{
    PyObject *exc;
    if (traceback != NULL && traceback != Py_None && !PyTraceBack_Check(traceback)) {
        PyErr_SetString(PyExc_TypeError, "throw() third argument must be a traceback object");
        return -1;
    }
    if (PyExceptionInstance_Check(type))
        exc = Py_NewRef(type);
    else if (!PyExceptionClass_Check(type)) {
        PyErr_Format(PyExc_TypeError,
                     "exceptions must be classes or instances deriving from "
                     "BaseException, not %s",
                     Py_TYPE(type)->tp_name);
        return -1;
    }
    else if (value != NULL && PyExceptionInstance_Check(value))
        exc = Py_NewRef(value);
    else if (value == NULL || value == Py_None)
        exc = PyObject_CallNoArgs(type);
    else
        exc = PyTuple_Check(value) ? PyObject_CallObject(type, value)
                                   : PyObject_CallOneArg(type, value);
    if (exc == NULL)
        return -1;
    if (!PyExceptionInstance_Check(exc)) {
        PyErr_Format(PyExc_TypeError, "%R does not make exceptions", type);
        Py_DECREF(exc);
        return -1;
    }
    if (traceback != NULL && traceback != Py_None)
        PyException_SetTraceback(exc, traceback);
    tdl_err_put_steal(exc);
    return 0;
}

#include "future/callbacks.h"

#include "future/bridge.h"
#include "py/errors.h"

static int
call_one(FutureObject *self, PyObject *fn, struct tdl_fire *fire)
{
    int r = tdl_bridge_deliver(self, fn, fire);
    if (r > 0)
        return 0;
    if (r == 0) {
        PyObject *value = PyObject_CallOneArg(fn, (PyObject *)self);
        Py_XDECREF(value);
        r = value == NULL ? -1 : 0;
    }
    if (r < 0 && PyErr_ExceptionMatches(PyExc_Exception)) {
        tdl_log_exception(self->st, "exception calling callback for %r", (PyObject *)self);
        r = 0;
    }
    return r;
}

int
tdl_callbacks_add(FutureObject *self, PyObject *fn)
{
    int r = 0, now = 0;
    TDL_CRITICAL_BEGIN(self);
    if (tdl_future_is_done(tdl_future_state(self)))
        now = 1;
    else if (self->callbacks != NULL)
        r = PyList_Append(self->callbacks, fn);
    else if ((self->callbacks = PyList_New(1)) == NULL)
        r = -1;
    else
        PyList_SET_ITEM(self->callbacks, 0, Py_NewRef(fn));
    TDL_CRITICAL_END();
    return now ? call_one(self, fn, NULL) : r;
}

int
tdl_callbacks_run(FutureObject *self, struct tdl_fire *fire)
{
    PyObject *list;
    TDL_CRITICAL_BEGIN(self);
    list = Py_XNewRef(self->callbacks);
    /* a list that nobody has seen is dropped with what its callbacks hold */
    if (!self->callbacks_seen)
        Py_CLEAR(self->callbacks);
    TDL_CRITICAL_END();
    if (list == NULL)
        return 0;
    int r = 0;
    for (Py_ssize_t i = 0; r == 0 && i < PyList_GET_SIZE(list); i++) {
        PyObject *fn = Py_NewRef(PyList_GET_ITEM(list, i));
        r = call_one(self, fn, fire);
        Py_DECREF(fn);
    }
    Py_DECREF(list);
    return r;
}

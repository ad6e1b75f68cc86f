#include "sync/object.h"

#include "core/clock.h"
#include "py/args.h"
#include "py/timeout.h"

PyObject *
tdl_sync_loop_here(struct tdl_state *st)
{
    if (st->aio.running_loop == 0)
        return PyObject_CallNoArgs(st->objects.sync_running_loop);
    PyObject *loop = *(PyObject **)((char *)PyThreadState_Get() + st->aio.running_loop);
    return Py_NewRef(loop == NULL ? Py_None : loop);
}

PyObject *
tdl_sync_running_loop(struct tdl_state *st)
{
    PyObject *loop = tdl_sync_loop_here(st);
    if (loop != Py_None)
        return loop;
    Py_DECREF(loop);
    PyErr_SetString(PyExc_RuntimeError, "no running event loop");
    return NULL;
}

PyObject *
tdl_sync_get_bound(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *bound;
    TDL_CRITICAL_BEGIN(op);
    bound = ((SyncObject *)op)->bound;
    bound = Py_NewRef(bound == NULL ? Py_None : bound);
    TDL_CRITICAL_END();
    return bound;
}

int
tdl_sync_set_bound(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    PyObject *before;
    TDL_CRITICAL_BEGIN(op);
    before = ((SyncObject *)op)->bound;
    ((SyncObject *)op)->bound = value == NULL || value == Py_None ? NULL : Py_NewRef(value);
    TDL_CRITICAL_END();
    Py_XDECREF(before);
    return 0;
}

PyObject *
tdl_sync_alloc(PyTypeObject *type)
{
    struct tdl_state *st = tdl_state_by_type(type);
    if (st == NULL)
        return NULL;
    if (st->objects.sync_running_loop == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "treadle._native._init_sync() comes first");
        return NULL;
    }
    SyncObject *self = (SyncObject *)type->tp_alloc(type, 0);
    if (self != NULL)
        self->st = st;
    return (PyObject *)self;
}

int
tdl_sync_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(((SyncObject *)op)->bound);
    return 0;
}

int
tdl_sync_clear(PyObject *op)
{
    Py_CLEAR(((SyncObject *)op)->bound);
    return 0;
}

void
tdl_sync_free(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    Py_XDECREF(((SyncObject *)op)->bound);
    type->tp_free(op);
    Py_DECREF(type);
}

void
tdl_sync_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    tdl_sync_free(op);
}

bool
tdl_sync_has_own(PyTypeObject *type, PyTypeObject *base, PyObject *name)
{
    PyObject *found = PyObject_GetAttr((PyObject *)type, name);
    PyObject *own = PyObject_GetAttr((PyObject *)base, name);
    bool same = found != NULL && found == own;
    Py_XDECREF(found);
    Py_XDECREF(own);
    PyErr_Clear();
    return same;
}

/* ---- arguments ------------------------------------------------------------------- */

int
tdl_sync_parse(const char *function, PyObject *args, PyObject *kwds, const char *const *names,
               int count, int required, PyObject **values)
{
    PyObject *const *items = &PyTuple_GET_ITEM(args, 0);
    if (tdl_args_parse(function, items, PyTuple_GET_SIZE(args), NULL, names, count, 0, values) <
        0)
        return -1;
    PyObject *name, *value;
    Py_ssize_t at = 0;
    while (kwds != NULL && PyDict_Next(kwds, &at, &name, &value))
        if (tdl_args_keyword(function, name, value, names, count, values) < 0)
            return -1;
    for (int i = 0; i < required; i++)
        if (values[i] == NULL) {
            PyErr_Format(PyExc_TypeError, "%s() missing 1 required positional argument: '%s'",
                         function, names[i]);
            return -1;
        }
    return 0;
}

int
tdl_sync_patience(PyObject *timeout, struct tdl_sync_patience *patience)
{
    patience->now = false;
    if (tdl_timeout_deadline(timeout, &patience->deadline) < 0)
        return -1;
    if (timeout != NULL && timeout != Py_None)
        patience->now = !(PyFloat_AsDouble(timeout) > 0);
    return 0;
}

int
tdl_sync_parse_timeout(const char *method, PyObject *const *args, Py_ssize_t nargs,
                       PyObject *kwnames, struct tdl_sync_patience *patience)
{
    static const char *const names[] = {"timeout"};
    PyObject *timeout;
    if (tdl_args_parse(method, args, nargs, kwnames, names, 1, 0, &timeout) < 0)
        return -1;
    return tdl_sync_patience(timeout, patience);
}

int
tdl_sync_may_block(struct tdl_state *st, const char *what, const char *instead)
{
    PyObject *loop = tdl_sync_loop_here(st);
    if (loop == NULL)
        return -1;
    Py_DECREF(loop);
    if (loop == Py_None)
        return 0;
    PyErr_Format(PyExc_RuntimeError,
                 "%s would block the event loop that runs in this thread; use %s", what,
                 instead);
    return -1;
}

/* ---- methods --------------------------------------------------------------------- */

static enum tdl_step
leave_block(AwaitObject *self, PyObject **result)
{
    *result = PyObject_CallMethodNoArgs((PyObject *)self->owner, self->st->names.release);
    if (*result == NULL)
        return TDL_STEP_ERROR;
    Py_SETREF(*result, Py_NewRef(Py_None));
    return TDL_STEP_DONE;
}

static const struct tdl_await_op exit_op = {"__aexit__", "__aexit__", leave_block,
                                            NULL,        NULL,        NULL};

PyObject *
tdl_sync_aexit(PyObject *self, PyObject *const *Py_UNUSED(args), Py_ssize_t Py_UNUSED(nargs))
{
    return tdl_await_new((SyncObject *)self, &exit_op, NULL);
}

PyObject *
tdl_sync_exit(PyObject *self, PyObject *const *Py_UNUSED(args), Py_ssize_t Py_UNUSED(nargs))
{
    PyObject *r = PyObject_CallMethodNoArgs(self, ((SyncObject *)self)->st->names.release);
    if (r == NULL)
        return NULL;
    Py_DECREF(r);
    Py_RETURN_NONE;
}

PyObject *
tdl_sync_repr_steal(PyObject *self, PyObject *extra)
{
    if (extra == NULL)
        return NULL;
    PyObject *base = PyBaseObject_Type.tp_repr(self);
    PyObject *inner =
        base == NULL ? NULL : PyUnicode_Substring(base, 0, PyUnicode_GET_LENGTH(base) - 1);
    PyObject *text = inner == NULL ? NULL : PyUnicode_FromFormat("%U [%U]>", inner, extra);
    Py_XDECREF(base);
    Py_XDECREF(inner);
    Py_DECREF(extra);
    return text;
}

PyObject *
tdl_sync_extra(const char *what, const struct tdl_waitq *q)
{
    size_t count = q->count;
    if (count == 0)
        return PyUnicode_FromString(what);
    return PyUnicode_FromFormat("%s, waiters:%zu", what, count);
}

/* What awaiting a native future or task goes through: asyncio's FutureIter, but that it
 * knows where everything is and makes no exception to say None. */
#include "py/args.h"
#include "py/coro.h"
#include "tasks/awaited.h"
#include "tasks/task.h"

typedef struct {
    PyObject_HEAD
    struct tdl_state *st;
    PyObject *future; /* strong; NULL once cleared by the collector */
    bool ended;
} FutureIterObject;

PyObject *
tdl_task_iterate(struct tdl_state *st, PyObject *future)
{
    if (st == NULL)
        return NULL;
    if (tdl_awaited_of(future)->loop == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Future object is not initialized.");
        return NULL;
    }
    PyTypeObject *type = st->objects.FutureIter;
    FutureIterObject *self = (FutureIterObject *)tdl_freelist_pop(&st->future_iters, type);
    if (self == NULL && (self = PyObject_GC_New(FutureIterObject, type)) == NULL)
        return NULL;
    self->st = st;
    self->future = Py_NewRef(future);
    self->ended = false;
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

/* ---- steps -------------------------------------------------------------------------- */

/* As Future.result() of one that is done: a new reference, or NULL with its exception. */
static PyObject *
result_of(struct tdl_state *st, PyObject *future)
{
    PyObject *exception, *result = NULL;
    if (tdl_awaited_outcome(st, future, &exception) < 0)
        return NULL;
    if (exception != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
        Py_DECREF(exception);
        return NULL;
    }
    TDL_CRITICAL_BEGIN(future);
    result = Py_XNewRef(tdl_awaited_of(future)->result);
    TDL_CRITICAL_END();
    return result == NULL ? Py_NewRef(Py_None) : result;
}

/* Mark it as yielded.  Returns whether it had not been marked before. */
static bool
mark(PyObject *future)
{
    struct tdl_aio_future *f = tdl_awaited_of(future);
    bool first;
    TDL_CRITICAL_BEGIN(future);
    first = !f->blocking;
    f->blocking = 1;
    TDL_CRITICAL_END();
    return first;
}

static PySendResult
am_send(FutureIterObject *self, PyObject *Py_UNUSED(sent), PyObject **result)
{
    PyObject *future = self->future;
    *result = NULL;
    if (self->ended || future == NULL)
        return PYGEN_ERROR; /* and no exception: as an iterator that is exhausted */
    if (tdl_awaited_of(future)->state == TDL_AIO_PENDING) {
        if (mark(future)) {
            *result = Py_NewRef(future);
            return PYGEN_NEXT;
        }
        PyErr_SetString(PyExc_RuntimeError, "await wasn't used with future");
        return PYGEN_ERROR;
    }
    self->ended = true;
    *result = result_of(self->st, future);
    return *result == NULL ? PYGEN_ERROR : PYGEN_RETURN;
}

static PyObject *
iternext(FutureIterObject *self)
{
    struct tdl_state *st = self->st;
    PyObject *value;
    if (am_send(self, Py_None, &value) == PYGEN_RETURN) {
        if (value != Py_None) /* no exception says the same */
            tdl_coro_stop_quietly(st, value);
        Py_CLEAR(value);
    }
    return value;
}

/* ---- methods ------------------------------------------------------------------------- */

static PyObject *
method_send(FutureIterObject *self, PyObject *Py_UNUSED(sent))
{
    PyObject *value;
    if (am_send(self, Py_None, &value) == PYGEN_RETURN) {
        tdl_coro_stop(value);
        Py_CLEAR(value);
    }
    else if (value == NULL && PyErr_Occurred() == NULL)
        PyErr_SetNone(PyExc_StopIteration);
    return value;
}

/* Whether what was raised is what throw() was to throw, and no complaint about that. */
static bool
has_thrown(PyObject *what)
{
    PyObject *raised = tdl_err_take();
    bool thrown = raised == what ||
                  (PyExceptionClass_Check(what) && PyErr_GivenExceptionMatches(raised, what));
    tdl_err_put_steal(raised);
    return thrown;
}

/* As asyncio's own does it: by one. */
static PyObject *
method_throw(FutureIterObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    PyTypeObject *stock = (PyTypeObject *)self->st->objects.aio_future;
    if (self->future == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the future is gone");
        return NULL;
    }
    PyObject *iterator = stock->tp_as_async->am_await(self->future);
    PyObject *method =
        iterator == NULL ? NULL : PyObject_GetAttr(iterator, self->st->names.throw);
    Py_XDECREF(iterator);
    if (method == NULL)
        return NULL;
    PyObject *r = PyObject_Vectorcall(method, args, (size_t)nargs, NULL);
    Py_DECREF(method);
    if (r == NULL && nargs > 0 && has_thrown(args[0]))
        self->ended = true;
    return r;
}

static PyObject *
method_close(FutureIterObject *self, PyObject *Py_UNUSED(ignored))
{
    self->ended = true;
    Py_RETURN_NONE;
}

/* ---- the type ------------------------------------------------------------------------ */

static int
traverse(FutureIterObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->future);
    return 0;
}

static int
clear(FutureIterObject *self)
{
    Py_CLEAR(self->future);
    return 0;
}

static void
dealloc(FutureIterObject *self)
{
    struct tdl_state *st = self->st;
    PyObject_GC_UnTrack(self);
    Py_CLEAR(self->future);
    tdl_freelist_push(&st->future_iters, (PyObject *)self);
}

static PyMethodDef methods[] = {
    {"send", (PyCFunction)method_send, METH_O, NULL},
    {"throw", TDL_METHOD(method_throw), METH_FASTCALL, NULL},
    {"close", (PyCFunction)method_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_iter, PyObject_SelfIter}, {Py_tp_iternext, iternext},
    {Py_am_send, am_send},           {Py_tp_methods, methods},
    {Py_tp_traverse, traverse},      {Py_tp_clear, clear},
    {Py_tp_dealloc, dealloc},        {0, NULL},
};

static PyType_Spec spec = {
    .name = "treadle._native.FutureIter",
    .basicsize = sizeof(FutureIterObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int
tdl_task_future_iter_exec(PyObject *module)
{
    struct tdl_state *st = tdl_state_of(module);
    tdl_freelist_open(&st->future_iters);
    return tdl_state_add_type(module, &spec, &st->objects.FutureIter);
}

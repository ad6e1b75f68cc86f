#include "tasks/coroutine.h"

#include "py/args.h"
#include "py/coro.h"
#include "tasks/task.h"

enum { NEW, WAITING, RUNNING, ENDED };

/* ---- life ------------------------------------------------------------------------ */

PyObject *
tdl_coroutine_new(struct tdl_state *st, const struct tdl_coroutine_op *op, PyObject *owner,
                  PyObject *first, PyObject *second)
{
    PyTypeObject *type = st->objects.Coroutine;
    PyObject *made = tdl_freelist_pop(&st->coroutines, type);
    if (made == NULL && (made = (PyObject *)PyObject_GC_New(CoroutineObject, type)) == NULL)
        return NULL;
    CoroutineObject *self = (CoroutineObject *)made;
    self->st = st;
    self->op = op;
    self->owner = Py_XNewRef(owner);
    self->values[0] = Py_XNewRef(first);
    self->values[1] = Py_XNewRef(second);
    self->handle = self->future = self->inner = NULL;
    self->stage = NEW;
    self->within = self->expired = false;
    self->number = 0;
    PyObject_GC_Track(made);
    return made;
}

/* It has ended: let go of everything. */
static void
drop(CoroutineObject *self)
{
    self->stage = ENDED;
    Py_CLEAR(self->owner);
    Py_CLEAR(self->values[0]);
    Py_CLEAR(self->values[1]);
    Py_CLEAR(self->handle);
    Py_CLEAR(self->future);
    Py_CLEAR(self->inner);
}

enum tdl_go
tdl_coroutine_become(CoroutineObject *self, PyObject *made)
{
    Py_XSETREF(self->inner, made);
    Py_CLEAR(self->values[0]);
    Py_CLEAR(self->values[1]);
    Py_CLEAR(self->future);
    return made == NULL ? TDL_GO_ERROR : TDL_GO_INNER;
}

enum tdl_go
tdl_coroutine_enter(CoroutineObject *self, PyObject *made)
{
    Py_XSETREF(self->inner, made);
    self->within = true;
    return made == NULL ? TDL_GO_ERROR : TDL_GO_INNER;
}

LoopObject *
tdl_loop_if_untouched(struct tdl_state *st, PyObject *op)
{
    if (st->task_ops == NULL || !Py_IS_TYPE(op, st->objects.EventLoop))
        return NULL;
    LoopObject *loop = (LoopObject *)op;
    return loop->untouched && !loop->debug ? loop : NULL;
}

LoopObject *
tdl_coroutine_loop(struct tdl_state *st)
{
    PyObject *running = PyObject_CallNoArgs(st->objects.sync_running_loop);
    if (running == NULL) {
        PyErr_Clear();
        return NULL;
    }
    LoopObject *loop = tdl_loop_if_untouched(st, running);
    if (loop == NULL)
        Py_DECREF(running);
    return loop;
}

PyObject *
tdl_coroutine_task(struct tdl_state *st, PyObject *loop)
{
    if (st->task_ops == NULL)
        return NULL;
    PyObject *function = tdl_dict_get_name(st->objects.aio_tasks_dict, st->names.current_task);
    Py_XDECREF(function);
    if (function == NULL || function != st->objects.sync_current_task)
        PyErr_Clear();
    else {
        PyObject *task = tdl_task_current(st, loop);
        if (task != NULL && tdl_task_check(st, task))
            return task;
        Py_XDECREF(task);
        PyErr_Clear();
    }
    return NULL;
}

/* ---- steps ----------------------------------------------------------------------- */

/* Yield the future, as awaiting it does. */
static PySendResult
yield_future(CoroutineObject *self, PyObject **result)
{
    PyObject *future = Py_NewRef(self->future);
    self->stage = WAITING;
    if (self->st->task_ops != NULL && tdl_awaited_check(self->st, future))
        tdl_awaited_of(future)->blocking = 1;
    else if (PyObject_SetAttr(future, self->st->names._asyncio_future_blocking, Py_True) < 0) {
        Py_DECREF(future);
        return PYGEN_ERROR;
    }
    *result = future;
    return PYGEN_NEXT;
}

static PySendResult take_step(CoroutineObject *self, enum tdl_go step, PyObject **result);

/* Make the next step of the coroutine inside, `thrown` first if that is not NULL. */
static PySendResult
step_inner(CoroutineObject *self, PyObject *thrown, PyObject **result)
{
    PyObject *inner = Py_NewRef(self->inner);
    PySendResult r;
    if (thrown == NULL)
        r = PyIter_Send(inner, Py_None, result);
    else {
        *result = PyObject_CallMethodOneArg(inner, self->st->names.throw, thrown);
        r = *result != NULL ? PYGEN_NEXT : PYGEN_ERROR;
        if (*result == NULL && (*result = tdl_coro_take_stopped()) != NULL)
            r = PYGEN_RETURN;
    }
    Py_DECREF(inner);
    if (r == PYGEN_NEXT) {
        self->stage = WAITING;
        return r;
    }
    if (self->within) {
        self->within = false;
        return take_step(self, self->op->leave(self, result), result);
    }
    PyObject *raised = r == PYGEN_ERROR ? tdl_err_take() : NULL;
    drop(self);
    if (raised != NULL)
        tdl_err_put_steal(raised);
    return r;
}

static PySendResult
take_step(CoroutineObject *self, enum tdl_go step, PyObject **result)
{
    switch (step) {
    case TDL_GO_WAIT:
        return yield_future(self, result);
    case TDL_GO_TURN:
        self->stage = WAITING;
        *result = Py_NewRef(Py_None);
        return PYGEN_NEXT;
    case TDL_GO_INNER: {
        PyObject *thrown = PyErr_Occurred() == NULL ? NULL : tdl_err_take();
        PySendResult r = step_inner(self, thrown, result);
        Py_XDECREF(thrown);
        return r;
    }
    case TDL_GO_DONE:
        drop(self);
        return PYGEN_RETURN;
    default: {
        PyObject *raised = tdl_err_take();
        drop(self);
        tdl_err_put_steal(raised);
        return PYGEN_ERROR;
    }
    }
}

static PySendResult
fail(CoroutineObject *self, PyObject **result)
{
    enum tdl_go step = self->op->fail == NULL ? TDL_GO_ERROR : self->op->fail(self, result);
    return take_step(self, step, result);
}

/* Raise what the future has, unless that is a result.  Returns 0 or -1. */
static int
check_by_methods(CoroutineObject *self, PyObject *future)
{
    PyObject *done = PyObject_CallMethodNoArgs(future, self->st->names.done);
    int r = done == NULL ? -1 : PyObject_IsTrue(done);
    Py_XDECREF(done);
    if (r == 0)
        PyErr_SetString(PyExc_RuntimeError, "await wasn't used with future");
    if (r <= 0)
        return -1;
    PyObject *value = PyObject_CallMethodNoArgs(future, self->st->names.result);
    Py_XDECREF(value);
    return value == NULL ? -1 : 0;
}

static int
check_future(CoroutineObject *self)
{
    PyObject *exception, *future = Py_NewRef(self->future);
    int r = 0;
    if (self->st->task_ops == NULL || !tdl_awaited_check(self->st, future))
        r = check_by_methods(self, future);
    else if (tdl_awaited_of(future)->state == TDL_AIO_PENDING) {
        PyErr_SetString(PyExc_RuntimeError, "await wasn't used with future");
        r = -1;
    }
    else if ((r = tdl_awaited_outcome(self->st, future, &exception)) == 0 &&
             exception != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
        Py_DECREF(exception);
        r = -1;
    }
    Py_DECREF(future);
    return r;
}

static PySendResult
wake(CoroutineObject *self, PyObject **result)
{
    if (self->inner != NULL)
        return step_inner(self, NULL, result);
    if (self->future != NULL && check_future(self) < 0)
        return fail(self, result);
    return take_step(self, self->op->wake(self, result), result);
}

static PySendResult
refuse(PyObject *type, const char *message)
{
    PyErr_SetString(type, message);
    return PYGEN_ERROR;
}

/* Take the right to make a step.  Returns the stage that it was in. */
static uint8_t
claim(CoroutineObject *self)
{
    uint8_t stage;
    TDL_CRITICAL_BEGIN(self);
    stage = self->stage;
    if (stage == NEW || stage == WAITING)
        self->stage = RUNNING;
    TDL_CRITICAL_END();
    return stage;
}

static PySendResult
am_send(CoroutineObject *self, PyObject *value, PyObject **result)
{
    *result = NULL;
    if (self->stage == NEW && value != NULL && value != Py_None)
        return refuse(PyExc_TypeError, "can't send non-None value to a just-started coroutine");
    uint8_t stage = claim(self);
    if (stage == RUNNING)
        return refuse(PyExc_ValueError, "coroutine already executing");
    if (stage == ENDED)
        return refuse(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
    if (stage == WAITING)
        return wake(self, result);
    return take_step(self, self->op->start(self, result), result);
}

/* The exception that is set is thrown in. */
static PySendResult
throw_raised(CoroutineObject *self, PyObject **result)
{
    PyObject *raised = tdl_err_take();
    uint8_t stage = claim(self);
    if (stage == RUNNING || stage == ENDED) {
        Py_DECREF(raised);
        return stage == RUNNING
                   ? refuse(PyExc_ValueError, "coroutine already executing")
                   : refuse(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
    }
    if (stage == NEW)
        drop(self);
    if (stage == NEW || self->inner == NULL) {
        tdl_err_put_steal(raised);
        return stage == NEW ? PYGEN_ERROR : fail(self, result);
    }
    PySendResult r = step_inner(self, raised, result);
    Py_DECREF(raised);
    return r;
}

/* What a Python caller gets: a value that was yielded, or NULL with StopIteration. */
static PyObject *
as_iterator(PySendResult r, PyObject *value)
{
    if (r != PYGEN_RETURN)
        return value;
    tdl_coro_stop(value);
    Py_DECREF(value);
    return NULL;
}

/* What the interpreter's own await calls. */
static PyObject *
iternext(CoroutineObject *self)
{
    struct tdl_state *st = self->st;
    bool lends = self->op->returns_owner && self->inner == NULL;
    PyObject *value;
    PySendResult r = am_send(self, Py_None, &value);
    if (r != PYGEN_RETURN)
        return value;
    if (value != Py_None) { /* no exception says the same */
        if (lends)
            tdl_coro_stop_lent(st, value);
        else
            tdl_coro_stop_quietly(st, value);
    }
    Py_DECREF(value);
    return NULL;
}

/* ---- methods --------------------------------------------------------------------- */

static PyObject *
coroutine_send(CoroutineObject *self, PyObject *sent)
{
    PyObject *value;
    PySendResult r = am_send(self, sent, &value);
    return as_iterator(r, value);
}

/* throw(type[, value[, traceback]]) or throw(exception) */
static PyObject *
coroutine_throw(CoroutineObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs < 1 || nargs > 3) {
        PyErr_Format(PyExc_TypeError, "throw expected 1 to 3 arguments, got %zd", nargs);
        return NULL;
    }
    if (tdl_coro_set_thrown(args[0], nargs > 1 ? args[1] : NULL, nargs > 2 ? args[2] : NULL) <
        0)
        return NULL;
    PyObject *value = NULL;
    PySendResult r = throw_raised(self, &value);
    return as_iterator(r, value);
}

/* Throw GeneratorExit into it.  Returns 0 or -1 with an exception set. */
static int
close_waiting(CoroutineObject *self)
{
    PyErr_SetNone(PyExc_GeneratorExit);
    PyObject *value = NULL;
    PySendResult r = throw_raised(self, &value);
    Py_XDECREF(value);
    if (r == PYGEN_NEXT) {
        PyErr_SetString(PyExc_RuntimeError, "coroutine ignored GeneratorExit");
        return -1;
    }
    if (r == PYGEN_ERROR && !PyErr_ExceptionMatches(PyExc_GeneratorExit) &&
        !PyErr_ExceptionMatches(PyExc_StopIteration))
        return -1;
    PyErr_Clear();
    return 0;
}

static PyObject *
coroutine_close(CoroutineObject *self, PyObject *Py_UNUSED(ignored))
{
    if (self->stage == RUNNING) {
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
        return NULL;
    }
    if (self->stage == NEW && claim(self) == NEW)
        drop(self);
    if (self->stage == WAITING && close_waiting(self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
itself(PyObject *self)
{
    return Py_NewRef(self);
}

static PyObject *
am_await(CoroutineObject *self)
{
    if (self->stage == ENDED) {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
        return NULL;
    }
    return Py_NewRef((PyObject *)self);
}

static PyObject *
get_name(CoroutineObject *self, void *qualified)
{
    return PyUnicode_FromString(qualified != NULL ? self->op->qualname : self->op->name);
}

static PyObject *
get_running(CoroutineObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->stage == RUNNING);
}

static PyObject *
repr(CoroutineObject *self)
{
    return PyUnicode_FromFormat("<coroutine object %s at %p>", self->op->qualname, self);
}

static int
traverse(CoroutineObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->owner);
    Py_VISIT(self->values[0]);
    Py_VISIT(self->values[1]);
    Py_VISIT(self->handle);
    Py_VISIT(self->future);
    Py_VISIT(self->inner);
    return 0;
}

/* As coroutines do: one that nobody awaited is warned of, one that waits is closed. */
static void
finalize(CoroutineObject *self)
{
    PyObject *raised = tdl_err_take();
    int r = 0;
    if (self->stage == NEW) {
        r = PyErr_WarnFormat(PyExc_RuntimeWarning, 1, "coroutine '%s' was never awaited",
                             self->op->qualname);
        drop(self);
    }
    else if (self->stage == WAITING)
        r = close_waiting(self);
    if (r < 0)
        PyErr_WriteUnraisable((PyObject *)self);
    if (raised != NULL)
        tdl_err_put_steal(raised);
}

static void
dealloc(CoroutineObject *self)
{
    if (self->stage != ENDED && PyObject_CallFinalizerFromDealloc((PyObject *)self) < 0)
        return;
    PyObject_GC_UnTrack(self);
    drop(self);
    tdl_freelist_push(&self->st->coroutines, (PyObject *)self);
}

static PyMethodDef methods[] = {
    {"send", (PyCFunction)coroutine_send, METH_O, NULL},
    {"throw", TDL_METHOD(coroutine_throw), METH_FASTCALL, NULL},
    {"close", (PyCFunction)coroutine_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef getset[] = {
    {"__name__", (getter)get_name, NULL, NULL, NULL},
    {"__qualname__", (getter)get_name, NULL, NULL, "qualified"},
    {"cr_running", (getter)get_running, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_am_await, am_await},
    {Py_am_send, am_send},
    {Py_tp_iter, itself},
    {Py_tp_iternext, iternext},
    {Py_tp_methods, methods},
    {Py_tp_getset, getset},
    {Py_tp_repr, repr},
    {Py_tp_traverse, traverse},
    {Py_tp_finalize, finalize},
    {Py_tp_dealloc, dealloc},
    {Py_tp_doc, "An operation of asyncio's, to be awaited."},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "treadle._native.Coroutine",
    .basicsize = sizeof(CoroutineObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};

int
tdl_coroutine_exec(PyObject *module)
{
    struct tdl_state *st = tdl_state_of(module);
    tdl_freelist_open(&st->coroutines);
    return tdl_state_add_type(module, &spec, &st->objects.Coroutine);
}

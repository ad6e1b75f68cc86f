#include "sync/await.h"

#include "loop/task_ops.h"
#include "py/args.h"
#include "py/coro.h"
#include "sync/object.h"

enum { NEW, WAITING, RUNNING, ENDED };

/* ---- life ------------------------------------------------------------------------ */

PyObject *
tdl_await_new(SyncObject *owner, const struct tdl_await_op *op, PyObject *value)
{
    struct tdl_state *st = owner->st;
    PyTypeObject *type = st->objects.Await;
    PyObject *made = tdl_freelist_pop(&st->awaits, type);
    if (made != NULL)
        PyObject_GC_Track(made);
    else if ((made = type->tp_alloc(type, 0)) == NULL)
        return NULL;
    AwaitObject *self = (AwaitObject *)made;
    self->st = st;
    self->op = op;
    self->owner = (SyncObject *)Py_NewRef((PyObject *)owner);
    self->value = Py_XNewRef(value);
    self->inner = self->raised = NULL;
    tdl_wait_init(&self->party.wait);
    self->party.owner = owner;
    self->party.leave = op->leave;
    self->party.parked = NULL;
    self->party.loop = self->party.future = NULL;
    self->party.grant = NULL;
    self->stage = NEW;
    self->step = 0;
    return made;
}

/* It has ended: let go of everything. */
static void
drop(AwaitObject *self)
{
    self->stage = ENDED;
    tdl_party_clear(&self->party);
    Py_CLEAR(self->value);
    Py_CLEAR(self->inner);
    Py_CLEAR(self->raised);
    Py_CLEAR(self->owner);
}

int
tdl_await_prepare(AwaitObject *self)
{
    SyncObject *owner = self->owner;
    PyObject *loop = tdl_sync_running_loop(self->st);
    if (loop == NULL)
        return -1;
    if (owner->bound != NULL && owner->bound != loop) {
        PyErr_Format(PyExc_RuntimeError, "%R is bound to a different event loop", owner);
        Py_DECREF(loop);
        return -1;
    }
    PyObject *future = tdl_loop_any_future(self->st, loop);
    if (future == NULL) {
        Py_DECREF(loop);
        return -1;
    }
    tdl_party_clear(&self->party);
    self->party.loop = loop;
    self->party.future = future;
    return 0;
}

enum tdl_step
tdl_await_method(AwaitObject *self, PyObject *method)
{
    PyObject *made = PyObject_CallMethodNoArgs((PyObject *)self->owner, method);
    if (made == NULL)
        return TDL_STEP_ERROR;
    PyAsyncMethods *async = Py_TYPE(made)->tp_as_async;
    if (PyCoro_CheckExact(made))
        self->inner = made;
    else if (async != NULL && async->am_await != NULL) {
        self->inner = async->am_await(made);
        Py_DECREF(made);
    }
    else {
        PyErr_Format(PyExc_TypeError, "'%.100s' object can't be awaited",
                     Py_TYPE(made)->tp_name);
        Py_DECREF(made);
    }
    return self->inner == NULL ? TDL_STEP_ERROR : TDL_STEP_INNER;
}

/* ---- steps ----------------------------------------------------------------------- */

/* Yield the future, as awaiting it does. */
static PySendResult
yield_future(AwaitObject *self, PyObject **result)
{
    PyObject *future = Py_NewRef(self->party.future);
    self->stage = WAITING;
    if (Py_IS_TYPE(future, self->st->objects.LoopFuture))
        self->st->task_ops->set_blocking(future);
    else if (PyObject_SetAttr(future, self->st->objects.sync_blocking, Py_True) < 0) {
        Py_DECREF(future);
        return PYGEN_ERROR;
    }
    *result = future;
    return PYGEN_NEXT;
}

static PySendResult take_step(AwaitObject *self, enum tdl_step step, PyObject **result);

/* Make the next step of the coroutine inside, `thrown` first if that is not NULL. */
static PySendResult
step_inner(AwaitObject *self, PyObject *thrown, PyObject **result)
{
    PyObject *inner = Py_NewRef(self->inner);
    PyObject *value = NULL;
    PySendResult r;
    if (thrown == NULL)
        r = PyIter_Send(inner, Py_None, &value);
    else {
        value = PyObject_CallMethodOneArg(inner, self->st->names.throw, thrown);
        r = value != NULL ? PYGEN_NEXT : PYGEN_ERROR;
        if (value == NULL && (value = tdl_coro_take_stopped()) != NULL)
            r = PYGEN_RETURN;
    }
    Py_DECREF(inner);
    if (r == PYGEN_NEXT) {
        self->stage = WAITING;
        *result = value;
        return r;
    }
    Py_CLEAR(self->inner);
    enum tdl_step step =
        r == PYGEN_RETURN ? self->op->wake(self, value, result) : self->op->fail(self, result);
    Py_XDECREF(value);
    return take_step(self, step, result);
}

static PySendResult
take_step(AwaitObject *self, enum tdl_step step, PyObject **result)
{
    switch (step) {
    case TDL_STEP_WAIT:
        return yield_future(self, result);
    case TDL_STEP_INNER:
        return step_inner(self, NULL, result);
    case TDL_STEP_DONE:
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

/* Whether the party's future is done without an exception.  1; 0 if it is not done, with
 * RuntimeError set; -1 with its exception set. */
static int
check_future(AwaitObject *self)
{
    PyObject *future = Py_NewRef(self->party.future);
    PyObject *done = PyObject_CallMethodNoArgs(future, self->st->names.done);
    int r = done == NULL ? -1 : PyObject_IsTrue(done);
    Py_XDECREF(done);
    if (r > 0) {
        PyObject *value = PyObject_CallMethodNoArgs(future, self->st->names.result);
        r = value == NULL ? -1 : 1;
        Py_XDECREF(value);
    }
    else if (r == 0)
        PyErr_SetString(PyExc_RuntimeError, "await wasn't used with future");
    Py_DECREF(future);
    return r;
}

static PySendResult
wake(AwaitObject *self, PyObject **result)
{
    if (self->inner != NULL)
        return step_inner(self, NULL, result);
    /* without a grant somebody else has touched the future */
    if (self->party.wait.state != TDL_WAIT_GRANTED && check_future(self) <= 0)
        return take_step(self, self->op->fail(self, result), result);
    return take_step(self, self->op->wake(self, NULL, result), result);
}

static PySendResult
refuse(PyObject *type, const char *message)
{
    PyErr_SetString(type, message);
    return PYGEN_ERROR;
}

static PySendResult
await_am_send(AwaitObject *self, PyObject *value, PyObject **result)
{
    *result = NULL;
    uint8_t stage = self->stage;
    if (stage == RUNNING)
        return refuse(PyExc_ValueError, "coroutine already executing");
    if (stage == ENDED)
        return refuse(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
    if (stage == NEW && value != NULL && value != Py_None)
        return refuse(PyExc_TypeError, "can't send non-None value to a just-started coroutine");
    self->stage = RUNNING;
    if (stage == WAITING)
        return wake(self, result);
    return take_step(self, self->op->start(self, result), result);
}

/* The exception that is set is thrown in. */
static PySendResult
throw_raised(AwaitObject *self, PyObject **result)
{
    uint8_t stage = self->stage;
    if (stage == NEW || stage == ENDED) {
        PyObject *raised = tdl_err_take();
        drop(self);
        if (stage == ENDED) {
            Py_DECREF(raised);
            return refuse(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
        }
        tdl_err_put_steal(raised);
        return PYGEN_ERROR;
    }
    if (stage == RUNNING)
        return refuse(PyExc_ValueError, "coroutine already executing");
    self->stage = RUNNING;
    if (self->inner == NULL)
        return take_step(self, self->op->fail(self, result), result);
    PyObject *raised = tdl_err_take();
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
await_iternext(AwaitObject *self)
{
    struct tdl_state *st = self->st;
    PyObject *value;
    PySendResult r = await_am_send(self, Py_None, &value);
    if (r != PYGEN_RETURN)
        return value;
    if (value != Py_None) /* no exception says the same */
        tdl_coro_stop_quietly(st, value);
    Py_DECREF(value);
    return NULL;
}

/* ---- methods --------------------------------------------------------------------- */

static PyObject *
await_send(AwaitObject *self, PyObject *sent)
{
    PyObject *value;
    PySendResult r = await_am_send(self, sent, &value);
    return as_iterator(r, value);
}

/* throw(type[, value[, traceback]]) or throw(exception) */
static PyObject *
await_throw(AwaitObject *self, PyObject *const *args, Py_ssize_t nargs)
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
close_waiting(AwaitObject *self)
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
await_close(AwaitObject *self, PyObject *Py_UNUSED(ignored))
{
    if (self->stage == RUNNING) {
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
        return NULL;
    }
    if (self->stage == NEW)
        drop(self);
    if (self->stage == WAITING && close_waiting(self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
await_self(PyObject *self)
{
    return Py_NewRef(self);
}

static PyObject *
await_await(AwaitObject *self)
{
    if (self->stage == ENDED) {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
        return NULL;
    }
    return Py_NewRef((PyObject *)self);
}

static PyObject *
await_get_name(AwaitObject *self, void *qualified)
{
    return PyUnicode_FromString(qualified != NULL ? self->op->qualname : self->op->name);
}

static PyObject *
await_get_running(AwaitObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->stage == RUNNING);
}

static PyObject *
await_repr(AwaitObject *self)
{
    return PyUnicode_FromFormat("<coroutine object %s at %p>", self->op->qualname, self);
}

static int
await_traverse(AwaitObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->owner);
    Py_VISIT(self->value);
    Py_VISIT(self->inner);
    Py_VISIT(self->raised);
    Py_VISIT(self->party.loop);
    Py_VISIT(self->party.future);
    return 0;
}

/* As coroutines do: one that nobody awaited is warned of, one that waits is closed. */
static void
await_finalize(AwaitObject *self)
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
await_dealloc(AwaitObject *self)
{
    if (self->stage != ENDED && PyObject_CallFinalizerFromDealloc((PyObject *)self) < 0)
        return;
    PyObject_GC_UnTrack(self);
    drop(self);
    tdl_freelist_push(&self->st->awaits, (PyObject *)self);
}

static PyMethodDef await_methods[] = {
    {"send", (PyCFunction)await_send, METH_O, NULL},
    {"throw", TDL_METHOD(await_throw), METH_FASTCALL, NULL},
    {"close", (PyCFunction)await_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef await_getset[] = {
    {"__name__", (getter)await_get_name, NULL, NULL, NULL},
    {"__qualname__", (getter)await_get_name, NULL, NULL, "qualified"},
    {"cr_running", (getter)await_get_running, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot await_slots[] = {
    {Py_am_await, await_await},
    {Py_am_send, await_am_send},
    {Py_tp_iter, await_self},
    {Py_tp_iternext, await_iternext},
    {Py_tp_methods, await_methods},
    {Py_tp_getset, await_getset},
    {Py_tp_repr, await_repr},
    {Py_tp_traverse, await_traverse},
    {Py_tp_finalize, await_finalize},
    {Py_tp_dealloc, await_dealloc},
    {Py_tp_doc, "An operation of a lock, an event or a queue, to be awaited."},
    {0, NULL},
};

static PyType_Spec await_spec = {
    .name = "treadle._native.SyncCoroutine",
    .basicsize = sizeof(AwaitObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = await_slots,
};

int
tdl_await_exec(PyObject *module)
{
    struct tdl_state *st = tdl_state_of(module);
    st->objects.sync_stop = PyObject_CallNoArgs(PyExc_StopIteration);
    if (st->objects.sync_stop == NULL)
        return -1;
    tdl_freelist_open(&st->awaits);
    return tdl_state_add_type(module, &await_spec, &st->objects.Await);
}

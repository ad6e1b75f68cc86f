#include "streams/operation.h"

#include "py/args.h"

enum phase { CREATED, RUNNING, WAITING, DELEGATED, OVER };

/* What one StopIteration, made in advance, may keep alive until the next. */
enum { MOST_KEPT = 64 * 1024 };

/* ---- running ------------------------------------------------------------------------- */

static void
drop(OperationObject *self)
{
    Py_CLEAR(self->inner);
    Py_CLEAR(self->owner);
    Py_CLEAR(self->argument);
    Py_CLEAR(self->state);
}

static PySendResult
finish(OperationObject *self, PySendResult how)
{
    PyObject *raised = how == PYGEN_ERROR ? tdl_err_take() : NULL;
    atomic_store_explicit(&self->phase, OVER, memory_order_release);
    drop(self);
    if (raised != NULL)
        tdl_err_put_steal(raised);
    return how;
}

/* Let the coroutine inside run, and stay or finish with it. */
static PySendResult
forward(OperationObject *self, PyObject *value, PyObject **result)
{
    PySendResult how = PyIter_Send(self->inner, value, result);
    if (how != PYGEN_NEXT)
        return finish(self, how);
    atomic_store_explicit(&self->phase, DELEGATED, memory_order_release);
    return how;
}

/* Let asyncio's method begin.  It first raises what set_exception() was given; one that
 * came while this operation waited is not for it, but for the next. */
static PySendResult
forward_first(OperationObject *self, PyObject **result)
{
    ReaderState *state = self->woken ? (ReaderState *)Py_XNewRef(self->state) : NULL;
    if (state == NULL || tdl_reader_has(state, TDL_READER_EXCEPTION, Py_None)) {
        Py_XDECREF(state);
        return forward(self, Py_None, result);
    }
    PyObject *exc = tdl_reader_get(state, TDL_READER_EXCEPTION);
    tdl_reader_set(state, TDL_READER_EXCEPTION, Py_None);
    PySendResult how = forward(self, Py_None, result);
    if (tdl_reader_has(state, TDL_READER_EXCEPTION, Py_None))
        tdl_reader_set(state, TDL_READER_EXCEPTION, exc);
    Py_DECREF(exc);
    Py_DECREF(state);
    return how;
}

static PySendResult
delegate(OperationObject *self, PyObject **result)
{
    PyObject *args[2] = {self->owner, self->argument};
    size_t count = self->argument == NULL ? 1 : 2;
    PyObject *inner = PyObject_Vectorcall(self->kind->stock(self->st), args, count, NULL);
    if (inner == NULL)
        return finish(self, PYGEN_ERROR);
    self->inner = inner;
    return forward_first(self, result);
}

/* Go on with the future's iterator.  Returns PYGEN_RETURN, without a result, if what was
 * waited for has come. */
static PySendResult
poll_future(OperationObject *self, PyObject **result)
{
    PySendResult how = PyIter_Send(self->inner, Py_None, result);
    if (how == PYGEN_NEXT) {
        atomic_store_explicit(&self->phase, WAITING, memory_order_release);
        return how;
    }
    if (how == PYGEN_RETURN)
        Py_CLEAR(*result);
    tdl_reader_set(self->state, TDL_READER_WAITER, Py_None);
    Py_CLEAR(self->inner);
    self->woken = true;
    return how;
}

/* The value of the StopIteration made in advance is not needed any longer. */
static void
forget_value(struct tdl_state *st)
{
    PyObject *exc = st->objects.stop_iteration;
    if (!TDL_FREE_THREADED && exc != NULL && Py_REFCNT(exc) == 1)
        Py_CLEAR(((PyStopIterationObject *)exc)->value);
}

static PySendResult
begin_waiting(OperationObject *self, PyObject **result)
{
    if (!tdl_reader_has(self->state, TDL_READER_WAITER, Py_None))
        return delegate(self, result);
    forget_value(self->st);
    self->inner = tdl_reader_wait(self->state);
    if (self->inner == NULL)
        return finish(self, PYGEN_ERROR);
    return poll_future(self, result);
}

/* Attempt, and wait, until there is something to say. */
static PySendResult
run(OperationObject *self, PyObject **result)
{
    for (;;) {
        enum tdl_attempt attempt = self->kind->attempt(self, result);
        if (attempt == TDL_ATTEMPT_DELEGATE)
            return delegate(self, result);
        if (attempt != TDL_ATTEMPT_WAIT)
            return finish(self, attempt == TDL_ATTEMPT_DONE ? PYGEN_RETURN : PYGEN_ERROR);
        PySendResult how = begin_waiting(self, result);
        if (how != PYGEN_RETURN || self->owner == NULL)
            return how == PYGEN_ERROR && self->owner != NULL ? finish(self, how) : how;
    }
}

/* Take the right to run.  Returns the phase there was, or -1 with the exception that a
 * coroutine raises. */
static int
enter(OperationObject *self)
{
    int phase = atomic_exchange_explicit(&self->phase, RUNNING, memory_order_acquire);
    if (phase == RUNNING)
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
    else if (phase == OVER) {
        atomic_store_explicit(&self->phase, OVER, memory_order_release);
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
    }
    else
        return phase;
    return -1;
}

static PySendResult
operation_send(PyObject *op, PyObject *value, PyObject **result)
{
    OperationObject *self = (OperationObject *)op;
    *result = NULL;
    int phase = enter(self);
    if (phase < 0)
        return PYGEN_ERROR;
    if (phase == CREATED && value != Py_None) {
        atomic_store_explicit(&self->phase, CREATED, memory_order_release);
        PyErr_SetString(PyExc_TypeError,
                        "can't send non-None value to a just-started coroutine");
        return PYGEN_ERROR;
    }
    if (phase == DELEGATED)
        return forward(self, value, result);
    if (phase == WAITING) {
        PySendResult how = poll_future(self, result);
        if (how != PYGEN_RETURN)
            return how == PYGEN_ERROR ? finish(self, how) : how;
    }
    return run(self, result);
}

/* ---- returning a value the way iterators do ----------------------------------------------- */

static bool
is_untouched(PyObject *exc)
{
    PyStopIterationObject *e = (PyStopIterationObject *)exc;
    return e->dict == NULL && e->traceback == NULL && e->context == NULL && e->cause == NULL &&
           e->notes == NULL;
}

/* Whether the StopIteration made in advance can be raised: nobody else has it, nor has
 * marked it.  If it is lost, there is a new one for the next time. */
static bool
has_spare(struct tdl_state *st)
{
    PyObject *exc = st->objects.stop_iteration;
    if (TDL_FREE_THREADED || exc == NULL)
        return false;
    if (Py_REFCNT(exc) == 1 && is_untouched(exc))
        return true;
    PyObject *made = PyObject_CallNoArgs(PyExc_StopIteration);
    if (made == NULL)
        PyErr_Clear();
    else
        Py_SETREF(st->objects.stop_iteration, made);
    return false;
}

/* Raise StopIteration(value). */
static void
stop_steal(PyObject *value)
{
    PyObject *exc = PyObject_CallOneArg(PyExc_StopIteration, value);
    Py_DECREF(value);
    if (exc != NULL)
        tdl_err_put_steal(exc);
}

/* The same for the interpreter, which only takes the value out.  To make an exception
 * costs as much as a read; so one serves again and again. */
static void
stop_quietly_steal(struct tdl_state *st, PyObject *value)
{
    if (!PyBytes_CheckExact(value) || PyBytes_GET_SIZE(value) > MOST_KEPT || !has_spare(st)) {
        stop_steal(value);
        return;
    }
    PyObject *exc = Py_NewRef(st->objects.stop_iteration);
    Py_XSETREF(((PyStopIterationObject *)exc)->value, value);
    tdl_err_put_steal(exc);
}

static PyObject *
operation_next(PyObject *op)
{
    PyObject *result;
    PySendResult how = operation_send(op, Py_None, &result);
    if (how != PYGEN_RETURN)
        return result;
    if (result == Py_None)
        Py_DECREF(result); /* nothing raised says the same */
    else
        stop_quietly_steal(((OperationObject *)op)->st, result);
    return NULL;
}

/* ---- methods ---------------------------------------------------------------------------- */

static PyObject *
send_method(OperationObject *self, PyObject *value)
{
    PyObject *result;
    if (operation_send((PyObject *)self, value, &result) != PYGEN_RETURN)
        return result;
    stop_steal(result);
    return NULL;
}

/* Set what throw(type[, value[, traceback]]) is to raise.  Returns 0 or -1, then with
 * an exception about the arguments. */
static int
set_thrown(PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *type = args[0], *value = nargs > 1 ? args[1] : NULL;
    PyObject *tb = nargs > 2 && args[2] != Py_None ? args[2] : NULL;
    if (tb != NULL && !PyTraceBack_Check(tb)) {
        PyErr_SetString(PyExc_TypeError, "throw() third argument must be a traceback object");
        return -1;
    }
    if (PyExceptionInstance_Check(type)) {
        if (value != NULL && value != Py_None) {
            PyErr_SetString(PyExc_TypeError,
                            "instance exception may not have a separate value");
            return -1;
        }
        if (tb != NULL && PyException_SetTraceback(type, tb) < 0)
            return -1;
        tdl_err_put_steal(Py_NewRef(type));
        return 0;
    }
    if (!PyExceptionClass_Check(type)) {
        PyErr_Format(PyExc_TypeError,
                     "exceptions must be classes or instances deriving from BaseException, "
                     "not %s",
                     Py_TYPE(type)->tp_name);
        return -1;
    }
    PyErr_SetObject(type, value);
    PyObject *exc = tdl_err_take();
    if (tb != NULL && PyException_SetTraceback(exc, tb) < 0) {
        Py_DECREF(exc);
        return -1;
    }
    tdl_err_put_steal(exc);
    return 0;
}

/* Raise in the coroutine inside what throw() was given. */
static PyObject *
throw_inside(OperationObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *method = PyObject_GetAttrString(self->inner, "throw");
    PyObject *r =
        method == NULL ? NULL : PyObject_Vectorcall(method, args, (size_t)nargs, NULL);
    Py_XDECREF(method);
    if (r != NULL)
        atomic_store_explicit(&self->phase, DELEGATED, memory_order_release);
    else
        finish(self, PYGEN_ERROR);
    return r;
}

/* Nothing is awaited any more. */
static void
give_up(OperationObject *self, int phase)
{
    if (phase == WAITING)
        tdl_reader_set(self->state, TDL_READER_WAITER, Py_None);
}

static PyObject *
throw_method(OperationObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs < 1 || nargs > 3) {
        PyErr_Format(PyExc_TypeError, "throw expected 1 to 3 arguments, got %zd", nargs);
        return NULL;
    }
    int phase = enter(self);
    if (phase < 0)
        return NULL;
    if (phase == DELEGATED)
        return throw_inside(self, args, nargs);
    if (set_thrown(args, nargs) < 0) {
        atomic_store_explicit(&self->phase, (uint8_t)phase, memory_order_release);
        return NULL;
    }
    PyObject *raised = tdl_err_take();
    give_up(self, phase);
    tdl_err_put_steal(raised);
    finish(self, PYGEN_ERROR);
    return NULL;
}

static PyObject *
close_method(OperationObject *self, PyObject *Py_UNUSED(ignored))
{
    if (atomic_load_explicit(&self->phase, memory_order_acquire) == OVER)
        Py_RETURN_NONE;
    int phase = enter(self);
    if (phase < 0)
        return NULL;
    PyObject *r = Py_NewRef(Py_None);
    if (phase == DELEGATED)
        Py_SETREF(r, PyObject_CallMethodNoArgs(self->inner, self->st->names.close));
    give_up(self, phase);
    finish(self, r == NULL ? PYGEN_ERROR : PYGEN_RETURN);
    return r;
}

static PyObject *
operation_await(PyObject *op)
{
    int phase = atomic_load_explicit(&((OperationObject *)op)->phase, memory_order_acquire);
    if (phase == WAITING || phase == DELEGATED) {
        PyErr_SetString(PyExc_RuntimeError, "coroutine is being awaited already");
        return NULL;
    }
    return Py_NewRef(op);
}

static PyObject *
operation_repr(PyObject *op)
{
    return PyUnicode_FromFormat("<coroutine object %s at %p>",
                                ((OperationObject *)op)->kind->qualname, (void *)op);
}

static PyObject *
get_name(PyObject *op, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(((OperationObject *)op)->kind->name);
}

static PyObject *
get_qualname(PyObject *op, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(((OperationObject *)op)->kind->qualname);
}

static PyObject *
get_running(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(
        atomic_load_explicit(&((OperationObject *)op)->phase, memory_order_relaxed) == RUNNING);
}

/* ---- the object --------------------------------------------------------------------------- */

PyObject *
tdl_operation_new(struct tdl_state *st, const struct tdl_operation_kind *kind, PyObject *owner,
                  ReaderState *state, PyObject *argument, Py_ssize_t count)
{
    PyTypeObject *type = st->objects.StreamOperation;
    OperationObject *self = (OperationObject *)tdl_freelist_pop(&st->operations, type);
    if (self == NULL)
        self = PyObject_GC_New(OperationObject, type);
    if (self == NULL)
        return NULL;
    self->st = st;
    self->kind = kind;
    self->owner = Py_NewRef(owner);
    self->state = (ReaderState *)Py_XNewRef(state);
    self->argument = Py_XNewRef(argument);
    self->inner = NULL;
    self->count = count;
    self->offset = 0;
    self->woken = false;
    atomic_init(&self->phase, CREATED);
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

static int
operation_traverse(PyObject *op, visitproc visit, void *arg)
{
    OperationObject *self = (OperationObject *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->owner);
    Py_VISIT(self->state);
    Py_VISIT(self->argument);
    Py_VISIT(self->inner);
    return 0;
}

static int
operation_clear(PyObject *op)
{
    OperationObject *self = (OperationObject *)op;
    int phase = atomic_exchange_explicit(&self->phase, OVER, memory_order_acq_rel);
    if (phase == WAITING && self->state != NULL)
        tdl_reader_set(self->state, TDL_READER_WAITER, Py_None);
    drop(self);
    return 0;
}

static void
warn_never_awaited(OperationObject *self)
{
    PyObject *raised = tdl_err_take();
    if (PyErr_WarnFormat(PyExc_RuntimeWarning, 1, "coroutine '%s' was never awaited",
                         self->kind->qualname) < 0)
        PyErr_WriteUnraisable(NULL);
    if (raised != NULL)
        tdl_err_put_steal(raised);
}

static void
operation_dealloc(PyObject *op)
{
    OperationObject *self = (OperationObject *)op;
    PyObject_GC_UnTrack(op);
    if (atomic_load_explicit(&self->phase, memory_order_relaxed) == CREATED)
        warn_never_awaited(self);
    operation_clear(op);
    tdl_freelist_push(&self->st->operations, op);
}

/* ---- the type ----------------------------------------------------------------------------- */

static PyMethodDef methods[] = {
    {"send", (PyCFunction)send_method, METH_O, NULL},
    {"throw", TDL_METHOD(throw_method), METH_FASTCALL, NULL},
    {"close", (PyCFunction)close_method, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef getset[] = {
    {"__name__", get_name, NULL, NULL, NULL},
    {"__qualname__", get_qualname, NULL, NULL, NULL},
    {"cr_running", get_running, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_methods, methods},
    {Py_tp_getset, getset},
    {Py_am_await, operation_await},
    {Py_am_send, operation_send},
    {Py_tp_iternext, operation_next},
    {Py_tp_repr, operation_repr},
    {Py_tp_traverse, operation_traverse},
    {Py_tp_clear, operation_clear},
    {Py_tp_dealloc, operation_dealloc},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "treadle._native.StreamOperation",
    .basicsize = sizeof(OperationObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};

int
tdl_operation_exec(PyObject *module)
{
    struct tdl_state *st = tdl_state_of(module);
    st->objects.stop_iteration = PyObject_CallNoArgs(PyExc_StopIteration);
    if (st->objects.stop_iteration == NULL ||
        tdl_state_add_type(module, &spec, &st->objects.StreamOperation) < 0)
        return -1;
    Py_CLEAR(((PyStopIterationObject *)st->objects.stop_iteration)->value);
    tdl_freelist_open(&st->operations);
    return 0;
}

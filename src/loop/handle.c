#include "loop/handle.h"

#include "py/args.h"

/* ---- making ----------------------------------------------------------------------- */

static int
set_arguments(struct tdl_handle *h, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs <= TDL_HANDLE_INLINE) {
        for (Py_ssize_t i = 0; i < nargs; i++)
            h->argv[1 + i] = Py_NewRef(args[i]);
        h->nargs = (uint8_t)nargs;
        return 0;
    }
    h->args = PyTuple_New(nargs);
    for (Py_ssize_t i = 0; h->args != NULL && i < nargs; i++)
        PyTuple_SET_ITEM(h->args, i, Py_NewRef(args[i]));
    return h->args == NULL ? -1 : 0;
}

static PyTypeObject *
type_for(struct tdl_state *st, enum tdl_handle_kind kind)
{
    if (kind == TDL_HANDLE_TIMER)
        return st->objects.TimerHandle;
    if (kind == TDL_HANDLE_THREADSAFE && st->objects.ThreadSafeHandle != NULL)
        return st->objects.ThreadSafeHandle;
    return st->objects.Handle;
}

PyObject *
tdl_handle_new(struct tdl_state *st, enum tdl_handle_kind kind, PyObject *loop,
               PyObject *callback, PyObject *const *args, Py_ssize_t nargs, PyObject *context,
               PyObject *when, bool debug)
{
    PyTypeObject *type = type_for(st, kind);
    PyObject *op = type->tp_alloc(type, 0);
    if (op == NULL)
        return NULL;
    struct tdl_handle *h = tdl_handle_part(st, op);
    h->loop = Py_NewRef(loop);
    h->callback = Py_NewRef(callback);
    h->context = context != NULL ? Py_NewRef(context) : PyContext_CopyCurrent();
    h->when = Py_XNewRef(when);
    if (type == st->objects.ThreadSafeHandle)
        h->lock = PyObject_CallNoArgs(st->objects.rlock);
    if (h->context == NULL || set_arguments(h, args, nargs) < 0 ||
        (type == st->objects.ThreadSafeHandle && h->lock == NULL))
        Py_CLEAR(op);
    else if (debug) {
        h->traceback = PyObject_CallNoArgs(st->objects.aio_extract_stack);
        if (h->traceback == NULL)
            Py_CLEAR(op);
    }
    return op;
}

/* ---- running ---------------------------------------------------------------------- */

/* Its callback and arguments as a tuple for Python code to look at. */
static PyObject *
args_tuple(struct tdl_handle *h)
{
    if (h->callback == NULL)
        return Py_NewRef(Py_None);
    if (h->args != NULL)
        return Py_NewRef(h->args);
    PyObject *tuple = PyTuple_New(h->nargs);
    for (int i = 0; tuple != NULL && i < h->nargs; i++)
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(h->argv[1 + i]));
    return tuple;
}

/* References that keep a call's parts alive: the callback may cancel its handle. */
struct call {
    PyObject *callback, *args;
    PyObject *argv[1 + TDL_HANDLE_INLINE];
    size_t nargs;
};

static bool
begin_call(PyObject *op, struct tdl_handle *h, struct call *call)
{
    bool live;
    TDL_CRITICAL_BEGIN(op);
    live = h->callback != NULL && !atomic_load_explicit(&h->cancelled, memory_order_relaxed);
    if (live) {
        call->callback = Py_NewRef(h->callback);
        call->args = Py_XNewRef(h->args);
        call->nargs = h->nargs;
        for (size_t i = 1; i <= call->nargs; i++)
            call->argv[i] = Py_NewRef(h->argv[i]);
    }
    TDL_CRITICAL_END();
    return live;
}

static PyObject *
invoke(const struct call *call)
{
    if (call->args != NULL)
        return PyObject_Call(call->callback, call->args, NULL);
    return PyObject_Vectorcall(call->callback, (PyObject **)call->argv + 1,
                               call->nargs | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
}

static void
end_call(struct call *call)
{
    Py_DECREF(call->callback);
    Py_XDECREF(call->args);
    for (size_t i = 1; i <= call->nargs; i++)
        Py_DECREF(call->argv[i]);
}

/* Hand the raised exception to the loop's handler, worded as asyncio does. */
static int
report(struct tdl_state *st, PyObject *op)
{
    if (PyErr_ExceptionMatches(PyExc_SystemExit) ||
        PyErr_ExceptionMatches(PyExc_KeyboardInterrupt))
        return -1;
    PyObject *exc = tdl_err_take();
    PyObject *r =
        PyObject_CallFunctionObjArgs(st->objects.report_callback_error, op, exc, NULL);
    Py_DECREF(exc);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

static int
run_unlocked(struct tdl_state *st, PyObject *op)
{
    struct tdl_handle *h = tdl_handle_part(st, op);
    struct call call;
    if (!begin_call(op, h, &call))
        return 0;
    int r = -1;
    if (PyContext_Enter(h->context) == 0) {
        PyObject *value = invoke(&call);
        if (value != NULL) {
            Py_DECREF(value);
            r = PyContext_Exit(h->context);
        }
        else {
            PyObject *exc = tdl_err_take();
            if (PyContext_Exit(h->context) < 0)
                PyErr_Clear();
            tdl_err_put_steal(exc);
        }
    }
    end_call(&call);
    return r < 0 ? report(st, op) : 0;
}

/* lock.<method>() */
static int
call_lock(PyObject *lock, PyObject *method)
{
    PyObject *r = PyObject_CallMethodNoArgs(lock, method);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

/* Release the lock, keeping an exception that is set.  Returns `r`, or -1. */
static int
release_lock(struct tdl_state *st, PyObject *lock, int r)
{
    PyObject *raised = r < 0 ? tdl_err_take() : NULL;
    if (call_lock(lock, st->names.release) < 0 && raised == NULL)
        return -1;
    if (raised != NULL) {
        PyErr_Clear();
        tdl_err_put_steal(raised);
    }
    return r;
}

int
tdl_handle_run(struct tdl_state *st, PyObject *op)
{
    struct tdl_handle *h = tdl_handle_part(st, op);
    if (h->lock == NULL)
        return run_unlocked(st, op);
    /* from 3.14 on, who cancels from another thread waits for a run to end */
    if (call_lock(h->lock, st->names.acquire) < 0)
        return -1;
    return release_lock(st, h->lock, run_unlocked(st, op));
}

/* ---- cancelling ------------------------------------------------------------------- */

static void
drop_call(PyObject *op, struct tdl_handle *h)
{
    struct call call = {0};
    TDL_CRITICAL_BEGIN(op);
    call.callback = h->callback;
    call.args = h->args;
    call.nargs = h->nargs;
    for (size_t i = 1; i <= call.nargs; i++)
        call.argv[i] = h->argv[i];
    h->callback = NULL;
    h->args = NULL;
    h->nargs = 0;
    TDL_CRITICAL_END();
    if (call.callback != NULL)
        end_call(&call);
}

static int
cancel_unlocked(struct tdl_state *st, PyObject *op)
{
    struct tdl_handle *h = tdl_handle_part(st, op);
    if (atomic_load_explicit(&h->cancelled, memory_order_relaxed))
        return 0;
    atomic_store_explicit(&h->cancelled, true, memory_order_release);
    /* in debug mode a cancelled handle still says what it was for */
    if (h->traceback != NULL && h->repr == NULL) {
        PyObject *repr = PyObject_Repr(op);
        if (repr == NULL)
            return -1;
        Py_XSETREF(h->repr, repr);
    }
    int r = 0;
    if (h->when != NULL) {
        PyObject *told =
            PyObject_CallMethodOneArg(h->loop, st->names._timer_handle_cancelled, op);
        Py_XDECREF(told);
        r = told == NULL ? -1 : 0;
    }
    drop_call(op, h);
    return r;
}

static int
cancel_native(struct tdl_state *st, PyObject *op)
{
    struct tdl_handle *h = tdl_handle_part(st, op);
    if (h->lock == NULL)
        return cancel_unlocked(st, op);
    if (call_lock(h->lock, st->names.acquire) < 0)
        return -1;
    return release_lock(st, h->lock, cancel_unlocked(st, op));
}

int
tdl_handle_cancel(struct tdl_state *st, PyObject *handle)
{
    if (tdl_handle_check(st, handle))
        return cancel_native(st, handle);
    PyObject *r = PyObject_CallMethodNoArgs(handle, st->names.cancel);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

/* ---- methods and attributes -------------------------------------------------------- */

static struct tdl_state *
state_of(PyObject *op)
{
    return tdl_state_by_type(Py_TYPE(op));
}

static PyObject *
handle_cancel(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    if (cancel_native(state_of(op), op) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
handle_cancelled(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    struct tdl_state *st = state_of(op);
    struct tdl_handle *h = tdl_handle_part(st, op);
    if (h->lock != NULL &&
        (call_lock(h->lock, st->names.acquire) < 0 || release_lock(st, h->lock, 0) < 0))
        return NULL;
    return PyBool_FromLong(h->cancelled);
}

static PyObject *
handle_run(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    if (tdl_handle_run(state_of(op), op) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
handle_get_context(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return Py_NewRef(tdl_handle_part(state_of(op), op)->context);
}

static PyObject *
handle_when(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return Py_NewRef(tdl_handle_part(state_of(op), op)->when);
}

static PyObject *
or_none(PyObject *value)
{
    return Py_NewRef(value == NULL ? Py_None : value);
}

/* One getter for all fields that are objects; `closure` is the offset. */
static PyObject *
get_field(PyObject *op, void *closure)
{
    PyObject *value;
    char *part = (char *)tdl_handle_part(state_of(op), op);
    TDL_CRITICAL_BEGIN(op);
    value = or_none(*(PyObject **)(part + (size_t)closure));
    TDL_CRITICAL_END();
    return value;
}

static PyObject *
get_args(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *args;
    TDL_CRITICAL_BEGIN(op);
    args = args_tuple(tdl_handle_part(state_of(op), op));
    TDL_CRITICAL_END();
    return args;
}

static PyObject *
get_cancelled(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(tdl_handle_part(state_of(op), op)->cancelled);
}

static PyObject *
get_scheduled(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(tdl_handle_part(state_of(op), op)->timer.state != TDL_TIMER_IDLE);
}

/* Python code of asyncio trims the traceback it has just taken. */
static int
set_traceback(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    Py_XSETREF(tdl_handle_part(state_of(op), op)->traceback, Py_XNewRef(value));
    return 0;
}

#define FIELD(name, field) \
    {name, get_field, NULL, NULL, (void *)offsetof(struct tdl_handle, field)}

static PyGetSetDef handle_getset[] = {
    FIELD("_callback", callback),
    FIELD("_context", context),
    FIELD("_loop", loop),
    FIELD("_repr", repr),
    {"_args", get_args, NULL, NULL, NULL},
    {"_cancelled", get_cancelled, NULL, NULL, NULL},
    {"_source_traceback", get_field, set_traceback, NULL,
     (void *)offsetof(struct tdl_handle, traceback)},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyGetSetDef timer_getset[] = {
    FIELD("_callback", callback),
    FIELD("_context", context),
    FIELD("_loop", loop),
    FIELD("_repr", repr),
    FIELD("_when", when),
    {"_args", get_args, NULL, NULL, NULL},
    {"_cancelled", get_cancelled, NULL, NULL, NULL},
    {"_scheduled", get_scheduled, NULL, NULL, NULL},
    {"_source_traceback", get_field, set_traceback, NULL,
     (void *)offsetof(struct tdl_handle, traceback)},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef handle_methods[] = {
    {"cancel", handle_cancel, METH_NOARGS, "cancel($self, /)\n--\n\nCancel the callback."},
    {"cancelled", handle_cancelled, METH_NOARGS,
     "cancelled($self, /)\n--\n\nReturn whether the callback was cancelled."},
    {"get_context", handle_get_context, METH_NOARGS,
     "get_context($self, /)\n--\n\nReturn the context that the callback runs in."},
    {"_run", handle_run, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef timer_methods[] = {
    {"cancel", handle_cancel, METH_NOARGS, "cancel($self, /)\n--\n\nCancel the callback."},
    {"cancelled", handle_cancelled, METH_NOARGS,
     "cancelled($self, /)\n--\n\nReturn whether the callback was cancelled."},
    {"get_context", handle_get_context, METH_NOARGS,
     "get_context($self, /)\n--\n\nReturn the context that the callback runs in."},
    {"when", handle_when, METH_NOARGS,
     "when($self, /)\n--\n\nReturn when it is to be called, in seconds of loop.time()."},
    {"_run", handle_run, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* ---- the types -------------------------------------------------------------------- */

static int
handle_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    struct tdl_handle *h = tdl_handle_part(state_of(op), op);
    Py_VISIT(h->loop);
    Py_VISIT(h->context);
    Py_VISIT(h->callback);
    Py_VISIT(h->args);
    for (int i = 1; i <= h->nargs; i++)
        Py_VISIT(h->argv[i]);
    Py_VISIT(h->traceback);
    Py_VISIT(h->when);
    Py_VISIT(h->lock);
    return 0;
}

static int
handle_clear(PyObject *op)
{
    struct tdl_handle *h = tdl_handle_part(state_of(op), op);
    drop_call(op, h);
    Py_CLEAR(h->traceback);
    Py_CLEAR(h->repr);
    return 0;
}

static void
handle_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    PyObject_ClearWeakRefs(op); /* the base class has a slot for them */
    struct tdl_handle *h = tdl_handle_part(state_of(op), op);
    handle_clear(op);
    Py_CLEAR(h->loop);
    Py_CLEAR(h->context);
    Py_CLEAR(h->when);
    Py_CLEAR(h->lock);
    type->tp_free(op);
    Py_DECREF(type);
}

#define HANDLE_SLOTS(methods, getset)                                   \
    {                                                                   \
        {Py_tp_methods, methods},          {Py_tp_getset, getset},      \
        {Py_tp_traverse, handle_traverse}, {Py_tp_clear, handle_clear}, \
        {Py_tp_dealloc, handle_dealloc},   {0, NULL},                   \
    }

static PyType_Slot handle_slots[] = HANDLE_SLOTS(handle_methods, handle_getset);
static PyType_Slot timer_slots[] = HANDLE_SLOTS(timer_methods, timer_getset);

/* A subclass of `base` whose native part lies at st->handle_offset. */
static int
add_class(PyObject *module, const char *name, PyObject *base, PyType_Slot *slots,
          PyTypeObject **place)
{
    struct tdl_state *st = tdl_state_of(module);
    PyType_Spec spec = {
        .name = name,
        .basicsize = (int)(st->handle_offset + sizeof(struct tdl_handle)),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
        .slots = slots,
    };
    *place = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, base);
    return *place == NULL ? -1 : PyModule_AddType(module, *place);
}

/* From 3.14 on, call_soon_threadsafe() returns a class of its own. */
static int
add_threadsafe(PyObject *module, PyObject *events)
{
    struct tdl_state *st = tdl_state_of(module);
    PyObject *base = PyObject_GetAttrString(events, "_ThreadSafeHandle");
    if (base == NULL) {
        PyErr_Clear();
        return 0;
    }
    PyObject *threading = PyImport_ImportModule("threading");
    if (threading != NULL)
        st->objects.rlock = PyObject_GetAttrString(threading, "RLock");
    Py_XDECREF(threading);
    int r = -1;
    if (st->objects.rlock != NULL &&
        (size_t)((PyTypeObject *)base)->tp_basicsize <= st->handle_offset)
        r = add_class(module, "treadle.ThreadSafeHandle", base, handle_slots,
                      &st->objects.ThreadSafeHandle);
    Py_DECREF(base);
    return r;
}

int
tdl_handle_exec(PyObject *module)
{
    struct tdl_state *st = tdl_state_of(module);
    PyObject *events = PyImport_ImportModule("asyncio.events");
    PyObject *handle = events == NULL ? NULL : PyObject_GetAttrString(events, "Handle");
    PyObject *timer = handle == NULL ? NULL : PyObject_GetAttrString(events, "TimerHandle");
    int r = -1;
    if (timer != NULL && PyType_Check(timer)) {
        size_t size = (size_t)((PyTypeObject *)timer)->tp_basicsize;
        st->handle_offset = (size + sizeof(int64_t) - 1) & ~(sizeof(int64_t) - 1);
        r = add_class(module, "treadle.Handle", handle, handle_slots, &st->objects.Handle);
        if (r == 0)
            r = add_class(module, "treadle.TimerHandle", timer, timer_slots,
                          &st->objects.TimerHandle);
        if (r == 0)
            r = add_threadsafe(module, events);
    }
    Py_XDECREF(timer);
    Py_XDECREF(handle);
    Py_XDECREF(events);
    return r;
}

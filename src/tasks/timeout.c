/* Timeout: the native side of treadle.Timeout, which is a subclass of asyncio's.
 *
 * Its state is in the attributes that asyncio's class has, so that class's methods do on it
 * whatever is not done here: what expires, other loops, subclasses. */
#include "py/args.h"
#include "py/coro.h"
#include "tasks/scopes.h"

typedef struct {
    PyObject_HEAD
    struct tdl_state *st;
    /* asyncio's attributes; strong, or NULL for None; the object's critical section */
    PyObject *when;
    PyObject *state; /* a member of asyncio's enumeration */
    PyObject *task;
    PyObject *cancelling;
    PyObject *handle;
} TimeoutObject;

static bool
is_exact(const TimeoutObject *self)
{
    return Py_IS_TYPE(self, (PyTypeObject *)self->st->objects.Timeout);
}

static PyObject *
take(TimeoutObject *self, PyObject **place)
{
    PyObject *value;
    TDL_CRITICAL_BEGIN(self);
    value = *place;
    *place = NULL;
    TDL_CRITICAL_END();
    return value;
}

static void
put_steal(TimeoutObject *self, PyObject **place, PyObject *value)
{
    PyObject *before;
    TDL_CRITICAL_BEGIN(self);
    before = *place;
    *place = value;
    TDL_CRITICAL_END();
    Py_XDECREF(before);
}

/* ---- the timer -------------------------------------------------------------------- */

static int
cancel_timer(TimeoutObject *self)
{
    PyObject *handle = take(self, &self->handle);
    int r = handle == NULL ? 0 : tdl_handle_cancel(self->st, handle);
    Py_XDECREF(handle);
    return r;
}

/* Whether `when` is None or a number that native code can take. */
static bool
is_plain(PyObject *when)
{
    return when == NULL || when == Py_None || PyFloat_CheckExact(when) ||
           PyLong_CheckExact(when);
}

/* Have it expire at `when`, by the methods of any loop. */
static int
start_timer_by_method(TimeoutObject *self, PyObject *loop, PyObject *when)
{
    struct tdl_names *names = &self->st->names;
    PyObject *expire = PyObject_GetAttr((PyObject *)self, names->_on_timeout), *handle = NULL;
    PyObject *now = expire == NULL ? NULL : PyObject_CallMethodNoArgs(loop, names->time);
    int late = now == NULL ? -1 : PyObject_RichCompareBool(when, now, Py_LE);
    if (late > 0)
        handle = PyObject_CallMethodObjArgs(loop, names->call_soon, expire, NULL);
    else if (late == 0)
        handle = PyObject_CallMethodObjArgs(loop, names->call_at, when, expire, NULL);
    Py_XDECREF(now);
    Py_XDECREF(expire);
    if (handle == NULL)
        return -1;
    put_steal(self, &self->handle, handle);
    return 0;
}

/* The same on a loop of ours.  Returns 0 or -1 with an exception set. */
static int
start_timer(TimeoutObject *self, LoopObject *loop, PyObject *when)
{
    PyObject *expire = self->st->objects.timeout_expire, *op = (PyObject *)self, *handle;
    int64_t now;
    if (when == NULL || when == Py_None)
        return 0;
    double seconds = PyFloat_AsDouble(when);
    if ((seconds == -1.0 && PyErr_Occurred()) || tdl_loop_now(loop, &now) < 0)
        return -1;
    if (seconds <= (double)now * 1e-9)
        handle = PyObject_CallMethodObjArgs((PyObject *)loop, self->st->names.call_soon, expire,
                                            op, NULL);
    else {
        struct tdl_request request = {expire, &op, 1, NULL, NULL};
        handle = tdl_loop_call_at(loop, when, &request);
    }
    if (handle == NULL)
        return -1;
    put_steal(self, &self->handle, handle);
    return 0;
}

/* _expire(timeout): what the timer calls. */
static PyObject *
expire(PyObject *Py_UNUSED(module), PyObject *timeout)
{
    return PyObject_CallMethodNoArgs(timeout,
                                     ((TimeoutObject *)timeout)->st->names._on_timeout);
}

static PyObject *
reschedule(TimeoutObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"when"};
    PyObject *when;
    if (tdl_args_parse("Timeout.reschedule", args, nargs, kwnames, names, 1, 1, &when) < 0)
        return NULL;
    struct tdl_objects *o = &self->st->objects;
    LoopObject *loop = is_plain(when) && self->state == o->timeout_active
                           ? tdl_coroutine_loop(self->st)
                           : NULL;
    if (loop == NULL)
        return PyObject_CallFunctionObjArgs(o->stock_reschedule, self, when, NULL);
    put_steal(self, &self->when, Py_NewRef(when));
    int r = cancel_timer(self);
    if (r == 0)
        r = start_timer(self, loop, when);
    Py_DECREF(loop);
    if (r < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- async with ------------------------------------------------------------------- */

static enum tdl_go
enter_on(TimeoutObject *self, PyObject *loop, PyObject *task)
{
    PyObject *cancelling = PyLong_FromLong(tdl_task_of(task)->cancels);
    PyObject *when = self->when;
    if (cancelling == NULL)
        return TDL_GO_ERROR;
    put_steal(self, &self->state, Py_NewRef(self->st->objects.timeout_active));
    put_steal(self, &self->task, Py_NewRef(task));
    put_steal(self, &self->cancelling, cancelling);
    Py_XINCREF(when);
    LoopObject *ours = tdl_loop_if_untouched(self->st, loop);
    int r = 0;
    if (ours != NULL)
        r = start_timer(self, ours, when);
    else if (when != NULL && when != Py_None)
        r = start_timer_by_method(self, loop, when);
    Py_XDECREF(when);
    return r < 0 ? TDL_GO_ERROR : TDL_GO_DONE;
}

static enum tdl_go
enter(CoroutineObject *coroutine, PyObject **result)
{
    TimeoutObject *self = (TimeoutObject *)coroutine->owner;
    struct tdl_objects *o = &coroutine->st->objects;
    bool fresh = self->state == o->timeout_created && is_plain(self->when);
    PyObject *loop = fresh ? PyObject_CallNoArgs(o->sync_running_loop) : NULL;
    PyObject *task = loop == NULL ? NULL : tdl_coroutine_task(coroutine->st, loop);
    enum tdl_go r;
    if (task == NULL)
        r = tdl_coroutine_become(coroutine,
                                 PyObject_CallOneArg(o->stock_timeout_enter, (PyObject *)self));
    else {
        r = enter_on(self, loop, task);
        *result = r == TDL_GO_DONE ? Py_NewRef((PyObject *)self) : NULL;
    }
    Py_XDECREF(task);
    Py_XDECREF(loop);
    return r;
}

static PyObject *
aenter(TimeoutObject *self, PyObject *Py_UNUSED(ignored))
{
    static const struct tdl_coroutine_op op = {
        "__aenter__", "Timeout.__aenter__", enter, NULL, NULL, true};
    if (!is_exact(self))
        return PyObject_CallOneArg(self->st->objects.stock_timeout_enter, (PyObject *)self);
    return tdl_coroutine_new(self->st, &op, (PyObject *)self, NULL, NULL);
}

static enum tdl_go
leave(CoroutineObject *coroutine, PyObject **result)
{
    TimeoutObject *self = (TimeoutObject *)coroutine->owner;
    if (cancel_timer(self) < 0)
        return TDL_GO_ERROR;
    put_steal(self, &self->state, Py_NewRef(self->st->objects.timeout_exited));
    *result = Py_NewRef(Py_None);
    return TDL_GO_DONE;
}

/* asyncio's method on the same arguments. */
static PyObject *
aexit_by_stock(TimeoutObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *bound = PyObject_CallMethod(self->st->objects.stock_timeout_exit, "__get__", "O",
                                          (PyObject *)self);
    PyObject *made =
        bound == NULL ? NULL : PyObject_Vectorcall(bound, args, (size_t)nargs, kwnames);
    Py_XDECREF(bound);
    return made;
}

static PyObject *
aexit(TimeoutObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const struct tdl_coroutine_op op = {
        "__aexit__", "Timeout.__aexit__", leave, NULL, NULL, false};
    tdl_coro_forget(self->st, (PyObject *)self);
    if (nargs != 3 || kwnames != NULL || !is_exact(self) ||
        self->state != self->st->objects.timeout_active)
        return aexit_by_stock(self, args, nargs, kwnames);
    return tdl_coroutine_new(self->st, &op, (PyObject *)self, NULL, NULL);
}

/* ---- the type --------------------------------------------------------------------- */

static void
fill(TimeoutObject *self, PyObject *when)
{
    put_steal(self, &self->state, Py_NewRef(self->st->objects.timeout_created));
    put_steal(self, &self->when, when == Py_None ? NULL : Py_NewRef(when));
    put_steal(self, &self->handle, NULL);
    put_steal(self, &self->task, NULL);
}

static PyObject *
timeout_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwds))
{
    struct tdl_state *st = tdl_state_by_type(type);
    TimeoutObject *self = st == NULL ? NULL : (TimeoutObject *)type->tp_alloc(type, 0);
    if (self != NULL)
        self->st = st;
    return (PyObject *)self;
}

static int
timeout_init(TimeoutObject *self, PyObject *args, PyObject *kwds)
{
    static char *names[] = {"when", NULL};
    PyObject *when;
    if (!PyArg_ParseTupleAndKeywords(args, kwds, "O:Timeout.__init__", names, &when))
        return -1;
    fill(self, when);
    return 0;
}

/* A treadle.Timeout, made without the detour that calling a type takes. */
static PyObject *
make(struct tdl_state *st, PyObject *when)
{
    PyTypeObject *type = (PyTypeObject *)st->objects.Timeout;
    TimeoutObject *self = (TimeoutObject *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->st = st;
    fill(self, when);
    return (PyObject *)self;
}

/* `delay` from now by the running loop's clock: a new reference or NULL. */
static PyObject *
deadline_after(struct tdl_state *st, PyObject *delay)
{
    int64_t now;
    PyObject *base = NULL;
    LoopObject *ours = tdl_coroutine_loop(st);
    if (ours != NULL) {
        base = tdl_loop_now(ours, &now) < 0 ? NULL : PyFloat_FromDouble((double)now * 1e-9);
        Py_DECREF((PyObject *)ours);
    }
    else {
        PyObject *loop = PyObject_CallNoArgs(st->objects.aio_running_loop_or_raise);
        base = loop == NULL ? NULL : PyObject_CallMethod(loop, "time", NULL);
        Py_XDECREF(loop);
    }
    PyObject *when = base == NULL || delay == Py_None ? NULL : PyNumber_Add(base, delay);
    if (base != NULL && delay == Py_None)
        when = Py_NewRef(Py_None);
    Py_XDECREF(base);
    return when;
}

static PyObject *
get_when(TimeoutObject *self, PyObject *Py_UNUSED(ignored))
{
    return tdl_scope_get((PyObject *)self, (void *)offsetof(TimeoutObject, when));
}

static PyObject *
expired(TimeoutObject *self, PyObject *Py_UNUSED(ignored))
{
    struct tdl_objects *o = &self->st->objects;
    return PyBool_FromLong(self->state == o->timeout_expiring ||
                           self->state == o->timeout_expired);
}

static PyMethodDef timeout_methods[] = {
    {"when", (PyCFunction)get_when, METH_NOARGS,
     "when($self, /)\n--\n\nReturn the current deadline."},
    {"reschedule", TDL_METHOD(reschedule), METH_FASTCALL | METH_KEYWORDS,
     "reschedule($self, /, when)\n--\n\nReschedule the timeout."},
    {"expired", (PyCFunction)expired, METH_NOARGS,
     "expired($self, /)\n--\n\nIs timeout expired during execution?"},
    {"__aenter__", (PyCFunction)aenter, METH_NOARGS, NULL},
    {"__aexit__", TDL_METHOD(aexit), METH_FASTCALL | METH_KEYWORDS, NULL},
    {NULL, NULL, 0, NULL},
};

#define FIELD(name, field) \
    {name, tdl_scope_get, tdl_scope_set, NULL, (void *)offsetof(TimeoutObject, field)}

static PyGetSetDef timeout_getset[] = {
    FIELD("_when", when),
    FIELD("_state", state),
    FIELD("_task", task),
    FIELD("_cancelling", cancelling),
    FIELD("_timeout_handler", handle),
    {NULL, NULL, NULL, NULL, NULL},
};

static int
traverse(TimeoutObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->when);
    Py_VISIT(self->state);
    Py_VISIT(self->task);
    Py_VISIT(self->cancelling);
    Py_VISIT(self->handle);
    return 0;
}

static int
clear(TimeoutObject *self)
{
    Py_CLEAR(self->when);
    Py_CLEAR(self->state);
    Py_CLEAR(self->task);
    Py_CLEAR(self->cancelling);
    Py_CLEAR(self->handle);
    return 0;
}

static void
dealloc(TimeoutObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    clear(self);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

static PyType_Slot slots[] = {
    {Py_tp_new, timeout_new},         {Py_tp_init, timeout_init},
    {Py_tp_methods, timeout_methods}, {Py_tp_getset, timeout_getset},
    {Py_tp_traverse, traverse},       {Py_tp_clear, clear},
    {Py_tp_dealloc, dealloc},         {0, NULL},
};

static PyType_Spec spec = {
    .name = "treadle._native.TimeoutBase",
    .basicsize = sizeof(TimeoutObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

/* ---- the module ------------------------------------------------------------------- */

static PyObject *
timeout(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"delay"};
    struct tdl_state *st = tdl_state_of(module);
    PyObject *delay = nargs == 1 ? args[0] : NULL;
    if ((nargs != 1 || kwnames != NULL) &&
        tdl_args_parse("timeout", args, nargs, kwnames, names, 1, 1, &delay) < 0)
        return NULL;
    PyObject *when = deadline_after(st, delay);
    PyObject *made = when == NULL ? NULL : make(st, when);
    Py_XDECREF(when);
    return made;
}

static PyObject *
timeout_at(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"when"};
    PyObject *when;
    if (tdl_args_parse("timeout_at", args, nargs, kwnames, names, 1, 1, &when) < 0)
        return NULL;
    return make(tdl_state_of(module), when);
}

static int
import_states(struct tdl_objects *o, PyObject *states)
{
    const struct tdl_import wanted[] = {
        {"CREATED", &o->timeout_created},   {"ENTERED", &o->timeout_active},
        {"EXPIRING", &o->timeout_expiring}, {"EXPIRED", &o->timeout_expired},
        {"EXITED", &o->timeout_exited},     {NULL, NULL}};
    return tdl_state_take(states, wanted);
}

/* _init_timeout(class): treadle.Timeout, whose second base is asyncio's. */
static PyObject *
init_timeout(PyObject *module, PyObject *args)
{
    static PyMethodDef timer = {"_expire", expire, METH_O, NULL};
    struct tdl_objects *o = &tdl_state_of(module)->objects;
    PyObject *ours, *stock, *states;
    const struct tdl_import methods[] = {{"__aenter__", &o->stock_timeout_enter},
                                         {"__aexit__", &o->stock_timeout_exit},
                                         {"reschedule", &o->stock_reschedule},
                                         {NULL, NULL}};
    if (!PyArg_ParseTuple(args, "OOO", &ours, &stock, &states))
        return NULL;
    if (tdl_state_take(stock, methods) < 0 || import_states(o, states) < 0)
        return NULL;
    Py_XSETREF(o->timeout_expire, PyCFunction_New(&timer, module));
    if (o->timeout_expire == NULL)
        return NULL;
    Py_XSETREF(o->Timeout, Py_NewRef(ours));
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"timeout", TDL_METHOD(timeout), METH_FASTCALL | METH_KEYWORDS,
     "timeout($module, /, delay)\n--\n\n"
     "Timeout async context manager: as asyncio.timeout().\n\n"
     "What is inside `async with` is cancelled after delay seconds, and TimeoutError is\n"
     "raised; None: never. RuntimeError where no loop runs."},
    {"timeout_at", TDL_METHOD(timeout_at), METH_FASTCALL | METH_KEYWORDS,
     "timeout_at($module, /, when)\n--\n\n"
     "As timeout(), when the loop's time() is when, in seconds: as asyncio.timeout_at()."},
    {"_init_timeout", init_timeout, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

int
tdl_timeout_exec(PyObject *module)
{
    PyTypeObject **slot = &tdl_state_of(module)->objects.TimeoutBase;
    return tdl_state_add_type(module, &spec, slot) < 0
               ? -1
               : PyModule_AddFunctions(module, functions);
}

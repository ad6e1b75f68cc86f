/* What Python sees of handles, and the types. */
#include "loop/handle.h"
#include "loop/loop.h"

/* ---- methods and attributes -------------------------------------------------------- */

static struct tdl_state *
state_of(PyObject *op)
{
    return tdl_state_by_type(Py_TYPE(op));
}

static PyObject *
handle_cancel(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    if (tdl_handle_cancel(state_of(op), op) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
handle_cancelled(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    struct tdl_state *st = state_of(op);
    tdl_handle_lock(st, op);
    bool cancelled = tdl_handle_part(st, op)->cancelled;
    tdl_handle_unlock(st, op);
    return PyBool_FromLong(cancelled);
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
    PyObject *context = tdl_handle_context(tdl_handle_part(state_of(op), op));
    return Py_XNewRef(context);
}

static PyObject *
handle_when(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    const struct tdl_when *when = &tdl_handle_timer_part(state_of(op), op)->when;
    return when->given != NULL ? Py_NewRef(when->given) : PyFloat_FromDouble(when->seconds);
}

static PyObject *
get_when(PyObject *op, void *Py_UNUSED(closure))
{
    return handle_when(op, NULL);
}

static PyObject *
get_context(PyObject *op, void *Py_UNUSED(closure))
{
    return handle_get_context(op, NULL);
}

static PyObject *
get_loop(PyObject *op, void *Py_UNUSED(closure))
{
    return Py_NewRef(tdl_handle_part(state_of(op), op)->loop);
}

static PyObject *
get_callback(PyObject *op, void *Py_UNUSED(closure))
{
    struct tdl_handle *h = tdl_handle_part(state_of(op), op);
    PyObject *callback;
    TDL_CRITICAL_BEGIN(op);
    callback = Py_NewRef(h->callback == NULL ? Py_None : h->callback);
    TDL_CRITICAL_END();
    return callback;
}

static PyObject *
get_args(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *args;
    TDL_CRITICAL_BEGIN(op);
    args = tdl_handle_args(tdl_handle_part(state_of(op), op));
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
    struct tdl_handle_timer *part = tdl_handle_timer_part(state_of(op), op);
    return PyBool_FromLong(part->timer.state != TDL_TIMER_IDLE);
}

/* What debug mode keeps of a handle; `closure` is the index. */
static PyObject *
get_note(PyObject *op, void *closure)
{
    struct tdl_handle *h = tdl_handle_part(state_of(op), op);
    if (!h->debug)
        Py_RETURN_NONE;
    PyObject *note = tdl_list_get(h->second, (Py_ssize_t)(intptr_t)closure);
    return note != NULL ? note : Py_NewRef(Py_None);
}

/* Names of the base's slots that mean nothing here. */
static PyObject *
get_nothing(PyObject *Py_UNUSED(op), void *closure)
{
    PyErr_SetString(PyExc_AttributeError, closure);
    return NULL;
}

#define COMMON_GETSET                                                                       \
    {"_callback", get_callback, NULL, NULL, NULL},                                          \
        {"_context", get_context, NULL, NULL, NULL}, {"_loop", get_loop, NULL, NULL, NULL}, \
        {"_args", get_args, NULL, NULL, NULL},                                              \
        {"_cancelled", get_cancelled, NULL, NULL, NULL},                                    \
        {"_source_traceback", get_note, NULL, NULL, (void *)TDL_HANDLE_TRACEBACK},          \
        {"_repr", get_note, NULL, NULL, (void *)TDL_HANDLE_REPR},

static PyGetSetDef handle_getset[] = {
    COMMON_GETSET{"_lock", get_nothing, NULL, NULL, "_lock"},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyGetSetDef timer_getset[] = {
    COMMON_GETSET{"_when", get_when, NULL, NULL, NULL},
    {"_scheduled", get_scheduled, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

#define COMMON_METHODS                                                                      \
    {"cancel", handle_cancel, METH_NOARGS, "cancel($self, /)\n--\n\nCancel the callback."}, \
        {"cancelled", handle_cancelled, METH_NOARGS,                                        \
         "cancelled($self, /)\n--\n\nReturn whether the callback was cancelled."},          \
        {"get_context", handle_get_context, METH_NOARGS,                                    \
         "get_context($self, /)\n--\n\nReturn the context that the callback runs in."},     \
        {"_run", handle_run, METH_NOARGS, NULL},

static PyMethodDef handle_methods[] = {
    COMMON_METHODS{NULL, NULL, 0, NULL},
};

static PyMethodDef timer_methods[] = {
    COMMON_METHODS{
        "when", handle_when, METH_NOARGS,
        "when($self, /)\n--\n\nReturn when it is to be called, in seconds of loop.time()."},
    {NULL, NULL, 0, NULL},
};

/* ---- life ------------------------------------------------------------------------- */

static int
handle_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    struct tdl_handle *h = tdl_handle_part(state_of(op), op);
    Py_VISIT(h->loop);
    Py_VISIT(h->context);
    Py_VISIT(h->callback);
    Py_VISIT(h->first);
    Py_VISIT(h->second);
    return 0;
}

/* What a handle is of stays for as long as it lives: its loop and its context. */
static int
handle_clear(PyObject *op)
{
    tdl_handle_drop_call(op, tdl_handle_part(state_of(op), op));
    return 0;
}

/* Without a GIL there is more to look at than the list. */
static bool
has_weakrefs(PyObject *op)
{
    PyObject **list = (PyObject **)((char *)op + Py_TYPE(op)->tp_weaklistoffset);
    return TDL_FREE_THREADED || *list != NULL;
}

static void
handle_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    if (has_weakrefs(op)) /* the base class has a place for them */
        PyObject_ClearWeakRefs(op);
    struct tdl_state *st = state_of(op);
    struct tdl_handle *h = tdl_handle_part(st, op);
    Py_XDECREF(h->callback);
    Py_XDECREF(h->first);
    Py_XDECREF(h->second);
    Py_XDECREF(h->context);
    Py_XDECREF(h->loop);
    if (h->kind == TDL_HANDLE_TIMER)
        Py_CLEAR(tdl_handle_timer_part(st, op)->when.given);
    tdl_freelist_push(&st->handles[h->kind], op);
}

#define HANDLE_SLOTS(methods, getset)                                   \
    {                                                                   \
        {Py_tp_methods, methods},          {Py_tp_getset, getset},      \
        {Py_tp_traverse, handle_traverse}, {Py_tp_clear, handle_clear}, \
        {Py_tp_dealloc, handle_dealloc},   {0, NULL},                   \
    }

static PyType_Slot handle_slots[] = HANDLE_SLOTS(handle_methods, handle_getset);
static PyType_Slot timer_slots[] = HANDLE_SLOTS(timer_methods, timer_getset);

/* ---- the types -------------------------------------------------------------------- */

static size_t
aligned(size_t size)
{
    return (size + sizeof(int64_t) - 1) & ~(sizeof(int64_t) - 1);
}

/* Where the native part of a subclass of `base` goes: over its slots, if there are
 * enough and the list of weak references is not among them. */
static size_t
part_offset(const PyTypeObject *base)
{
    size_t end = sizeof(PyObject) + sizeof(struct tdl_handle);
    bool weak_behind = base->tp_weaklistoffset <= 0 || (size_t)base->tp_weaklistoffset >= end;
    if (weak_behind && (size_t)base->tp_basicsize >= end)
        return sizeof(PyObject);
    return aligned((size_t)base->tp_basicsize);
}

static size_t
max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* A subclass of `base` with `tail` bytes at st->handle_tail. */
static int
add_class(PyObject *module, const char *name, PyObject *base, PyType_Slot *slots, size_t tail,
          PyTypeObject **place)
{
    struct tdl_state *st = tdl_state_of(module);
    size_t size = tail > 0 ? st->handle_tail + tail
                           : max_size((size_t)((PyTypeObject *)base)->tp_basicsize,
                                      st->handle_offset + sizeof(struct tdl_handle));
    PyType_Spec spec = {
        .name = name,
        .basicsize = (int)size,
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
        .slots = slots,
    };
    *place = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, base);
    return *place == NULL ? -1 : PyModule_AddType(module, *place);
}

static int
add_classes(PyObject *module, PyObject *handle, PyObject *timer, PyObject *threadsafe)
{
    struct tdl_state *st = tdl_state_of(module);
    struct tdl_objects *o = &st->objects;
    size_t bases = (size_t)((PyTypeObject *)timer)->tp_basicsize;
    if (threadsafe != NULL)
        bases = max_size(bases, (size_t)((PyTypeObject *)threadsafe)->tp_basicsize);
    st->handle_offset = part_offset((PyTypeObject *)handle);
    st->handle_tail = aligned(max_size(bases, st->handle_offset + sizeof(struct tdl_handle)));
    if (add_class(module, "treadle.Handle", handle, handle_slots, 0, &o->Handle) < 0 ||
        add_class(module, "treadle.TimerHandle", timer, timer_slots,
                  sizeof(struct tdl_handle_timer), &o->TimerHandle) < 0)
        return -1;
    if (threadsafe != NULL &&
        add_class(module, "treadle.ThreadSafeHandle", threadsafe, handle_slots,
                  sizeof(struct tdl_handle_guard), &o->ThreadSafeHandle) < 0)
        return -1;
    for (int kind = 0; kind < TDL_STATE_HANDLES; kind++)
        tdl_freelist_open(&st->handles[kind]);
    return 0;
}

int
tdl_handle_exec(PyObject *module)
{
    PyObject *events = PyImport_ImportModule("asyncio.events");
    PyObject *handle = events == NULL ? NULL : PyObject_GetAttrString(events, "Handle");
    PyObject *timer = handle == NULL ? NULL : PyObject_GetAttrString(events, "TimerHandle");
    PyObject *threadsafe = NULL;
    int r = -1;
    if (timer != NULL && PyType_Check(handle) && PyType_Check(timer)) {
        /* from 3.14 on, call_soon_threadsafe() returns a class of its own */
        threadsafe = PyObject_GetAttrString(events, "_ThreadSafeHandle");
        PyErr_Clear();
        r = add_classes(module, handle, timer, threadsafe);
    }
    Py_XDECREF(threadsafe);
    Py_XDECREF(timer);
    Py_XDECREF(handle);
    Py_XDECREF(events);
    return r;
}

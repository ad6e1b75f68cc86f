/* The object, its attributes, and how a reader gets one. */
#include "streams/reader.h"

#include "streams/read.h"
#include "streams/stock.h"

static const char *const names[TDL_READER_FIELDS] = {
    "_buffer", "_limit", "_loop", "_eof", "_waiter", "_exception", "_transport", "_paused",
};

/* ---- fields -------------------------------------------------------------------------- */

static bool
is_bool(PyObject *value)
{
    return value == Py_True || value == Py_False;
}

/* What of the fields decides whether native code may go on. */
static bool
look_plain(ReaderState *self)
{
    for (int i = 0; i < TDL_READER_FIELDS; i++)
        if (self->fields[i] == NULL)
            return false;
    PyObject *limit = self->fields[TDL_READER_LIMIT];
    if (!PyByteArray_CheckExact(self->fields[TDL_READER_BUFFER]) || !PyLong_CheckExact(limit) ||
        !is_bool(self->fields[TDL_READER_EOF]) || !is_bool(self->fields[TDL_READER_PAUSED]))
        return false;
    self->limit = PyLong_AsSsize_t(limit);
    if (self->limit == -1)
        PyErr_Clear();
    return self->limit >= 0 && self->limit <= PY_SSIZE_T_MAX / 4;
}

/* Whether loop.create_future() is ours. */
static bool
makes_native_futures(struct tdl_state *st, PyObject *loop)
{
    if (loop == NULL || !PyObject_TypeCheck(loop, st->objects.LoopBase))
        return false;
    PyObject *method = PyObject_GetAttr((PyObject *)Py_TYPE(loop), st->names.create_future);
    if (method == NULL)
        PyErr_Clear();
    Py_XDECREF(method);
    return method != NULL && method == st->objects.loop_create_future;
}

void
tdl_reader_set(ReaderState *self, enum tdl_reader_field field, PyObject *value)
{
    bool native = self->native_futures;
    if (field == TDL_READER_LOOP)
        native = makes_native_futures(self->st, value);
    PyObject *old, *chunk = NULL;
    TDL_CRITICAL_BEGIN(self);
    old = self->fields[field];
    self->fields[field] = Py_XNewRef(value);
    self->native_futures = native;
    if (field == TDL_READER_BUFFER) {
        chunk = self->chunk;
        self->chunk = NULL;
    }
    if (field != TDL_READER_WAITER || !self->plain || value == NULL)
        self->plain = look_plain(self);
    TDL_CRITICAL_END();
    Py_XDECREF(chunk);
    Py_XDECREF(old);
}

static PyObject *
get_field(PyObject *op, void *closure)
{
    enum tdl_reader_field field = (enum tdl_reader_field)(intptr_t)closure;
    struct tdl_state *st = tdl_state_by_type(Py_TYPE(op));
    ReaderState *self = st == NULL ? NULL : tdl_reader_state(st, op, false);
    PyObject *value = NULL;
    if (self != NULL) {
        TDL_CRITICAL_BEGIN(self);
        if (field != TDL_READER_BUFFER || tdl_reader_settle(self) == 0)
            value = Py_XNewRef(self->fields[field]);
        TDL_CRITICAL_END();
        Py_DECREF(self);
    }
    if (value == NULL && !PyErr_Occurred())
        PyErr_Format(PyExc_AttributeError, "'%s' object has no attribute '%s'",
                     Py_TYPE(op)->tp_name, names[field]);
    return value;
}

static int
set_field(PyObject *op, PyObject *value, void *closure)
{
    enum tdl_reader_field field = (enum tdl_reader_field)(intptr_t)closure;
    struct tdl_state *st = tdl_state_by_type(Py_TYPE(op));
    ReaderState *self = st == NULL ? NULL : tdl_reader_state(st, op, true);
    if (self == NULL)
        return -1;
    int r = value != NULL || self->fields[field] != NULL ? 0 : -1;
    if (r < 0)
        PyErr_SetString(PyExc_AttributeError, names[field]);
    else
        tdl_reader_set(self, field, value);
    Py_DECREF(self);
    return r;
}

/* ---- finding and making ----------------------------------------------------------------- */

ReaderState *
tdl_reader_state(struct tdl_state *st, PyObject *reader, bool make)
{
    PyObject *dict = tdl_instance_dict(reader);
    if (dict == NULL)
        return NULL;
    PyObject *found = tdl_dict_get_name(dict, st->names._treadle);
    if (found != NULL && !Py_IS_TYPE(found, st->objects.ReaderState))
        Py_CLEAR(found);
    if (found == NULL && make && !PyErr_Occurred()) {
        PyTypeObject *type = st->objects.ReaderState;
        ReaderState *made = (ReaderState *)type->tp_alloc(type, 0);
        if (made != NULL)
            made->st = st;
        if (made != NULL && PyDict_SetItem(dict, st->names._treadle, (PyObject *)made) < 0)
            Py_CLEAR(made);
        found = (PyObject *)made;
    }
    Py_DECREF(dict);
    return (ReaderState *)found;
}

/* Move the attributes out of `dict`; those that are missing stay unset. */
static int
move_attributes(ReaderState *self, PyObject *dict)
{
    for (int i = 0; i < TDL_READER_FIELDS; i++) {
        PyObject *name = PyUnicode_InternFromString(names[i]);
        PyObject *value = name == NULL ? NULL : tdl_dict_pop(dict, name);
        Py_XDECREF(name);
        if (value == NULL && PyErr_Occurred())
            return -1;
        tdl_reader_set(self, (enum tdl_reader_field)i, value);
        Py_XDECREF(value);
    }
    return 0;
}

int
tdl_reader_adopt(struct tdl_state *st, PyObject *reader)
{
    PyTypeObject *type = st->objects.StreamReader;
    if (PyObject_SetAttrString(reader, "__class__", (PyObject *)type) < 0) {
        if (!PyErr_ExceptionMatches(PyExc_TypeError))
            return -1;
        PyErr_Clear();
        return 0;
    }
    PyObject *dict = tdl_instance_dict(reader);
    ReaderState *self = dict == NULL ? NULL : tdl_reader_state(st, reader, true);
    int r = self == NULL ? -1 : move_attributes(self, dict);
    Py_XDECREF(self);
    Py_XDECREF(dict);
    return r < 0 ? -1 : 1;
}

/* ---- steps ------------------------------------------------------------------------------ */

/* After future.set_result(None) has failed: whether that is because it was cancelled,
 * which its owner may do.  Returns 0, or -1 with the exception as it was or another. */
static int
forgive_cancelled(struct tdl_state *st, PyObject *future)
{
    PyObject *raised = tdl_err_take();
    PyObject *r = PyObject_CallMethodNoArgs(future, st->names.cancelled);
    int cancelled = r == NULL ? -1 : PyObject_IsTrue(r);
    Py_XDECREF(r);
    if (cancelled != 0)
        Py_DECREF(raised);
    else
        tdl_err_put_steal(raised);
    return cancelled > 0 ? 0 : -1;
}

/* Resolve a future of which it is not known what it is: as asyncio does. */
static int
resolve(struct tdl_state *st, PyObject *waiter)
{
    PyObject *r = PyObject_CallMethodNoArgs(waiter, st->names.cancelled);
    int gone = r == NULL ? -1 : PyObject_IsTrue(r);
    Py_XDECREF(r);
    if (gone != 0)
        return gone < 0 ? -1 : 0;
    r = PyObject_CallMethodOneArg(waiter, st->names.set_result, Py_None);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

/* Resolve one of asyncio's own, which refuses only if it is done. */
static int
resolve_known(struct tdl_state *st, PyObject *waiter)
{
    PyObject *r = PyObject_CallMethodOneArg(waiter, st->names.set_result, Py_None);
    Py_XDECREF(r);
    return r == NULL ? forgive_cancelled(st, waiter) : 0;
}

/* _wakeup_waiter() */
static int
wake(ReaderState *self)
{
    struct tdl_state *st = self->st;
    PyObject *waiter = tdl_reader_get(self, TDL_READER_WAITER);
    tdl_reader_set(self, TDL_READER_WAITER, Py_None);
    bool known = Py_IS_TYPE(waiter, st->objects.LoopFuture) ||
                 Py_IS_TYPE(waiter, (PyTypeObject *)st->objects.aio_future);
    int r = known ? resolve_known(st, waiter) : resolve(st, waiter);
    Py_DECREF(waiter);
    return r;
}

/* transport.pause_reading(), which a transport may not know. */
static int
pause_transport(ReaderState *self)
{
    PyObject *transport = tdl_reader_get(self, TDL_READER_TRANSPORT);
    PyObject *r = PyObject_CallMethodNoArgs(transport, self->st->names.pause_reading);
    Py_DECREF(transport);
    if (r == NULL && PyErr_ExceptionMatches(PyExc_NotImplementedError)) {
        PyErr_Clear();
        tdl_reader_set(self, TDL_READER_TRANSPORT, Py_None);
        return 0;
    }
    if (r == NULL)
        return -1;
    Py_DECREF(r);
    tdl_reader_set(self, TDL_READER_PAUSED, Py_True);
    return 0;
}

int
tdl_reader_feed(ReaderState *self, PyObject *data)
{
    int r;
    TDL_CRITICAL_BEGIN(self);
    if (!self->plain || tdl_reader_has(self, TDL_READER_EOF, Py_True))
        r = 0;
    else
        r = PyBytes_GET_SIZE(data) == 0 || tdl_reader_append(self, data) == 0 ? 1 : -1;
    TDL_CRITICAL_END();
    if (r <= 0 || PyBytes_GET_SIZE(data) == 0)
        return r;
    if (!tdl_reader_has(self, TDL_READER_WAITER, Py_None) && wake(self) < 0)
        return -1;
    if (self->plain && tdl_reader_size(self) > 2 * self->limit &&
        tdl_reader_has(self, TDL_READER_PAUSED, Py_False) &&
        !tdl_reader_has(self, TDL_READER_TRANSPORT, Py_None) && pause_transport(self) < 0)
        return -1;
    return 1;
}

/* Let the transport read again. */
static int
resume_transport(ReaderState *self)
{
    PyObject *transport = tdl_reader_get(self, TDL_READER_TRANSPORT);
    tdl_reader_set(self, TDL_READER_PAUSED, Py_False);
    PyObject *r = PyObject_CallMethodNoArgs(transport, self->st->names.resume_reading);
    Py_DECREF(transport);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

int
tdl_reader_maybe_resume(ReaderState *self)
{
    if (!tdl_reader_has(self, TDL_READER_PAUSED, Py_True) || !self->plain ||
        tdl_reader_size(self) > self->limit)
        return 0;
    return resume_transport(self);
}

/* The iterator that `await future` goes through.  Returns it, new, or NULL. */
static PyObject *
await_future(PyObject *future)
{
    PyAsyncMethods *async = Py_TYPE(future)->tp_as_async;
    if (async == NULL || async->am_await == NULL) {
        PyErr_Format(PyExc_TypeError, "object %.100s can't be used in 'await' expression",
                     Py_TYPE(future)->tp_name);
        return NULL;
    }
    PyObject *iterator = async->am_await(future);
    if (iterator != NULL && !PyIter_Check(iterator)) {
        PyErr_Format(PyExc_TypeError, "__await__() returned non-iterator of type '%.100s'",
                     Py_TYPE(iterator)->tp_name);
        Py_CLEAR(iterator);
    }
    return iterator;
}

PyObject *
tdl_reader_wait(ReaderState *self)
{
    if (tdl_reader_has(self, TDL_READER_PAUSED, Py_True) && resume_transport(self) < 0)
        return NULL;
    PyObject *loop = tdl_reader_get(self, TDL_READER_LOOP);
    PyObject *future = self->native_futures
                           ? tdl_loop_create_future((LoopObject *)loop)
                           : PyObject_CallMethodNoArgs(loop, self->st->names.create_future);
    Py_DECREF(loop);
    if (future == NULL)
        return NULL;
    tdl_reader_set(self, TDL_READER_WAITER, future);
    PyObject *iterator = await_future(future);
    Py_DECREF(future);
    if (iterator == NULL)
        tdl_reader_set(self, TDL_READER_WAITER, Py_None);
    return iterator;
}

/* ---- the types -------------------------------------------------------------------------- */

static int
state_traverse(PyObject *op, visitproc visit, void *arg)
{
    ReaderState *self = (ReaderState *)op;
    Py_VISIT(Py_TYPE(op));
    for (int i = 0; i < TDL_READER_FIELDS; i++)
        Py_VISIT(self->fields[i]);
    return 0;
}

static int
state_clear(PyObject *op)
{
    ReaderState *self = (ReaderState *)op;
    self->plain = false;
    for (int i = 0; i < TDL_READER_FIELDS; i++)
        Py_CLEAR(self->fields[i]);
    Py_CLEAR(self->chunk);
    return 0;
}

static void
state_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    state_clear(op);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyType_Slot slots[] = {
    {Py_tp_traverse, state_traverse},
    {Py_tp_clear, state_clear},
    {Py_tp_dealloc, state_dealloc},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "treadle._native.ReaderState",
    .basicsize = sizeof(ReaderState),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};

#define FIELD(name, field) {name, get_field, set_field, NULL, (void *)(intptr_t)(field)}

static PyGetSetDef getset[] = {
    FIELD("_buffer", TDL_READER_BUFFER),
    FIELD("_limit", TDL_READER_LIMIT),
    FIELD("_loop", TDL_READER_LOOP),
    FIELD("_eof", TDL_READER_EOF),
    FIELD("_waiter", TDL_READER_WAITER),
    FIELD("_exception", TDL_READER_EXCEPTION),
    FIELD("_transport", TDL_READER_TRANSPORT),
    FIELD("_paused", TDL_READER_PAUSED),
    {NULL, NULL, NULL, NULL, NULL},
};

int
tdl_reader_exec(PyObject *module)
{
    struct tdl_objects *o = &tdl_state_of(module)->objects;
    o->loop_create_future = PyObject_GetAttrString((PyObject *)o->LoopBase, "create_future");
    if (o->loop_create_future == NULL || tdl_state_add_type(module, &spec, &o->ReaderState) < 0)
        return -1;
    return tdl_stock_subclass(module, o->aio_reader, tdl_read_methods, getset,
                              &o->StreamReader);
}

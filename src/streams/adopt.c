#include "streams/adopt.h"

#include "loop/stream_hooks.h"
#include "streams/reader.h"
#include "streams/stock.h"

/* So many calls of create_future() are looked at for a writer, after a connection that
 * may get one. */
enum { LOOKS = 256 };

/* ---- the writer that a server's callback gets ------------------------------------------ */

/* Stands in for protocol._client_connected_cb until that is called: the writer is made
 * right before. */
typedef struct {
    PyObject_HEAD
    struct tdl_state *st;
    PyObject *protocol; /* strong */
    PyObject *callback; /* strong */
} GreeterObject;

/* Make `writer` one of ours if it is exactly asyncio's.  Returns 0 or -1. */
static int
adopt_writer(struct tdl_state *st, PyObject *writer)
{
    if (!Py_IS_TYPE(writer, st->objects.aio_writer))
        return 0;
    int unchanged = tdl_stock_unchanged(st, TDL_STOCK_WRITER);
    if (unchanged <= 0)
        return unchanged;
    PyObject *type = (PyObject *)st->objects.StreamWriter;
    if (PyObject_SetAttrString(writer, "__class__", type) == 0)
        return 0;
    if (!PyErr_ExceptionMatches(PyExc_TypeError))
        return -1;
    PyErr_Clear();
    return 0;
}

/* Put the callback back where it was. */
static int
restore(GreeterObject *self)
{
    PyObject *dict = tdl_instance_dict(self->protocol);
    if (dict == NULL)
        return -1;
    PyObject *name = self->st->names._client_connected_cb;
    PyObject *present = tdl_dict_get_name(dict, name);
    int r = present == NULL && PyErr_Occurred() ? -1 : 0;
    if (present == (PyObject *)self)
        r = PyDict_SetItem(dict, name, self->callback);
    Py_XDECREF(present);
    Py_DECREF(dict);
    return r;
}

static PyObject *
greeter_call(PyObject *op, PyObject *args, PyObject *kwargs)
{
    GreeterObject *self = (GreeterObject *)op;
    if (restore(self) < 0 ||
        (PyTuple_GET_SIZE(args) == 2 && adopt_writer(self->st, PyTuple_GET_ITEM(args, 1)) < 0))
        return NULL;
    return PyObject_Call(self->callback, args, kwargs);
}

static int
greeter_traverse(PyObject *op, visitproc visit, void *arg)
{
    GreeterObject *self = (GreeterObject *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->protocol);
    Py_VISIT(self->callback);
    return 0;
}

static int
greeter_clear(PyObject *op)
{
    GreeterObject *self = (GreeterObject *)op;
    Py_CLEAR(self->protocol);
    Py_CLEAR(self->callback);
    return 0;
}

static void
greeter_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    greeter_clear(op);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyType_Slot greeter_slots[] = {
    {Py_tp_call, greeter_call},
    {Py_tp_traverse, greeter_traverse},
    {Py_tp_clear, greeter_clear},
    {Py_tp_dealloc, greeter_dealloc},
    {0, NULL},
};

static PyType_Spec greeter_spec = {
    .name = "treadle._native.StreamGreeter",
    .basicsize = sizeof(GreeterObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = greeter_slots,
};

/* See to it that the writer that `dict`'s protocol makes will be ours, or the one that
 * open_connection() makes. */
static int
expect_writer(LoopObject *loop, PyObject *protocol, PyObject *dict)
{
    struct tdl_state *st = loop->st;
    PyObject *name = st->names._client_connected_cb;
    PyObject *callback = tdl_dict_get_name(dict, name);
    if (callback == NULL || callback == Py_None) {
        Py_XDECREF(callback);
        loop->writers_expected = st->objects.aio_writer_init_code == NULL ? 0 : LOOKS;
        return PyErr_Occurred() ? -1 : 0;
    }
    PyTypeObject *type = st->objects.StreamGreeter;
    GreeterObject *self = (GreeterObject *)type->tp_alloc(type, 0);
    if (self == NULL) {
        Py_DECREF(callback);
        return -1;
    }
    self->st = st;
    self->protocol = Py_NewRef(protocol);
    self->callback = callback;
    int r = PyDict_SetItem(dict, name, (PyObject *)self);
    Py_DECREF(self);
    return r;
}

/* ---- the writer of open_connection() -------------------------------------------------- */

/* The first thing that StreamWriter.__init__() calls is loop.create_future(). */
static int
on_create_future(LoopObject *loop)
{
    struct tdl_state *st = loop->st;
    loop->writers_expected--;
    PyFrameObject *frame = PyEval_GetFrame(); /* borrowed */
    PyCodeObject *code = frame == NULL ? NULL : PyFrame_GetCode(frame);
    bool ours = code != NULL && (PyObject *)code == st->objects.aio_writer_init_code;
    Py_XDECREF(code);
    if (!ours)
        return 0;
    PyObject *locals = PyFrame_GetLocals(frame);
    PyObject *writer = locals == NULL ? NULL : PyMapping_GetItemString(locals, "self");
    int r = writer == NULL ? -1 : adopt_writer(st, writer);
    Py_XDECREF(writer);
    Py_XDECREF(locals);
    return r;
}

/* ---- the hooks ------------------------------------------------------------------------- */

/* The reader behind a weak reference, made one of ours.  Returns 1; 0 if it is none of
 * those; -1 with an exception set. */
static int
adopt_reader(struct tdl_state *st, PyObject *ref)
{
    PyObject *reader = PyWeakref_CheckRefExact(ref) ? tdl_weakref_get(ref) : NULL;
    if (reader == NULL)
        return PyErr_Occurred() ? -1 : 0;
    int r = 0;
    if (Py_IS_TYPE(reader, st->objects.StreamReader))
        r = 1;
    else if (Py_IS_TYPE(reader, st->objects.aio_reader)) {
        r = tdl_stock_unchanged(st, TDL_STOCK_READER);
        if (r > 0)
            r = tdl_reader_adopt(st, reader);
    }
    Py_DECREF(reader);
    return r;
}

/* A StreamReaderProtocol. */
static int
adopt_protocol(LoopObject *loop, PyObject *protocol, bool first, PyObject **sink)
{
    struct tdl_state *st = loop->st;
    int r = tdl_stock_unchanged(st, TDL_STOCK_PROTOCOL);
    PyObject *dict = r <= 0 ? NULL : tdl_instance_dict(protocol);
    if (dict == NULL)
        return r < 0 || PyErr_Occurred() ? -1 : 0;
    PyObject *ref = tdl_dict_get_name(dict, st->names._stream_reader_wr);
    r = ref == NULL ? (PyErr_Occurred() ? -1 : 0) : adopt_reader(st, ref);
    if (r > 0 && first)
        r = expect_writer(loop, protocol, dict) < 0 ? -1 : 1;
    Py_DECREF(dict);
    if (r > 0)
        *sink = ref;
    else
        Py_XDECREF(ref);
    return r < 0 ? -1 : 0;
}

/* TLS: the streams are behind asyncio's protocol, which feeds them. */
static int
adopt_behind(LoopObject *loop, PyObject *protocol, bool first)
{
    PyObject *dict = tdl_instance_dict(protocol);
    PyObject *app =
        dict == NULL ? NULL : tdl_dict_get_name(dict, loop->st->names._app_protocol);
    PyObject *sink = NULL;
    int r = app == NULL && PyErr_Occurred() ? -1 : 0;
    if (app != NULL && Py_IS_TYPE(app, loop->st->objects.aio_reader_protocol))
        r = adopt_protocol(loop, app, first, &sink);
    Py_XDECREF(sink);
    Py_XDECREF(app);
    Py_XDECREF(dict);
    return r;
}

static int
adopt(LoopObject *loop, PyObject *protocol, bool first, PyObject **sink)
{
    *sink = NULL;
    if (Py_IS_TYPE(protocol, loop->st->objects.aio_reader_protocol))
        return adopt_protocol(loop, protocol, first, sink);
    if (first && Py_IS_TYPE(protocol, loop->st->objects.aio_tls_protocol))
        return adopt_behind(loop, protocol, first);
    return 0;
}

PyObject *
tdl_adopt_stream(PyObject *module, PyObject *stream)
{
    struct tdl_state *st = tdl_state_of(module);
    int r = 0;
    if (Py_IS_TYPE(stream, st->objects.aio_writer))
        r = adopt_writer(st, stream);
    else if (Py_IS_TYPE(stream, st->objects.aio_reader)) {
        r = tdl_stock_unchanged(st, TDL_STOCK_READER);
        if (r > 0)
            r = tdl_reader_adopt(st, stream);
    }
    if (r < 0)
        return NULL;
    return PyBool_FromLong(Py_IS_TYPE(stream, st->objects.StreamWriter) ||
                           Py_IS_TYPE(stream, st->objects.StreamReader));
}

/* Whether data that comes for `protocol` still goes straight to the reader of `sink`:
 * 1 or 0, or -1 with an exception set. */
static int
leads_to(struct tdl_state *st, PyObject *protocol, PyObject *sink)
{
    PyObject *dict = tdl_instance_dict(protocol);
    if (dict == NULL)
        return -1;
    PyObject *ref = tdl_dict_get_name(dict, st->names._stream_reader_wr);
    PyObject *own = ref != sink ? NULL : tdl_dict_get_name(dict, st->names.data_received);
    int r = ref == sink && own == NULL;
    Py_XDECREF(own);
    Py_XDECREF(ref);
    Py_DECREF(dict);
    return PyErr_Occurred() ? -1 : r;
}

/* The state of a reader whose feed_data() nobody has replaced; new, or NULL with or
 * without an exception. */
static ReaderState *
state_to_feed(struct tdl_state *st, PyObject *reader)
{
    if (!Py_IS_TYPE(reader, st->objects.StreamReader))
        return NULL;
    PyObject *dict = tdl_instance_dict(reader);
    if (dict == NULL)
        return NULL;
    PyObject *state = NULL, *own = tdl_dict_get_name(dict, st->names.feed_data);
    if (own == NULL && !PyErr_Occurred())
        state = tdl_dict_get_name(dict, st->names._treadle);
    Py_XDECREF(own);
    if (state != NULL && !Py_IS_TYPE(state, st->objects.ReaderState))
        Py_CLEAR(state);
    Py_DECREF(dict);
    return (ReaderState *)state;
}

static int
feed(struct tdl_state *st, PyObject *sink, PyObject *protocol, PyObject *data)
{
    int r = leads_to(st, protocol, sink);
    if (r <= 0)
        return r;
    PyObject *reader = tdl_weakref_get(sink);
    if (reader == NULL)
        return PyErr_Occurred() ? -1 : 1; /* nobody will read it */
    ReaderState *state = state_to_feed(st, reader);
    r = state == NULL ? (PyErr_Occurred() ? -1 : 0) : tdl_reader_feed(state, data);
    Py_XDECREF(state);
    Py_DECREF(reader);
    return r;
}

static const struct tdl_stream_hooks hooks = {adopt, on_create_future, feed};

int
tdl_adopt_exec(PyObject *module)
{
    struct tdl_state *st = tdl_state_of(module);
    if (tdl_state_add_type(module, &greeter_spec, &st->objects.StreamGreeter) < 0)
        return -1;
    st->stream_hooks = &hooks;
    return 0;
}

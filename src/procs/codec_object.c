#include "procs/codec_object.h"

#include "procs/buffers.h"
#include "procs/codec.h"
#include "procs/pickling.h"
#include "procs/shared.h"
#include "py/args.h"
#include "py/errors.h"

typedef struct {
    PyObject_HEAD
    struct tdl_state *st;
    struct tdl_codec *codec;
} CodecObject;

static struct tdl_codec *
codec_of(PyObject *op)
{
    return ((CodecObject *)op)->codec;
}

static PyObject *
codec_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"pickler", NULL};
    PyObject *pickler = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:Codec", names, &pickler))
        return NULL;
    CodecObject *self = (CodecObject *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->st = tdl_state_by_type(type);
    self->codec = tdl_codec_new(self->st, pickler == Py_None ? NULL : pickler);
    if (self->codec == NULL)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static int
codec_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    return codec_of(op) == NULL ? 0 : tdl_codec_traverse(codec_of(op), visit, arg);
}

static void
codec_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    tdl_codec_free(codec_of(op));
    type->tp_free(op);
    Py_DECREF(type);
}

static PyObject *
raise_or_none(int r)
{
    if (r >= 0)
        Py_RETURN_NONE;
    tdl_raise_errno(r);
    return NULL;
}

/* ---- stores ----------------------------------------------------------------------------------- */

static PyObject *
codec_open(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return raise_or_none(tdl_codec_open(codec_of(op)));
}

static PyObject *
codec_calls_fd(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromLong(tdl_codec_calls_fd(codec_of(op)));
}

static PyObject *
codec_add_worker(PyObject *op, PyObject *arg)
{
    unsigned long worker = PyLong_AsUnsignedLong(arg);
    if (PyErr_Occurred())
        return NULL;
    int fd = tdl_codec_add_worker(codec_of(op), (uint32_t)worker);
    return fd < 0 ? raise_or_none(fd) : PyLong_FromLong(fd);
}

static PyObject *
codec_join(PyObject *op, PyObject *args)
{
    int calls, results;
    if (!PyArg_ParseTuple(args, "ii:join", &calls, &results))
        return NULL;
    return raise_or_none(tdl_codec_join(codec_of(op), calls, results));
}

static PyObject *
codec_lost_worker(PyObject *op, PyObject *arg)
{
    unsigned long worker = PyLong_AsUnsignedLong(arg);
    if (PyErr_Occurred())
        return NULL;
    tdl_codec_lost_worker(codec_of(op), (uint32_t)worker);
    Py_RETURN_NONE;
}

static PyObject *
codec_trim(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    tdl_codec_trim(codec_of(op));
    Py_RETURN_NONE;
}

static PyObject *
codec_stats(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    struct tdl_blocks_stats stats;
    tdl_codec_stats(codec_of(op), &stats);
    return Py_BuildValue("{s:n,s:n,s:n,s:n}", "used", (Py_ssize_t)stats.used, "idle",
                         (Py_ssize_t)stats.idle, "blocks", (Py_ssize_t)stats.blocks, "capacity",
                         (Py_ssize_t)stats.capacity);
}

/* ---- messages ------------------------------------------------------------------------------------ */

/* `out` as bytes, and what it says is freed; NULL if `r` is negative. */
static PyObject *
take_bytes(struct tdl_bytes *out, int r)
{
    PyObject *bytes = NULL;
    if (r >= 0)
        bytes = PyBytes_FromStringAndSize((const char *)out->data, (Py_ssize_t)out->size);
    tdl_bytes_fini(out);
    return bytes;
}

static PyObject *
codec_put_value(PyObject *op, PyObject *value)
{
    struct tdl_bytes out;
    tdl_bytes_init(&out);
    return take_bytes(&out, tdl_codec_put_value(codec_of(op), &out, value));
}

static PyObject *
codec_put_exception(PyObject *op, PyObject *exception)
{
    struct tdl_bytes out;
    tdl_bytes_init(&out);
    if (!PyExceptionInstance_Check(exception))
        return PyErr_Format(PyExc_TypeError, "not an exception: %R", exception);
    return take_bytes(&out, tdl_codec_put_exception(codec_of(op), &out, exception));
}

static PyObject *
codec_put_call(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    struct tdl_bytes out;
    uint32_t function = 0;
    if (nargs < 1) {
        PyErr_SetString(PyExc_TypeError, "put_call() needs something to call");
        return NULL;
    }
    tdl_bytes_init(&out);
    int r = tdl_codec_put_call(codec_of(op), &out, &function, args, nargs, kwnames);
    PyObject *bytes = take_bytes(&out, r);
    return bytes == NULL ? NULL : Py_BuildValue("IN", function, bytes);
}

typedef PyObject *(*decode_function)(struct tdl_codec *codec, const uint8_t *data, size_t size);

static PyObject *
get(PyObject *op, PyObject *arg, decode_function decode)
{
    Py_buffer view;
    if (PyObject_GetBuffer(arg, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    PyObject *value = decode(codec_of(op), view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    return value;
}

static PyObject *
codec_get_value(PyObject *op, PyObject *arg)
{
    return get(op, arg, tdl_codec_get_value);
}

static PyObject *
codec_get_exception(PyObject *op, PyObject *arg)
{
    return get(op, arg, tdl_codec_get_exception);
}

static PyObject *
codec_get_call(PyObject *op, PyObject *args)
{
    unsigned int function;
    Py_buffer view;
    struct tdl_call call;
    if (!PyArg_ParseTuple(args, "Iy*:get_call", &function, &view))
        return NULL;
    int r = tdl_codec_get_call(codec_of(op), function, view.buf, (size_t)view.len, &call);
    PyBuffer_Release(&view);
    if (r < 0)
        return NULL;
    PyObject *kwargs = call.kwargs != NULL ? call.kwargs : PyDict_New();
    if (kwargs == NULL) {
        Py_DECREF(call.callable);
        Py_DECREF(call.args);
        return NULL;
    }
    return Py_BuildValue("NNN", call.callable, call.args, kwargs);
}

static PyObject *
dropped(struct tdl_codec *codec, const uint8_t *data, size_t size)
{
    tdl_codec_drop(codec, data, size);
    Py_RETURN_NONE;
}

static PyObject *
received(struct tdl_codec *codec, const uint8_t *data, size_t size)
{
    tdl_codec_received(codec, data, size);
    Py_RETURN_NONE;
}

static PyObject *
codec_drop(PyObject *op, PyObject *arg)
{
    return get(op, arg, dropped);
}

static PyObject *
codec_received(PyObject *op, PyObject *arg)
{
    return get(op, arg, received);
}

static PyObject *
codec_sent(PyObject *op, PyObject *args)
{
    Py_buffer view;
    unsigned int worker;
    if (!PyArg_ParseTuple(args, "y*I:sent", &view, &worker))
        return NULL;
    tdl_codec_sent(codec_of(op), view.buf, (size_t)view.len, worker);
    PyBuffer_Release(&view);
    Py_RETURN_NONE;
}

static PyObject *
codec_keep(PyObject *Py_UNUSED(type), PyObject *arg)
{
    PyObject *bytes = PyBytes_FromObject(arg);
    PyObject *kept = bytes == NULL ? NULL
                                   : PyBytes_FromStringAndSize(PyBytes_AS_STRING(bytes),
                                                               PyBytes_GET_SIZE(bytes));
    Py_XDECREF(bytes);
    if (kept != NULL)
        tdl_codec_keep((uint8_t *)PyBytes_AS_STRING(kept), (size_t)PyBytes_GET_SIZE(kept));
    return kept;
}

/* ---- functions -------------------------------------------------------------------------------------- */

static PyObject *
codec_function(PyObject *op, PyObject *arg)
{
    const uint8_t *data;
    size_t size;
    unsigned long number = PyLong_AsUnsignedLong(arg);
    if (PyErr_Occurred())
        return NULL;
    int r = tdl_codec_function(codec_of(op), (uint32_t)number, &data, &size);
    if (r < 0)
        return raise_or_none(r);
    return PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)size);
}

static PyObject *
codec_define(PyObject *op, PyObject *args)
{
    unsigned int number;
    Py_buffer view;
    if (!PyArg_ParseTuple(args, "Iy*:define", &number, &view))
        return NULL;
    int r = tdl_codec_define(codec_of(op), number, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    if (r < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef codec_methods[] = {
    {"open", codec_open, METH_NOARGS, "Make the store for calls."},
    {"calls_fd", codec_calls_fd, METH_NOARGS, "The descriptor of the store for calls, or -1."},
    {"add_worker", codec_add_worker, METH_O,
     "Make the store for the results of a worker; its descriptor, the caller's."},
    {"join", codec_join, METH_VARARGS, "As a worker, use the stores behind two descriptors."},
    {"lost_worker", codec_lost_worker, METH_O, "A worker is gone."},
    {"trim", codec_trim, METH_NOARGS, "Give idle memory back."},
    {"stats", codec_stats, METH_NOARGS, "What the store that is written to holds."},
    {"put_value", codec_put_value, METH_O, "Encode a value."},
    {"get_value", codec_get_value, METH_O, "Decode a value."},
    {"put_exception", codec_put_exception, METH_O, "Encode an exception."},
    {"get_exception", codec_get_exception, METH_O, "Decode an exception."},
    {"put_call", TDL_METHOD(codec_put_call), METH_FASTCALL | METH_KEYWORDS,
     "Encode a call: the number of its function, or 0, and the bytes."},
    {"get_call", codec_get_call, METH_VARARGS, "Decode a call: callable, args, kwargs."},
    {"drop", codec_drop, METH_O, "Give back what a message owns."},
    {"sent", codec_sent, METH_VARARGS, "A call goes to a worker."},
    {"received", codec_received, METH_O, "A message of a worker will be decoded."},
    {"keep", codec_keep, METH_O | METH_STATIC, "The message, with blocks that stay its own."},
    {"function", codec_function, METH_O, "What defines the function of a number."},
    {"define", codec_define, METH_VARARGS, "Define the function of a number."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot codec_slots[] = {
    {Py_tp_new, codec_new},
    {Py_tp_methods, codec_methods},
    {Py_tp_traverse, codec_traverse},
    {Py_tp_dealloc, codec_dealloc},
    {Py_tp_doc, "Codec(pickler=None)\n--\n\n"
                "One side of a pool, as far as encoding goes."},
    {0, NULL},
};

static PyType_Spec codec_spec = {
    .name = "treadle._native.Codec",
    .basicsize = sizeof(CodecObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = codec_slots,
};

int
tdl_codec_exec(PyObject *module)
{
    if (tdl_pickling_exec(module) < 0 || tdl_buffers_exec(module) < 0 ||
        tdl_shared_exec(module) < 0)
        return -1;
    return tdl_state_add_type(module, &codec_spec, &tdl_state_of(module)->objects.Codec);
}

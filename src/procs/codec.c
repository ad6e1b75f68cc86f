#include "procs/codec.h"

#include "py/errors.h"

struct tdl_codec {
    struct tdl_state *st;
    PyObject *dumps;   /* ForkingPickler.dumps */
    PyObject *loads;   /* pickle.loads */
    PyObject *wrap;    /* _ExceptionWithTraceback */
    PyObject *pickler; /* or NULL */
};

struct tdl_codec *
tdl_codec_new(struct tdl_state *st, PyObject *pickler)
{
    struct tdl_codec *codec = PyMem_Calloc(1, sizeof *codec);
    if (codec == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    PyObject *forking = NULL;
    const struct tdl_import reduction[] = {{"ForkingPickler", &forking}, {NULL, NULL}};
    const struct tdl_import pickle[] = {{"loads", &codec->loads}, {NULL, NULL}};
    const struct tdl_import process[] = {{"_ExceptionWithTraceback", &codec->wrap},
                                         {NULL, NULL}};
    codec->st = st;
    codec->pickler = Py_XNewRef(pickler);
    if (tdl_state_import("multiprocessing.reduction", reduction) == 0)
        codec->dumps = PyObject_GetAttrString(pickler != NULL ? pickler : forking, "dumps");
    Py_XDECREF(forking);
    if (codec->dumps == NULL || tdl_state_import("pickle", pickle) < 0 ||
        tdl_state_import("concurrent.futures.process", process) < 0) {
        tdl_codec_free(codec);
        return NULL;
    }
    return codec;
}

void
tdl_codec_free(struct tdl_codec *codec)
{
    if (codec == NULL)
        return;
    Py_XDECREF(codec->dumps);
    Py_XDECREF(codec->loads);
    Py_XDECREF(codec->wrap);
    Py_XDECREF(codec->pickler);
    PyMem_Free(codec);
}

int
tdl_codec_traverse(struct tdl_codec *codec, visitproc visit, void *arg)
{
    Py_VISIT(codec->pickler);
    return 0;
}

/* Append the pickle of `value`, whose reference is taken; NULL: an error is set. */
static int
put_steal(struct tdl_codec *codec, struct tdl_bytes *out, PyObject *value)
{
    PyObject *bytes = value == NULL ? NULL : PyObject_CallOneArg(codec->dumps, value);
    Py_XDECREF(value);
    if (bytes == NULL)
        return -1;
    Py_buffer view;
    int r = PyObject_GetBuffer(bytes, &view, PyBUF_SIMPLE);
    if (r == 0) {
        if (tdl_bytes_append(out, view.buf, (size_t)view.len) < 0) {
            PyErr_NoMemory();
            r = -1;
        }
        PyBuffer_Release(&view);
    }
    Py_DECREF(bytes);
    return r;
}

static PyObject *
pack_call(PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    Py_ssize_t nkw = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    PyObject *positional = PyTuple_New(nargs - 1);
    PyObject *keywords = PyDict_New();
    PyObject *call = NULL;
    if (positional == NULL || keywords == NULL)
        goto done;
    for (Py_ssize_t i = 1; i < nargs; i++)
        PyTuple_SET_ITEM(positional, i - 1, Py_NewRef(args[i]));
    for (Py_ssize_t i = 0; i < nkw; i++)
        if (PyDict_SetItem(keywords, PyTuple_GET_ITEM(kwnames, i), args[nargs + i]) < 0)
            goto done;
    call = PyTuple_Pack(3, args[0], positional, keywords);
done:
    Py_XDECREF(positional);
    Py_XDECREF(keywords);
    return call;
}

int
tdl_codec_put_call(struct tdl_codec *codec, struct tdl_bytes *out, uint32_t *function,
                   PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    *function = 0;
    return put_steal(codec, out, pack_call(args, nargs, kwnames));
}

int
tdl_codec_get_call(struct tdl_codec *codec, uint32_t function, const uint8_t *data, size_t size,
                   struct tdl_call *call)
{
    *call = (struct tdl_call){0};
    PyObject *value = tdl_codec_get_value(codec, data, size);
    if (value == NULL)
        return -1;
    if (function != 0 || !PyTuple_Check(value) ||
        !PyArg_ParseTuple(value, "OO!O!", &call->callable, &PyTuple_Type, &call->args,
                          &PyDict_Type, &call->kwargs)) {
        PyErr_SetString(PyExc_ValueError, "a call does not decode");
        Py_DECREF(value);
        return -1;
    }
    Py_INCREF(call->callable);
    Py_INCREF(call->args);
    Py_INCREF(call->kwargs);
    Py_DECREF(value);
    return 0;
}

int
tdl_codec_put_value(struct tdl_codec *codec, struct tdl_bytes *out, PyObject *value)
{
    return put_steal(codec, out, Py_NewRef(value));
}

PyObject *
tdl_codec_get_value(struct tdl_codec *codec, const uint8_t *data, size_t size)
{
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)size);
    PyObject *value = bytes == NULL ? NULL : PyObject_CallOneArg(codec->loads, bytes);
    Py_XDECREF(bytes);
    return value;
}

/* An exception that carries the text of its traceback: a new reference. */
static PyObject *
wrap_exception(struct tdl_codec *codec, PyObject *exception)
{
    PyObject *tb = PyException_GetTraceback(exception);
    PyObject *wrapped =
        PyObject_CallFunctionObjArgs(codec->wrap, exception, tb == NULL ? Py_None : tb, NULL);
    Py_XDECREF(tb);
    return wrapped;
}

int
tdl_codec_put_exception(struct tdl_codec *codec, struct tdl_bytes *out, PyObject *exception)
{
    if (put_steal(codec, out, wrap_exception(codec, exception)) == 0)
        return 0;
    PyObject *raised = tdl_err_take();
    int r = put_steal(codec, out, wrap_exception(codec, raised));
    Py_DECREF(raised);
    return r;
}

PyObject *
tdl_codec_get_exception(struct tdl_codec *codec, const uint8_t *data, size_t size)
{
    PyObject *value = tdl_codec_get_value(codec, data, size);
    if (value == NULL || PyExceptionInstance_Check(value))
        return value;
    PyErr_Format(PyExc_TypeError, "the exception of a task unpickled as '%.200s'",
                 Py_TYPE(value)->tp_name);
    Py_DECREF(value);
    return NULL;
}

void
tdl_codec_drop(struct tdl_codec *codec, const uint8_t *data, size_t size)
{
    (void)codec, (void)data, (void)size;
}

int
tdl_codec_function(struct tdl_codec *codec, uint32_t function, const uint8_t **data,
                   size_t *size)
{
    (void)codec, (void)function, (void)data, (void)size;
    return -ENOENT;
}

int
tdl_codec_define(struct tdl_codec *codec, uint32_t function, const uint8_t *data, size_t size)
{
    (void)codec, (void)function, (void)data, (void)size;
    PyErr_SetString(PyExc_ValueError, "this codec has no table of functions");
    return -1;
}

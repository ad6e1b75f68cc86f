#include <string.h>

#include "procs/compact.h"
#include "procs/compact_tags.h"

enum { NUMBERED_ON_STACK = 32, DETACHED_COPY = 1 << 18 };

struct decoder {
    struct tdl_state *st;
    const uint8_t *at;
    const uint8_t *end;
    const struct tdl_piece *pieces;
    size_t npieces;
    unsigned depth;
    size_t nodes;
    size_t numbered;
    size_t capacity;
    PyObject **objects; /* by number, strong; NULL for a tuple that is not complete */
    PyObject *first[NUMBERED_ON_STACK];
};

static PyObject *decode(struct decoder *d);

PyObject *
tdl_compact_malformed(struct tdl_state *st, const char *what)
{
    PyErr_Format(st->objects.UnpicklingError, "malformed message: %s", what);
    return NULL;
}

static PyObject *
malformed(struct decoder *d, const char *what)
{
    return tdl_compact_malformed(d->st, what);
}

static size_t
left(const struct decoder *d)
{
    return (size_t)(d->end - d->at);
}

/* ---- numbers of objects ------------------------------------------------------------ */

static int
reserve_number(struct decoder *d)
{
    if (d->numbered < d->capacity)
        return 0;
    size_t capacity = d->capacity * 4;
    PyObject **objects = d->objects == d->first
                             ? PyMem_RawMalloc(capacity * sizeof *objects)
                             : PyMem_RawRealloc(d->objects, capacity * sizeof *objects);
    if (objects == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (d->objects == d->first)
        memcpy(objects, d->first, sizeof d->first);
    d->objects = objects;
    d->capacity = capacity;
    return 0;
}

/* Give the next number to `object` (NULL: later).  Returns it, or -1 with MemoryError. */
static Py_ssize_t
number(struct decoder *d, PyObject *object)
{
    if (reserve_number(d) < 0)
        return -1;
    d->objects[d->numbered] = Py_XNewRef(object);
    return (Py_ssize_t)d->numbered++;
}

/* `object` (stolen, may be NULL) with a number, or NULL. */
static PyObject *
numbered(struct decoder *d, PyObject *object)
{
    if (object == NULL || number(d, object) < 0) {
        Py_XDECREF(object);
        return NULL;
    }
    return object;
}

static void
forget_numbers(struct decoder *d)
{
    for (size_t i = 0; i < d->numbered; i++)
        Py_XDECREF(d->objects[i]);
    if (d->objects != d->first)
        PyMem_RawFree(d->objects);
}

/* ---- values without others in them --------------------------------------------------- */

static int
read_number(struct decoder *d, uint64_t *value)
{
    size_t n = tdl_varint_read(d->at, d->end, value);
    if (n == 0) {
        malformed(d, "a number is cut short");
        return -1;
    }
    d->at += n;
    return 0;
}

/* A count of things of `unit` bytes each at least, of which there must be enough left. */
static int
read_count(struct decoder *d, size_t unit, size_t *count)
{
    uint64_t value;
    if (read_number(d, &value) < 0)
        return -1;
    if (value > left(d) / unit) {
        malformed(d, "a length goes beyond the end");
        return -1;
    }
    *count = (size_t)value;
    return 0;
}

static PyObject *
decode_int(struct decoder *d)
{
    uint64_t zigzag;
    if (read_number(d, &zigzag) < 0)
        return NULL;
    int64_t value = (int64_t)(zigzag >> 1) ^ -(int64_t)(zigzag & 1);
    return PyLong_FromLongLong(value);
}

static PyObject *
decode_float(struct decoder *d)
{
    double value;
    if (left(d) < sizeof value)
        return malformed(d, "a float is cut short");
    memcpy(&value, d->at, sizeof value);
    d->at += sizeof value;
    return PyFloat_FromDouble(value);
}

static bool
characters_valid(const uint8_t *at, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t character;
        memcpy(&character, at + i * sizeof character, sizeof character);
        if (character > 0x10ffff)
            return false;
    }
    return true;
}

/* Wide characters need not be aligned in a message, which PyUnicode_FromKindAndData
 * relies on. */
static PyObject *
wide_str(int kind, const uint8_t *at, size_t count)
{
    void *copy = PyMem_Malloc(count * (size_t)kind + 1);
    if (copy == NULL)
        return PyErr_NoMemory();
    memcpy(copy, at, count * (size_t)kind);
    PyObject *str = PyUnicode_FromKindAndData(kind, copy, (Py_ssize_t)count);
    PyMem_Free(copy);
    return str;
}

static PyObject *
decode_str(struct decoder *d, int kind)
{
    size_t count;
    if (read_count(d, (size_t)kind, &count) < 0)
        return NULL;
    const uint8_t *at = d->at;
    d->at += count * (size_t)kind;
    if (kind == PyUnicode_1BYTE_KIND)
        return numbered(d, PyUnicode_FromKindAndData(kind, at, (Py_ssize_t)count));
    if (kind == PyUnicode_4BYTE_KIND && !characters_valid(at, count))
        return malformed(d, "a character that does not exist");
    return numbered(d, wide_str(kind, at, count));
}

static PyObject *
decode_bytes(struct decoder *d, bool array)
{
    size_t size;
    if (read_count(d, 1, &size) < 0)
        return NULL;
    const char *at = (const char *)d->at;
    d->at += size;
    return numbered(d, array ? PyByteArray_FromStringAndSize(at, (Py_ssize_t)size)
                             : PyBytes_FromStringAndSize(at, (Py_ssize_t)size));
}

static void
copy_detached(char *to, const void *from, size_t size)
{
    if (size < DETACHED_COPY) {
        memcpy(to, from, size);
        return;
    }
    Py_BEGIN_ALLOW_THREADS
    memcpy(to, from, size);
    Py_END_ALLOW_THREADS
}

static PyObject *
decode_part(struct decoder *d, bool array)
{
    uint64_t index;
    if (read_number(d, &index) < 0)
        return NULL;
    if (index >= d->npieces)
        return malformed(d, "a part is missing");
    const struct tdl_piece *piece = &d->pieces[index];
    Py_ssize_t size = (Py_ssize_t)piece->size;
    PyObject *object = array ? PyByteArray_FromStringAndSize(NULL, size)
                             : PyBytes_FromStringAndSize(NULL, size);
    if (object == NULL)
        return NULL;
    /* Nobody else knows the object yet. */
    if (size > 0)
        copy_detached(array ? PyByteArray_AS_STRING(object) : PyBytes_AS_STRING(object),
                      piece->data, piece->size);
    return numbered(d, object);
}

static PyObject *
decode_same(struct decoder *d)
{
    uint64_t which;
    if (read_number(d, &which) < 0)
        return NULL;
    if (which >= d->numbered || d->objects[which] == NULL)
        return malformed(d, "an object is referred to before it comes");
    return Py_NewRef(d->objects[which]);
}

/* ---- containers ------------------------------------------------------------------------ */

static PyObject *
decode_tuple(struct decoder *d)
{
    size_t count;
    if (read_count(d, 1, &count) < 0)
        return NULL;
    PyObject *tuple = PyTuple_New((Py_ssize_t)count);
    Py_ssize_t mine = tuple == NULL ? -1 : number(d, NULL);
    if (mine < 0)
        goto error;
    for (size_t i = 0; i < count; i++) {
        PyObject *item = decode(d);
        if (item == NULL)
            goto error;
        PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, item);
    }
    d->objects[mine] = Py_NewRef(tuple);
    return tuple;
error:
    Py_XDECREF(tuple);
    return NULL;
}

static PyObject *
decode_list(struct decoder *d)
{
    size_t count;
    if (read_count(d, 1, &count) < 0)
        return NULL;
    PyObject *list = numbered(d, PyList_New((Py_ssize_t)count));
    if (list == NULL)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        PyObject *item = decode(d);
        if (item == NULL) {
            Py_DECREF(list);
            return NULL;
        }
        PyList_SET_ITEM(list, (Py_ssize_t)i, item);
    }
    return list;
}

static int
decode_pair(struct decoder *d, PyObject *dict)
{
    PyObject *key = decode(d);
    PyObject *value = key == NULL ? NULL : decode(d);
    int r = value == NULL ? -1 : PyDict_SetItem(dict, key, value);
    Py_XDECREF(value);
    Py_XDECREF(key);
    if (r < 0 && PyErr_ExceptionMatches(PyExc_TypeError)) {
        PyErr_Clear();
        malformed(d, "a key that cannot be hashed");
    }
    return r;
}

static PyObject *
decode_dict(struct decoder *d)
{
    size_t count;
    if (read_count(d, 2, &count) < 0)
        return NULL;
    PyObject *dict = numbered(d, PyDict_New());
    for (size_t i = 0; dict != NULL && i < count; i++)
        if (decode_pair(d, dict) < 0)
            Py_CLEAR(dict);
    return dict;
}

static PyObject *
decode_container(struct decoder *d, int tag)
{
    if (d->depth == TDL_COMPACT_DEPTH)
        return malformed(d, "too deep");
    d->depth++;
    PyObject *object = tag == TDL_TAG_TUPLE  ? decode_tuple(d)
                       : tag == TDL_TAG_LIST ? decode_list(d)
                                             : decode_dict(d);
    d->depth--;
    return object;
}

static PyObject *
decode(struct decoder *d)
{
    if (d->at == d->end)
        return malformed(d, "a value is missing");
    if (d->nodes++ == TDL_COMPACT_NODES)
        return malformed(d, "too many values");
    int tag = *d->at++;
    if (tag >= TDL_TAG_SMALL)
        return PyLong_FromLong(tag - TDL_TAG_SMALL + TDL_SMALL_FIRST);
    switch (tag) {
    case TDL_TAG_NONE:
        return Py_NewRef(Py_None);
    case TDL_TAG_TRUE:
        return Py_NewRef(Py_True);
    case TDL_TAG_FALSE:
        return Py_NewRef(Py_False);
    case TDL_TAG_INT:
        return decode_int(d);
    case TDL_TAG_FLOAT:
        return decode_float(d);
    case TDL_TAG_STR1:
        return decode_str(d, PyUnicode_1BYTE_KIND);
    case TDL_TAG_STR2:
        return decode_str(d, PyUnicode_2BYTE_KIND);
    case TDL_TAG_STR4:
        return decode_str(d, PyUnicode_4BYTE_KIND);
    case TDL_TAG_BYTES:
    case TDL_TAG_BYTEARRAY:
        return decode_bytes(d, tag == TDL_TAG_BYTEARRAY);
    case TDL_TAG_BYTES_PART:
    case TDL_TAG_BYTEARRAY_PART:
        return decode_part(d, tag == TDL_TAG_BYTEARRAY_PART);
    case TDL_TAG_TUPLE:
    case TDL_TAG_LIST:
    case TDL_TAG_DICT:
        return decode_container(d, tag);
    case TDL_TAG_SAME:
        return decode_same(d);
    default:
        return malformed(d, "an unknown kind of value");
    }
}

static void
start(struct decoder *d, struct tdl_state *st, const struct tdl_incoming *in)
{
    d->st = st;
    d->at = in->data;
    d->end = in->data + in->size;
    d->pieces = in->pieces;
    d->npieces = in->npieces;
    d->depth = 0;
    d->nodes = d->numbered = 0;
    d->capacity = NUMBERED_ON_STACK;
    d->objects = d->first;
}

static bool
at_end(struct decoder *d)
{
    if (d->at == d->end)
        return true;
    malformed(d, "bytes are left over");
    return false;
}

PyObject *
tdl_compact_decode(struct tdl_state *st, const struct tdl_incoming *in)
{
    struct decoder d;
    start(&d, st, in);
    PyObject *object = decode(&d);
    if (object != NULL && !at_end(&d))
        Py_CLEAR(object);
    forget_numbers(&d);
    return object;
}

static bool
are_arguments(struct decoder *d, PyObject *args, PyObject *kwargs)
{
    if (PyTuple_CheckExact(args) && (kwargs == Py_None || PyDict_CheckExact(kwargs)))
        return at_end(d);
    malformed(d, "no arguments");
    return false;
}

int
tdl_compact_decode_call(struct tdl_state *st, const struct tdl_incoming *in, PyObject **args,
                        PyObject **kwargs)
{
    struct decoder d;
    start(&d, st, in);
    *args = decode(&d);
    *kwargs = *args == NULL ? NULL : decode(&d);
    if (*kwargs != NULL && !are_arguments(&d, *args, *kwargs))
        Py_CLEAR(*kwargs);
    int r = *kwargs == NULL ? -1 : 0;
    if (r < 0)
        Py_CLEAR(*args);
    else if (*kwargs == Py_None)
        Py_CLEAR(*kwargs);
    forget_numbers(&d);
    return r;
}

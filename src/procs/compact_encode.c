#include <string.h>

#include "procs/compact.h"
#include "procs/compact_tags.h"

enum { KNOWN_SLOTS = 512, FEW = 8 };

_Static_assert(KNOWN_SLOTS >= 2 * TDL_COMPACT_KNOWN, "the table must not fill up");

/* Objects that have come and may come again, with their numbers. */
struct known {
    PyObject *object;
    unsigned number;
    bool open; /* a tuple whose values are being written */
};

struct encoder {
    struct tdl_sink *sink;
    unsigned nodes;
    unsigned depth;
    unsigned numbered; /* objects that have a number */
    unsigned nknown;
    struct known known[TDL_COMPACT_KNOWN];
    uint16_t slots[KNOWN_SLOTS]; /* index in known + 1; used beyond FEW */
};

static int encode(struct encoder *e, PyObject *object);

/* 1 written, 0 leave it to pickle, -1 error: as a step of a whole. */
static int
written(int r)
{
    return r < 0 ? -1 : 1;
}

static unsigned
slot_of(PyObject *object)
{
    uint64_t key = (uint64_t)(uintptr_t)object * UINT64_C(0x9E3779B97F4A7C15);
    return (unsigned)(key >> 55);
}

static void
hash_known(struct encoder *e, unsigned index)
{
    unsigned slot = slot_of(e->known[index].object);
    while (e->slots[slot] != 0)
        slot = (slot + 1) % KNOWN_SLOTS;
    e->slots[slot] = (uint16_t)(index + 1);
}

static struct known *
find_known(struct encoder *e, PyObject *object)
{
    if (e->nknown <= FEW) {
        for (unsigned i = 0; i < e->nknown; i++)
            if (e->known[i].object == object)
                return &e->known[i];
        return NULL;
    }
    for (unsigned slot = slot_of(object); e->slots[slot] != 0; slot = (slot + 1) % KNOWN_SLOTS)
        if (e->known[e->slots[slot] - 1].object == object)
            return &e->known[e->slots[slot] - 1];
    return NULL;
}

static struct known *
add_known(struct encoder *e, PyObject *object)
{
    if (e->nknown == TDL_COMPACT_KNOWN)
        return NULL;
    unsigned index = e->nknown++;
    e->known[index] = (struct known){.object = object, .number = e->numbered};
    if (e->nknown == FEW + 1) {
        memset(e->slots, 0, sizeof e->slots);
        for (unsigned i = 0; i < e->nknown; i++)
            hash_known(e, i);
    }
    else if (e->nknown > FEW) {
        hash_known(e, index);
    }
    return &e->known[index];
}

/* The object gets the next number.  Returns 1 if its value is to be written, 2 if
 * it has come before and that has been written, 0 and -1 as encode() does. */
static int
number_object(struct encoder *e, PyObject *object, struct known **entry)
{
    struct known *known = find_known(e, object);
    if (known != NULL) {
        if (known->open)
            return 0;
        if (tdl_sink_put_byte(e->sink, TDL_TAG_SAME) < 0 ||
            tdl_sink_put_varint(e->sink, known->number) < 0)
            return -1;
        return 2;
    }
    known = add_known(e, object);
    if (known == NULL)
        return 0;
    e->numbered++;
    if (entry != NULL)
        *entry = known;
    return 1;
}

/* As number_object() for what cannot contain anything: with one reference only
 * it cannot come again. */
static int
number_leaf(struct encoder *e, PyObject *object)
{
    if (Py_REFCNT(object) == 1) {
        e->numbered++;
        return 1;
    }
    return number_object(e, object, NULL);
}

static int
encode_int(struct encoder *e, PyObject *object)
{
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (overflow != 0)
        return 0;
    if (value >= TDL_SMALL_FIRST && value <= TDL_SMALL_LAST)
        return written(
            tdl_sink_put_byte(e->sink, (uint8_t)(TDL_TAG_SMALL + value - TDL_SMALL_FIRST)));
    uint8_t number[1 + TDL_VARINT_MAX] = {TDL_TAG_INT};
    uint64_t zigzag = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    size_t n = 1 + tdl_varint_write(number + 1, zigzag);
    return written(tdl_sink_put(e->sink, number, n));
}

static int
encode_float(struct encoder *e, PyObject *object)
{
    double value = PyFloat_AS_DOUBLE(object);
    uint8_t *at = tdl_sink_extend(e->sink, 1 + sizeof value);
    if (at == NULL)
        return -1;
    *at = TDL_TAG_FLOAT;
    memcpy(at + 1, &value, sizeof value);
    return 1;
}

static int
put_sized(struct encoder *e, int tag, size_t count, const void *data, size_t size)
{
    if (tdl_sink_put_byte(e->sink, (uint8_t)tag) < 0 || tdl_sink_put_varint(e->sink, count) < 0)
        return -1;
    return tdl_sink_put(e->sink, data, size);
}

static int
encode_str(struct encoder *e, PyObject *object)
{
    int r = number_leaf(e, object);
    if (r != 1)
        return r;
    if (PyUnicode_READY(object) < 0)
        return -1;
    int kind = (int)PyUnicode_KIND(object);
    int tag = kind == PyUnicode_1BYTE_KIND   ? TDL_TAG_STR1
              : kind == PyUnicode_2BYTE_KIND ? TDL_TAG_STR2
                                             : TDL_TAG_STR4;
    size_t length = (size_t)PyUnicode_GET_LENGTH(object);
    return written(put_sized(e, tag, length, PyUnicode_DATA(object), length * (size_t)kind));
}

static int
put_part(struct encoder *e, int tag, PyObject *object)
{
    Py_ssize_t number = tdl_sink_add_object(e->sink, object);
    if (number < 0 || tdl_sink_put_byte(e->sink, (uint8_t)tag) < 0)
        return -1;
    return tdl_sink_put_varint(e->sink, (uint64_t)number);
}

static int
encode_bytes(struct encoder *e, PyObject *object)
{
    int r = number_leaf(e, object);
    if (r != 1)
        return r;
    size_t size = (size_t)PyBytes_GET_SIZE(object);
    if (size >= e->sink->part_min)
        return written(put_part(e, TDL_TAG_BYTES_PART, object));
    return written(put_sized(e, TDL_TAG_BYTES, size, PyBytes_AS_STRING(object), size));
}

static int
encode_bytearray(struct encoder *e, PyObject *object)
{
    int r = number_object(e, object, NULL);
    if (r != 1)
        return r;
    /* A part's buffer is exported, which keeps the size; a short one is copied
     * at once, and without the GIL somebody may change it meanwhile. */
    if ((size_t)PyByteArray_GET_SIZE(object) >= e->sink->part_min)
        return written(put_part(e, TDL_TAG_BYTEARRAY_PART, object));
    TDL_CRITICAL_BEGIN(object);
    size_t size = (size_t)PyByteArray_GET_SIZE(object);
    r = put_sized(e, TDL_TAG_BYTEARRAY, size, PyByteArray_AS_STRING(object), size);
    TDL_CRITICAL_END();
    return written(r);
}

static int
put_head(struct encoder *e, int tag, Py_ssize_t count)
{
    if (tdl_sink_put_byte(e->sink, (uint8_t)tag) < 0)
        return -1;
    return tdl_sink_put_varint(e->sink, (uint64_t)count);
}

static int
encode_tuple(struct encoder *e, PyObject *object)
{
    Py_ssize_t count = PyTuple_GET_SIZE(object);
    struct known *entry = NULL;
    int r = number_object(e, object, &entry);
    if (r != 1)
        return r;
    if (put_head(e, TDL_TAG_TUPLE, count) < 0)
        return -1;
    entry->open = true;
    for (Py_ssize_t i = 0; r == 1 && i < count; i++)
        r = encode(e, PyTuple_GET_ITEM(object, i));
    entry->open = false;
    return r;
}

/* The reference makes sure that a list that another thread changes meanwhile
 * does no harm; the count that was written must hold in the end. */
static int
encode_items(struct encoder *e, PyObject *list, Py_ssize_t count)
{
    int r = 1;
    for (Py_ssize_t i = 0; r == 1 && i < count; i++) {
        if (i >= PyList_GET_SIZE(list))
            return 0;
        PyObject *item = Py_NewRef(PyList_GET_ITEM(list, i));
        r = encode(e, item);
        Py_DECREF(item);
    }
    return r == 1 && PyList_GET_SIZE(list) != count ? 0 : r;
}

static int
encode_list(struct encoder *e, PyObject *object)
{
    int r = number_object(e, object, NULL);
    if (r != 1)
        return r;
    TDL_CRITICAL_BEGIN(object);
    Py_ssize_t count = PyList_GET_SIZE(object);
    r = put_head(e, TDL_TAG_LIST, count) < 0 ? -1 : encode_items(e, object, count);
    TDL_CRITICAL_END();
    return r;
}

static int
encode_pairs(struct encoder *e, PyObject *dict, Py_ssize_t count)
{
    PyObject *key, *value;
    Py_ssize_t position = 0, pairs = 0;
    int r = 1;
    while (r == 1 && PyDict_Next(dict, &position, &key, &value)) {
        Py_INCREF(key);
        Py_INCREF(value);
        r = encode(e, key);
        if (r == 1)
            r = encode(e, value);
        Py_DECREF(value);
        Py_DECREF(key);
        pairs++;
    }
    return r == 1 && pairs != count ? 0 : r;
}

static int
encode_dict(struct encoder *e, PyObject *object)
{
    int r = number_object(e, object, NULL);
    if (r != 1)
        return r;
    TDL_CRITICAL_BEGIN(object);
    Py_ssize_t count = PyDict_GET_SIZE(object);
    r = put_head(e, TDL_TAG_DICT, count) < 0 ? -1 : encode_pairs(e, object, count);
    TDL_CRITICAL_END();
    return r;
}

static int
encode_container(struct encoder *e, PyObject *object)
{
    if (e->depth == TDL_COMPACT_DEPTH)
        return 0;
    e->depth++;
    int r = 0;
    if (PyTuple_CheckExact(object))
        r = encode_tuple(e, object);
    else if (PyList_CheckExact(object))
        r = encode_list(e, object);
    else if (PyDict_CheckExact(object))
        r = encode_dict(e, object);
    e->depth--;
    return r == 2 ? 1 : r;
}

static int
encode_leaf(struct encoder *e, PyObject *object)
{
    int r;
    if (PyUnicode_CheckExact(object))
        r = encode_str(e, object);
    else if (PyBytes_CheckExact(object))
        r = encode_bytes(e, object);
    else if (PyByteArray_CheckExact(object))
        r = encode_bytearray(e, object);
    else
        return encode_container(e, object);
    return r == 2 ? 1 : r;
}

static int
encode(struct encoder *e, PyObject *object)
{
    if (e->nodes++ == TDL_COMPACT_NODES)
        return 0;
    if (PyLong_CheckExact(object))
        return encode_int(e, object);
    if (PyFloat_CheckExact(object))
        return encode_float(e, object);
    if (object == Py_None)
        return written(tdl_sink_put_byte(e->sink, TDL_TAG_NONE));
    if (object == Py_True)
        return written(tdl_sink_put_byte(e->sink, TDL_TAG_TRUE));
    if (object == Py_False)
        return written(tdl_sink_put_byte(e->sink, TDL_TAG_FALSE));
    return encode_leaf(e, object);
}

static void
start(struct encoder *e, struct tdl_sink *sink)
{
    e->sink = sink;
    e->nodes = e->depth = e->numbered = e->nknown = 0;
}

static int
finish(struct encoder *e, int r, size_t size, size_t nparts)
{
    if (r != 1)
        tdl_sink_cut(e->sink, size, nparts);
    return r;
}

int
tdl_compact_encode(struct tdl_sink *sink, PyObject *object)
{
    struct encoder e;
    size_t size = sink->out->size, nparts = sink->nparts;
    start(&e, sink);
    return finish(&e, encode(&e, object), size, nparts);
}

static int
encode_arguments(struct encoder *e, PyObject *const *args, Py_ssize_t nargs)
{
    /* the tuple that the arguments will be, an object that is not here yet */
    e->numbered++;
    int r = written(put_head(e, TDL_TAG_TUPLE, nargs));
    for (Py_ssize_t i = 0; r == 1 && i < nargs; i++)
        r = encode(e, args[i]);
    return r;
}

static int
encode_keywords(struct encoder *e, PyObject *const *values, PyObject *names)
{
    Py_ssize_t count = names == NULL ? 0 : PyTuple_GET_SIZE(names);
    if (count == 0)
        return written(tdl_sink_put_byte(e->sink, TDL_TAG_NONE));
    e->numbered++;
    int r = written(put_head(e, TDL_TAG_DICT, count));
    for (Py_ssize_t i = 0; r == 1 && i < count; i++) {
        r = encode(e, PyTuple_GET_ITEM(names, i));
        if (r == 1)
            r = encode(e, values[i]);
    }
    return r;
}

int
tdl_compact_encode_call(struct tdl_sink *sink, PyObject *const *args, Py_ssize_t nargs,
                        PyObject *kwnames)
{
    struct encoder e;
    size_t size = sink->out->size, nparts = sink->nparts;
    start(&e, sink);
    int r = encode_arguments(&e, args, nargs);
    if (r == 1)
        r = encode_keywords(&e, args + nargs, kwnames);
    return finish(&e, r, size, nparts);
}

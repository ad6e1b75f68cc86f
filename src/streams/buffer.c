/* The bytes of a reader: what came last as it came, the rest in `_buffer`. */
#include <string.h>

#include "streams/reader.h"

/* Whether `data` may be kept beside `_buffer`: nobody else must be able to see that it
 * is not in there. */
static bool
may_keep_beside(PyObject *buffer)
{
    return PyByteArray_GET_SIZE(buffer) == 0 && Py_REFCNT(buffer) == 1;
}

static int
extend(PyObject *buffer, const char *bytes, Py_ssize_t n)
{
    Py_ssize_t size = PyByteArray_GET_SIZE(buffer);
    if (PyByteArray_Resize(buffer, size + n) < 0)
        return -1;
    memcpy(PyByteArray_AS_STRING(buffer) + size, bytes, (size_t)n);
    return 0;
}

int
tdl_reader_settle(ReaderState *self)
{
    PyObject *chunk = self->chunk;
    if (chunk == NULL)
        return 0;
    if (extend(self->fields[TDL_READER_BUFFER], tdl_reader_bytes(self), tdl_reader_size(self)) <
        0)
        return -1;
    self->chunk = NULL;
    Py_DECREF(chunk);
    return 0;
}

/* Make what is left of the chunk and `data` the new chunk.  For a rest that is no longer
 * than `data`, so that no byte is moved more often than twice in a row. */
static int
join(ReaderState *self, PyObject *data)
{
    Py_ssize_t rest = tdl_reader_size(self), more = PyBytes_GET_SIZE(data);
    PyObject *both = PyBytes_FromStringAndSize(NULL, rest + more);
    if (both == NULL)
        return -1;
    memcpy(PyBytes_AS_STRING(both), tdl_reader_bytes(self), (size_t)rest);
    memcpy(PyBytes_AS_STRING(both) + rest, PyBytes_AS_STRING(data), (size_t)more);
    Py_SETREF(self->chunk, both);
    self->start = 0;
    return 0;
}

int
tdl_reader_append(ReaderState *self, PyObject *data)
{
    PyObject *buffer = self->fields[TDL_READER_BUFFER];
    if (self->chunk != NULL && Py_REFCNT(buffer) == 1 &&
        tdl_reader_size(self) <= PyBytes_GET_SIZE(data))
        return join(self, data);
    if (self->chunk == NULL && may_keep_beside(buffer)) {
        self->chunk = Py_NewRef(data);
        self->start = 0;
        return 0;
    }
    if (tdl_reader_settle(self) < 0)
        return -1;
    return extend(buffer, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data));
}

static PyObject *
take_from_chunk(ReaderState *self, Py_ssize_t n)
{
    PyObject *chunk = self->chunk;
    Py_ssize_t size = PyBytes_GET_SIZE(chunk);
    if (self->start == 0 && n == size) {
        self->chunk = NULL;
        return chunk;
    }
    PyObject *taken = PyBytes_FromStringAndSize(PyBytes_AS_STRING(chunk) + self->start, n);
    if (taken == NULL)
        return NULL;
    self->start += n;
    if (self->start == size)
        Py_CLEAR(self->chunk);
    return taken;
}

PyObject *
tdl_reader_take(ReaderState *self, Py_ssize_t n)
{
    if (self->chunk != NULL)
        return take_from_chunk(self, n);
    PyObject *buffer = self->fields[TDL_READER_BUFFER];
    PyObject *taken = PyBytes_FromStringAndSize(PyByteArray_AS_STRING(buffer), n);
    int r = taken == NULL || n == 0             ? 0
            : n == PyByteArray_GET_SIZE(buffer) ? PyByteArray_Resize(buffer, 0)
                                                : PySequence_DelSlice(buffer, 0, n);
    if (r < 0)
        Py_CLEAR(taken);
    return taken;
}

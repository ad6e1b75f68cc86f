#include "loop/spare.h"

#include <string.h>

enum {
    /* Below this a copy costs less than it saves. */
    WORTH_IT = 4096,
    /* From here on the C library's allocator has no list of free blocks of one size for
     * each thread, and takes as long as all the rest of a read. */
    SLOW_TO_MAKE = 960,
    GRAIN = 64 /* capacities are multiples of this */
};

int
tdl_spare_class(size_t size)
{
    if (size < WORTH_IT)
        return TDL_SPARE_NONE;
    int size_class = 0;
    while (size_class < TDL_SPARE_CLASSES - 1 && tdl_spare_capacity(size_class) <= size)
        size_class++;
    return size_class;
}

PyObject *
tdl_spare_take(struct tdl_spares *spares, int size_class)
{
    PyObject *bytes = spares->bytes[size_class];
    spares->bytes[size_class] = NULL;
    if (bytes != NULL)
        return bytes;
    return PyBytes_FromStringAndSize(NULL, (Py_ssize_t)tdl_spare_capacity(size_class));
}

PyObject *
tdl_spare_fit_steal(PyObject *bytes, size_t size, bool shrink)
{
    if (shrink || TDL_FREE_THREADED)
        _PyBytes_Resize(&bytes, (Py_ssize_t)size);
    else
        tdl_bytes_set_size(bytes, (Py_ssize_t)size);
    return bytes;
}

bool
tdl_spare_give_back_steal(struct tdl_spares *spares, int size_class, PyObject *bytes,
                          bool shrunk)
{
    bool kept = Py_REFCNT(bytes) > 1;
    if (kept || shrunk || TDL_FREE_THREADED || spares->bytes[size_class] != NULL) {
        Py_DECREF(bytes);
        return kept;
    }
    tdl_bytes_set_size(bytes, (Py_ssize_t)tdl_spare_capacity(size_class));
    spares->bytes[size_class] = bytes;
    return false;
}

/* A new one in the place of `copy`, which somebody has kept. */
static PyObject *
make_copy(struct tdl_spare_copy *copy, const char *bytes, size_t size)
{
    size_t capacity = (size + GRAIN - 1) / GRAIN * GRAIN;
    PyObject *made = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)capacity);
    if (made == NULL)
        return NULL;
    memcpy(PyBytes_AS_STRING(made), bytes, size);
    tdl_bytes_set_size(made, (Py_ssize_t)size);
    Py_XSETREF(copy->bytes, Py_NewRef(made));
    copy->capacity = capacity;
    return made;
}

PyObject *
tdl_spare_copy(struct tdl_spares *spares, const char *bytes, size_t size)
{
    if (TDL_FREE_THREADED || size < SLOW_TO_MAKE || size >= WORTH_IT)
        return PyBytes_FromStringAndSize(bytes, (Py_ssize_t)size);
    struct tdl_spare_copy *copy = &spares->copies[spares->next_copy++ % TDL_SPARE_COPIES];
    if (copy->bytes == NULL || Py_REFCNT(copy->bytes) != 1 || copy->capacity < size)
        return make_copy(copy, bytes, size);
    memcpy(PyBytes_AS_STRING(copy->bytes), bytes, size);
    tdl_bytes_set_size(copy->bytes, (Py_ssize_t)size);
    return Py_NewRef(copy->bytes);
}

void
tdl_spare_clear(struct tdl_spares *spares)
{
    for (int i = 0; i < TDL_SPARE_CLASSES; i++)
        Py_CLEAR(spares->bytes[i]);
    for (int i = 0; i < TDL_SPARE_COPIES; i++)
        Py_CLEAR(spares->copies[i].bytes);
}

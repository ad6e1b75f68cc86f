#include "loop/spare.h"

/* Below this a copy costs less than it saves. */
enum { WORTH_IT = 4096 };

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

void
tdl_spare_clear(struct tdl_spares *spares)
{
    for (int i = 0; i < TDL_SPARE_CLASSES; i++)
        Py_CLEAR(spares->bytes[i]);
}

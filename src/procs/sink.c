#include "procs/sink.h"

void
tdl_sink_init(struct tdl_sink *sink, struct tdl_bytes *out)
{
    *sink = (struct tdl_sink){.out = out, .part_min = TDL_PART_MIN};
}

static void
release_part(struct tdl_part *part)
{
    if (part->view.obj != NULL)
        PyBuffer_Release(&part->view);
}

void
tdl_sink_cut(struct tdl_sink *sink, size_t size, size_t nparts)
{
    sink->out->size = size;
    while (sink->nparts > nparts) {
        struct tdl_part part = sink->parts[--sink->nparts];
        release_part(&part);
    }
}

void
tdl_sink_fini(struct tdl_sink *sink)
{
    tdl_sink_cut(sink, sink->out->size, 0);
    PyMem_RawFree(sink->parts);
    sink->parts = NULL;
    sink->parts_capacity = 0;
}

static int
room_for_part(struct tdl_sink *sink)
{
    if (sink->nparts < sink->parts_capacity)
        return 0;
    if (sink->nparts >= TDL_PARTS_MAX) {
        PyErr_Format(PyExc_OverflowError, "a message can have at most %d buffers",
                     TDL_PARTS_MAX);
        return -1;
    }
    size_t capacity = sink->parts_capacity > 0 ? sink->parts_capacity * 2 : 4;
    struct tdl_part *parts = PyMem_RawRealloc(sink->parts, capacity * sizeof *parts);
    if (parts == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    sink->parts = parts;
    sink->parts_capacity = capacity;
    return 0;
}

Py_ssize_t
tdl_sink_add_view(struct tdl_sink *sink, Py_buffer *view)
{
    if (room_for_part(sink) < 0) {
        PyBuffer_Release(view);
        return -1;
    }
    /* A Py_buffer may be copied as long as only one copy is released: what points
     * into the structure itself (shape, for some exporters) is not used here. */
    sink->parts[sink->nparts] =
        (struct tdl_part){.view = *view, .data = view->buf, .size = (size_t)view->len};
    return (Py_ssize_t)sink->nparts++;
}

Py_ssize_t
tdl_sink_add_object(struct tdl_sink *sink, PyObject *object)
{
    Py_buffer view;
    if (PyObject_GetBuffer(object, &view, PyBUF_SIMPLE) < 0)
        return -1;
    return tdl_sink_add_view(sink, &view);
}

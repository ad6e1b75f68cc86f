#include "procs/buffers.h"

#include "procs/shared.h"

enum { DETACHED_COPY = 1 << 18, SWEEP = 8 };

/* ---- what is on its way --------------------------------------------------------------------- */

void
tdl_outbound_init(struct tdl_outbound *out, struct tdl_state *st)
{
    *out = (struct tdl_outbound){.st = st};
    tdl_lock_init(&out->lock);
}

void
tdl_outbound_fini(struct tdl_outbound *out)
{
    for (size_t i = 0; i < out->npins; i++)
        Py_DECREF(out->pins[i].object);
    PyMem_RawFree(out->pins);
    tdl_blocks_free(out->blocks);
    tdl_outbound_init(out, out->st);
}

/* Take one pin out that is not needed any more; NULL if there is none among `*most`. */
static PyObject *
unpin(struct tdl_outbound *out, size_t *most)
{
    PyObject *object = NULL;
    tdl_lock_acquire(&out->lock);
    for (; object == NULL && *most > 0 && out->npins > 0; --*most) {
        size_t i = out->next_pin++ % out->npins;
        if (tdl_blocks_in_use(out->blocks, &out->pins[i].block))
            continue;
        object = out->pins[i].object;
        out->pins[i] = out->pins[--out->npins];
    }
    tdl_lock_release(&out->lock);
    return object;
}

void
tdl_outbound_sweep(struct tdl_outbound *out, size_t most)
{
    if (out->npins == 0)
        return;
    PyObject *object;
    while ((object = unpin(out, &most)) != NULL)
        Py_DECREF(object);
}

/* Keep `object` (stolen) until `block` is released. */
static int
pin_steal(struct tdl_outbound *out, PyObject *object, const struct tdl_block *block)
{
    int r = 0;
    tdl_lock_acquire(&out->lock);
    if (out->npins == out->pins_capacity) {
        size_t capacity = out->pins_capacity > 0 ? out->pins_capacity * 2 : 8;
        struct tdl_pin *pins = PyMem_RawRealloc(out->pins, capacity * sizeof *pins);
        if (pins == NULL) {
            r = -1;
        }
        else {
            out->pins = pins;
            out->pins_capacity = capacity;
        }
    }
    if (r == 0)
        out->pins[out->npins++] = (struct tdl_pin){.object = object, .block = *block};
    tdl_lock_release(&out->lock);
    if (r < 0) {
        Py_DECREF(object);
        PyErr_NoMemory();
    }
    return r;
}

/* ---- sending ----------------------------------------------------------------------------------- */

struct packing {
    struct tdl_outbound *out;
    struct tdl_sink *sink;
    size_t body;            /* where it begins in the bytes */
    struct tdl_block *refs; /* of the parts, the body, and for each shared buffer */
    uint32_t nrefs;
    struct tdl_block *pins; /* not in the refs yet */
    struct tdl_shared_ref *shared;
    uint32_t nshared;
};

static void
copy(void *to, const void *from, size_t size)
{
    if (size < DETACHED_COPY) {
        if (size > 0)
            memcpy(to, from, size);
        return;
    }
    Py_BEGIN_ALLOW_THREADS
    memcpy(to, from, size);
    Py_END_ALLOW_THREADS
}

/* A block with a copy of `data`.  Returns whether there was one. */
static bool
put_into_block(struct packing *p, const void *data, size_t size, struct tdl_block *block)
{
    void *memory;
    if (p->out->blocks == NULL || tdl_blocks_alloc(p->out->blocks, size, block, &memory) < 0)
        return false;
    copy(memory, data, size);
    return true;
}

static int
put_here(struct packing *p, const struct tdl_part *part, struct tdl_block *ref)
{
    size_t offset = p->sink->out->size - p->body;
    uint8_t *at = tdl_sink_extend(p->sink, part->size);
    if (at == NULL)
        return -1;
    memcpy(at, part->data, part->size);
    *ref = (struct tdl_block){.slot = TDL_REF_HERE, .offset = offset, .size = part->size};
    return 0;
}

/* The number of `shared` in the message; its `object` (stolen) is kept until it is there. */
static int64_t
put_shared_steal(struct packing *p, const struct tdl_shared_ref *shared, PyObject *object)
{
    for (uint32_t i = 0; i < p->nshared; i++)
        if (p->shared[i].inode == shared->inode && p->shared[i].device == shared->device) {
            Py_DECREF(object);
            return i;
        }
    struct tdl_block *pin = &p->pins[p->nshared];
    void *memory;
    if (p->out->blocks == NULL || tdl_blocks_alloc(p->out->blocks, 1, pin, &memory) < 0) {
        Py_DECREF(object);
        PyErr_SetString(PyExc_MemoryError, "no shared memory left to pass a shared buffer on");
        return -1;
    }
    if (pin_steal(p->out, object, pin) < 0) {
        tdl_blocks_drop(p->out->blocks, pin);
        return -1;
    }
    p->shared[p->nshared] = *shared;
    return p->nshared++;
}

static int
put_part(struct packing *p, const struct tdl_part *part)
{
    struct tdl_block *ref = &p->refs[p->nrefs];
    struct tdl_shared_ref shared;
    uint64_t offset;
    PyObject *object = tdl_shared_find(p->out->st, part->data, part->size, &shared, &offset);
    if (object != NULL) {
        int64_t number = put_shared_steal(p, &shared, object);
        if (number < 0)
            return -1;
        *ref = (struct tdl_block){.slot = TDL_REF_SHARED,
                                  .turn = (uint32_t)number,
                                  .offset = offset,
                                  .size = part->size};
    }
    else if (!put_into_block(p, part->data, part->size, ref) && put_here(p, part, ref) < 0) {
        return -1;
    }
    p->nrefs++;
    return 0;
}

static void
give_back(struct packing *p)
{
    for (uint32_t i = 0; i < p->nrefs; i++)
        if (p->out->blocks != NULL && p->refs[i].slot < TDL_BLOCKS_SLOTS)
            tdl_blocks_drop(p->out->blocks, &p->refs[i]);
    for (uint32_t i = 0; i < p->nshared; i++)
        tdl_blocks_drop(p->out->blocks, &p->pins[i]);
}

/* The body first, since parts without a block come behind it; its ref last. */
static int
put_all(struct packing *p, size_t body_size, unsigned flags)
{
    struct tdl_bytes *bytes = p->sink->out;
    struct tdl_block body;
    bool indirect =
        body_size > TDL_BODY_MOST && put_into_block(p, bytes->data + p->body, body_size, &body);
    if (indirect)
        bytes->size = p->body;
    int r = 0;
    for (size_t i = 0; r == 0 && i < p->sink->nparts; i++)
        r = put_part(p, &p->sink->parts[i]);
    if (indirect)
        p->refs[p->nrefs++] = body;
    if (r < 0)
        return -1;
    struct tdl_envelope envelope = {
        .flags = flags | (indirect ? TDL_ENVELOPE_INDIRECT : 0),
        .store = p->out->store,
        .nrefs = p->nrefs + p->nshared,
        .nshared = p->nshared,
        .body_size = indirect ? 0 : body_size,
    };
    for (uint32_t i = 0; i < p->nshared; i++) {
        p->refs[p->nrefs + i] = p->pins[i];
        p->refs[p->nrefs + i].size = 0;
    }
    if (envelope.nrefs == 0) {
        bytes->data[p->body - 1] = (uint8_t)flags;
        return 0;
    }
    if (tdl_envelope_write(bytes, p->body - 1, &envelope, p->refs, p->shared) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

int
tdl_buffers_send(struct tdl_outbound *out, struct tdl_sink *sink, size_t start, unsigned flags)
{
    size_t body_size = sink->out->size - start - 1;
    size_t n = sink->nparts;
    tdl_outbound_sweep(out, SWEEP);
    if (n == 0 && (body_size <= TDL_BODY_MOST || out->blocks == NULL)) {
        sink->out->data[start] = (uint8_t)flags;
        return 0;
    }
    struct packing p = {.out = out, .sink = sink, .body = start + 1};
    p.refs = PyMem_RawMalloc((2 * n + 1) * sizeof *p.refs);
    p.pins = PyMem_RawMalloc((n + 1) * sizeof *p.pins);
    p.shared = PyMem_RawMalloc((n + 1) * sizeof *p.shared);
    int r = -1;
    if (p.refs == NULL || p.pins == NULL || p.shared == NULL)
        PyErr_NoMemory();
    else
        r = put_all(&p, body_size, flags);
    if (r < 0)
        give_back(&p);
    PyMem_RawFree(p.refs);
    PyMem_RawFree(p.pins);
    PyMem_RawFree(p.shared);
    return r;
}

/* ---- objects that export a block ------------------------------------------------------------------ */

typedef struct {
    PyObject_HEAD
    struct tdl_state *st;
    struct tdl_blocks_view *view;
    struct tdl_block block;
    void *memory;
    unsigned generation;
} BlockObject;

static int
block_getbuffer(PyObject *op, Py_buffer *view, int flags)
{
    BlockObject *self = (BlockObject *)op;
    return PyBuffer_FillInfo(view, op, self->memory, (Py_ssize_t)self->block.size, 0, flags);
}

static Py_ssize_t
block_length(PyObject *op)
{
    return (Py_ssize_t)((BlockObject *)op)->block.size;
}

/* Items and slices are those of a memoryview. */
static PyObject *
block_subscript(PyObject *op, PyObject *key)
{
    PyObject *view = PyMemoryView_FromObject(op);
    PyObject *item = view == NULL ? NULL : PyObject_GetItem(view, key);
    Py_XDECREF(view);
    return item;
}

static int
block_assign(PyObject *op, PyObject *key, PyObject *value)
{
    PyObject *view = PyMemoryView_FromObject(op);
    int r = view == NULL    ? -1
            : value == NULL ? PyObject_DelItem(view, key)
                            : PyObject_SetItem(view, key, value);
    Py_XDECREF(view);
    return r;
}

/* As a bytearray, what protocol 5 makes of a buffer in the pickle. */
static PyObject *
block_reduce(PyObject *op, PyObject *protocol)
{
    long number = PyLong_AsLong(protocol);
    if (number == -1 && PyErr_Occurred())
        return NULL;
    if (number < 5)
        return Py_BuildValue("O(N)", &PyByteArray_Type, PyBytes_FromObject(op));
    PyObject *copied = PyByteArray_FromObject(op);
    PyObject *buffer = copied == NULL ? NULL : PyPickleBuffer_FromObject(copied);
    Py_XDECREF(copied);
    return Py_BuildValue("O(N)", &PyByteArray_Type, buffer);
}

static void
block_dealloc(PyObject *op)
{
    BlockObject *self = (BlockObject *)op;
    PyTypeObject *type = Py_TYPE(op);
    if (self->generation == self->st->generation)
        tdl_blocks_release(self->view, &self->block);
    tdl_blocks_view_unref(self->view);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyMethodDef block_methods[] = {
    {"__reduce_ex__", block_reduce, METH_O, "Pickle as a bytearray of the same content."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot block_slots[] = {
    {Py_bf_getbuffer, block_getbuffer},
    {Py_mp_length, block_length},
    {Py_mp_subscript, block_subscript},
    {Py_mp_ass_subscript, block_assign},
    {Py_tp_methods, block_methods},
    {Py_tp_dealloc, block_dealloc},
    {Py_tp_doc, "A buffer that came from another process; read in place."},
    {0, NULL},
};

static PyType_Spec block_spec = {
    .name = "treadle._native.Block",
    .basicsize = sizeof(BlockObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = block_slots,
};

int
tdl_buffers_exec(PyObject *module)
{
    return tdl_state_add_type(module, &block_spec, &tdl_state_of(module)->objects.Block);
}

static PyObject *
new_block(struct tdl_arrival *arrival, const struct tdl_block *block, void *memory)
{
    PyTypeObject *type = arrival->st->objects.Block;
    BlockObject *self = (BlockObject *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->st = arrival->st;
    self->generation = arrival->st->generation;
    self->view = arrival->view;
    tdl_blocks_view_ref(self->view);
    self->block = *block;
    self->memory = memory;
    return (PyObject *)self;
}

/* ---- receiving --------------------------------------------------------------------------------------- */

static int
malformed(struct tdl_arrival *arrival)
{
    tdl_compact_malformed(arrival->st, "a part is missing");
    return -1;
}

/* Where ref number `index` is in memory, and what it says. */
static int
locate(struct tdl_arrival *arrival, uint32_t index, struct tdl_block *ref,
       struct tdl_piece *piece)
{
    const struct tdl_envelope *e = &arrival->envelope;
    *ref = tdl_envelope_ref(e, index);
    piece->size = (size_t)ref->size;
    if (ref->slot == TDL_REF_HERE) {
        size_t left = e->size - (size_t)(e->body - e->data);
        if (ref->offset > left || ref->size > left - ref->offset)
            return malformed(arrival);
        piece->data = e->body + ref->offset;
        return 0;
    }
    piece->data = arrival->view == NULL ? NULL : tdl_blocks_at(arrival->view, ref);
    return piece->data == NULL ? malformed(arrival) : 0;
}

int
tdl_buffers_open(struct tdl_state *st, struct tdl_arrival *arrival,
                 struct tdl_blocks_view *view)
{
    const struct tdl_envelope *e = &arrival->envelope;
    bool indirect = (e->flags & TDL_ENVELOPE_INDIRECT) != 0;
    arrival->st = st;
    arrival->view = view;
    arrival->body = e->body;
    arrival->body_size = e->body_size;
    arrival->taken = false;
    arrival->nparts = e->nrefs;
    while (arrival->nparts > 0 && tdl_envelope_ref(e, arrival->nparts - 1).size == 0)
        arrival->nparts--; /* what pins shared buffers */
    if (!indirect)
        return 0;
    struct tdl_block ref;
    struct tdl_piece piece;
    if (arrival->nparts == 0)
        return malformed(arrival);
    if (locate(arrival, --arrival->nparts, &ref, &piece) < 0)
        return -1;
    arrival->body = piece.data;
    arrival->body_size = piece.size;
    return 0;
}

static PyObject *
shared_object(struct tdl_arrival *arrival, const struct tdl_block *ref)
{
    if (ref->turn >= arrival->envelope.nshared) {
        malformed(arrival);
        return NULL;
    }
    struct tdl_shared_ref shared = tdl_envelope_shared(&arrival->envelope, ref->turn);
    if (ref->offset > shared.size || ref->size > shared.size - ref->offset) {
        malformed(arrival);
        return NULL;
    }
    PyObject *whole = tdl_shared_open(arrival->st, &shared);
    if (whole == NULL || ref->size == shared.size)
        return whole;
    PyObject *view = PyMemoryView_FromObject(whole);
    Py_DECREF(whole);
    if (view == NULL)
        return NULL;
    PyObject *part = PySequence_GetSlice(view, (Py_ssize_t)ref->offset,
                                         (Py_ssize_t)(ref->offset + ref->size));
    Py_DECREF(view);
    return part;
}

static PyObject *
part_object(struct tdl_arrival *arrival, uint32_t index)
{
    struct tdl_block ref = tdl_envelope_ref(&arrival->envelope, index);
    struct tdl_piece piece;
    if (ref.slot == TDL_REF_SHARED)
        return shared_object(arrival, &ref);
    if (locate(arrival, index, &ref, &piece) < 0)
        return NULL;
    if (ref.slot != TDL_REF_HERE && (arrival->envelope.flags & TDL_ENVELOPE_KEEP) == 0)
        return new_block(arrival, &ref, (void *)(uintptr_t)piece.data);
    PyObject *object = PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)piece.size);
    if (object != NULL)
        copy(PyByteArray_AS_STRING(object), piece.data, piece.size);
    return object;
}

PyObject *
tdl_buffers_objects(struct tdl_arrival *arrival)
{
    PyObject *objects = PyList_New((Py_ssize_t)arrival->nparts);
    arrival->taken = objects != NULL;
    for (uint32_t i = 0; objects != NULL && i < arrival->nparts; i++) {
        PyObject *object = part_object(arrival, i);
        if (object == NULL) {
            Py_CLEAR(objects);
            arrival->taken = false; /* to release a block again does no harm */
        }
        else {
            PyList_SET_ITEM(objects, (Py_ssize_t)i, object);
        }
    }
    return objects;
}

int
tdl_buffers_pieces(struct tdl_arrival *arrival, struct tdl_piece *pieces)
{
    struct tdl_block ref;
    for (uint32_t i = 0; i < arrival->nparts; i++)
        if (locate(arrival, i, &ref, &pieces[i]) < 0)
            return -1;
    return 0;
}

void
tdl_buffers_close(struct tdl_arrival *arrival)
{
    struct tdl_blocks_view *view = arrival->view;
    if (view == NULL)
        return;
    bool keep = (arrival->envelope.flags & TDL_ENVELOPE_KEEP) != 0;
    uint32_t first = arrival->taken ? arrival->nparts : 0;
    for (uint32_t i = first; !keep && i < arrival->envelope.nrefs; i++) {
        struct tdl_block ref = tdl_envelope_ref(&arrival->envelope, i);
        tdl_blocks_release(view, &ref); /* does nothing for what is no block */
    }
    arrival->view = NULL;
    tdl_blocks_view_unref(view);
}

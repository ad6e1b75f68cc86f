/* What map() returns.  Behaves like the generator it stands in for: dropping it before
 * the first next() lets the items run, afterwards it cancels the rest. */
#include "core/clock.h"
#include "procs/map.h"
#include "py/errors.h"
#include "py/exclusive.h"

typedef struct {
    PyObject_HEAD
    ProcBatchObject *batch; /* NULL at the end */
    ProcChunkObject *chunk; /* whose values are being given, or NULL */
    Py_ssize_t position;    /* of the next one */
    int64_t deadline;       /* fixed */
    bool started;
    _Atomic bool busy; /* a thread is in next() or close() */
    struct tdl_waiter waiter;
} ProcMapObject;

static void
finish(ProcMapObject *self)
{
    ProcBatchObject *batch = self->batch;
    self->batch = NULL;
    Py_CLEAR(self->chunk);
    if (batch == NULL)
        return;
    tdl_procs_batch_cancel(batch);
    Py_DECREF(batch);
}

/* The next chunk that is done: 1, 0 if it is not there yet, -1 if there is none. */
static int
take_chunk(ProcMapObject *self, struct tdl_waiter *waiter)
{
    ProcBatchObject *batch = self->batch;
    int r = 1;
    TDL_CRITICAL_BEGIN(batch);
    ProcChunkObject *chunk = batch->first;
    if (chunk != NULL && chunk->done) {
        batch->first = chunk->next;
        chunk->next = NULL;
        if (batch->first == NULL)
            batch->last = &batch->first;
        self->chunk = chunk; /* the list's reference */
        self->position = 0;
    }
    else if (batch->chunks == 0 && chunk == NULL && !batch->feeding &&
             tdl_procs_batch_is_cut(batch))
        r = -1;
    else {
        r = batch->error != NULL ? -1 : 0;
        batch->waiter = waiter;
    }
    TDL_CRITICAL_END();
    return r;
}

/* Wait until the next chunk is done.  Returns 0, or -1 with an exception set. */
static int
wait_for_chunk(ProcMapObject *self)
{
    ProcBatchObject *batch = self->batch;
    int r = tdl_waiter_wait(&self->waiter, &batch->pool->source, self->deadline);
    if (r == 1)
        return 0;
    TDL_CRITICAL_BEGIN(batch);
    batch->waiter = NULL;
    TDL_CRITICAL_END();
    tdl_waiter_leave(&self->waiter);
    if (r == 0)
        PyErr_SetNone(PyExc_TimeoutError);
    return -1;
}

/* Get the next chunk.  Returns 1, 0 at the end, -1 with an exception set. */
static int
next_chunk(ProcMapObject *self)
{
    for (;;) {
        int r = take_chunk(self, NULL);
        ProcBatchObject *batch = self->batch;
        if (r > 0)
            /* the workers shall not wait for whoever deals with these results */
            return tdl_procs_batch_feed(batch) < 0 ? -1 : 1;
        PyObject *error = batch->error;
        batch->error = NULL;
        if (error != NULL) {
            tdl_err_put_steal(error);
            return -1;
        }
        if (r < 0)
            return 0;
        if (tdl_procs_batch_feed(batch) < 0)
            return -1;
        if (!tdl_procs_is_ours(batch->pool))
            return tdl_procs_check_open(batch->pool);
        tdl_waiter_rearm(&self->waiter);
        r = take_chunk(self, &self->waiter);
        if (r > 0)
            return tdl_procs_batch_feed(batch) < 0 ? -1 : 1;
        if (r == 0 && wait_for_chunk(self) < 0)
            return -1;
    }
}

/* A result was given: its place in the buffer goes to the next item. */
static int
refill(ProcMapObject *self, Py_ssize_t count)
{
    ProcBatchObject *batch = self->batch;
    TDL_CRITICAL_BEGIN(batch);
    batch->pending -= count;
    TDL_CRITICAL_END();
    return batch->buffersize > 0 ? tdl_procs_batch_feed(batch) : 0;
}

/* The next value of the chunk: a new reference, or NULL with an exception, or without
 * at its end. */
static PyObject *
take_value(ProcMapObject *self)
{
    ProcChunkObject *chunk = self->chunk;
    if (chunk->values != NULL && self->position < PyList_GET_SIZE(chunk->values)) {
        PyObject *value = PyList_GET_ITEM(chunk->values, self->position);
        /* what was given is not kept */
        PyList_SET_ITEM(chunk->values, self->position, Py_NewRef(Py_None));
        self->position++;
        if (refill(self, 1) < 0)
            Py_CLEAR(value);
        return value;
    }
    if (chunk->exception != NULL)
        tdl_reraise(chunk->exception);
    Py_CLEAR(self->chunk);
    return NULL;
}

static PyObject *
next_unlocked(ProcMapObject *self)
{
    self->started = true;
    while (self->batch != NULL) {
        if (self->chunk != NULL) {
            PyObject *value = take_value(self);
            if (value != NULL)
                return value;
            if (PyErr_Occurred())
                break;
        }
        if (next_chunk(self) <= 0)
            break;
    }
    PyObject *error = tdl_err_take();
    finish(self);
    if (error != NULL)
        tdl_err_put_steal(error);
    return NULL;
}

static int
enter(ProcMapObject *self)
{
    return tdl_exclusive_enter(&self->busy,
                               "map iterator is already being advanced by another thread");
}

static PyObject *
map_next(ProcMapObject *self)
{
    if (enter(self) < 0)
        return NULL;
    PyObject *value = next_unlocked(self);
    tdl_exclusive_leave(&self->busy);
    return value;
}

static PyObject *
map_close(ProcMapObject *self, PyObject *Py_UNUSED(ignored))
{
    if (enter(self) < 0)
        return NULL;
    finish(self);
    tdl_exclusive_leave(&self->busy);
    Py_RETURN_NONE;
}

static int
map_traverse(ProcMapObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->batch);
    return 0;
}

static void
map_dealloc(ProcMapObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (self->started)
        finish(self);
    Py_CLEAR(self->chunk);
    Py_CLEAR(self->batch);
    type->tp_free(self);
    Py_DECREF(type);
}

PyObject *
tdl_procs_map_new(ProcBatchObject *batch, int64_t deadline)
{
    PyTypeObject *type = batch->pool->st->objects.ProcMap;
    ProcMapObject *self = (ProcMapObject *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    tdl_waiter_init(&self->waiter, false, NULL);
    self->batch = (ProcBatchObject *)Py_NewRef(batch);
    self->deadline = deadline;
    return (PyObject *)self;
}

static PyMethodDef map_methods[] = {
    {"close", (PyCFunction)map_close, METH_NOARGS,
     "close($self, /)\n--\n\nCancel the items that have not started; no more results are given."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot map_slots[] = {
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, map_next},
    {Py_tp_traverse, map_traverse},
    {Py_tp_dealloc, map_dealloc},
    {Py_tp_methods, map_methods},
    {Py_tp_doc, "Iterator over the results of a process pool's map()."},
    {0, NULL},
};

static PyType_Spec map_spec = {
    .name = "treadle._native.ProcMap",
    .basicsize = sizeof(ProcMapObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = map_slots,
};

int
tdl_procs_map_exec(PyObject *module)
{
    return tdl_state_add_type(module, &map_spec, &tdl_state_of(module)->objects.ProcMap);
}

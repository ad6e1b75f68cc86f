#include "core/clock.h"
#include "procs/map.h"
#include "py/errors.h"

/* What a chunk should take, and how many items it has before that can be said. */
#define CHUNK_NS TDL_NS_PER_MS
enum { CHUNK_MAX = 4096, CHUNKS_A_WORKER = 4 };

/* ---- the pool's list of batches that have items -------------------------------------- */

static void
become_hungry(ProcBatchObject *batch)
{
    ProcPoolObject *pool = batch->pool;
    tdl_lock_acquire(&pool->lock);
    if (!batch->hungry) {
        batch->hungry = true;
        ProcBatchObject **last = &pool->hungry;
        while (*last != NULL)
            last = &(*last)->next_hungry;
        *last = (ProcBatchObject *)Py_NewRef(batch);
    }
    tdl_lock_release(&pool->lock);
    if (tdl_procs_wants_worker(pool))
        tdl_procs_ring(pool);
}

static void
stop_being_hungry(ProcBatchObject *batch)
{
    ProcPoolObject *pool = batch->pool;
    bool was = false;
    tdl_lock_acquire(&pool->lock);
    if (batch->hungry) {
        ProcBatchObject **link = &pool->hungry;
        while (*link != batch)
            link = &(*link)->next_hungry;
        *link = batch->next_hungry;
        batch->next_hungry = NULL;
        batch->hungry = false;
        was = true;
    }
    tdl_lock_release(&pool->lock);
    if (was)
        Py_DECREF(batch);
}

/* Nothing more will be cut. */
static void
drop_input(ProcBatchObject *batch)
{
    Py_CLEAR(batch->inputs);
    if (batch->items != NULL)
        batch->next_item = PyList_GET_SIZE(batch->items);
}

/* To be raised after all results that there are; the reference is taken. */
static void
put_error(ProcBatchObject *batch, PyObject *error)
{
    struct tdl_fire fire;
    PyObject *old;
    tdl_fire_init(&fire);
    TDL_CRITICAL_BEGIN(batch);
    old = batch->error;
    batch->error = error;
    if (batch->waiter != NULL) {
        tdl_waiter_choose(batch->waiter, &fire);
        batch->waiter = NULL;
    }
    TDL_CRITICAL_END();
    tdl_fire_all(&fire);
    Py_XDECREF(old);
}

bool
tdl_procs_is_hungry(ProcPoolObject *pool)
{
    tdl_lock_acquire(&pool->lock);
    bool hungry =
        pool->hungry != NULL && pool->queue.first == NULL && tdl_procs_has_room_locked(pool);
    tdl_lock_release(&pool->lock);
    return hungry;
}

void
tdl_procs_abandon_hungry(ProcPoolObject *pool, PyObject *make)
{
    for (;;) {
        tdl_lock_acquire(&pool->lock);
        ProcBatchObject *batch = pool->hungry;
        Py_XINCREF(batch);
        tdl_lock_release(&pool->lock);
        if (batch == NULL)
            return;
        stop_being_hungry(batch);
        drop_input(batch);
        PyObject *error = PyObject_CallNoArgs(make);
        put_error(batch, error == NULL ? tdl_err_take() : error);
        Py_DECREF(batch);
    }
}

/* ---- chunks -------------------------------------------------------------------------- */

static bool
chunk_is_plain(struct tdl_task *task)
{
    (void)task;
    return true;
}

/* Append to the batch's list; a reference is taken. */
static void
link_chunk(ProcBatchObject *batch, ProcChunkObject *chunk)
{
    *batch->last = (ProcChunkObject *)Py_NewRef(chunk);
    batch->last = &chunk->next;
}

/* The outcome is in. */
static void
settle(ProcChunkObject *chunk, PyObject *values, PyObject *exception, int64_t ns,
       struct tdl_fire *fire)
{
    ProcBatchObject *batch = chunk->batch;
    struct tdl_task *task = NULL;
    TDL_CRITICAL_BEGIN(batch);
    chunk->values = values;
    chunk->exception = exception;
    chunk->done = true;
    chunk->batch = NULL;
    task = chunk->task;
    chunk->task = NULL;
    batch->chunks--;
    if (ns > 0) {
        int64_t item = ns / chunk->count + 1;
        batch->item_ns += batch->item_ns == 0 ? item : (item - batch->item_ns) / 2;
    }
    if (batch->unordered)
        link_chunk(batch, chunk);
    if (batch->waiter != NULL && (batch->unordered || batch->first == chunk)) {
        tdl_waiter_choose(batch->waiter, fire);
        batch->waiter = NULL;
    }
    TDL_CRITICAL_END();
    if (task != NULL)
        tdl_task_unref(task);
    Py_DECREF(batch);
}

/* TDL_FRAME_MAPPED: 8 bytes for the time it took, the list (`split` bytes), and perhaps
 * an exception. */
static int
decode(struct tdl_task *task, ProcBatchObject *batch, PyObject **values, PyObject **exception,
       int64_t *ns)
{
    struct tdl_codec *codec = batch->pool->codec;
    const uint8_t *data = task->answer.data;
    size_t size = task->answer.size;
    if (size < sizeof *ns || task->split > size - sizeof *ns) {
        PyErr_SetString(PyExc_ValueError, "the results of a chunk do not decode");
        return -1;
    }
    memcpy(ns, data, sizeof *ns);
    data += sizeof *ns;
    size -= sizeof *ns + task->split;
    *values = tdl_codec_get_value(codec, data, task->split);
    if (*values != NULL && !PyList_CheckExact(*values)) {
        Py_CLEAR(*values);
        PyErr_SetString(PyExc_ValueError, "the results of a chunk are no list");
    }
    if (*values == NULL) {
        if (size > 0)
            tdl_codec_drop(codec, data + task->split, size);
        return -1;
    }
    if (size > 0) {
        *exception = tdl_codec_get_exception(codec, data + task->split, size);
        if (*exception == NULL)
            *exception = tdl_err_take();
    }
    return 0;
}

static void
chunk_complete(struct tdl_task *task, PyObject *value, PyObject *exception,
               struct tdl_fire *fire)
{
    ProcChunkObject *chunk = (ProcChunkObject *)task->target;
    PyObject *values = NULL;
    int64_t ns = 0;
    Py_XDECREF(value);
    if (chunk->batch == NULL) {
        Py_XDECREF(exception);
        return;
    }
    if (task->outcome == TDL_FRAME_MAPPED && exception == NULL &&
        decode(task, chunk->batch, &values, &exception, &ns) < 0)
        exception = tdl_err_take();
    settle(chunk, values, exception, ns, fire);
}

static void
chunk_cancel(struct tdl_task *task)
{
    struct tdl_fire fire;
    PyObject *error = PyObject_CallNoArgs(
        ((ProcChunkObject *)task->target)->batch->pool->st->objects.CancelledError);
    if (error == NULL)
        error = tdl_err_take();
    tdl_fire_init(&fire);
    settle((ProcChunkObject *)task->target, NULL, error, 0, &fire);
    tdl_fire_all(&fire);
}

static const struct tdl_task_ops chunk_ops = {
    .is_plain = chunk_is_plain,
    .complete = chunk_complete,
    .cancel = chunk_cancel,
};

/* ---- cutting ------------------------------------------------------------------------- */

static Py_ssize_t
wanted_items(ProcBatchObject *batch)
{
    Py_ssize_t wanted = batch->chunksize;
    if (wanted == 0) {
        wanted = batch->item_ns == 0 ? 1 : (Py_ssize_t)(CHUNK_NS / batch->item_ns);
        if (wanted > CHUNK_MAX)
            wanted = CHUNK_MAX;
        if (batch->items != NULL) {
            /* towards the end smaller ones, so that all workers end at the same time */
            Py_ssize_t left = PyList_GET_SIZE(batch->items) - batch->next_item;
            Py_ssize_t share = left / ((Py_ssize_t)batch->pool->max_workers * CHUNKS_A_WORKER);
            wanted = wanted > share ? share : wanted;
        }
        wanted = wanted < 1 ? 1 : wanted;
    }
    if (batch->buffersize > 0 && wanted > batch->buffersize - batch->pending)
        wanted = batch->buffersize - batch->pending;
    return wanted;
}

/* Up to `wanted` items of an iterator: a list, NULL with or without an exception. */
static PyObject *
take_from_iterator(ProcBatchObject *batch, PyObject *inputs, Py_ssize_t wanted)
{
    PyObject *items = PyList_New(0);
    while (items != NULL && PyList_GET_SIZE(items) < wanted) {
        PyObject *item = PyIter_Next(inputs);
        if (item == NULL) {
            Py_CLEAR(batch->inputs);
            if (PyErr_Occurred() || PyList_GET_SIZE(items) == 0)
                Py_CLEAR(items);
            break;
        }
        if (PyList_Append(items, item) < 0)
            Py_CLEAR(items);
        Py_DECREF(item);
    }
    return items;
}

/* The items of the next chunk: a list, NULL with or without an exception. */
static PyObject *
take_items(ProcBatchObject *batch)
{
    Py_ssize_t wanted = wanted_items(batch);
    if (wanted <= 0)
        return NULL;
    if (batch->items == NULL) {
        PyObject *inputs = Py_XNewRef(batch->inputs);
        PyObject *items = inputs == NULL ? NULL : take_from_iterator(batch, inputs, wanted);
        Py_XDECREF(inputs);
        return items;
    }
    Py_ssize_t from = batch->next_item, size = PyList_GET_SIZE(batch->items);
    if (from >= size)
        return NULL;
    batch->next_item = size - from < wanted ? size : from + wanted;
    return PyList_GetSlice(batch->items, from, batch->next_item);
}

static ProcChunkObject *
chunk_new(ProcBatchObject *batch, Py_ssize_t count)
{
    PyTypeObject *type = batch->pool->st->objects.ProcChunk;
    ProcChunkObject *chunk = PyObject_New(ProcChunkObject, type);
    if (chunk == NULL)
        return NULL;
    chunk->batch = (ProcBatchObject *)Py_NewRef(batch);
    chunk->count = count;
    chunk->next = NULL;
    chunk->task = NULL;
    chunk->values = chunk->exception = NULL;
    chunk->done = false;
    return chunk;
}

/* Encode fn and items.  Returns 0 or -1 with an exception set. */
static int
encode(ProcBatchObject *batch, struct tdl_task *task, PyObject *items)
{
    PyObject *args[3] = {batch->function, items, batch->star ? Py_True : Py_False};
    return tdl_codec_put_call(batch->pool->codec, &task->call, &task->function, args, 3, NULL);
}

/* Make a task of `items` and hand it in.  Returns 0 or -1 with an exception set. */
static int
send_chunk(ProcBatchObject *batch, PyObject *items)
{
    ProcChunkObject *chunk = chunk_new(batch, PyList_GET_SIZE(items));
    if (chunk == NULL)
        return -1;
    struct tdl_task *task =
        tdl_task_new(&chunk_ops, TDL_FRAME_MAP, (PyObject *)chunk, batch->function);
    if (task == NULL) {
        Py_DECREF(chunk);
        return -1;
    }
    task->retries = batch->retries;
    task->timeout = batch->timeout;
    int r = encode(batch, task, items);
    if (r == 0 && task->retries > 0)
        tdl_codec_keep(task->call.data, task->call.size);
    PyObject *error = r < 0 ? tdl_err_take() : NULL;
    TDL_CRITICAL_BEGIN(batch);
    batch->pending += chunk->count;
    batch->chunks++;
    if (!batch->unordered)
        link_chunk(batch, chunk);
    if (r == 0)
        chunk->task = tdl_task_ref(task);
    TDL_CRITICAL_END();
    if (r == 0)
        tdl_procs_submit(batch->pool, task);
    else {
        /* what cannot be sent is raised where its results would be */
        struct tdl_fire fire;
        tdl_fire_init(&fire);
        settle(chunk, NULL, error, 0, &fire);
        tdl_fire_all(&fire);
        tdl_task_unref(task);
    }
    Py_DECREF(chunk);
    return 0;
}

static bool
has_room(ProcPoolObject *pool)
{
    tdl_lock_acquire(&pool->lock);
    bool room = pool->queue.first == NULL && tdl_procs_has_room_locked(pool);
    tdl_lock_release(&pool->lock);
    return room;
}

bool
tdl_procs_batch_is_cut(ProcBatchObject *batch)
{
    if (batch->items != NULL)
        return batch->next_item >= PyList_GET_SIZE(batch->items);
    return batch->inputs == NULL;
}

/* Whether a chunk could be cut now. */
static bool
may_cut(ProcBatchObject *batch)
{
    return !tdl_procs_batch_is_cut(batch) &&
           (batch->buffersize == 0 || batch->pending < batch->buffersize);
}

static bool
begin_feeding(ProcBatchObject *batch)
{
    bool mine;
    TDL_CRITICAL_BEGIN(batch);
    mine = !batch->feeding;
    batch->feeding = true;
    TDL_CRITICAL_END();
    return mine;
}

/* While feeding: cut chunks as long as workers have room.  Returns 0, or -1 with what the
 * input raised. */
static int
cut_chunks(ProcBatchObject *batch)
{
    /* while this thread is at it nobody else need come */
    stop_being_hungry(batch);
    int r = 0;
    while (r == 0 && may_cut(batch) && has_room(batch->pool)) {
        PyObject *items = take_items(batch);
        if (items == NULL) {
            r = PyErr_Occurred() ? -1 : 0;
            break;
        }
        r = send_chunk(batch, items);
        Py_DECREF(items);
    }
    if (r == 0 && may_cut(batch))
        become_hungry(batch);
    return r;
}

/* The iterator waits for what is being cut; if that was nothing, it is at its end. */
static void
end_feeding(ProcBatchObject *batch)
{
    struct tdl_fire fire;
    tdl_fire_init(&fire);
    TDL_CRITICAL_BEGIN(batch);
    batch->feeding = false;
    if (batch->waiter != NULL && batch->chunks == 0 && batch->first == NULL &&
        tdl_procs_batch_is_cut(batch)) {
        tdl_waiter_choose(batch->waiter, &fire);
        batch->waiter = NULL;
    }
    TDL_CRITICAL_END();
    tdl_fire_all(&fire);
}

int
tdl_procs_batch_feed(ProcBatchObject *batch)
{
    /* the input may be Python code, which may let another thread come here */
    if (!begin_feeding(batch))
        return 0;
    int r = cut_chunks(batch);
    PyObject *error = tdl_err_take();
    end_feeding(batch);
    if (error != NULL)
        tdl_err_put_steal(error);
    return r;
}

/* The same for nobody who could be told: what the input raises is the iterator's. */
static void
feed_for_iterator(ProcBatchObject *batch)
{
    if (!begin_feeding(batch))
        return;
    if (cut_chunks(batch) < 0)
        put_error(batch, tdl_err_take());
    end_feeding(batch);
}

void
tdl_procs_feed_hungry(ProcPoolObject *pool)
{
    for (;;) {
        tdl_lock_acquire(&pool->lock);
        ProcBatchObject *batch = tdl_procs_has_room_locked(pool) ? pool->hungry : NULL;
        Py_XINCREF(batch);
        tdl_lock_release(&pool->lock);
        if (batch == NULL)
            return;
        feed_for_iterator(batch);
        Py_DECREF(batch);
    }
}

void
tdl_procs_batch_cancel(ProcBatchObject *batch)
{
    ProcPoolObject *pool = batch->pool;
    struct tdl_tasks tasks;
    struct tdl_task *task;
    tdl_tasks_init(&tasks);
    drop_input(batch);
    if (!tdl_procs_is_ours(pool))
        return;
    stop_being_hungry(batch);
    if (batch->chunks == 0)
        return;
    tdl_lock_acquire(&pool->lock);
    tdl_procs_take_back_locked(pool, batch, &tasks);
    tdl_lock_release(&pool->lock);
    while ((task = tdl_tasks_pop(&tasks)) != NULL) {
        chunk_cancel(task);
        tdl_codec_drop(pool->codec, task->call.data, task->call.size);
        tdl_task_unref(task);
    }
    tdl_procs_ring(pool);
}

bool
tdl_procs_is_chunk_of(struct tdl_task *task, const ProcBatchObject *batch)
{
    return task->ops == &chunk_ops && ((ProcChunkObject *)task->target)->batch == batch;
}

/* ---- the objects --------------------------------------------------------------------- */

ProcBatchObject *
tdl_procs_batch_new(ProcPoolObject *pool, PyObject *function, PyObject *items,
                    const struct tdl_procs_map_options *options)
{
    PyTypeObject *type = pool->st->objects.ProcBatch;
    ProcBatchObject *batch = (ProcBatchObject *)type->tp_alloc(type, 0);
    if (batch == NULL)
        return NULL;
    batch->pool = (ProcPoolObject *)Py_NewRef(pool);
    tdl_procs_begin_map(pool);
    batch->function = Py_NewRef(function);
    batch->star = options->star;
    batch->unordered = options->unordered;
    batch->retries = options->retries;
    batch->timeout = options->timeout;
    batch->chunksize = options->chunksize;
    batch->buffersize = options->buffersize;
    batch->last = &batch->first;
    if (PyList_CheckExact(items))
        batch->items = Py_NewRef(items);
    else
        batch->inputs = Py_NewRef(items);
    return batch;
}

static int
batch_traverse(ProcBatchObject *batch, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(batch));
    Py_VISIT(batch->function);
    Py_VISIT(batch->items);
    Py_VISIT(batch->inputs);
    return 0;
}

static int
batch_clear(ProcBatchObject *batch)
{
    Py_CLEAR(batch->items);
    Py_CLEAR(batch->inputs);
    return 0;
}

static void
batch_dealloc(ProcBatchObject *batch)
{
    PyTypeObject *type = Py_TYPE(batch);
    PyObject_GC_UnTrack(batch);
    batch_clear(batch);
    ProcChunkObject *chunk = batch->first;
    while (chunk != NULL) {
        /* one by one: the chain may be long */
        ProcChunkObject *next = chunk->next;
        chunk->next = NULL;
        Py_DECREF(chunk);
        chunk = next;
    }
    Py_CLEAR(batch->function);
    Py_CLEAR(batch->error);
    if (batch->pool != NULL)
        tdl_procs_end_map(batch->pool);
    Py_CLEAR(batch->pool);
    type->tp_free(batch);
    Py_DECREF(type);
}

static void
chunk_dealloc(ProcChunkObject *chunk)
{
    PyTypeObject *type = Py_TYPE(chunk);
    Py_XDECREF(chunk->batch);
    Py_XDECREF(chunk->next);
    Py_XDECREF(chunk->values);
    Py_XDECREF(chunk->exception);
    if (chunk->task != NULL)
        tdl_task_unref(chunk->task);
    PyObject_Free(chunk);
    Py_DECREF(type);
}

static PyType_Slot batch_slots[] = {
    {Py_tp_traverse, batch_traverse},
    {Py_tp_clear, batch_clear},
    {Py_tp_dealloc, batch_dealloc},
    {Py_tp_doc, "The items and results of one map()."},
    {0, NULL},
};

static PyType_Spec batch_spec = {
    .name = "treadle._native.ProcBatch",
    .basicsize = sizeof(ProcBatchObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = batch_slots,
};

static PyType_Slot chunk_slots[] = {
    {Py_tp_dealloc, chunk_dealloc},
    {Py_tp_doc, "Some items of a map(), which are one task."},
    {0, NULL},
};

static PyType_Spec chunk_spec = {
    .name = "treadle._native.ProcChunk",
    .basicsize = sizeof(ProcChunkObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = chunk_slots,
};

int
tdl_procs_batch_exec(PyObject *module)
{
    struct tdl_objects *o = &tdl_state_of(module)->objects;
    if (tdl_state_add_type(module, &batch_spec, &o->ProcBatch) < 0)
        return -1;
    return tdl_state_add_type(module, &chunk_spec, &o->ProcChunk);
}

#include "py/errors.h"
#include "threads/map.h"

static struct tdl_slot *
slot_at(struct tdl_slot *ring, const MapBatchObject *batch, uint64_t index)
{
    return &ring[index & (batch->size - 1)];
}

/* ---- growing ---------------------------------------------------------------------- */

static void
copy_ring(struct tdl_slot *to, uint64_t to_size, const MapBatchObject *batch,
          struct tdl_slot *from, uint64_t first, uint64_t last)
{
    for (uint64_t i = first; i < last; i++)
        to[i & (to_size - 1)] = *slot_at(from, batch, i);
}

static int
grow_locked(MapBatchObject *batch)
{
    uint64_t size = batch->size == 0 ? 16 : 2 * batch->size;
    struct tdl_slot *slots = PyMem_RawMalloc(size * sizeof *slots);
    struct tdl_slot *results = NULL;
    if (batch->unordered)
        results = PyMem_RawMalloc(size * sizeof *results);
    if (slots == NULL || (batch->unordered && results == NULL)) {
        PyMem_RawFree(slots);
        PyMem_RawFree(results);
        return -1;
    }
    copy_ring(slots, size, batch, batch->slots, batch->unordered ? batch->next : batch->yielded,
              batch->tail);
    if (batch->unordered)
        copy_ring(results, size, batch, batch->results, batch->yielded, batch->done_tail);
    PyMem_RawFree(batch->slots);
    PyMem_RawFree(batch->results);
    batch->slots = slots;
    batch->results = results;
    batch->size = size;
    return 0;
}

int
tdl_map_batch_append(MapBatchObject *batch, PyObject *argument)
{
    int r = 0;
    tdl_lock_acquire(&batch->lock);
    if (batch->tail - batch->yielded == batch->size)
        r = grow_locked(batch);
    if (r == 0) {
        *slot_at(batch->slots, batch, batch->tail) =
            (struct tdl_slot){.value = argument, .state = TDL_SLOT_WAITING};
        batch->tail++;
    }
    tdl_lock_release(&batch->lock);
    if (r < 0) {
        Py_DECREF(argument);
        PyErr_NoMemory();
    }
    return r;
}

/* ---- the worker's side ------------------------------------------------------------ */

/* Take the next argument.  Returns it with its index, or NULL if none is left. */
static PyObject *
claim(MapBatchObject *batch, uint64_t *index)
{
    PyObject *argument = NULL;
    tdl_lock_acquire(&batch->lock);
    if (batch->next < batch->tail) {
        *index = batch->next++;
        struct tdl_slot *slot = slot_at(batch->slots, batch, *index);
        argument = slot->value;
        slot->value = NULL;
        slot->state = TDL_SLOT_RUNNING;
    }
    tdl_lock_release(&batch->lock);
    return argument;
}

/* Whether what the iterator waits for is there. */
static bool
ready_locked(const MapBatchObject *batch)
{
    if (batch->unordered)
        return batch->done_tail > batch->yielded;
    return batch->tail > batch->yielded &&
           slot_at(batch->slots, batch, batch->yielded)->state >= TDL_SLOT_RESULT;
}

static void
put_locked(MapBatchObject *batch, uint64_t index, PyObject *value, enum tdl_slot_state state,
           struct tdl_fire *fire)
{
    struct tdl_slot *slot = batch->unordered
                                ? slot_at(batch->results, batch, batch->done_tail++)
                                : slot_at(batch->slots, batch, index);
    *slot = (struct tdl_slot){.value = value, .state = state};
    if (batch->waiter != NULL && ready_locked(batch)) {
        tdl_waiter_choose(batch->waiter, fire);
        batch->waiter = NULL;
    }
}

static PyObject *
call_function(MapBatchObject *batch, PyObject *argument)
{
    if (!batch->star)
        return PyObject_CallOneArg(batch->function, argument);
    return PyObject_Vectorcall(batch->function, &PyTuple_GET_ITEM(argument, 0),
                               (size_t)PyTuple_GET_SIZE(argument), NULL);
}

static PyObject *
call_in_context(MapBatchObject *batch, PyObject *argument)
{
    if (batch->context == NULL)
        return call_function(batch, argument);
    /* items run at the same time: each in a copy of its own */
    PyObject *context = PyContext_Copy(batch->context);
    PyObject *result = NULL;
    if (context != NULL && PyContext_Enter(context) == 0) {
        result = call_function(batch, argument);
        PyObject *raised = result == NULL ? tdl_err_take() : NULL;
        if (PyContext_Exit(context) < 0)
            Py_CLEAR(result);
        if (raised != NULL) {
            PyErr_Clear();
            tdl_err_put_steal(raised);
        }
    }
    Py_XDECREF(context);
    return result;
}

bool
tdl_map_batch_run_one(MapBatchObject *batch, struct tdl_fire *fire)
{
    uint64_t index;
    PyObject *argument = claim(batch, &index);
    if (argument == NULL)
        return false;
    PyObject *value = call_in_context(batch, argument);
    enum tdl_slot_state state = value != NULL ? TDL_SLOT_RESULT : TDL_SLOT_RAISED;
    if (value == NULL)
        value = tdl_err_take();
    Py_DECREF(argument);
    tdl_lock_acquire(&batch->lock);
    put_locked(batch, index, value, state, fire);
    tdl_lock_release(&batch->lock);
    return true;
}

static MapBatchObject *
batch_of(struct tdl_job *job)
{
    return (MapBatchObject *)job->object;
}

static bool
map_run(struct tdl_job *job, struct tdl_fire *fire)
{
    return tdl_map_batch_run_one(batch_of(job), fire);
}

/* Each item that nobody has taken ends with `reason`'s error, or as cancelled. */
static void
map_abandon(struct tdl_job *job, PyObject *reason)
{
    MapBatchObject *batch = batch_of(job);
    struct tdl_objects *o = &batch->st->objects;
    PyObject *raised = tdl_err_take();
    PyObject *error = reason != NULL ? PyObject_CallOneArg(o->BrokenThreadPool, reason)
                                     : PyObject_CallNoArgs(o->CancelledError);
    if (error == NULL)
        error = tdl_err_take();
    struct tdl_fire fire;
    tdl_fire_init(&fire);
    uint64_t index;
    PyObject *argument;
    while ((argument = claim(batch, &index)) != NULL) {
        tdl_lock_acquire(&batch->lock);
        put_locked(batch, index, Py_NewRef(error), TDL_SLOT_RAISED, &fire);
        tdl_lock_release(&batch->lock);
        Py_DECREF(argument);
    }
    Py_DECREF(error);
    tdl_fire_all(&fire);
    if (raised != NULL)
        tdl_err_put_steal(raised);
}

static int
map_traverse(struct tdl_job *job, visitproc visit, void *arg)
{
    Py_VISIT(job->object);
    return 0;
}

static const struct tdl_job_ops map_ops = {
    .run = map_run,
    .abandon = map_abandon,
    .traverse = map_traverse,
};

/* ---- the iterator's side ---------------------------------------------------------- */

int
tdl_map_batch_take(MapBatchObject *batch, struct tdl_waiter *waiter, PyObject **value,
                   bool *raised)
{
    int r = 0;
    tdl_lock_acquire(&batch->lock);
    if (ready_locked(batch)) {
        struct tdl_slot *slot =
            slot_at(batch->unordered ? batch->results : batch->slots, batch, batch->yielded++);
        *value = slot->value;
        *raised = slot->state == TDL_SLOT_RAISED;
        r = 1;
    }
    else if (batch->yielded == batch->tail)
        r = -1;
    else
        batch->waiter = waiter;
    tdl_lock_release(&batch->lock);
    return r;
}

void
tdl_map_batch_forget_waiter(MapBatchObject *batch)
{
    tdl_lock_acquire(&batch->lock);
    batch->waiter = NULL;
    tdl_lock_release(&batch->lock);
}

void
tdl_map_batch_cancel(MapBatchObject *batch)
{
    uint64_t index;
    PyObject *argument;
    while ((argument = claim(batch, &index)) != NULL)
        Py_DECREF(argument);
}

/* ---- the object ------------------------------------------------------------------- */

MapBatchObject *
tdl_map_batch_new(struct tdl_state *st, PyObject *function, bool star, bool unordered,
                  PyObject *context, uint32_t chunksize, int32_t priority)
{
    PyTypeObject *type = st->objects.MapBatch;
    MapBatchObject *self = (MapBatchObject *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    tdl_job_init(&self->job, &map_ops, priority);
    self->job.object = (PyObject *)self;
    self->job.units = 0;
    self->job.grab = chunksize;
    self->st = st;
    self->function = Py_NewRef(function);
    self->context = Py_XNewRef(context);
    self->star = star;
    self->unordered = unordered;
    tdl_lock_init(&self->lock);
    return self;
}

/* Visit or release what the rings hold: `visit` NULL releases. */
static int
visit_ring(MapBatchObject *self, struct tdl_slot *ring, uint64_t first, uint64_t last,
           visitproc visit, void *arg)
{
    for (uint64_t i = first; i < last; i++) {
        struct tdl_slot *slot = slot_at(ring, self, i);
        if (slot->state == TDL_SLOT_RUNNING)
            continue;
        if (visit == NULL)
            Py_CLEAR(slot->value);
        else
            Py_VISIT(slot->value);
    }
    return 0;
}

static int
visit_rings(MapBatchObject *self, visitproc visit, void *arg)
{
    int r = visit_ring(self, self->slots, self->unordered ? self->next : self->yielded,
                       self->tail, visit, arg);
    if (r == 0 && self->unordered)
        r = visit_ring(self, self->results, self->yielded, self->done_tail, visit, arg);
    return r;
}

static int
batch_traverse(MapBatchObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->function);
    Py_VISIT(self->context);
    tdl_lock_acquire(&self->lock);
    int r = visit_rings(self, visit, arg);
    tdl_lock_release(&self->lock);
    return r;
}

static int
batch_clear(MapBatchObject *self)
{
    visit_rings(self, NULL, NULL);
    self->yielded = self->next = self->done_tail = self->tail;
    Py_CLEAR(self->function);
    Py_CLEAR(self->context);
    return 0;
}

static void
batch_dealloc(MapBatchObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    batch_clear(self);
    PyMem_RawFree(self->slots);
    PyMem_RawFree(self->results);
    type->tp_free(self);
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
    .name = "treadle._native.MapBatch",
    .basicsize = sizeof(MapBatchObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = batch_slots,
};

int
tdl_map_batch_exec(PyObject *module)
{
    return tdl_state_add_type(module, &batch_spec, &tdl_state_of(module)->objects.MapBatch);
}

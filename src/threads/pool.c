#include "threads/pool.h"
#include "py/histogram.h"

#include "core/clock.h"
#include "py/errors.h"
#include "threads/call.h"
#include "threads/worker.h"

static _Thread_local struct tdl_worker *current_worker;

struct tdl_worker *
tdl_worker_current(void)
{
    return current_worker;
}

void
tdl_worker_set_current(struct tdl_worker *worker)
{
    current_worker = worker;
}

bool
tdl_pool_may_help(WorkQueueObject *queue)
{
    struct tdl_worker *worker = tdl_worker_current();
    if (!tdl_pool_is_ours(queue))
        return false;
    return queue->inline_waits || (worker != NULL && worker->queue == queue);
}

/* ---- adding work ------------------------------------------------------------------ */

int
tdl_pool_check_open(WorkQueueObject *queue)
{
    struct tdl_objects *o = &queue->st->objects;
    if (!tdl_pool_is_ours(queue)) {
        PyErr_SetString(o->BrokenThreadPool,
                        "this pool was made before a fork and its threads do not exist in "
                        "the child process; create a new one here");
        return -1;
    }
    if (queue->broken != NULL) {
        PyErr_SetObject(o->BrokenThreadPool, queue->broken);
        return -1;
    }
    if (atomic_load_explicit(&queue->closed, memory_order_seq_cst)) {
        PyErr_SetString(PyExc_RuntimeError, "cannot schedule new futures after shutdown");
        return -1;
    }
    if (queue->st->exiting) {
        PyErr_SetString(PyExc_RuntimeError,
                        "cannot schedule new futures after interpreter shutdown");
        return -1;
    }
    return 0;
}

void
tdl_pool_wake_one(WorkQueueObject *queue)
{
    uint32_t nobody = 0;
    if (atomic_load_explicit(&queue->nsleepers, memory_order_seq_cst) == 0 ||
        !atomic_compare_exchange_strong_explicit(&queue->searching, &nobody, 1,
                                                 memory_order_seq_cst, memory_order_seq_cst))
        return;
    tdl_lock_acquire(&queue->idle_lock);
    struct tdl_worker *worker = queue->sleepers;
    if (worker != NULL) {
        queue->sleepers = worker->next_idle;
        worker->listed = false;
        atomic_fetch_sub_explicit(&queue->nsleepers, 1, memory_order_seq_cst);
    }
    tdl_lock_release(&queue->idle_lock);
    if (worker != NULL)
        tdl_parker_unpark(&worker->parker); /* it has the role now */
    else
        atomic_store_explicit(&queue->searching, 0, memory_order_seq_cst);
}

void
tdl_pool_wake_all(WorkQueueObject *queue)
{
    tdl_lock_acquire(&queue->idle_lock);
    struct tdl_worker *worker = queue->sleepers;
    queue->sleepers = NULL;
    atomic_store_explicit(&queue->nsleepers, 0, memory_order_seq_cst);
    for (struct tdl_worker *w = worker; w != NULL; w = w->next_idle)
        w->listed = false;
    while (worker != NULL) {
        /* under the lock: a worker that is told may leave and be gone */
        struct tdl_worker *next = worker->next_idle;
        tdl_parker_unpark(&worker->parker);
        worker = next;
    }
    tdl_lock_release(&queue->idle_lock);
}

int
tdl_pool_added(WorkQueueObject *queue)
{
    atomic_store_explicit(&queue->submitter_cpu, tdl_cpu_current(), memory_order_relaxed);
    tdl_pool_wake_one(queue);
    /* the queue first: a worker that takes a job stops being idle before, so none
     * counts both as idle and by having made the queue shorter */
    int64_t waiting = tdl_runq_count(&queue->runq);
    int32_t have = atomic_load_explicit(&queue->idle, memory_order_seq_cst) +
                   atomic_load_explicit(&queue->starting, memory_order_seq_cst);
    return waiting > have &&
           atomic_load_explicit(&queue->workers, memory_order_seq_cst) <
               atomic_load_explicit(&queue->max_workers, memory_order_relaxed);
}

int
tdl_pool_push(WorkQueueObject *queue, struct tdl_job *job)
{
    job->submitted = tdl_clock_now();
    if (tdl_pool_check_open(queue) < 0) {
        job->ops->abandon(job, NULL);
        tdl_job_unref(job);
        return -1;
    }
    int r = tdl_runq_push(&queue->runq, job);
    if (r < 0) {
        job->ops->abandon(job, NULL);
        tdl_job_unref(job);
        return tdl_raise_errno(r);
    }
    /* closed meanwhile (free-threaded only) and the last worker has left: it
     * looked at the queue after it had counted itself out, and so do we */
    if (atomic_load_explicit(&queue->closed, memory_order_seq_cst) &&
        atomic_load_explicit(&queue->workers, memory_order_seq_cst) == 0) {
        tdl_pool_abandon_all(queue, NULL);
        return tdl_pool_check_open(queue);
    }
    return tdl_pool_added(queue);
}

/* ---- ending ----------------------------------------------------------------------- */

void
tdl_pool_close(WorkQueueObject *queue)
{
    atomic_store_explicit(&queue->closed, true, memory_order_seq_cst);
    if (tdl_pool_is_ours(queue))
        tdl_pool_wake_all(queue);
}

void
tdl_pool_abandon_all(WorkQueueObject *queue, PyObject *reason)
{
    struct tdl_job *job;
    uint32_t units;
    if (!tdl_pool_is_ours(queue))
        return;
    while ((job = tdl_runq_pop(&queue->runq, false, &units)) != NULL) {
        job->ops->abandon(job, reason);
        tdl_job_unref(job);
    }
}

/* ---- stats ------------------------------------------------------------------------ */

static PyObject *
queue_stats(WorkQueueObject *self, PyObject *Py_UNUSED(ignored))
{
    struct tdl_stats *total = PyMem_Calloc(1, sizeof *total);
    if (total == NULL)
        return PyErr_NoMemory();
    if (tdl_pool_is_ours(self)) {
        tdl_lock_acquire(&self->idle_lock);
        tdl_stats_merge(total, &self->past);
        for (struct tdl_worker *w = self->all; w != NULL; w = w->next)
            tdl_stats_merge(total, &w->stats);
        tdl_lock_release(&self->idle_lock);
    }
    PyObject *wait = tdl_histogram_dict(&total->wait);
    PyObject *run = tdl_histogram_dict(&total->run);
    unsigned long long done = total->done;
    PyMem_Free(total);
    if (wait == NULL || run == NULL) {
        Py_XDECREF(wait);
        Py_XDECREF(run);
        return NULL;
    }
    return Py_BuildValue("{s:I,s:i,s:K,s:i,s:i,s:N,s:N}", "queued", tdl_runq_count(&self->runq),
                         "running", (int)self->running, "done", done, "workers",
                         (int)self->workers, "idle", (int)self->idle, "wait", wait, "run", run);
}

/* ---- the object ------------------------------------------------------------------- */

static uint32_t
shards_for(int threads_at_once)
{
    return threads_at_once ? 8 : 1;
}

WorkQueueObject *
tdl_pool_new(struct tdl_state *st)
{
    PyTypeObject *type = st->objects.WorkQueue;
    WorkQueueObject *self = (WorkQueueObject *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->st = st;
    self->source.generation = st->generation;
    self->source.raise_orphaned = tdl_call_raise_orphaned;
    self->source.may_help = tdl_call_may_help;
    self->source.help = tdl_call_help;
    atomic_init(&self->source.cpu, -1);
    atomic_init(&self->submitter_cpu, -1);
    self->idle_timeout = TDL_NEVER;
    atomic_init(&self->gil_patience, 5 * TDL_NS_PER_US);
    tdl_lock_init(&self->idle_lock);
    int r = tdl_runq_init(&self->runq, shards_for(TDL_FREE_THREADED));
    if (r < 0) {
        Py_DECREF(self);
        tdl_raise_errno(r);
        return NULL;
    }
    return self;
}

static PyObject *
queue_qsize(WorkQueueObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromUnsignedLong(tdl_runq_count(&self->runq));
}

static PyObject *
queue_empty(WorkQueueObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(tdl_runq_count(&self->runq) == 0);
}

/* fail_worker(reason): a thread that was counted as starting will not work; its
 * initializer failed, so the pool is broken for this reason. */
static PyObject *
queue_fail_worker(WorkQueueObject *self, PyObject *reason)
{
    atomic_fetch_sub_explicit(&self->starting, 1, memory_order_seq_cst);
    atomic_fetch_sub_explicit(&self->workers, 1, memory_order_seq_cst);
    /* once: who has found the pool broken reads the reason without the lock */
    TDL_CRITICAL_BEGIN(self);
    if (self->broken == NULL)
        self->broken = Py_NewRef(reason);
    TDL_CRITICAL_END();
    tdl_pool_abandon_all(self, reason);
    Py_RETURN_NONE;
}

/* What the standard library's exit handler does to each pool's queue. */
static PyObject *
queue_put(WorkQueueObject *self, PyObject *item)
{
    if (item != Py_None) {
        PyErr_SetString(PyExc_TypeError,
                        "a treadle work queue takes jobs from submit() only; put(None) wakes "
                        "its workers");
        return NULL;
    }
    if (tdl_pool_is_ours(self))
        tdl_pool_wake_all(self);
    Py_RETURN_NONE;
}

static int
queue_traverse(WorkQueueObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->broken);
    /* after a fork the list may have been caught half way through a change */
    if (self->runq.shards != NULL && tdl_pool_is_ours(self))
        return tdl_runq_traverse(&self->runq, visit, arg);
    return 0;
}

static int
queue_clear(WorkQueueObject *self)
{
    if (self->runq.shards != NULL)
        tdl_pool_abandon_all(self, NULL);
    Py_CLEAR(self->broken);
    return 0;
}

static void
queue_dealloc(WorkQueueObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs((PyObject *)self);
    queue_clear(self);
    tdl_runq_fini(&self->runq);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef queue_methods[] = {
    {"qsize", (PyCFunction)queue_qsize, METH_NOARGS,
     "qsize($self, /)\n--\n\nReturn how many jobs wait to be started."},
    {"empty", (PyCFunction)queue_empty, METH_NOARGS,
     "empty($self, /)\n--\n\nReturn whether no job waits to be started."},
    {"put", (PyCFunction)queue_put, METH_O,
     "put($self, item, /)\n--\n\nput(None) wakes all workers, so that they look whether to exit."},
    {"stats", (PyCFunction)queue_stats, METH_NOARGS, NULL},
    {"fail_worker", (PyCFunction)queue_fail_worker, METH_O, NULL},
    {"run", (PyCFunction)tdl_worker_run, METH_NOARGS,
     "run($self, /)\n--\n\n"
     "Be a worker of this pool until it is closed (returns False), or until this\n"
     "thread is not needed any more (returns True)."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef queue_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(WorkQueueObject, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot queue_slots[] = {
    {Py_tp_methods, queue_methods},
    {Py_tp_members, queue_members},
    {Py_tp_traverse, queue_traverse},
    {Py_tp_clear, queue_clear},
    {Py_tp_dealloc, queue_dealloc},
    {Py_tp_doc, "The jobs of a thread pool, and its workers."},
    {0, NULL},
};

static PyType_Spec queue_spec = {
    .name = "treadle._native.WorkQueue",
    .basicsize = sizeof(WorkQueueObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = queue_slots,
};

int
tdl_pool_exec(PyObject *module)
{
    return tdl_state_add_type(module, &queue_spec, &tdl_state_of(module)->objects.WorkQueue);
}

#include "procs/pool.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/clock.h"
#include "py/errors.h"

void
tdl_procs_close(ProcPoolObject *pool)
{
    atomic_store_explicit(&pool->closed, true, memory_order_seq_cst);
    if (tdl_procs_is_ours(pool))
        tdl_procs_ring(pool);
}

int
tdl_procs_check_open(ProcPoolObject *pool)
{
    if (atomic_load_explicit(&pool->broken, memory_order_relaxed)) {
        PyErr_SetObject(pool->st->objects.BrokenProcessPool, pool->reason);
        return -1;
    }
    const char *why = NULL;
    if (!tdl_procs_is_ours(pool))
        why = "cannot schedule new futures in a forked child on a process pool of its parent; "
              "create a new pool in the child";
    else if (atomic_load_explicit(&pool->closed, memory_order_relaxed))
        why = atomic_load_explicit(&pool->st->exiting, memory_order_relaxed)
                  ? "cannot schedule new futures after interpreter shutdown"
                  : "cannot schedule new futures after shutdown";
    else if (atomic_load_explicit(&pool->st->exiting, memory_order_relaxed))
        why = "cannot schedule new futures after interpreter shutdown";
    if (why == NULL)
        return 0;
    PyErr_SetString(PyExc_RuntimeError, why);
    return -1;
}

/* ---- workers ------------------------------------------------------------------------ */

/* The store for a new worker's results.  Without one, everything travels in its ring. */
static void
add_store(ProcPoolObject *pool, struct tdl_proc *proc)
{
    tdl_lock_acquire(&pool->lock);
    proc->serial = ++pool->serials;
    tdl_lock_release(&pool->lock);
    proc->results_fd = -1;
    if (tdl_codec_calls_fd(pool->codec) < 0)
        return;
    int fd = tdl_codec_add_worker(pool->codec, proc->serial);
    proc->results_fd = fd < 0 ? -1 : fd;
}

/* _add_worker(): make what a new worker shares with the pool.
 * Returns (index, segment descriptor, board descriptor, doorbell descriptor), and those
 * of the stores for calls and for its results, if there are such. */
static PyObject *
pool_add_worker(ProcPoolObject *pool, PyObject *Py_UNUSED(ignored))
{
    struct tdl_proc *proc = tdl_calloc(1, sizeof *proc);
    if (proc == NULL)
        return PyErr_NoMemory();
    proc->pidfd = proc->results_fd = -1;
    int r = tdl_link_create(&proc->link);
    if (r < 0) {
        tdl_free(proc);
        tdl_raise_errno(r);
        return NULL;
    }
    proc->budget = pool->max_tasks != 0 ? pool->max_tasks : UINT32_MAX;
    uint32_t index = 0;
    tdl_lock_acquire(&pool->lock);
    while (index < TDL_BOARD_WORKERS && pool->procs[index] != NULL)
        index++;
    if (index < TDL_BOARD_WORKERS) {
        proc->index = index;
        pool->procs[index] = proc;
        pool->proc_count++;
        if (index >= pool->proc_end)
            pool->proc_end = index + 1;
    }
    tdl_lock_release(&pool->lock);
    add_store(pool, proc);
    int fd = proc->link.segment.fd;
    if (index == TDL_BOARD_WORKERS) {
        tdl_codec_lost_worker(pool->codec, proc->serial);
        tdl_procs_free_proc(proc);
        PyErr_Format(PyExc_RuntimeError, "a process pool can have %d workers at most",
                     TDL_BOARD_WORKERS);
        return NULL;
    }
    if (proc->results_fd < 0)
        return Py_BuildValue("(Iiii)", index, fd, pool->board_segment.fd,
                             tdl_wakeup_fd(&pool->doorbell));
    return Py_BuildValue("(Iiiiii)", index, fd, pool->board_segment.fd,
                         tdl_wakeup_fd(&pool->doorbell), tdl_codec_calls_fd(pool->codec),
                         proc->results_fd);
}

static struct tdl_proc *
proc_at(ProcPoolObject *pool, unsigned index)
{
    struct tdl_proc *proc = index < TDL_BOARD_WORKERS ? pool->procs[index] : NULL;
    if (proc == NULL)
        PyErr_SetString(PyExc_ValueError, "no such worker");
    return proc;
}

/* _worker_started(index, pid): its process runs.  From here on it gets tasks. */
static PyObject *
pool_worker_started(ProcPoolObject *pool, PyObject *args)
{
    unsigned index;
    long pid;
    if (!PyArg_ParseTuple(args, "Il:_worker_started", &index, &pid))
        return NULL;
    struct tdl_proc *proc = proc_at(pool, index);
    if (proc == NULL)
        return NULL;
    proc->pid = pid;
    proc->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (proc->pidfd < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    int r = tdl_procs_watch(pool, proc->pidfd, (int64_t)index);
    if (r < 0) {
        tdl_raise_errno(r);
        return NULL;
    }
    /* only the worker needs it any more */
    close(proc->link.segment.fd);
    proc->link.segment.fd = -1;
    if (proc->results_fd >= 0)
        close(proc->results_fd);
    proc->results_fd = -1;
    struct tdl_wakes wakes = {.any = false};
    tdl_lock_acquire(&pool->lock);
    tdl_procs_update_locked(pool, proc);
    tdl_procs_pump_locked(pool, &wakes);
    tdl_lock_release(&pool->lock);
    tdl_wakes_fire(pool, &wakes);
    Py_RETURN_NONE;
}

/* _worker_failed(index): its process could not be started. */
static PyObject *
pool_worker_failed(ProcPoolObject *pool, PyObject *arg)
{
    struct tdl_proc *proc = proc_at(pool, (unsigned)PyLong_AsLong(arg));
    if (proc == NULL)
        return NULL;
    tdl_lock_acquire(&pool->lock);
    pool->procs[proc->index] = NULL;
    pool->proc_count--;
    tdl_lock_release(&pool->lock);
    tdl_codec_lost_worker(pool->codec, proc->serial);
    tdl_procs_free_proc(proc);
    Py_RETURN_NONE;
}

/* ---- from Python -------------------------------------------------------------------- */

/* _shrink(workers): have workers end until there are so many. */
static PyObject *
pool_shrink(ProcPoolObject *pool, PyObject *arg)
{
    struct tdl_wakes wakes = {.any = false};
    long workers = PyLong_AsLong(arg);
    if (workers < 0) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "a number of workers is 0 or more");
        return NULL;
    }
    tdl_lock_acquire(&pool->lock);
    tdl_procs_shrink_locked(pool, (uint32_t)workers, &wakes);
    tdl_lock_release(&pool->lock);
    tdl_wakes_fire(pool, &wakes);
    Py_RETURN_NONE;
}

static PyObject *
pool_wakeup(ProcPoolObject *pool, PyObject *Py_UNUSED(ignored))
{
    tdl_procs_close(pool);
    Py_RETURN_NONE;
}

/* _blocks(): what the store for calls holds, in bytes. */
static PyObject *
pool_blocks(ProcPoolObject *pool, PyObject *Py_UNUSED(ignored))
{
    struct tdl_blocks_stats stats;
    tdl_codec_stats(pool->codec, &stats);
    return Py_BuildValue("{s:n,s:n,s:n}", "blocks", (Py_ssize_t)stats.blocks, "used",
                         (Py_ssize_t)stats.used, "idle", (Py_ssize_t)stats.idle);
}

static PyMethodDef pool_methods[] = {
    {"_blocks", (PyCFunction)pool_blocks, METH_NOARGS, NULL},
    {"_add_worker", (PyCFunction)pool_add_worker, METH_NOARGS, NULL},
    {"_worker_started", (PyCFunction)pool_worker_started, METH_VARARGS, NULL},
    {"_worker_failed", (PyCFunction)pool_worker_failed, METH_O, NULL},
    {"_shrink", (PyCFunction)pool_shrink, METH_O, NULL},
    {"wakeup", (PyCFunction)pool_wakeup, METH_NOARGS,
     "wakeup($self, /)\n--\n\n"
     "Accept no more tasks and end once all are done: what the standard library's\n"
     "exit handler calls."},
    {NULL, NULL, 0, NULL},
};

/* ---- the object --------------------------------------------------------------------- */

static int
open_shared(ProcPoolObject *pool)
{
    int r = tdl_segment_create(&pool->board_segment, "treadle-pool", sizeof(struct tdl_board));
    if (r < 0)
        return r;
    pool->board = pool->board_segment.memory;
    pool->board->owner = getpid();
    if ((r = tdl_wakeup_open(&pool->doorbell, TDL_WAKEUP_EVENTFD)) < 0)
        return r;
    pool->epoll = epoll_create1(EPOLL_CLOEXEC);
    return pool->epoll < 0 ? -errno : tdl_procs_watch(pool, tdl_wakeup_fd(&pool->doorbell), -1);
}

ProcPoolObject *
tdl_procs_new(struct tdl_state *st, PyObject *pickler)
{
    PyTypeObject *type = st->objects.ProcPool;
    ProcPoolObject *pool = (ProcPoolObject *)type->tp_alloc(type, 0);
    if (pool == NULL)
        return NULL;
    pool->st = st;
    pool->epoll = -1;
    pool->board_segment.fd = -1;
    pool->doorbell = (struct tdl_wakeup){.read_fd = -1, .write_fd = -1};
    pool->idle_ns = pool->idle_check = TDL_NEVER;
    tdl_lock_init(&pool->lock);
    tdl_tasks_init(&pool->queue);
    tdl_tasks_init(&pool->over);
    tdl_tasks_init(&pool->victims);
    tdl_procs_limits_init(pool);
    tdl_procs_source_init(pool);
    pool->codec = tdl_codec_new(st, pickler);
    int r = pool->codec == NULL ? -1 : open_shared(pool);
    if (r == 0)
        (void)tdl_codec_open(pool->codec); /* without it all travels in the rings */
    if (r < 0) {
        if (!PyErr_Occurred())
            tdl_raise_errno(r);
        Py_CLEAR(pool);
    }
    return pool;
}

static int
pool_traverse(ProcPoolObject *pool, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(pool));
    Py_VISIT(pool->reason);
    return 0;
}

static void
drop_tasks(struct tdl_tasks *tasks)
{
    struct tdl_task *task;
    while ((task = tdl_tasks_pop(tasks)) != NULL)
        tdl_task_unref(task);
}

static void
pool_dealloc(ProcPoolObject *pool)
{
    PyTypeObject *type = Py_TYPE(pool);
    PyObject_GC_UnTrack(pool);
    for (uint32_t i = 0; i < pool->proc_end; i++) {
        struct tdl_proc *proc = pool->procs[i];
        if (proc == NULL)
            continue;
        for (uint32_t k = 0; k < TDL_LINK_TASKS; k++)
            if (proc->tasks[k] != NULL)
                tdl_task_unref(proc->tasks[k]);
        for (int k = 0; k < proc->outgoing_count; k++)
            if (proc->outgoing[k].task != NULL)
                tdl_task_unref(proc->outgoing[k].task);
        tdl_procs_free_proc(proc);
    }
    drop_tasks(&pool->queue);
    drop_tasks(&pool->over);
    drop_tasks(&pool->victims);
    while (pool->spare_count > 0)
        tdl_bytes_fini(&pool->spares[--pool->spare_count]);
    tdl_heap_fini(&pool->limits);
    tdl_wakeup_close(&pool->doorbell);
    tdl_segment_close(&pool->board_segment);
    if (pool->epoll >= 0)
        close(pool->epoll);
    tdl_codec_free(pool->codec);
    Py_CLEAR(pool->reason);
    type->tp_free(pool);
    Py_DECREF(type);
}

static PyObject *
get_closed(ProcPoolObject *pool, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(atomic_load_explicit(&pool->closed, memory_order_relaxed));
}

static PyGetSetDef pool_getset[] = {
    {"closed", (getter)get_closed, NULL, "Whether no more tasks are accepted.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot pool_slots[] = {
    {Py_tp_methods, pool_methods},
    {Py_tp_getset, pool_getset},
    {Py_tp_traverse, pool_traverse},
    {Py_tp_dealloc, pool_dealloc},
    {Py_tp_doc, "What a process pool shares with its dispatcher and its futures."},
    {0, NULL},
};

static PyType_Spec pool_spec = {
    .name = "treadle._native.ProcPool",
    .basicsize = sizeof(ProcPoolObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = pool_slots,
};

int
tdl_procs_pool_exec(PyObject *module)
{
    struct tdl_objects *o = &tdl_state_of(module)->objects;
    if (tdl_state_add_type(module, &pool_spec, &o->ProcPool) < 0 ||
        tdl_state_add_methods(o->ProcPool, tdl_procs_dispatcher_methods) < 0 ||
        tdl_state_add_methods(o->ProcPool, tdl_procs_stats_methods) < 0)
        return -1;
    return tdl_state_add_methods(o->ProcPool, tdl_procs_crash_methods);
}

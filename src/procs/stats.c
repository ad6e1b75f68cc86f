/* What a pool has done: stats(). */
#include "core/alloc.h"
#include "procs/pool.h"
#include "py/histogram.h"

struct worker_figures {
    uint32_t index;
    long pid;
    uint32_t inflight;
    bool running;
    uint64_t done;
    uint64_t busy; /* ns */
};

struct figures {
    size_t queued;
    uint64_t done;
    struct tdl_histogram wait, run;
    uint32_t count; /* workers that are not dead */
    struct worker_figures *workers;
};

static uint32_t
count_workers(ProcPoolObject *pool)
{
    tdl_lock_acquire(&pool->lock);
    uint32_t count = pool->proc_count;
    tdl_lock_release(&pool->lock);
    return count;
}

static void
look_at_worker(struct figures *figures, struct tdl_proc *proc)
{
    struct tdl_link_shared *shared = proc->link.shared;
    tdl_histogram_merge(&figures->wait, &shared->wait);
    tdl_histogram_merge(&figures->run, &shared->run);
    if (proc->state == TDL_PROC_DEAD)
        return;
    figures->workers[figures->count++] = (struct worker_figures){
        .index = proc->index,
        .pid = proc->pid,
        .inflight = proc->inflight,
        .running = proc->inflight > 0 &&
                   atomic_load_explicit(&shared->running, memory_order_relaxed) != 0,
        .done = tdl_histogram_count(&shared->run),
        .busy = atomic_load_explicit(&shared->run.sum, memory_order_relaxed),
    };
}

/* Look at the pool.  Returns false if there are more than `room` workers. */
static bool
look(ProcPoolObject *pool, struct figures *figures, uint32_t room)
{
    tdl_lock_acquire(&pool->lock);
    bool fits = pool->proc_count <= room;
    if (fits) {
        figures->queued = pool->queue.count;
        figures->done = pool->done;
        tdl_histogram_merge(&figures->wait, &pool->wait);
        tdl_histogram_merge(&figures->run, &pool->run);
        for (uint32_t i = 0; i < pool->proc_end; i++)
            if (pool->procs[i] != NULL)
                look_at_worker(figures, pool->procs[i]);
    }
    tdl_lock_release(&pool->lock);
    return fits;
}

static PyObject *
worker_list(const struct figures *figures)
{
    PyObject *list = PyList_New(figures->count);
    for (uint32_t i = 0; list != NULL && i < figures->count; i++) {
        const struct worker_figures *worker = &figures->workers[i];
        PyObject *one = Py_BuildValue(
            "{s:I,s:l,s:I,s:O,s:K,s:d}", "worker", worker->index, "pid", worker->pid, "queued",
            worker->inflight - worker->running, "running", worker->running ? Py_True : Py_False,
            "done", (unsigned long long)worker->done, "busy", (double)worker->busy * 1e-9);
        if (one == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, i, one);
    }
    return list;
}

static PyObject *
figures_dict(const struct figures *figures)
{
    size_t queued = figures->queued, running = 0, idle = 0;
    for (uint32_t i = 0; i < figures->count; i++) {
        running += figures->workers[i].running;
        idle += figures->workers[i].inflight == 0;
        queued += figures->workers[i].inflight - figures->workers[i].running;
    }
    PyObject *wait = tdl_histogram_dict(&figures->wait);
    PyObject *run = wait == NULL ? NULL : tdl_histogram_dict(&figures->run);
    PyObject *list = run == NULL ? NULL : worker_list(figures);
    if (list == NULL) {
        Py_XDECREF(wait);
        Py_XDECREF(run);
        return NULL;
    }
    return Py_BuildValue("{s:n,s:n,s:K,s:I,s:n,s:N,s:N,s:N}", "queued", (Py_ssize_t)queued,
                         "running", (Py_ssize_t)running, "done",
                         (unsigned long long)figures->done, "workers", figures->count, "idle",
                         (Py_ssize_t)idle, "wait", wait, "run", run, "per_worker", list);
}

static PyObject *
pool_stats(ProcPoolObject *pool, PyObject *Py_UNUSED(ignored))
{
    for (;;) {
        struct figures figures = {0};
        uint32_t room = tdl_procs_is_ours(pool) ? count_workers(pool) : 0;
        figures.workers = tdl_malloc((room + 1) * sizeof *figures.workers);
        if (figures.workers == NULL)
            return PyErr_NoMemory();
        PyObject *dict = NULL;
        /* in a forked child the lock may be anybody's */
        bool looked = !tdl_procs_is_ours(pool) || look(pool, &figures, room);
        if (looked)
            dict = figures_dict(&figures);
        tdl_free(figures.workers);
        if (looked)
            return dict;
    }
}

PyMethodDef tdl_procs_stats_methods[] = {
    {"stats", (PyCFunction)pool_stats, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

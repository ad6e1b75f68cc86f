#include "threads/help.h"

#include "core/clock.h"

/* A copy of what this worker's jobs find (its initializer may have set
 * variables), or an empty one on a thread that is no worker of the pool. */
static PyObject *
fresh_context(WorkQueueObject *queue)
{
    struct tdl_worker *worker = tdl_worker_current();
    if (worker != NULL && worker->queue == queue && worker->context != NULL)
        return PyContext_Copy(worker->context);
    return PyContext_New();
}

int
tdl_help_begin(struct tdl_help *help, WorkQueueObject *queue)
{
    help->queue = queue;
    help->context = fresh_context(queue);
    if (help->context == NULL)
        return -1;
    if (PyContext_Enter(help->context) < 0) {
        Py_CLEAR(help->context);
        return -1;
    }
    tdl_fire_init(&help->fire);
    help->start = tdl_clock_now();
    return 0;
}

/* Helpers share one set of counters, which have one writer at a time. */
static void
count(struct tdl_help *help, int64_t submitted)
{
    WorkQueueObject *queue = help->queue;
    int64_t now = tdl_clock_now();
    tdl_lock_acquire(&queue->idle_lock);
    tdl_histogram_add(&queue->past.wait, help->start - submitted);
    tdl_histogram_add(&queue->past.run, now - help->start);
    atomic_fetch_add_explicit(&queue->past.done, 1, memory_order_relaxed);
    tdl_lock_release(&queue->idle_lock);
}

void
tdl_help_end(struct tdl_help *help, bool ran, int64_t submitted)
{
    /* the job has left every context that it entered, so this one is on top */
    if (PyContext_Exit(help->context) < 0)
        PyErr_WriteUnraisable(help->context);
    Py_CLEAR(help->context);
    if (ran && tdl_pool_is_ours(help->queue))
        count(help, submitted);
    tdl_fire_all(&help->fire);
}

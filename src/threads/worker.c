/* A worker's life: take a job, run it, look for the next, sleep. */
#include <errno.h>

#include "core/clock.h"
#include "py/errors.h"
#include "py/pause.h"
#include "threads/pool.h"
#include "threads/worker.h"

/* Bounds of the time that a worker waits for the GIL to be let go before it
 * asks for it. */
#define PATIENCE_MIN (2 * TDL_NS_PER_US)
#define PATIENCE_MAX (50 * TDL_NS_PER_US)
/* Getting the GIL took longer than this: somebody held it. */
#define GIL_WAS_HELD (2 * TDL_NS_PER_US)

/* ---- the list of workers ---------------------------------------------------------- */

static void
worker_init(struct tdl_worker *w, WorkQueueObject *queue)
{
    *w = (struct tdl_worker){.queue = queue};
    tdl_parker_init(&w->parker);
    tdl_spin_init(&w->spin);
    tdl_fire_init(&w->fire);
    w->now = w->attached = tdl_clock_now();
    tdl_lock_acquire(&queue->idle_lock);
    w->next = queue->all;
    w->prev = &queue->all;
    if (w->next != NULL)
        w->next->prev = &w->next;
    queue->all = w;
    tdl_lock_release(&queue->idle_lock);
}

static void
worker_fini(struct tdl_worker *w)
{
    WorkQueueObject *queue = w->queue;
    tdl_lock_acquire(&queue->idle_lock);
    *w->prev = w->next;
    if (w->next != NULL)
        w->next->prev = w->prev;
    tdl_stats_merge(&queue->past, &w->stats);
    tdl_lock_release(&queue->idle_lock);
}

/* ---- the searcher's role ---------------------------------------------------------- */

static bool
become_searcher(struct tdl_worker *w)
{
    uint32_t nobody = 0;
    w->searching = atomic_compare_exchange_strong_explicit(
        &w->queue->searching, &nobody, 1, memory_order_seq_cst, memory_order_seq_cst);
    return w->searching;
}

static void
stop_searching(struct tdl_worker *w)
{
    if (w->searching)
        atomic_store_explicit(&w->queue->searching, 0, memory_order_seq_cst);
    w->searching = false;
}

/* ---- without the GIL: until there is work ----------------------------------------- */

static void
list_as_sleeper(struct tdl_worker *w)
{
    WorkQueueObject *queue = w->queue;
    tdl_parker_init(&w->parker);
    tdl_lock_acquire(&queue->idle_lock);
    w->next_idle = queue->sleepers;
    queue->sleepers = w;
    w->listed = true;
    atomic_fetch_add_explicit(&queue->nsleepers, 1, memory_order_seq_cst);
    tdl_lock_release(&queue->idle_lock);
}

/* Take the worker off the list.  Returns false if somebody else has and means
 * to unpark it, with the searcher's role or to make it look. */
static bool
unlist(struct tdl_worker *w)
{
    WorkQueueObject *queue = w->queue;
    tdl_lock_acquire(&queue->idle_lock);
    bool listed = w->listed;
    if (listed) {
        struct tdl_worker **link = &queue->sleepers;
        while (*link != w)
            link = &(*link)->next_idle;
        *link = w->next_idle;
        w->listed = false;
        atomic_fetch_sub_explicit(&queue->nsleepers, 1, memory_order_seq_cst);
    }
    tdl_lock_release(&queue->idle_lock);
    return listed;
}

/* Whether the worker should look up: work, or a reason to leave. */
static bool
has_reason(WorkQueueObject *queue)
{
    return tdl_runq_count(&queue->runq) != 0 ||
           atomic_load_explicit(&queue->closed, memory_order_seq_cst) || queue->st->exiting ||
           atomic_load_explicit(&queue->workers, memory_order_relaxed) >
               atomic_load_explicit(&queue->max_workers, memory_order_relaxed);
}

/* Sleep until unparked or `deadline`.  Returns false at the deadline. */
static bool
sleep_listed(struct tdl_worker *w, int64_t deadline)
{
    list_as_sleeper(w);
    if (has_reason(w->queue) && unlist(w))
        return true;
    int r;
    do
        r = tdl_parker_park(&w->parker, NULL, -1, deadline);
    while (r == -EINTR);
    if (r == -ETIMEDOUT) {
        if (unlist(w))
            return false;
        /* chosen at the last moment: what it was told is on its way */
        while (tdl_parker_park(&w->parker, NULL, -1, TDL_NEVER) != 0)
            continue;
    }
    return true;
}

/* A sleeper that was woken for work has the searcher's role: nobody else could
 * take it while the waker held it.  One that was told to look has not. */
static void
adopt_role(struct tdl_worker *w)
{
    w->searching = atomic_load_explicit(&w->queue->searching, memory_order_seq_cst) != 0;
}

static int
submitter_cpu(WorkQueueObject *queue)
{
    return atomic_load_explicit(&queue->submitter_cpu, memory_order_relaxed);
}

/* Wait for work without the GIL: spin, then sleep.
 * Returns false if the idle time is over. */
static bool
idle(struct tdl_worker *w, int64_t since)
{
    WorkQueueObject *queue = w->queue;
    bool got = tdl_runq_count(&queue->runq) != 0;
    if (become_searcher(w) && !got) {
        got = tdl_spin_until(&w->spin, &queue->runq.count, 0, submitter_cpu(queue));
        if (!got)
            stop_searching(w);
    }
    if (!got) {
        got = sleep_listed(w, tdl_clock_add(since, queue->idle_timeout));
        if (got)
            adopt_role(w);
    }
    tdl_spin_learn(&w->spin, tdl_clock_now() - since);
    return got;
}

static void
run_detached_job(struct tdl_worker *w, struct tdl_job *job)
{
    WorkQueueObject *queue = w->queue;
    atomic_fetch_add_explicit(&queue->running, 1, memory_order_relaxed);
    stop_searching(w);
    if (tdl_runq_count(&queue->runq) != 0)
        tdl_pool_wake_one(queue);
    w->detached_start = tdl_clock_now();
    job->ops->run_detached(job);
    w->detached = job;
}

/* Take a job's detached part on before asking for the GIL, if the next job has one.
 * Called while counted as idle; not so before the job leaves the queue, or who
 * adds another would leave that one to this worker. */
static void
run_detached(struct tdl_worker *w)
{
    WorkQueueObject *queue = w->queue;
    uint32_t units;
    if (!tdl_runq_next_is_detached(&queue->runq))
        return;
    atomic_fetch_sub_explicit(&queue->idle, 1, memory_order_seq_cst);
    struct tdl_job *job = tdl_runq_pop(&queue->runq, true, &units);
    if (job != NULL)
        run_detached_job(w, job);
    atomic_fetch_add_explicit(&queue->idle, 1, memory_order_seq_cst);
}

/* ---- taking the GIL --------------------------------------------------------------- */

#if TDL_FREE_THREADED

static void
await_gil(struct tdl_worker *w, uint32_t released)
{
    (void)w;
    (void)released;
}

static void
learn_patience(struct tdl_worker *w, int64_t took)
{
    (void)w;
    (void)took;
}

#else

/* Whoever submits usually holds the GIL and lets it go within microseconds, to
 * wait for the result.  A thread that asks for the GIL before that sleeps and
 * has to be woken, across cores for tens of microseconds: be patient instead.
 * A waiter says so when it has let go (`released` is the count seen before). */
static void
await_gil(struct tdl_worker *w, uint32_t released)
{
    WorkQueueObject *queue = w->queue;
    if (!tdl_spin_may_help(submitter_cpu(queue))) {
        sched_yield(); /* it cannot let go while we keep its CPU busy */
        return;
    }
    int64_t end =
        tdl_clock_now() + atomic_load_explicit(&queue->gil_patience, memory_order_relaxed);
    do {
        for (int i = 0; i < 8; i++) {
            if (atomic_load_explicit(&queue->source.released, memory_order_acquire) != released)
                return;
            tdl_cpu_relax();
        }
    } while (tdl_clock_now() < end);
}

/* Asked too early: twice the patience.  Got it at once: a little less. */
static void
learn_patience(struct tdl_worker *w, int64_t took)
{
    int64_t patience = atomic_load_explicit(&w->queue->gil_patience, memory_order_relaxed);
    if (took > GIL_WAS_HELD)
        patience *= 2;
    else
        patience -= patience / 64;
    if (patience < PATIENCE_MIN)
        patience = PATIENCE_MIN;
    atomic_store_explicit(&w->queue->gil_patience,
                          patience < PATIENCE_MAX ? patience : PATIENCE_MAX,
                          memory_order_relaxed);
}

#endif

/* Give up the GIL, wait until there is a reason to look, take it again.
 * Returns false if the idle time is over. */
static bool
wait_for_work(struct tdl_worker *w)
{
    WorkQueueObject *queue = w->queue;
    atomic_fetch_add_explicit(&queue->idle, 1, memory_order_seq_cst);
    uint32_t released = atomic_load_explicit(&queue->source.released, memory_order_acquire);
    atomic_store_explicit(&queue->source.cpu, tdl_cpu_current(), memory_order_relaxed);
    PyThreadState *tstate = PyEval_SaveThread();
    /* only now: whoever wakes finds the GIL free */
    tdl_fire_all(&w->fire);
    bool got = idle(w, tdl_clock_now());
    if (got)
        run_detached(w);
    if (w->searching && w->detached == NULL)
        await_gil(w, released);
    int64_t asked = tdl_clock_now();
    PyEval_RestoreThread(tstate);
    w->now = w->attached = tdl_clock_now();
    if (w->searching)
        learn_patience(w, w->attached - asked);
    atomic_fetch_sub_explicit(&queue->idle, 1, memory_order_seq_cst);
    return got;
}

/* ---- jobs ------------------------------------------------------------------------- */

static void
pause_now_and_then(struct tdl_worker *w)
{
    if (w->now - w->attached < TDL_PAUSE_EVERY)
        return;
    if (tdl_pause(w->queue->st) < 0)
        tdl_log_critical(w->queue->st, "Exception in worker");
    w->attached = tdl_clock_now();
}

/* Run what was taken: `units` of `job`, whose reference is given up. */
static void
run_job(struct tdl_worker *w, struct tdl_job *job, uint32_t units)
{
    WorkQueueObject *queue = w->queue;
    uint64_t done = atomic_load_explicit(&w->stats.done, memory_order_relaxed);
    bool detached = job == w->detached;
    int64_t start = detached ? w->detached_start : w->now;
    w->detached = NULL;
    for (uint32_t i = 0; i < units; i++) {
        /* whoever waits for the job or the item before must not wait for this one */
        if (!tdl_fire_is_empty(&w->fire))
            tdl_fire_all(&w->fire);
        bool ran = detached ? job->ops->settle(job, &w->fire) : job->ops->run(job, &w->fire);
        w->now = tdl_clock_now();
        if (ran) {
            tdl_histogram_add(&w->stats.wait, start - job->submitted);
            tdl_histogram_add(&w->stats.run, w->now - start);
            done++;
        }
        start = w->now;
        pause_now_and_then(w);
    }
    atomic_store_explicit(&w->stats.done, done, memory_order_relaxed);
    atomic_fetch_sub_explicit(&queue->running, (int32_t)units, memory_order_relaxed);
    tdl_job_unref(job);
    /* more to do: whoever waits for this result must not wait for the next job.
     * Nothing to do: wait_for_work() wakes it once the GIL is free */
    if (!tdl_fire_is_empty(&w->fire) && tdl_runq_count(&queue->runq) != 0)
        tdl_fire_all(&w->fire);
}

static bool
run_one(struct tdl_worker *w)
{
    WorkQueueObject *queue = w->queue;
    uint32_t units = 1;
    struct tdl_job *job = w->detached;
    if (job == NULL && tdl_runq_count(&queue->runq) != 0) {
        job = tdl_runq_pop(&queue->runq, false, &units);
        if (job != NULL)
            atomic_fetch_add_explicit(&queue->running, (int32_t)units, memory_order_relaxed);
    }
    /* the role goes on to another before this one gets busy */
    if (w->searching || job != NULL) {
        stop_searching(w);
        if (tdl_runq_count(&queue->runq) != 0)
            tdl_pool_wake_one(queue);
    }
    if (job == NULL)
        return false;
    run_job(w, job, units);
    return true;
}

static bool
is_closing(WorkQueueObject *queue)
{
    return atomic_load_explicit(&queue->closed, memory_order_seq_cst) || queue->st->exiting;
}

/* Leave the pool, unless work has come that would be left alone: whoever adds
 * work looks at the number of workers afterwards, so one of the two sees it.
 * `timed_out`: the caller has been idle for as long as the pool allows. */
static bool
leave(WorkQueueObject *queue, bool timed_out)
{
    int32_t before = atomic_fetch_sub_explicit(&queue->workers, 1, memory_order_seq_cst);
    int32_t max = atomic_load_explicit(&queue->max_workers, memory_order_relaxed);
    if (tdl_runq_count(&queue->runq) == 0 && (is_closing(queue) || timed_out || before > max))
        return true;
    if (before > max && before > 1)
        return true; /* others are there for what is queued */
    atomic_fetch_add_explicit(&queue->workers, 1, memory_order_seq_cst);
    return false;
}

static void
work(struct tdl_worker *w)
{
    WorkQueueObject *queue = w->queue;
    /* the new thread counts as started until it has looked once */
    atomic_fetch_sub_explicit(&queue->starting, 1, memory_order_seq_cst);
    while (tdl_pool_is_ours(queue)) {
        if (run_one(w))
            continue;
        bool closing = is_closing(queue);
        bool surplus = atomic_load_explicit(&queue->workers, memory_order_relaxed) >
                       atomic_load_explicit(&queue->max_workers, memory_order_relaxed);
        if ((closing || surplus) && leave(queue, false))
            return;
        if (!wait_for_work(w) && leave(queue, true))
            return;
    }
}

PyObject *
tdl_worker_run(WorkQueueObject *self, PyObject *Py_UNUSED(ignored))
{
    struct tdl_worker worker;
    if (tdl_worker_current() != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "this thread is already a worker");
        return NULL;
    }
    /* forked meanwhile, by the initializer: locks may be held by threads that are gone */
    if (!tdl_pool_is_ours(self))
        Py_RETURN_FALSE;
    worker_init(&worker, self);
    worker.context = PyContext_CopyCurrent();
    if (worker.context == NULL)
        PyErr_Clear(); /* no memory: a nested job runs in an empty one */
    tdl_worker_set_current(&worker);
    work(&worker);
    tdl_worker_set_current(NULL);
    Py_CLEAR(worker.context);
    if (tdl_pool_is_ours(self))
        worker_fini(&worker);
    tdl_fire_all(&worker.fire);
    if (!tdl_pool_is_ours(self))
        Py_RETURN_FALSE;
    /* the others may be waiting for the same reason to leave */
    bool closing = is_closing(self);
    if (closing)
        tdl_pool_wake_all(self);
    return PyBool_FromLong(!closing);
}

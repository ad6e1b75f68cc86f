/* What a future asks of its pool: waiting, taking back, whether it runs. */
#include <errno.h>

#include "core/clock.h"
#include "procs/pool.h"

/* ---- waiting ------------------------------------------------------------------------ */

/* Look until somebody has results, or the waiter is told, or the time is over. */
static bool
spin(ProcPoolObject *pool, struct tdl_waiter *waiter, int64_t end)
{
    for (;;) {
        for (int i = 0; i < 16; i++) {
            if (tdl_board_is_ready(pool->board) || tdl_parker_notified(&waiter->parker))
                return true;
            tdl_cpu_relax();
        }
        if (tdl_clock_now() >= end)
            return false;
    }
}

/* As the collector, until the waiter is told or it has spun long enough.  Thread
 * state: attached.  Returns whether it was told. */
static bool
collect_while_spinning(ProcPoolObject *pool, struct tdl_waiter *waiter, int64_t end)
{
    while (!tdl_parker_notified(&waiter->parker)) {
        if (!tdl_procs_try_collector(pool))
            return false;
        tdl_board_disarm(pool->board);
        PyThreadState *tstate = PyEval_SaveThread();
        bool any = spin(pool, waiter, end);
        if (any)
            tdl_procs_collect(pool);
        tdl_procs_leave_collector(pool);
        PyEval_RestoreThread(tstate);
        if (tdl_procs_deliver(pool, false) || tdl_procs_is_hungry(pool))
            tdl_procs_ring(pool); /* the rest is the dispatcher's */
        if (!any)
            return false;
    }
    return true;
}

/* As the collector: sleep until a worker has something, or the waiter is told.  Thread
 * state: detached.  Returns as tdl_parker_park_or(). */
static int
sleep_as_collector(ProcPoolObject *pool, struct tdl_waiter *waiter, int64_t deadline)
{
    int r = 0;
    if (tdl_board_want_wake(pool->board) &&
        !atomic_load_explicit(&pool->wanted, memory_order_seq_cst))
        r = tdl_parker_park_or(&waiter->parker, &pool->board->armed, TDL_BOARD_WAKE, deadline);
    tdl_board_disarm(pool->board);
    while (tdl_procs_collect(pool))
        continue;
    return r;
}

/* Sleep and collect in turns until the waiter is told: what it waits for then costs one wake
 * instead of two.  Not when there is work that only the dispatcher may do, who has to be
 * woken anyway.  Thread state: attached.  Returns 0 when it was told, -ETIMEDOUT, -EINTR, or
 * -EAGAIN: wait in another way. */
static int
collect_while_sleeping(ProcPoolObject *pool, struct tdl_waiter *waiter, int64_t deadline)
{
    bool alone = true;
    int r = 0;
    while (r == 0 && alone && !tdl_parker_notified(&waiter->parker)) {
        if (atomic_load_explicit(&pool->wanted, memory_order_seq_cst) ||
            !tdl_procs_try_collector(pool))
            return -EAGAIN;
        PyThreadState *tstate = PyEval_SaveThread();
        r = sleep_as_collector(pool, waiter, deadline);
        tdl_procs_leave_collector(pool);
        tdl_procs_tend(pool); /* it may take long to get the GIL */
        PyEval_RestoreThread(tstate);
        if (tdl_procs_deliver(pool, false) || tdl_procs_is_hungry(pool)) {
            tdl_procs_ring(pool);
            alone = false;
        }
    }
    if (tdl_parker_notified(&waiter->parker))
        return 0;
    return r == -ETIMEDOUT || r == -EINTR ? r : -EAGAIN;
}

static int
wait_for(struct tdl_source *source, struct tdl_waiter *waiter, struct tdl_spin *spin_state,
         int64_t deadline)
{
    ProcPoolObject *pool = tdl_procs_of(source);
    int64_t start = tdl_clock_now();
    int cpu = atomic_load_explicit(&source->cpu, memory_order_relaxed);
    int64_t end = tdl_clock_add(start, tdl_spin_allowed(spin_state, cpu));
    int r = -EAGAIN;
    if (tdl_procs_is_ours(pool)) {
        if (collect_while_spinning(pool, waiter, end < deadline ? end : deadline))
            r = 0;
        else
            r = collect_while_sleeping(pool, waiter, deadline);
        tdl_procs_tend(pool);
    }
    if (r == -EAGAIN) {
        PyThreadState *tstate = PyEval_SaveThread();
        r = tdl_parker_park(&waiter->parker, NULL, cpu, deadline);
        PyEval_RestoreThread(tstate);
    }
    tdl_spin_learn(spin_state, tdl_clock_now() - start);
    return r;
}

/* ---- the future's task -------------------------------------------------------------- */

/* A reference to the future's task, or NULL once that is over. */
static struct tdl_task *
task_of(FutureObject *future)
{
    struct tdl_task *task;
    TDL_CRITICAL_BEGIN(future);
    task = future->job;
    if (task != NULL)
        tdl_task_ref(task);
    TDL_CRITICAL_END();
    return task;
}

static bool
is_started(struct tdl_source *source, FutureObject *future)
{
    ProcPoolObject *pool = tdl_procs_of(source);
    struct tdl_task *task = task_of(future);
    bool started = false;
    if (task == NULL)
        return false;
    tdl_lock_acquire(&pool->lock);
    if (task->place == TDL_TASK_SENT)
        started =
            atomic_load_explicit(tdl_link_task(&pool->procs[task->worker]->link, task->number),
                                 memory_order_acquire) != TDL_TASK_QUEUED;
    else
        started = task->place == TDL_TASK_OVER;
    tdl_lock_release(&pool->lock);
    tdl_task_unref(task);
    return started;
}

/* Take the task back so that the future can be cancelled. */
static bool
take_back(struct tdl_source *source, FutureObject *future)
{
    ProcPoolObject *pool = tdl_procs_of(source);
    if (!tdl_procs_is_ours(pool))
        return true;
    struct tdl_task *task = task_of(future);
    if (task == NULL)
        return true;
    bool taken = false;
    tdl_lock_acquire(&pool->lock);
    if (task->place == TDL_TASK_WAITS)
        taken = tdl_tasks_remove(&pool->queue, task);
    else if (task->place == TDL_TASK_SENT)
        taken = tdl_procs_revoke_locked(pool, task);
    if (taken)
        task->place = TDL_TASK_GONE;
    tdl_lock_release(&pool->lock);
    if (taken) {
        TDL_CRITICAL_BEGIN(future);
        tdl_future_set_job(future, NULL);
        TDL_CRITICAL_END();
        tdl_codec_drop(pool->codec, task->call.data, task->call.size);
        tdl_task_unref(task); /* the pool's */
        tdl_procs_ring(pool); /* there may be nothing left to wait for */
    }
    tdl_task_unref(task);
    return taken;
}

/* Stop the task, which has begun.  Returns whether it had not ended. */
static bool
stop(struct tdl_source *source, FutureObject *future)
{
    ProcPoolObject *pool = tdl_procs_of(source);
    struct tdl_task *task = tdl_procs_is_ours(pool) ? task_of(future) : NULL;
    if (task == NULL)
        return false;
    tdl_lock_acquire(&pool->lock);
    bool stopped = task->place == TDL_TASK_SENT && tdl_procs_stop_locked(pool, task);
    if (stopped)
        task->ending = TDL_ENDING_TERMINATED;
    tdl_lock_release(&pool->lock);
    tdl_task_unref(task);
    return stopped;
}

static void
raise_orphaned(struct tdl_source *source)
{
    PyErr_SetString(
        tdl_procs_of(source)->st->objects.BrokenProcessPool,
        "this future belongs to a pool of the parent process, whose dispatcher does "
        "not exist in this forked child; create a new pool in the child");
}

static bool
may_help(struct tdl_source *source)
{
    (void)source;
    return false;
}

static int
help(struct tdl_source *source, FutureObject *future)
{
    (void)source, (void)future;
    return 0;
}

void
tdl_procs_source_init(ProcPoolObject *pool)
{
    struct tdl_source *source = &pool->source;
    atomic_init(&source->released, 0);
    atomic_init(&source->cpu, -1);
    source->generation = pool->st->generation;
    source->raise_orphaned = raise_orphaned;
    source->may_help = may_help;
    source->help = help;
    source->wait = wait_for;
    source->revoke = take_back;
    source->is_started = is_started;
    source->stop = stop;
}

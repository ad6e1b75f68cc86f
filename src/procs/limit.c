#include "core/alloc.h"
#include "core/clock.h"
#include "procs/pool.h"

static void
release(struct tdl_timer *timer, void *arg)
{
    (void)arg;
    tdl_free(timer);
}

void
tdl_procs_limits_init(ProcPoolObject *pool)
{
    tdl_heap_init(&pool->limits, release, NULL);
}

void
tdl_procs_limit_locked(ProcPoolObject *pool, struct tdl_task *task, struct tdl_wakes *wakes)
{
    if (task->timeout <= 0)
        return;
    struct tdl_task_limit *limit = tdl_calloc(1, sizeof *limit);
    /* at the earliest; looked at again if it begins later */
    int64_t due = tdl_clock_add(tdl_clock_now(), task->timeout);
    if (limit == NULL || tdl_heap_push(&pool->limits, &limit->timer, due) < 0) {
        tdl_free(limit); /* runs without a limit, as there is no memory for one */
        return;
    }
    limit->task = task;
    task->limit = limit;
    wakes->dispatcher |= tdl_heap_first(&pool->limits) == &limit->timer;
}

void
tdl_procs_unlimit_locked(ProcPoolObject *pool, struct tdl_task *task)
{
    if (task->limit != NULL)
        tdl_heap_cancel(&pool->limits, &task->limit->timer);
    task->limit = NULL;
}

bool
tdl_procs_stop_locked(ProcPoolObject *pool, struct tdl_task *task)
{
    struct tdl_proc *proc = pool->procs[task->worker];
    if (!tdl_link_change(&proc->link, task->number, TDL_TASK_STARTED, TDL_TASK_STOPPED))
        return false;
    tdl_procs_kill_locked(proc);
    tdl_procs_update_locked(pool, proc);
    return true;
}

/* When the task's time is over; TDL_NEVER once it has ended. */
static int64_t
due_of(ProcPoolObject *pool, struct tdl_task *task, int64_t now)
{
    struct tdl_link *link = &pool->procs[task->worker]->link;
    uint32_t word =
        atomic_load_explicit(tdl_link_task(link, task->number), memory_order_acquire);
    if (word == TDL_TASK_QUEUED)
        return tdl_clock_add(now, task->timeout);
    if (word != TDL_TASK_STARTED)
        return TDL_NEVER;
    if (atomic_load_explicit(&link->shared->running, memory_order_acquire) != task->number + 1)
        return tdl_clock_add(now, task->timeout); /* begins at this moment */
    int64_t since = atomic_load_explicit(&link->shared->since, memory_order_relaxed);
    return tdl_clock_add(since, task->timeout);
}

int64_t
tdl_procs_check_limits(ProcPoolObject *pool)
{
    int64_t now = tdl_clock_now();
    struct tdl_timer *timer;
    tdl_lock_acquire(&pool->lock);
    while ((timer = tdl_heap_pop(&pool->limits, now)) != NULL) {
        struct tdl_task_limit *limit = (struct tdl_task_limit *)timer;
        struct tdl_task *task = limit->task;
        int64_t due = due_of(pool, task, now);
        if (due != TDL_NEVER && due > now &&
            tdl_heap_push(&pool->limits, &limit->timer, due) == 0)
            continue;
        task->limit = NULL;
        if (due <= now && tdl_procs_stop_locked(pool, task))
            task->ending = TDL_ENDING_LIMIT;
        tdl_free(limit);
    }
    timer = tdl_heap_first(&pool->limits);
    int64_t next = timer == NULL ? TDL_NEVER : timer->deadline;
    tdl_lock_release(&pool->lock);
    return next;
}

/* Workers that have had nothing to do for a while end; more are started when there is work.
 *
 * The dispatcher looks when the first of them may be due (`idle_check`); who finds a worker
 * idle sets that time if there is none, so a pool that is at work, or has no worker too
 * many, costs nothing. */
#include "core/clock.h"
#include "procs/pool.h"

static bool
is_idle(ProcPoolObject *pool, uint32_t index)
{
    return (pool->idle[index / 64] >> (index % 64)) & 1;
}

/* How many workers stay.  The iterator of a map may go on at any time, and nobody who
 * does so could start one. */
static uint32_t
least_workers(ProcPoolObject *pool)
{
    return pool->min_workers > 0 ? pool->min_workers : pool->maps > 0;
}

void
tdl_procs_note_idle_locked(ProcPoolObject *pool, struct tdl_proc *proc, struct tdl_wakes *wakes)
{
    if (pool->idle_ns == TDL_NEVER || pool->idle_check != TDL_NEVER ||
        !is_idle(pool, proc->index) || pool->proc_count <= least_workers(pool))
        return;
    pool->idle_check = tdl_clock_add(proc->idle_since, pool->idle_ns);
    wakes->dispatcher = true;
}

int64_t
tdl_procs_check_idle(ProcPoolObject *pool)
{
    struct tdl_wakes wakes = {.any = false};
    int64_t next = TDL_NEVER, now = tdl_clock_now();
    if (pool->idle_ns == TDL_NEVER)
        return TDL_NEVER;
    tdl_lock_acquire(&pool->lock);
    if (pool->idle_check <= now) {
        uint32_t live = tdl_procs_live_locked(pool), least = least_workers(pool);
        bool closed = atomic_load_explicit(&pool->closed, memory_order_relaxed);
        for (uint32_t i = pool->proc_end; i-- > 0 && live > least && !closed;) {
            if (!is_idle(pool, i))
                continue;
            struct tdl_proc *proc = pool->procs[i];
            int64_t due = tdl_clock_add(proc->idle_since, pool->idle_ns);
            if (due <= now) {
                tdl_procs_dismiss_locked(pool, proc, &wakes);
                proc->retired = true;
                live--;
            }
            else if (due < next)
                next = due;
        }
        pool->idle_check = live > least ? next : TDL_NEVER;
    }
    next = pool->idle_check;
    tdl_lock_release(&pool->lock);
    tdl_wakes_fire(pool, &wakes);
    return next;
}

bool
tdl_procs_wants_worker(ProcPoolObject *pool)
{
    if (pool->idle_ns == TDL_NEVER)
        return false;
    bool starting = false;
    tdl_lock_acquire(&pool->lock);
    bool wants = (pool->queue.first != NULL || pool->hungry != NULL) &&
                 !tdl_procs_has_room_locked(pool) &&
                 tdl_procs_live_locked(pool) <
                     atomic_load_explicit(&pool->max_workers, memory_order_relaxed);
    for (uint32_t i = 0; wants && i < pool->proc_end; i++)
        starting |= pool->procs[i] != NULL && pool->procs[i]->state == TDL_PROC_STARTING;
    tdl_lock_release(&pool->lock);
    return wants && !starting;
}

void
tdl_procs_begin_map(ProcPoolObject *pool)
{
    tdl_lock_acquire(&pool->lock);
    pool->maps++;
    tdl_lock_release(&pool->lock);
}

void
tdl_procs_end_map(ProcPoolObject *pool)
{
    if (!tdl_procs_is_ours(pool))
        return;
    tdl_lock_acquire(&pool->lock);
    bool look = --pool->maps == 0 && pool->idle_ns != TDL_NEVER;
    if (look)
        pool->idle_check = tdl_clock_now();
    tdl_lock_release(&pool->lock);
    if (look)
        tdl_procs_ring(pool);
}

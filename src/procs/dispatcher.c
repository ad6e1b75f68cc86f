/* The one thread that sees to a pool: results that nobody waits for, workers that end. */
#include <errno.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/clock.h"
#include "procs/pool.h"

enum { DOORBELL = -1, EVENTS = 16, TRIM_AFTER = 1000 /* ms */ };

void
tdl_procs_ring(ProcPoolObject *pool)
{
    tdl_wakeup_signal(&pool->doorbell);
}

int
tdl_procs_watch(ProcPoolObject *pool, int fd, int64_t index)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)index};
    return epoll_ctl(pool->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

/* A waiter that sleeps in the role sees `wanted` before it sleeps, or is woken. */
static void
become_collector(ProcPoolObject *pool)
{
    atomic_store_explicit(&pool->wanted, true, memory_order_seq_cst);
    while (!tdl_procs_try_collector(pool)) {
        tdl_board_kick(pool->board);
        sched_yield();
    }
    atomic_store_explicit(&pool->wanted, false, memory_order_seq_cst);
}

/* The process of worker `index` has ended: take what it has left. */
static void
note_death(ProcPoolObject *pool, uint32_t index)
{
    tdl_lock_acquire(&pool->lock);
    struct tdl_proc *proc = pool->procs[index];
    if (proc != NULL) {
        epoll_ctl(pool->epoll, EPOLL_CTL_DEL, proc->pidfd, NULL);
        if (proc->state == TDL_PROC_LEAVING)
            proc->killed = true; /* as expected */
    }
    tdl_lock_release(&pool->lock);
    if (proc == NULL)
        return;
    become_collector(pool);
    tdl_procs_drain(pool, proc);
    tdl_procs_leave_collector(pool);
    tdl_lock_acquire(&pool->lock);
    bool to_be_replaced =
        atomic_load_explicit(&proc->link.shared->full, memory_order_acquire) != 0;
    if ((proc->budget == 0 || to_be_replaced) && proc->inflight == 0)
        proc->killed = true; /* it has run as many as it was to, or as it could */
    proc->state = TDL_PROC_DEAD;
    pool->proc_count--;
    pool->grow_asked = false;
    tdl_procs_update_locked(pool, proc);
    tdl_lock_release(&pool->lock);
}

static void
kill_corrupt_locked(ProcPoolObject *pool)
{
    for (uint32_t i = 0; i < pool->proc_end; i++) {
        struct tdl_proc *proc = pool->procs[i];
        if (proc != NULL && proc->corrupt && proc->state != TDL_PROC_DEAD)
            tdl_procs_kill_locked(proc);
    }
}

/* Whether nothing is left to do for a closed pool but to let its workers go. */
static bool
is_drained_locked(ProcPoolObject *pool)
{
    return atomic_load_explicit(&pool->closed, memory_order_relaxed) &&
           atomic_load_explicit(&pool->outstanding, memory_order_relaxed) == 0 &&
           pool->queue.first == NULL && pool->over.first == NULL && pool->delivering == 0 &&
           pool->victims.first == NULL && pool->hungry == NULL;
}

/* Returns whether the dispatcher's work is done. */
static bool
look_around(ProcPoolObject *pool)
{
    struct tdl_wakes wakes = {.any = false};
    bool finished = false;
    tdl_lock_acquire(&pool->lock);
    kill_corrupt_locked(pool);
    if (is_drained_locked(pool)) {
        for (uint32_t i = 0; i < pool->proc_end; i++)
            if (pool->procs[i] != NULL)
                tdl_procs_dismiss_locked(pool, pool->procs[i], &wakes);
        finished = pool->proc_count == 0;
    }
    tdl_lock_release(&pool->lock);
    tdl_wakes_fire(pool, &wakes);
    return finished;
}

/* For epoll: never early. */
static int
milliseconds_until(int64_t time)
{
    if (time == TDL_NEVER)
        return -1;
    int64_t left = time - tdl_clock_now();
    left = left <= 0 ? 0 : (left + TDL_NS_PER_MS - 1) / TDL_NS_PER_MS;
    return left > 1 << 30 ? 1 << 30 : (int)left;
}

/* After large arguments the dispatcher looks once a second whether their memory has
 * been idle; once it is given back it sleeps as long as nothing happens. */
static int
timeout_for(ProcPoolObject *pool, int64_t next)
{
    int timeout = milliseconds_until(next);
    if (atomic_load_explicit(&pool->trimming, memory_order_seq_cst) &&
        (timeout < 0 || timeout > TRIM_AFTER))
        timeout = TRIM_AFTER;
    return timeout;
}

static void
trim(ProcPoolObject *pool)
{
    if (!atomic_exchange_explicit(&pool->trimming, false, memory_order_seq_cst))
        return;
    if (tdl_codec_trim(pool->codec))
        atomic_store_explicit(&pool->trimming, true, memory_order_seq_cst);
}

/* Wait for something to do.  Returns the index of a worker that has ended, or -1. */
static int
sleep_for_events(ProcPoolObject *pool)
{
    int64_t next = tdl_procs_check_limits(pool), idle = tdl_procs_check_idle(pool);
    if (idle < next)
        next = idle;
    struct epoll_event events[EVENTS];
    bool sleep = atomic_load_explicit(&pool->outstanding, memory_order_seq_cst) == 0 ||
                 atomic_load_explicit(&pool->collecting, memory_order_seq_cst) != 0 ||
                 tdl_board_arm(pool->board);
    int n = epoll_wait(pool->epoll, events, EVENTS, sleep ? timeout_for(pool, next) : 0);
    if (n == 0 && sleep)
        trim(pool);
    int died = -1;
    for (int i = 0; i < n; i++) {
        int64_t index = (int64_t)events[i].data.u64;
        if (index == DOORBELL)
            tdl_wakeup_drain(&pool->doorbell);
        else if (died < 0)
            died = (int)index;
    }
    return died;
}

static void
collect_all(ProcPoolObject *pool)
{
    if (!tdl_procs_try_collector(pool))
        return;
    tdl_board_disarm(pool->board);
    while (tdl_procs_collect(pool))
        continue;
    tdl_procs_leave_collector(pool);
}

/* Whether to ask for a worker: once, until one has come or gone. */
static bool
should_grow(ProcPoolObject *pool)
{
    if (pool->grow_asked || !tdl_procs_wants_worker(pool))
        return false;
    pool->grow_asked = true;
    return true;
}

/* Returns the index of a worker that has ended, or one of these.  Thread state: detached. */
enum { DELIVER = -1, FINISHED = -2, GROW = -3 };

static int
run_detached(ProcPoolObject *pool)
{
    for (;;) {
        collect_all(pool);
        if (atomic_load_explicit(&pool->over_count, memory_order_acquire) > 0 ||
            tdl_procs_is_hungry(pool))
            return DELIVER;
        if (look_around(pool))
            return FINISHED;
        if (should_grow(pool))
            return GROW;
        int died = sleep_for_events(pool);
        if (died >= 0) {
            note_death(pool, (uint32_t)died);
            return died;
        }
    }
}

/* _dispatch(): work until Python has to do something.  Returns the index of a worker
 * whose process has ended, -1 if one more is needed, or None when the pool is closed and
 * empty. */
static PyObject *
pool_dispatch(ProcPoolObject *pool, PyObject *Py_UNUSED(ignored))
{
    for (;;) {
        PyThreadState *tstate = PyEval_SaveThread();
        int r = run_detached(pool);
        PyEval_RestoreThread(tstate);
        tdl_procs_deliver(pool, true);
        tdl_procs_feed_hungry(pool);
        if (r >= 0 || r == GROW)
            return PyLong_FromLong(r >= 0 ? r : -1);
        if (r == FINISHED)
            Py_RETURN_NONE;
    }
}

PyMethodDef tdl_procs_dispatcher_methods[] = {
    {"_dispatch", (PyCFunction)pool_dispatch, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

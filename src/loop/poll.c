#include "loop/poll.h"

#include "core/clock.h"
#include "loop/ready.h"
#include "loop/watch.h"
#include "py/errors.h"

enum { EVENTS = 128, LOOKS_PER_CLOCK = 16, BUSY = 4 };

/* What one ready descriptor takes, from which on writes are held back to the end of the
 * turn if there are several: who gets the first of them would be asleep again before
 * the next, and waking it costs us. */
#define BUSY_COST (10 * TDL_NS_PER_US)

/* How long the poller may sleep: ns, -1 for ever. */
static int
poll_timeout(LoopObject *self, int64_t *timeout)
{
    *timeout = 0;
    if (tdl_ring_count(&self->ready) > 0 || self->stopping)
        return 0;
    struct tdl_timer *first;
    int64_t deadline = 0, now;
    TDL_CRITICAL_BEGIN(self);
    first = tdl_heap_first(&self->timers);
    if (first != NULL)
        deadline = first->deadline;
    TDL_CRITICAL_END();
    if (tdl_ring_count(&self->ready) > 0)
        return 0; /* releasing a cancelled timer ran somebody's code */
    if (first == NULL) {
        *timeout = -1;
        return 0;
    }
    if (tdl_loop_now(self, &now) < 0)
        return -1;
    if (deadline > now)
        *timeout = deadline == TDL_NEVER ? -1 : deadline - now;
    return 0;
}

static int
handle_events(LoopObject *self, const struct tdl_event *events, int n)
{
    for (int i = 0; i < n; i++) {
        if (events[i].data == TDL_LOOP_WAKEUP) {
            tdl_wakeup_drain(&self->port->wakeup);
            continue;
        }
        tdl_loop_count(&self->stats.events, 1);
        if (tdl_watch_dispatch(self, (int)(intptr_t)events[i].data, events[i].events) < 0)
            return -1;
    }
    return 0;
}

static int
wait_for_events(LoopObject *self, struct tdl_event *events, int64_t timeout)
{
    self->unpolled = 0;
    return tdl_poller_wait(&self->poller, events, EVENTS, timeout);
}

/* Watch out for a result for a moment, if the worker runs on another CPU: sleeping and
 * being woken costs more than most jobs.  Without the GIL.
 * Returns whether something was posted. */
static bool
spin(LoopObject *self, int64_t limit)
{
    struct tdl_port *port = self->port;
    int peer = atomic_load_explicit(&port->cpu, memory_order_relaxed);
    int64_t allowed = tdl_spin_allowed(&self->spin, peer);
    if (allowed == 0)
        return false;
    int64_t end = tdl_clock_now() + (limit >= 0 && limit < allowed ? limit : allowed);
    do {
        for (int i = 0; i < LOOKS_PER_CLOCK; i++) {
            if (tdl_inbox_pending(&port->inbox))
                return true;
            tdl_cpu_relax();
        }
    } while (tdl_clock_now() < end);
    return false;
}

/* Wait for jobs in flight: tell the workers that the GIL is free, spin, sleep.
 * Without the GIL. */
static int
poll_for_results(LoopObject *self, struct tdl_source *source, struct tdl_event *events,
                 int64_t timeout)
{
    int64_t start = tdl_clock_now();
    if (source != NULL)
        atomic_fetch_add_explicit(&source->released, 1, memory_order_release);
    bool came = spin(self, timeout) || !tdl_inbox_arm(&self->port->inbox);
    int n = 0;
    if (!came)
        n = wait_for_events(self, events, timeout);
    else if (++self->unpolled >= TDL_LOOP_UNPOLLED)
        n = wait_for_events(self, events, 0);
    tdl_spin_learn(&self->spin, tdl_clock_now() - start);
    return n;
}

/* Sleep until something happens.  `results`: jobs are in flight, the inbox is not armed. */
static int
poll_blocking(LoopObject *self, struct tdl_event *events, int64_t timeout, bool results)
{
    int n;
    int64_t start = tdl_loop_stats_clock();
    PyObject *owner = NULL;
    struct tdl_source *source =
        results ? tdl_landing_source(&self->landing, (PyObject *)self, &owner) : NULL;
    atomic_store_explicit(&self->polling, true, memory_order_relaxed);
    Py_BEGIN_ALLOW_THREADS
    if (results)
        n = poll_for_results(self, source, events, timeout);
    else
        n = wait_for_events(self, events, timeout);
    Py_END_ALLOW_THREADS
    atomic_store_explicit(&self->polling, false, memory_order_relaxed);
    tdl_loop_count(&self->stats.poll_ns, (uint64_t)(tdl_loop_stats_clock() - start));
    Py_XDECREF(owner);
    return n;
}

/* Learn what a descriptor of the batch before this poll took. */
static void
end_batch(LoopObject *self)
{
    if (self->batch == 0)
        return;
    int64_t took = (tdl_clock_now() - self->batch_start) / self->batch;
    self->batch_cost += (took - self->batch_cost) / 4;
    self->batch = 0;
}

/* `n` descriptors are about to be dealt with. */
static void
begin_batch(LoopObject *self, int n)
{
    self->busy = n >= BUSY && self->batch_cost >= BUSY_COST;
    if (n < BUSY)
        return;
    self->batch = n;
    self->batch_start = tdl_clock_now();
}

int
tdl_loop_poll(LoopObject *self, int64_t limit)
{
    struct tdl_event events[EVENTS];
    int64_t timeout;
    bool results = self->landing.in_flight > 0;
    end_batch(self);
    /* before, not after: a signal that came in C code interrupts no poll */
    if (PyErr_CheckSignals() < 0 || poll_timeout(self, &timeout) < 0)
        return -1;
    if (limit >= 0 && (timeout < 0 || timeout > limit))
        timeout = limit;
    if (timeout != 0) {
        /* whoever posts from here on wakes us, or will find us looking */
        if (tdl_loop_take_posted(self, results ? TDL_INBOX_AWAKE : TDL_INBOX_ARMED) < 0)
            return -1;
        if (tdl_ring_count(&self->ready) > 0)
            timeout = 0;
    }
    tdl_loop_count(&self->stats.polls, 1);
    int n = timeout == 0 ? wait_for_events(self, events, 0)
                         : poll_blocking(self, events, timeout, results);
    if (n < 0)
        return tdl_raise_errno(n);
    begin_batch(self, n);
    self->behind = tdl_ring_count(&self->ready) > 0;
    if (handle_events(self, events, n) < 0)
        return -1;
    return tdl_loop_take_posted(self, TDL_INBOX_AWAKE);
}

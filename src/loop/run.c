/* Turning: poll, collect what is due, run what is ready. */
#include <errno.h>
#include <math.h>

#include "core/clock.h"
#include "loop/fork.h"
#include "loop/ready.h"
#include "loop/watch.h"
#include "py/errors.h"

/* Turns without asking the poller while callbacks keep coming: asking costs more
 * than most callbacks, and ready descriptors wait no longer than this. */
enum { UNPOLLED_MAX = 61, EVENTS = 128 };

int
tdl_loop_take_posted(LoopObject *self, enum tdl_inbox_mark mark)
{
    struct tdl_item *item = tdl_inbox_drain(&self->inbox, mark);
    int r = 0;
    while (item != NULL) {
        struct tdl_item *next = item->next;
        PyObject *handle = tdl_handle_of_item(self->st, item);
        if (r == 0)
            r = tdl_ready_push_steal(self, handle);
        else
            tdl_handle_release(self->st, handle);
        tdl_loop_count(&self->stats.posted, 1);
        item = next;
    }
    return r;
}

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
            tdl_wakeup_drain(&self->wakeup);
            continue;
        }
        tdl_loop_count(&self->stats.events, 1);
        if (tdl_watch_dispatch(self, (int)(intptr_t)events[i].data, events[i].events) < 0)
            return -1;
    }
    return 0;
}

/* Sleep until something happens. */
static int
poll_blocking(LoopObject *self, struct tdl_event *events, int64_t timeout)
{
    int n;
    int64_t start = tdl_loop_stats_clock();
    atomic_store_explicit(&self->polling, true, memory_order_relaxed);
    Py_BEGIN_ALLOW_THREADS
    n = tdl_poller_wait(&self->poller, events, EVENTS, timeout);
    Py_END_ALLOW_THREADS
    atomic_store_explicit(&self->polling, false, memory_order_relaxed);
    tdl_loop_count(&self->stats.poll_ns, (uint64_t)(tdl_loop_stats_clock() - start));
    return n;
}

/* Ask the poller; sleep for `limit` ns at most, without limit if that is negative. */
static int
poll_once(LoopObject *self, int64_t limit)
{
    struct tdl_event events[EVENTS];
    int64_t timeout;
    /* before, not after: a signal that came in C code interrupts no poll */
    if (PyErr_CheckSignals() < 0 || poll_timeout(self, &timeout) < 0)
        return -1;
    if (limit >= 0 && (timeout < 0 || timeout > limit))
        timeout = limit;
    if (timeout != 0) {
        /* whoever posts from here on wakes us */
        if (tdl_loop_take_posted(self, TDL_INBOX_ARMED) < 0)
            return -1;
        if (tdl_ring_count(&self->ready) > 0)
            timeout = 0;
    }
    tdl_loop_count(&self->stats.polls, 1);
    int n = timeout == 0 ? tdl_poller_wait(&self->poller, events, EVENTS, 0)
                         : poll_blocking(self, events, timeout);
    self->unpolled = 0;
    if (n < 0)
        return tdl_raise_errno(n);
    if (handle_events(self, events, n) < 0)
        return -1;
    return tdl_loop_take_posted(self, TDL_INBOX_AWAKE);
}

static struct tdl_timer *
pop_due(LoopObject *self, int64_t now)
{
    struct tdl_timer *timer;
    TDL_CRITICAL_BEGIN(self);
    timer = tdl_heap_pop(&self->timers, now);
    TDL_CRITICAL_END();
    return timer;
}

static int
collect_due(LoopObject *self)
{
    int64_t now;
    if (self->timers.count == 0)
        return 0;
    if (tdl_loop_now(self, &now) < 0)
        return -1;
    struct tdl_timer *timer;
    int r = 0;
    while (r == 0 && (timer = pop_due(self, now)) != NULL) {
        tdl_loop_count(&self->stats.fired, 1);
        r = tdl_ready_push_steal(self, tdl_handle_of_timer(self->st, timer));
    }
    return r;
}

/* Run what is ready now, not what becomes ready meanwhile. */
static int
run_ready(LoopObject *self)
{
    size_t todo = tdl_ring_count(&self->ready);
    int r = 0;
    struct tdl_ready entry;
    tdl_loop_count_ready(&self->stats, tdl_ready_count(self));
    /* somebody may empty the queue, or run the loop from inside */
    while (r == 0 && todo > 0 && tdl_ready_pop(self, &entry)) {
        todo -= entry.places < todo ? entry.places : todo;
        tdl_loop_count(&self->stats.callbacks, 1);
        r = tdl_ready_run(self, &entry);
    }
    return r;
}

static int
turn(LoopObject *self, bool poll)
{
    tdl_loop_count(&self->stats.turns, 1);
    if (poll || tdl_ring_count(&self->ready) == 0 || ++self->unpolled >= UNPOLLED_MAX) {
        if (poll_once(self, -1) < 0)
            return -1;
    }
    else if (tdl_loop_take_posted(self, TDL_INBOX_AWAKE) < 0)
        return -1;
    if (collect_due(self) < 0)
        return -1;
    return run_ready(self);
}

/* Note who runs it.  Returns what `thread` was: the loop may be run from inside. */
static unsigned long
enter(LoopObject *self)
{
    unsigned long before = self->thread;
    self->tstate = PyThreadState_Get();
    self->thread = PyThread_get_thread_ident();
    return before;
}

static PyObject *
run_once(LoopObject *self, PyObject *Py_UNUSED(ignored))
{
    if (tdl_loop_check_closed(self) < 0)
        return NULL;
    unsigned long before = enter(self);
    int r = turn(self, true);
    self->thread = before;
    if (r < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* _poll(seconds): what comes before the handles of a turn, for turns made in Python. */
static PyObject *
poll_for(LoopObject *self, PyObject *seconds)
{
    double limit = seconds == Py_None ? -1.0 : PyFloat_AsDouble(seconds);
    if ((limit == -1.0 && PyErr_Occurred()) || tdl_loop_check_closed(self) < 0)
        return NULL;
    if (seconds != Py_None && !(limit > 0.0))
        limit = 0.0; /* as select() takes it */
    int64_t ns = limit < 0.0 || limit > 9e9 ? -1 : (int64_t)ceil(limit * 1e9);
    unsigned long before = enter(self); /* who posts meanwhile has to wake it */
    int r = poll_once(self, ns);
    self->thread = before;
    if (r < 0 || collect_due(self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
collect(LoopObject *self, PyObject *Py_UNUSED(ignored))
{
    if (collect_due(self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Turn until stop(); once at least. */
static PyObject *
run_until_stopped(LoopObject *self, PyObject *Py_UNUSED(ignored))
{
    if (tdl_loop_check_closed(self) < 0)
        return NULL;
    unsigned long before = enter(self);
    bool poll = true;
    int r;
    do {
        r = turn(self, poll || self->stopping);
        poll = false;
    } while (r == 0 && !self->stopping);
    self->thread = before;
    if (r == 0 && self->inherited)
        r = tdl_fork_raise();
    if (r < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyMethodDef tdl_loop_run_methods[] = {
    {"_poll", (PyCFunction)poll_for, METH_O, NULL},
    {"_collect_due", (PyCFunction)collect, METH_NOARGS, NULL},
    {"_run_once", (PyCFunction)run_once, METH_NOARGS, NULL},
    {"_run_until_stopped", (PyCFunction)run_until_stopped, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

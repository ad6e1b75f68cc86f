/* loop.stats() */
#include "loop/stats.h"

#include "loop/ready.h"

static unsigned long long
get(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit((_Atomic uint64_t *)counter, memory_order_relaxed);
}

/* Timers: how many wait, and what became of the others. */
static PyObject *
timers_dict(LoopObject *self)
{
    size_t pending;
    uint64_t scheduled;
    TDL_CRITICAL_BEGIN(self);
    pending = tdl_heap_count(&self->timers);
    scheduled = self->timers.sequence;
    TDL_CRITICAL_END();
    return Py_BuildValue("{s:n,s:K,s:K,s:K}", "pending", (Py_ssize_t)pending, "scheduled",
                         (unsigned long long)scheduled, "fired", get(&self->stats.fired),
                         "cancelled", get(&self->stats.cancelled));
}

static PyObject *
stats(LoopObject *self, PyObject *Py_UNUSED(ignored))
{
    struct tdl_loop_stats *s = &self->stats;
    size_t ready;
    TDL_CRITICAL_BEGIN(self);
    ready = tdl_ready_count(self);
    TDL_CRITICAL_END();
    PyObject *timers = timers_dict(self);
    if (timers == NULL)
        return NULL;
    return Py_BuildValue(
        "{s:K,s:K,s:d,s:K,s:K,s:K,s:n,s:K,s:K,s:K,s:N}", "turns", get(&s->turns), "polls",
        get(&s->polls), "poll_time", (double)get(&s->poll_ns) * 1e-9, "events", get(&s->events),
        "posted", get(&s->posted), "callbacks", get(&s->callbacks), "ready", (Py_ssize_t)ready,
        "ready_max", get(&s->ready_max), "slow_callbacks", get(&s->slow), "blocked_callbacks",
        get(&s->blocked), "timers", timers);
}

static PyObject *
count_slow(LoopObject *self, PyObject *Py_UNUSED(ignored))
{
    tdl_loop_count(&self->stats.slow, 1);
    Py_RETURN_NONE;
}

PyMethodDef tdl_loop_stats_methods[] = {
    {"stats", (PyCFunction)stats, METH_NOARGS,
     "stats($self, /)\n--\n\n"
     "Return what the loop has counted since it was made, as a dict.\n\n"
     "turns, polls (times that the poller was asked), poll_time (seconds in polls that\n"
     "may block), events (descriptors that were ready), posted (by\n"
     "call_soon_threadsafe()), callbacks (handles run), ready (handles waiting to run now), ready_max\n"
     "(most of them at the start of a turn), slow_callbacks (reported by debug mode),\n"
     "blocked_callbacks (reported by the watchdog), and timers, a dict: pending, scheduled,\n"
     "fired, cancelled. Any thread may ask."},
    {"_count_slow", (PyCFunction)count_slow, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* What a loop counts about itself.
 *
 * The loop's thread writes; any thread reads, so figures of a running loop are a
 * moment's, each by itself exact.  Whatever the loop does moves `turns`, `callbacks`
 * or `events`: while none of them changes, one callback is running, or none. */
#ifndef TDL_LOOP_STATS_H
#define TDL_LOOP_STATS_H

#include <stdatomic.h>
#include <stdint.h>

#include "core/clock.h"
#include "py/compat.h"

struct tdl_loop_stats {
    _Atomic uint64_t turns;
    _Atomic uint64_t polls;     /* times that the poller was asked */
    _Atomic uint64_t poll_ns;   /* spent in polls that may block */
    _Atomic uint64_t events;    /* descriptors that were ready */
    _Atomic uint64_t posted;    /* handles of call_soon_threadsafe() */
    _Atomic uint64_t callbacks; /* entries taken from the ready queue */
    _Atomic uint64_t ready_max; /* most entries in the ready queue at the start of a turn */
    _Atomic uint64_t fired;     /* timers whose deadline came */
    _Atomic uint64_t cancelled; /* timers cancelled before */
    _Atomic uint64_t slow;      /* callbacks that debug mode has reported */
    _Atomic uint64_t blocked;   /* callbacks that the watchdog has reported; it writes */
};

/* Add `n`.  One writer a counter: no need for an atomic addition. */
static inline void
tdl_loop_count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

/* Note that a turn begins with `ready` entries to run. */
static inline void
tdl_loop_count_ready(struct tdl_loop_stats *stats, uint64_t ready)
{
    if (ready > atomic_load_explicit(&stats->ready_max, memory_order_relaxed))
        atomic_store_explicit(&stats->ready_max, ready, memory_order_relaxed);
}

/* The clock for poll_ns, in ns.  Coarse, where the system has that: a fraction of the
 * cost, and errors that are as often too long as too short. */
static inline int64_t
tdl_loop_stats_clock(void)
{
#ifdef CLOCK_MONOTONIC_COARSE
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (int64_t)now.tv_sec * TDL_NS_PER_S + now.tv_nsec;
#else
    return tdl_clock_now();
#endif
}

/* What changes whenever the loop gets on: a number to compare with an earlier one. */
static inline uint64_t
tdl_loop_stats_beat(const struct tdl_loop_stats *stats)
{
    return atomic_load_explicit(&stats->turns, memory_order_relaxed) +
           atomic_load_explicit(&stats->callbacks, memory_order_relaxed) +
           atomic_load_explicit(&stats->events, memory_order_relaxed);
}

/* stats.c: the methods. */
extern PyMethodDef tdl_loop_stats_methods[];

#endif

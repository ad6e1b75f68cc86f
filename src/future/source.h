/* Where a future's result comes from, as far as waiting for it goes.
 *
 * An executor gives each of its futures a source.  Through it a waiter lends a
 * hand (runs the job itself), tells spinning workers that it has let the GIL
 * go, and learns whether the result can still come at all.  future/ knows
 * nothing else about executors. */
#ifndef TDL_FUTURE_SOURCE_H
#define TDL_FUTURE_SOURCE_H

#include <stdatomic.h>

#include "core/spin.h"
#include "py/state.h"

struct tdl_waiter;
typedef struct FutureObject FutureObject;

struct tdl_source {
    /* Counts the times a waiter released the GIL in order to wait; workers that
     * spin until the GIL is free watch it.  Atomic. */
    _Atomic uint32_t released;
    /* The CPU that a worker last ran on, -1 before; a hint.  Atomic. */
    _Atomic int cpu;
    /* tdl_state.generation when made: a forked child must not wait for the
     * parent's threads.  Fixed after init. */
    unsigned generation;
    /* Whether this thread may run jobs of the source at all.  Fixed after init. */
    bool (*may_help)(struct tdl_source *source);
    /* Run the not yet started job of `future` on this thread, if it is one that
     * may.  Thread state: attached.  Returns 1 if it ran (or was cancelled), 0
     * if it may not run here, -1 with an exception set.  Fixed after init. */
    int (*help)(struct tdl_source *source, FutureObject *future);
    /* Raise what a forked child gets that waits.  Thread state: attached.  Fixed after
     * init. */
    void (*raise_orphaned)(struct tdl_source *source);
    /* The rest may be NULL.  Fixed after init. */
    /* Wait until `waiter` is fired, doing the pool's work meanwhile.  Thread state:
     * attached; let go while waiting.  Returns as tdl_parker_park(). */
    int (*wait)(struct tdl_source *source, struct tdl_waiter *waiter, struct tdl_spin *spin,
                int64_t deadline);
    /* Give the job of a pending `future` up, which is about to be cancelled.  Returns
     * whether nobody has begun it.  Thread state: attached. */
    bool (*revoke)(struct tdl_source *source, FutureObject *future);
    /* Whether the job of a pending `future` has begun.  Thread state: attached. */
    bool (*is_started)(struct tdl_source *source, FutureObject *future);
    /* Stop the job of `future`, which has begun.  Returns whether it will end by that.
     * Thread state: attached. */
    bool (*stop)(struct tdl_source *source, FutureObject *future);
};

#endif

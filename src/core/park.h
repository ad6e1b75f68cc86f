/* Parking: one thread sleeps until another says so, without losing the word.
 *
 * A parker belongs to the thread that parks on it.  Any other thread may
 * unpark it once per wait; the notification is remembered if it comes first.
 * It may live on the waiting thread's stack: unpark does not touch it after
 * the notification is visible (see tdl_futex_wake()).  No locks. */
#ifndef TDL_CORE_PARK_H
#define TDL_CORE_PARK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/spin.h"

enum {
    TDL_PARK_EMPTY,    /* nobody waits, nothing was said */
    TDL_PARK_PARKED,   /* the owner sleeps or is about to */
    TDL_PARK_NOTIFIED, /* the other side has spoken */
};

struct tdl_parker {
    _Atomic uint32_t word; /* one of the above */
};

/* Make ready for a wait.  Owner only, while nobody may unpark. */
static inline void
tdl_parker_init(struct tdl_parker *parker)
{
    atomic_init(&parker->word, TDL_PARK_EMPTY);
}

/* Whether the other side has spoken; with acquire order. */
static inline bool
tdl_parker_notified(struct tdl_parker *parker)
{
    return atomic_load_explicit(&parker->word, memory_order_acquire) == TDL_PARK_NOTIFIED;
}

/* Wait for the notification: spin as `spin` allows (may be NULL), then sleep.
 * Blocks: until notified, `deadline`, or a signal.  Owner only.
 * Returns 0 when notified (it stays so until tdl_parker_init()), -ETIMEDOUT,
 * or -EINTR; after the latter two the owner may call again. */
int tdl_parker_park(struct tdl_parker *parker, struct tdl_spin *spin, int peer_cpu,
                    int64_t deadline);

/* Sleep until notified, or until `shared`, a word in memory that processes share, is not
 * `expected` or is woken.  Owner only; no spin.  Returns as tdl_parker_park(), 0 also if it
 * was the other word, or -ENOSYS as tdl_futex_wait_either(). */
int tdl_parker_park_or(struct tdl_parker *parker, _Atomic uint32_t *shared, uint32_t expected,
                       int64_t deadline);

/* Notify the owner, from any thread.  Blocks: never. */
void tdl_parker_unpark(struct tdl_parker *parker);

#endif

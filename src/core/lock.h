/* A one-word mutex for critical sections of a few instructions.
 *
 * Never held across a call into Python, a system call or an allocation of
 * unbounded cost, so a thread may take it with or without the GIL.  Spins
 * briefly, then sleeps.  Not recursive, not fair.  Lock order: a tdl_lock is
 * always innermost; no two are held at once unless the callers say so. */
#ifndef TDL_CORE_LOCK_H
#define TDL_CORE_LOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct tdl_lock {
    _Atomic uint32_t word; /* 0 free, 1 held, 2 held and somebody may sleep */
};

/* The slow halves of the two functions below. */
void tdl_lock_acquire_contended(struct tdl_lock *lock);
void tdl_lock_wake(struct tdl_lock *lock);

/* Make `lock` free.  Also right in a forked child, where the holder is gone. */
static inline void
tdl_lock_init(struct tdl_lock *lock)
{
    atomic_init(&lock->word, 0);
}

/* Take the lock.  Blocks: for as long as the holder's few instructions take. */
static inline void
tdl_lock_acquire(struct tdl_lock *lock)
{
    uint32_t free = 0;
    if (!atomic_compare_exchange_strong_explicit(&lock->word, &free, 1, memory_order_acquire,
                                                 memory_order_relaxed))
        tdl_lock_acquire_contended(lock);
}

/* Take the lock if it is free.  Returns whether it was. */
static inline bool
tdl_lock_try_acquire(struct tdl_lock *lock)
{
    uint32_t free = 0;
    return atomic_compare_exchange_strong_explicit(&lock->word, &free, 1, memory_order_acquire,
                                                   memory_order_relaxed);
}

/* Release the lock, which the caller holds. */
static inline void
tdl_lock_release(struct tdl_lock *lock)
{
    if (atomic_exchange_explicit(&lock->word, 0, memory_order_release) == 2)
        tdl_lock_wake(lock);
}

#endif

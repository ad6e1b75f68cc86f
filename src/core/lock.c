#include "core/lock.h"

#include "core/clock.h"
#include "core/futex.h"
#include "core/spin.h"

enum { SPINS = 64 };

void
tdl_lock_acquire_contended(struct tdl_lock *lock)
{
    for (int i = 0; i < SPINS; i++) {
        tdl_cpu_relax();
        if (atomic_load_explicit(&lock->word, memory_order_relaxed) == 0 &&
            tdl_lock_try_acquire(lock))
            return;
    }
    /* 2 stays behind for the next holder even if nobody else sleeps: one wake
     * too many is cheaper than a count of sleepers */
    while (atomic_exchange_explicit(&lock->word, 2, memory_order_acquire) != 0)
        tdl_futex_wait(&lock->word, 2, TDL_NEVER);
}

void
tdl_lock_wake(struct tdl_lock *lock)
{
    tdl_futex_wake(&lock->word, 1);
}

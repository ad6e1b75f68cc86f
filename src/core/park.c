#include "core/park.h"

#include <errno.h>

#include "core/clock.h"
#include "core/futex.h"

/* Sleep until notified; the word is EMPTY or NOTIFIED on entry and, unless
 * notified, EMPTY again on return. */
static int
sleep_until_notified(struct tdl_parker *parker, int64_t deadline)
{
    uint32_t seen = TDL_PARK_EMPTY;
    if (!atomic_compare_exchange_strong_explicit(&parker->word, &seen, TDL_PARK_PARKED,
                                                 memory_order_acquire, memory_order_acquire))
        return 0;
    for (;;) {
        int r = tdl_futex_wait(&parker->word, TDL_PARK_PARKED, deadline);
        if (tdl_parker_notified(parker))
            return 0;
        if (r != -ETIMEDOUT && r != -EINTR)
            continue;
        seen = TDL_PARK_PARKED;
        if (atomic_compare_exchange_strong_explicit(&parker->word, &seen, TDL_PARK_EMPTY,
                                                    memory_order_acquire, memory_order_acquire))
            return r;
        return 0;
    }
}

int
tdl_parker_park_or(struct tdl_parker *parker, _Atomic uint32_t *shared, uint32_t expected,
                   int64_t deadline)
{
    uint32_t seen = TDL_PARK_EMPTY;
    if (!atomic_compare_exchange_strong_explicit(&parker->word, &seen, TDL_PARK_PARKED,
                                                 memory_order_acquire, memory_order_acquire))
        return 0;
    int r = tdl_futex_wait_either(&parker->word, TDL_PARK_PARKED, shared, expected, deadline);
    seen = TDL_PARK_PARKED;
    if (!atomic_compare_exchange_strong_explicit(&parker->word, &seen, TDL_PARK_EMPTY,
                                                 memory_order_acquire, memory_order_acquire))
        return 0;
    return r == -EAGAIN ? 0 : r;
}

int
tdl_parker_park(struct tdl_parker *parker, struct tdl_spin *spin, int peer_cpu,
                int64_t deadline)
{
    if (tdl_parker_notified(parker))
        return 0;
    if (spin == NULL)
        return sleep_until_notified(parker, deadline);
    int64_t start = tdl_clock_now();
    int r = 0;
    /* a spin may overrun a deadline by its budget, tens of microseconds */
    if (deadline > start && tdl_spin_until(spin, &parker->word, TDL_PARK_EMPTY, peer_cpu))
        r = 0;
    else
        r = sleep_until_notified(parker, deadline);
    tdl_spin_learn(spin, tdl_clock_now() - start);
    return r;
}

void
tdl_parker_unpark(struct tdl_parker *parker)
{
    if (atomic_exchange_explicit(&parker->word, TDL_PARK_NOTIFIED, memory_order_release) ==
        TDL_PARK_PARKED)
        tdl_futex_wake(&parker->word, 1);
}

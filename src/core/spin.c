#include "core/spin.h"

#include <unistd.h>

#include "core/clock.h"

/* The longest spin.  A wake across halted cores costs 30 to 70 us: spinning
 * longer than the wake it saves would lose even when it succeeds. */
#define SPIN_MAX (50 * TDL_NS_PER_US)
#define SPIN_MIN (2 * TDL_NS_PER_US)
/* A wait of up to this long may have been lengthened by the wake itself:
 * spinning could turn the next one into a short one. */
#define WAIT_SHORT (200 * TDL_NS_PER_US)
/* Spins in vain after which short waits alone do not bring spinning back. */
enum { MISSES_MAX = 8, LOOKS_PER_CLOCK = 16 };

/* CPUs that the process may use: the main thread's, whichever thread asks first. */
static int
cpu_count(void)
{
    static _Atomic int known;
    int n = atomic_load_explicit(&known, memory_order_relaxed);
    if (n == 0) {
        cpu_set_t set;
        n = sched_getaffinity(getpid(), sizeof set, &set) == 0
                ? CPU_COUNT(&set)
                : (int)sysconf(_SC_NPROCESSORS_ONLN);
        atomic_store_explicit(&known, n, memory_order_relaxed);
    }
    return n;
}

void
tdl_spin_init(struct tdl_spin *spin)
{
    spin->budget = SPIN_MAX;
    spin->misses = 0;
}

bool
tdl_spin_may_help(int peer_cpu)
{
    return cpu_count() >= 2 && (peer_cpu < 0 || peer_cpu != tdl_cpu_current());
}

int64_t
tdl_spin_allowed(const struct tdl_spin *spin, int peer_cpu)
{
    return spin->budget > 0 && tdl_spin_may_help(peer_cpu) ? spin->budget : 0;
}

bool
tdl_spin_until(const struct tdl_spin *spin, _Atomic uint32_t *word, uint32_t value,
               int peer_cpu)
{
    int64_t allowed = tdl_spin_allowed(spin, peer_cpu);
    if (allowed == 0)
        return atomic_load_explicit(word, memory_order_acquire) != value;
    int64_t end = tdl_clock_now() + allowed;
    do {
        for (int i = 0; i < LOOKS_PER_CLOCK; i++) {
            if (atomic_load_explicit(word, memory_order_acquire) != value)
                return true;
            tdl_cpu_relax();
        }
    } while (tdl_clock_now() < end);
    return false;
}

void
tdl_spin_learn(struct tdl_spin *spin, int64_t waited)
{
    if (waited <= spin->budget) {
        spin->misses = 0;
        int64_t wanted = 4 * waited;
        if (wanted > spin->budget)
            spin->budget = wanted < SPIN_MAX ? wanted : SPIN_MAX;
        return;
    }
    if (waited <= WAIT_SHORT && spin->misses < MISSES_MAX) {
        spin->misses++;
        spin->budget = SPIN_MAX;
        return;
    }
    /* long waits: halve down to nothing, so that an idle thread burns no CPU;
     * a later short wait forgives the misses */
    spin->budget = spin->budget / 2 >= SPIN_MIN ? spin->budget / 2 : 0;
    spin->misses = waited <= WAIT_SHORT ? spin->misses : 0;
}

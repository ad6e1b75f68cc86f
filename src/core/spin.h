/* Adaptive spinning before a sleep.
 *
 * A sleep and a wake across cores cost tens of microseconds where an idle core
 * halts; a word that changes soon is met hundreds of times faster by looking at
 * it.  A `struct tdl_spin` remembers how long recent waits were and allows to
 * look only while that pays: never on a machine with one CPU, never when the
 * other side last ran on this very CPU, not after a long idle time.
 *
 * A spin belongs to one thread; the words it watches to anybody. */
#ifndef TDL_CORE_SPIN_H
#define TDL_CORE_SPIN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct tdl_spin {
    int64_t budget;  /* ns that the next spin may last; 0: sleep at once */
    uint32_t misses; /* spins in a row that ended without the change */
};

/* Tell the CPU that this is a spin-wait. */
static inline void
tdl_cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield" ::: "memory");
#else
    atomic_signal_fence(memory_order_seq_cst);
#endif
}

/* Start with the largest budget: the first wait decides. */
void tdl_spin_init(struct tdl_spin *spin);

/* Whether looking at a word can help at all: not where the peer last ran on CPU
 * `peer_cpu` (-1: unknown), which is also ours, or where there is one CPU only. */
bool tdl_spin_may_help(int peer_cpu);

/* How long a spin may last now, in ns: 0 where it cannot help because the peer
 * last ran on CPU `peer_cpu`, which is also ours (-1: unknown). */
int64_t tdl_spin_allowed(const struct tdl_spin *spin, int peer_cpu);

/* Watch `word` until it differs from `value`, for as long as the budget allows.
 * Returns whether it changed (with acquire order). */
bool tdl_spin_until(const struct tdl_spin *spin, _Atomic uint32_t *word, uint32_t value,
                    int peer_cpu);

/* Learn from a whole wait, spin and sleep together, of `waited` ns. */
void tdl_spin_learn(struct tdl_spin *spin, int64_t waited);

#endif

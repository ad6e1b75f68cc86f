/* Durations by powers of two of a nanosecond.
 *
 * One thread, or process, adds; any other may read meanwhile: figures of a moment, each
 * by itself exact.  Nothing but atomic words, so a histogram may lie in memory that
 * processes share.  No locks. */
#ifndef TDL_CORE_HISTOGRAM_H
#define TDL_CORE_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

/* Bucket i holds what is below 2^(i+1) ns, the last one all above 2^39 ns, nine minutes. */
enum { TDL_HISTOGRAM_BUCKETS = 40 };

struct tdl_histogram {
    _Atomic uint64_t sum; /* ns */
    _Atomic uint64_t buckets[TDL_HISTOGRAM_BUCKETS];
};

/* Add one duration in ns; a negative one counts as 0.  One writer a histogram. */
static inline void
tdl_histogram_add(struct tdl_histogram *h, int64_t ns)
{
    uint64_t value = ns > 0 ? (uint64_t)ns : 0;
    int i = 63 - __builtin_clzll(value | 1);
    if (i >= TDL_HISTOGRAM_BUCKETS)
        i = TDL_HISTOGRAM_BUCKETS - 1;
    /* the only writer: no need for an atomic addition */
    uint64_t n = atomic_load_explicit(&h->buckets[i], memory_order_relaxed);
    atomic_store_explicit(&h->buckets[i], n + 1, memory_order_relaxed);
    uint64_t sum = atomic_load_explicit(&h->sum, memory_order_relaxed);
    atomic_store_explicit(&h->sum, sum + value, memory_order_relaxed);
}

/* total += part; whoever writes `total` is one thread. */
void tdl_histogram_merge(struct tdl_histogram *total, const struct tdl_histogram *part);

/* How many durations there are. */
uint64_t tdl_histogram_count(const struct tdl_histogram *h);

#endif

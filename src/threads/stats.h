/* What a worker counts: jobs, and how long they waited and ran.
 *
 * Each worker writes its own counters; stats() adds them up while they change,
 * so figures of a busy pool are a moment's, each by itself exact. */
#ifndef TDL_THREADS_STATS_H
#define TDL_THREADS_STATS_H

#include <stdatomic.h>
#include <stdint.h>

#include "py/compat.h"

/* Durations by powers of two of a nanosecond: bucket i holds those below 2^(i+1),
 * the last one all above 2^39 ns, nine minutes. */
enum { TDL_HISTOGRAM_BUCKETS = 40 };

struct tdl_histogram {
    _Atomic uint64_t sum; /* ns */
    _Atomic uint64_t buckets[TDL_HISTOGRAM_BUCKETS];
};

struct tdl_stats {
    _Atomic uint64_t done;
    struct tdl_histogram wait, run;
};

/* Add one duration in ns.  One writer a histogram. */
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

/* total += part */
void tdl_stats_merge(struct tdl_stats *total, const struct tdl_stats *part);

/* {'count': n, 'sum': seconds, 'buckets': [(below this many seconds, n), ...]},
 * buckets at the end that are empty left out but for (inf, n).
 * Returns a new reference or NULL. */
PyObject *tdl_histogram_dict(const struct tdl_histogram *h);

#endif

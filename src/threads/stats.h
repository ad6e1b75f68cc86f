/* What a worker counts: jobs, and how long they waited and ran.
 *
 * Each worker writes its own counters; stats() adds them up while they change,
 * so figures of a busy pool are a moment's, each by itself exact. */
#ifndef TDL_THREADS_STATS_H
#define TDL_THREADS_STATS_H

#include "core/histogram.h"

struct tdl_stats {
    _Atomic uint64_t done;
    struct tdl_histogram wait, run;
};

/* total += part; whoever writes `total` holds the lock that protects it. */
void tdl_stats_merge(struct tdl_stats *total, const struct tdl_stats *part);

#endif

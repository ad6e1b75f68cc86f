#include "threads/stats.h"

void
tdl_stats_merge(struct tdl_stats *total, const struct tdl_stats *part)
{
    uint64_t done = atomic_load_explicit((_Atomic uint64_t *)&part->done, memory_order_relaxed);
    atomic_fetch_add_explicit(&total->done, done, memory_order_relaxed);
    tdl_histogram_merge(&total->wait, &part->wait);
    tdl_histogram_merge(&total->run, &part->run);
}

#include "core/histogram.h"

static uint64_t
get(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit((_Atomic uint64_t *)counter, memory_order_relaxed);
}

static void
add(_Atomic uint64_t *counter, uint64_t part)
{
    atomic_store_explicit(counter, get(counter) + part, memory_order_relaxed);
}

void
tdl_histogram_merge(struct tdl_histogram *total, const struct tdl_histogram *part)
{
    add(&total->sum, get(&part->sum));
    for (int i = 0; i < TDL_HISTOGRAM_BUCKETS; i++)
        add(&total->buckets[i], get(&part->buckets[i]));
}

uint64_t
tdl_histogram_count(const struct tdl_histogram *h)
{
    uint64_t count = 0;
    for (int i = 0; i < TDL_HISTOGRAM_BUCKETS; i++)
        count += get(&h->buckets[i]);
    return count;
}

/* How long requests took: every one is kept, and sorted when asked. */
#ifndef LOAD_LATENCY_H
#define LOAD_LATENCY_H

#include <stddef.h>
#include <stdint.h>

struct latency {
    int64_t *values; /* ns, in the order of arrival until asked */
    size_t count, room;
};

/* Start empty, or forget everything; the storage stays. */
void latency_reset(struct latency *latency);

/* Keep one more value. */
void latency_add(struct latency *latency, int64_t nanoseconds);

/* Sort, so that latency_at() can be asked. */
void latency_sort(struct latency *latency);

/* The value below which the share `quantile` (0 to 1) of all lies, 0 if there is none. */
int64_t latency_at(const struct latency *latency, double quantile);

/* Free the storage. */
void latency_fini(struct latency *latency);

#endif

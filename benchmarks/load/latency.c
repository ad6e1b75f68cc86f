#include "latency.h"

#include "net.h"

#include <errno.h>
#include <stdlib.h>

enum { FIRST_ROOM = 1 << 16 };

void
latency_reset(struct latency *latency)
{
    latency->count = 0;
}

void
latency_add(struct latency *latency, int64_t nanoseconds)
{
    if (latency->count == latency->room) {
        size_t room = latency->room ? 2 * latency->room : FIRST_ROOM;
        int64_t *values = realloc(latency->values, room * sizeof *values);
        if (!values)
            net_die("realloc", ENOMEM);
        latency->values = values;
        latency->room = room;
    }
    latency->values[latency->count++] = nanoseconds;
}

static int
compare(const void *left, const void *right)
{
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

void
latency_sort(struct latency *latency)
{
    if (latency->count)
        qsort(latency->values, latency->count, sizeof *latency->values, compare);
}

int64_t
latency_at(const struct latency *latency, double quantile)
{
    if (!latency->count)
        return 0;
    return latency->values[(size_t)(quantile * (double)(latency->count - 1))];
}

void
latency_fini(struct latency *latency)
{
    free(latency->values);
    *latency = (struct latency){0};
}

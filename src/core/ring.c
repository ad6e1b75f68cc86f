#include "core/ring.h"

#include <errno.h>
#include <string.h>

#include "core/alloc.h"

static void
copy_items(const struct tdl_ring *ring, void **to)
{
    size_t count = tdl_ring_count(ring);
    if (count == 0)
        return;
    size_t first = ring->head & (ring->capacity - 1);
    size_t until_end = ring->capacity - first;
    size_t straight = count < until_end ? count : until_end;
    memcpy(to, ring->slots + first, straight * sizeof *to);
    memcpy(to + straight, ring->slots, (count - straight) * sizeof *to);
}

static int
resize(struct tdl_ring *ring, size_t capacity)
{
    void **slots = tdl_malloc(capacity * sizeof *slots);
    if (slots == NULL)
        return -ENOMEM;
    copy_items(ring, slots);
    tdl_free(ring->slots);
    ring->slots = slots;
    ring->tail = tdl_ring_count(ring);
    ring->head = 0;
    ring->capacity = capacity;
    ring->low = capacity > TDL_RING_MIN ? capacity / 8 : 0;
    return 0;
}

void
tdl_ring_fini(struct tdl_ring *ring)
{
    tdl_free(ring->slots);
    tdl_ring_init(ring);
}

int
tdl_ring_grow(struct tdl_ring *ring)
{
    /* twice the bytes of an array that exists cannot overflow a size_t */
    return resize(ring, ring->capacity == 0 ? TDL_RING_MIN : ring->capacity * 2);
}

void
tdl_ring_shrink(struct tdl_ring *ring)
{
    size_t target = ring->capacity / 4;
    ring->sparse++;
    if (tdl_ring_count(ring) == 0 && ring->capacity > TDL_RING_KEEP)
        target = TDL_RING_KEEP;
    else if (ring->sparse < target)
        return;
    /* without memory for the smaller ring the larger one does as well */
    ring->sparse = 0;
    resize(ring, target < TDL_RING_MIN ? TDL_RING_MIN : target);
}

/* A growable queue of pointers: first in, first out, with a way to the front.
 *
 * One thread at a time: the owner thread, or whoever holds the lock that the
 * owner says protects it.  No locks of its own, no Python thread state.  The
 * ring never looks behind a pointer and owns none of them.
 *
 *     count    = tail - head              (both run freely and wrap around)
 *     0       <= count <= capacity
 *     item i   = slots[(head + i) & (capacity - 1)],  0 <= i < count
 *
 * Memory follows the load: a full ring doubles; a ring that stayed under an
 * eighth full for capacity / 4 pops in a row shrinks to a quarter; one that
 * runs empty keeps at most TDL_RING_KEEP slots. */
#ifndef TDL_CORE_RING_H
#define TDL_CORE_RING_H

#include <stddef.h>

enum {
    TDL_RING_MIN = 16,    /* slots of the smallest ring that holds anything */
    TDL_RING_KEEP = 32768 /* slots that an empty ring may hold on to */
};

struct tdl_ring {
    void **slots;    /* owner; NULL until the first push */
    size_t capacity; /* owner; 0 or a power of two */
    size_t head;     /* owner; where the oldest item is */
    size_t tail;     /* owner; where the next item goes */
    size_t low;      /* owner; fewer items than this are few: capacity / 8, or 0 */
    size_t sparse;   /* owner; pops in a row that left few items */
};

/* The slow halves of push and pop: double a full ring (0 or -ENOMEM, then
 * unchanged), and shrink one that holds few items if that has lasted. */
int tdl_ring_grow(struct tdl_ring *ring);
void tdl_ring_shrink(struct tdl_ring *ring);

/* Make `ring` empty.  Allocates nothing. */
static inline void
tdl_ring_init(struct tdl_ring *ring)
{
    *ring = (struct tdl_ring){0};
}

/* Free the storage and leave the ring empty, as after tdl_ring_init().
 * Owns: items still in it stay the caller's, who pops them first. */
void tdl_ring_fini(struct tdl_ring *ring);

/* How many items are queued. */
static inline size_t
tdl_ring_count(const struct tdl_ring *ring)
{
    return ring->tail - ring->head;
}

/* The item `index` places behind the oldest one, which is 0; must be below the
 * count.  For traversals. */
static inline void *
tdl_ring_at(const struct tdl_ring *ring, size_t index)
{
    return ring->slots[(ring->head + index) & (ring->capacity - 1)];
}

/* Queue `item`, not NULL, behind all others.
 * Returns 0, or -ENOMEM with the ring unchanged. */
static inline int
tdl_ring_push(struct tdl_ring *ring, void *item)
{
    if (tdl_ring_count(ring) == ring->capacity) {
        int r = tdl_ring_grow(ring);
        if (r < 0)
            return r;
    }
    ring->slots[ring->tail++ & (ring->capacity - 1)] = item;
    return 0;
}

/* Make sure that the next `n` pushes succeed.
 * Returns 0, or -ENOMEM with the items unchanged; there may be more room than before. */
static inline int
tdl_ring_reserve(struct tdl_ring *ring, size_t n)
{
    while (ring->capacity - tdl_ring_count(ring) < n) {
        int r = tdl_ring_grow(ring);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Put `item`, not NULL, before all others: the next pop returns it.
 * Returns 0, or -ENOMEM with the ring unchanged.  Cannot fail directly after a
 * pop that returned an item: its slot, or the one of a smaller ring, is free. */
static inline int
tdl_ring_push_front(struct tdl_ring *ring, void *item)
{
    if (tdl_ring_count(ring) == ring->capacity) {
        int r = tdl_ring_grow(ring);
        if (r < 0)
            return r;
    }
    ring->slots[--ring->head & (ring->capacity - 1)] = item;
    return 0;
}

/* Take the oldest item out.  May shrink the ring; never fails for that.
 * Returns the item, or NULL if the ring is empty. */
static inline void *
tdl_ring_pop(struct tdl_ring *ring)
{
    if (ring->head == ring->tail)
        return NULL;
    void *item = ring->slots[ring->head++ & (ring->capacity - 1)];
    if (tdl_ring_count(ring) < ring->low)
        tdl_ring_shrink(ring);
    else
        ring->sparse = 0;
    return item;
}

#endif

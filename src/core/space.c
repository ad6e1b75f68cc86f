#include "core/space.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"

void
tdl_space_init(struct tdl_space *space, uint64_t first, uint64_t end)
{
    *space = (struct tdl_space){.top = first, .end = end};
}

void
tdl_space_fini(struct tdl_space *space)
{
    tdl_free(space->chunks);
    tdl_space_init(space, 0, 0);
}

/* ---- sizes ------------------------------------------------------------------------------ */

static unsigned
floor_log2(uint64_t value)
{
    return 63 - (unsigned)__builtin_clzll(value);
}

/* The units of a chunk for `units`: exact up to 8, then eighths of a power of two. */
static uint64_t
round_units(uint64_t units)
{
    if (units <= 8)
        return units;
    uint64_t step = UINT64_C(1) << (floor_log2(units - 1) - 3);
    return (units + step - 1) & ~(step - 1);
}

static unsigned
bin_of(uint64_t size)
{
    uint64_t units = size / TDL_SPACE_UNIT;
    if (units < 8)
        return (unsigned)units;
    unsigned log = floor_log2(units);
    return 8 + (log - 3) * 8 + (unsigned)((units >> (log - 3)) & 7);
}

/* Whether chunks of this very size are what an allocation asks for. */
static bool
is_class(uint64_t size)
{
    return round_units(size / TDL_SPACE_UNIT) == size / TDL_SPACE_UNIT;
}

/* ---- lists of chunks --------------------------------------------------------------------- */

static void
push(struct tdl_space *space, uint32_t *list, uint32_t index)
{
    space->chunks[index].next = *list;
    *list = index + 1;
}

static uint32_t
pop(struct tdl_space *space, uint32_t *list)
{
    uint32_t index = *list - 1;
    *list = space->chunks[index].next;
    return index;
}

static int64_t
new_chunk(struct tdl_space *space)
{
    if (space->unused != 0)
        return pop(space, &space->unused);
    if (space->nchunks == space->capacity) {
        uint32_t capacity = space->capacity > 0 ? space->capacity * 2 : 64;
        struct tdl_chunk *chunks =
            tdl_realloc(space->chunks, capacity * sizeof(struct tdl_chunk));
        if (chunks == NULL)
            return -ENOMEM;
        space->chunks = chunks;
        space->capacity = capacity;
    }
    return space->nchunks++;
}

/* ---- allocation --------------------------------------------------------------------------- */

static void
use(struct tdl_space *space, struct tdl_chunk *chunk)
{
    space->used += chunk->size;
    if (chunk->warm)
        space->idle -= chunk->size;
}

static int64_t
from_bin(struct tdl_space *space, uint64_t size)
{
    uint32_t *bin = &space->bins[bin_of(size)];
    if (*bin == 0)
        return -ENOSPC;
    uint32_t index = pop(space, bin);
    space->binned -= size;
    use(space, &space->chunks[index]);
    return index;
}

/* The place in the list of the smallest loose chunk that is large enough, warm ones
 * before cold ones; NULL if there is none. */
static uint32_t *
best_fit(struct tdl_space *space, uint64_t size)
{
    uint32_t *best = NULL;
    const struct tdl_chunk *fit = NULL;
    for (uint32_t *at = &space->loose; *at != 0; at = &space->chunks[*at - 1].next) {
        const struct tdl_chunk *chunk = &space->chunks[*at - 1];
        if (chunk->size < size || (fit != NULL && fit->warm && !chunk->warm))
            continue;
        if (fit == NULL || chunk->size < fit->size || (chunk->warm && !fit->warm)) {
            best = at;
            fit = chunk;
        }
    }
    return best;
}

static int64_t
from_loose(struct tdl_space *space, uint64_t size)
{
    uint32_t *place = best_fit(space, size);
    if (place == NULL)
        return -ENOSPC;
    uint32_t index = *place - 1;
    if (space->chunks[index].size == size) {
        *place = space->chunks[index].next;
        use(space, &space->chunks[index]);
        return index;
    }
    int64_t taken = new_chunk(space); /* may move the chunks, and `place` with them */
    if (taken < 0)
        return taken;
    struct tdl_chunk *rest = &space->chunks[index], *chunk = &space->chunks[taken];
    *chunk = (struct tdl_chunk){.offset = rest->offset, .size = size, .warm = rest->warm};
    rest->offset += size;
    rest->size -= size;
    use(space, chunk);
    return taken;
}

static int64_t
from_top(struct tdl_space *space, uint64_t size)
{
    if (size > space->end - space->top)
        return -ENOSPC;
    int64_t index = new_chunk(space);
    if (index < 0)
        return index;
    space->chunks[index] = (struct tdl_chunk){.offset = space->top, .size = size};
    space->top += size;
    use(space, &space->chunks[index]);
    return index;
}

/* Whether it is worth putting memory together for this: enough of it waits, and
 * enough has changed since the last time. */
static bool
worth_tidying(const struct tdl_space *space, uint64_t size)
{
    return space->binned >= size && space->freed > space->nchunks / 8;
}

static void lower_top(struct tdl_space *space);

int64_t
tdl_space_alloc(struct tdl_space *space, uint64_t size)
{
    if (size > space->end)
        return -ENOSPC;
    size = round_units((size + TDL_SPACE_UNIT - 1) / TDL_SPACE_UNIT) * TDL_SPACE_UNIT;
    int64_t chunk = from_bin(space, size);
    if (chunk == -ENOSPC)
        chunk = from_loose(space, size);
    if (chunk == -ENOSPC && worth_tidying(space, size)) {
        tdl_space_tidy(space, false);
        chunk = from_loose(space, size);
    }
    if (chunk == -ENOSPC)
        chunk = from_top(space, size);
    if (chunk == -ENOSPC) {
        tdl_space_tidy(space, true);
        lower_top(space);
        chunk = from_loose(space, size);
    }
    if (chunk == -ENOSPC) {
        chunk = from_top(space, size);
    }
    return chunk;
}

void
tdl_space_free(struct tdl_space *space, uint32_t index)
{
    struct tdl_chunk *chunk = &space->chunks[index];
    space->used -= chunk->size;
    space->idle += chunk->size;
    space->freed++;
    chunk->warm = true;
    if (!is_class(chunk->size)) {
        push(space, &space->loose, index);
        return;
    }
    space->binned += chunk->size;
    push(space, &space->bins[bin_of(chunk->size)], index);
}

/* ---- putting together ------------------------------------------------------------------------ */

static uint32_t
all_free(struct tdl_space *space)
{
    uint32_t list = space->loose;
    for (unsigned bin = 0; bin < TDL_SPACE_BINS; bin++)
        while (space->bins[bin] != 0)
            push(space, &list, pop(space, &space->bins[bin]));
    space->binned = 0;
    space->loose = 0;
    return list;
}

/* Two lists in the order of their offsets become one. */
static uint32_t
merge(struct tdl_chunk *chunks, uint32_t a, uint32_t b)
{
    uint32_t list = 0, *end = &list;
    while (a != 0 && b != 0) {
        uint32_t *from = chunks[a - 1].offset < chunks[b - 1].offset ? &a : &b;
        *end = *from;
        end = &chunks[*from - 1].next;
        *from = *end;
    }
    *end = a != 0 ? a : b;
    return list;
}

/* A list in the order of offsets: merge sort without recursion or memory. */
static uint32_t
sorted(struct tdl_space *space, uint32_t list)
{
    uint32_t runs[32] = {0}; /* runs[i]: 2^i chunks in order, or none */
    while (list != 0) {
        uint32_t run = list;
        list = space->chunks[run - 1].next;
        space->chunks[run - 1].next = 0;
        unsigned i = 0;
        for (; i < 31 && runs[i] != 0; i++) {
            run = merge(space->chunks, runs[i], run);
            runs[i] = 0;
        }
        runs[i] = runs[i] != 0 ? merge(space->chunks, runs[i], run) : run;
    }
    for (unsigned i = 0; i < 32; i++)
        list = merge(space->chunks, list, runs[i]);
    return list;
}

static bool
can_join(const struct tdl_chunk *a, const struct tdl_chunk *b, bool all)
{
    return a->offset + a->size == b->offset && (all || a->warm == b->warm);
}

void
tdl_space_tidy(struct tdl_space *space, bool all)
{
    uint32_t list = sorted(space, all_free(space));
    space->loose = list;
    space->freed = 0;
    while (list != 0) {
        struct tdl_chunk *chunk = &space->chunks[list - 1];
        while (chunk->next != 0 && can_join(chunk, &space->chunks[chunk->next - 1], all)) {
            struct tdl_chunk *after = &space->chunks[chunk->next - 1];
            if (chunk->warm != after->warm)
                space->idle += chunk->warm ? after->size : chunk->size;
            chunk->warm |= after->warm;
            chunk->size += after->size;
            uint32_t gone = chunk->next - 1;
            chunk->next = after->next;
            push(space, &space->unused, gone);
        }
        list = chunk->next;
    }
}

/* The last of the loose chunks, which are in order, goes back to what has never
 * been used if it borders on that. */
static void
lower_top(struct tdl_space *space)
{
    uint32_t *last = &space->loose;
    while (*last != 0 && space->chunks[*last - 1].next != 0)
        last = &space->chunks[*last - 1].next;
    if (*last == 0)
        return;
    struct tdl_chunk *chunk = &space->chunks[*last - 1];
    if (chunk->offset + chunk->size != space->top)
        return;
    space->top = chunk->offset;
    space->idle -= chunk->warm ? chunk->size : 0;
    uint32_t gone = *last - 1;
    *last = 0;
    push(space, &space->unused, gone);
}

int64_t
tdl_space_take_warm(struct tdl_space *space)
{
    uint32_t *largest = NULL;
    for (uint32_t *at = &space->loose; *at != 0; at = &space->chunks[*at - 1].next)
        if (space->chunks[*at - 1].warm &&
            (largest == NULL || space->chunks[*at - 1].size > space->chunks[*largest - 1].size))
            largest = at;
    if (largest == NULL)
        return -1;
    uint32_t index = *largest - 1;
    *largest = space->chunks[index].next;
    return index;
}

void
tdl_space_chill(struct tdl_space *space, uint32_t index)
{
    struct tdl_chunk *chunk = &space->chunks[index];
    space->idle -= chunk->size;
    chunk->warm = false;
    push(space, &space->loose, index);
}

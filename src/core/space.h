/* Which stretches of a long range of memory are free: the bookkeeping of a store of
 * blocks (core/blocks.h), which never touches the memory itself.
 *
 * Sizes go up in steps of an eighth.  A chunk that is freed waits in the bin of its
 * size for the next one who wants just that; when nothing fits, what waits is put
 * together with its neighbours (tidied).  Memory that has been written to is warm
 * and preferred to what has never been, or was given back, which is cold.
 *
 *     first <= top <= end; [top, end) has never been used
 *     [first, top) = the chunks, without gaps: in use, in a bin, or loose
 *     idle   = bytes of warm chunks that are not in use
 *
 * One thread at a time; no locks, no Python thread state. */
#ifndef TDL_CORE_SPACE_H
#define TDL_CORE_SPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TDL_SPACE_UNIT = 4096, /* sizes are multiples of this */
    TDL_SPACE_BINS = 320,
};

struct tdl_chunk {
    uint64_t offset;
    uint64_t size;
    uint32_t next; /* index + 1 in a bin, among the loose or unused ones; 0 ends */
    bool warm;
};

struct tdl_space {
    uint64_t top;
    uint64_t end;
    uint64_t idle;
    uint64_t used;
    uint64_t binned; /* bytes in bins */
    size_t freed;    /* chunks freed since free memory was last put together */
    struct tdl_chunk *chunks;
    uint32_t nchunks; /* of which there is room for `capacity` */
    uint32_t capacity;
    uint32_t unused; /* chunks that describe nothing */
    uint32_t loose;  /* free chunks of any size */
    uint32_t bins[TDL_SPACE_BINS];
};

/* Make `space` the range [first, end), cold and free.  Allocates nothing. */
void tdl_space_init(struct tdl_space *space, uint64_t first, uint64_t end);

/* Free the bookkeeping. */
void tdl_space_fini(struct tdl_space *space);

/* Take `size` bytes, more than 0.  Returns a chunk's index, -ENOSPC, or -ENOMEM. */
int64_t tdl_space_alloc(struct tdl_space *space, uint64_t size);

/* Give a chunk back; it is warm.  Never fails. */
void tdl_space_free(struct tdl_space *space, uint32_t chunk);

/* Put free memory together.  With `all` warm and cold memory are, and count as warm. */
void tdl_space_tidy(struct tdl_space *space, bool all);

/* Take the largest of the warm loose chunks, to make it cold; tdl_space_chill() puts
 * it back.  Returns its index, or -1 if there is none. */
int64_t tdl_space_take_warm(struct tdl_space *space);
void tdl_space_chill(struct tdl_space *space, uint32_t chunk);

#endif

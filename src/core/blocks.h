/* Blocks of shared memory that one process writes and others read in place.
 *
 * A store is one memory file without a name: sparse, as long as it may ever get,
 * mapped once by everybody who has its descriptor.  Its owner allocates blocks
 * and fills them; what travels is where they are (struct tdl_block).  Who has
 * read a block releases it by two atomic steps in the file, without a system call
 * or a message, and the owner finds it when it allocates next:
 *
 *     slot's turn   even: free   odd: in use; a block names the turn it is from,
 *                   so a release that comes twice or too late does nothing
 *     freed         stack of slots that were released and not yet noticed
 *
 * Nothing in the file is trusted by the owner beyond that: sizes and places are
 * kept in its own memory.  A process that dies leaves nothing locked; what it
 * held is given back by tdl_blocks_reclaim().  The memory itself is the kernel's
 * to free once nobody maps the file or has it open.
 *
 * Memory that has been written to is used again first, last in first out, since
 * fresh pages cost several times what copying does.  How much lies idle is
 * bounded by tdl_blocks_trim(), which gives pages back to the system.
 *
 * Any thread; no Python thread state.  The store's lock is held for a few
 * instructions, or while free memory is put in order. */
#ifndef TDL_CORE_BLOCKS_H
#define TDL_CORE_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TDL_BLOCKS_SLOTS = 1 << 16, /* blocks of a store that may be in use at once */
    TDL_BLOCKS_PAGE = 4096,     /* sizes are multiples of this */
};

/* Where a block is.  Plain data, to be sent; receivers check it. */
struct tdl_block {
    uint32_t slot;
    uint32_t turn;
    uint64_t offset; /* in the file */
    uint64_t size;   /* bytes asked for */
};

/* What a store holds, in bytes. */
struct tdl_blocks_stats {
    size_t used;     /* in blocks in use, rounded up to their classes */
    size_t idle;     /* free, but with memory behind it */
    size_t blocks;   /* in use */
    size_t capacity; /* of the file */
};

/* ---- the owner ---------------------------------------------------------------------- */

struct tdl_blocks;

/* Make a file for a store of up to `capacity` bytes (0: three quarters of the
 * machine's memory); nothing is allocated before it is used.  `number` is kept in the
 * file for whoever becomes its owner.
 * Returns a descriptor that is closed on exec and is the caller's, or -errno. */
int tdl_blocks_create(size_t capacity, uint32_t number);

/* Become the owner of the store in `fd`, which may be closed afterwards.  There
 * must be one owner only; a store that has had one before cannot get another.
 * Returns 0 with a new store in `*blocks`, -ENOMEM, -EINVAL for a file that is
 * none, -EBUSY, or what the system said. */
int tdl_blocks_own(int fd, struct tdl_blocks **blocks);

/* The number that the store was made with. */
uint32_t tdl_blocks_number(const struct tdl_blocks *blocks);

/* Unmap and free (NULL is fine).  Blocks in use stay readable for who maps them. */
void tdl_blocks_free(struct tdl_blocks *blocks);

/* In a forked child, which must not allocate from its parent's store: all
 * functions fail or do nothing from here on. */
void tdl_blocks_disown(struct tdl_blocks *blocks);

/* Allocate a block of `size` bytes, more than 0; content is undefined.  It is in
 * use, by nobody in particular (holder 0).  Its memory is at `*memory`.
 * Returns 0, or -ENOSPC. */
int tdl_blocks_alloc(struct tdl_blocks *blocks, size_t size, struct tdl_block *block,
                     void **memory);

/* Say that `holder`, not 0, is who will release the block from now on.
 * Does nothing if the block has been released. */
void tdl_blocks_hand(struct tdl_blocks *blocks, const struct tdl_block *block, uint32_t holder);

/* Whether a block has not been released yet. */
bool tdl_blocks_in_use(struct tdl_blocks *blocks, const struct tdl_block *block);

/* Take a block back that nobody reads.  Harmless if it has been released. */
void tdl_blocks_drop(struct tdl_blocks *blocks, const struct tdl_block *block);

/* `holder` is dead: take back all that it held.  Returns how many blocks. */
size_t tdl_blocks_reclaim(struct tdl_blocks *blocks, uint32_t holder);

/* Give idle memory back to the system, except for what was in use at most since
 * the last call beyond what is now, and `keep` bytes in any case.  Returns the
 * bytes given back.  Blocks: a system call for each stretch of memory. */
size_t tdl_blocks_trim(struct tdl_blocks *blocks, size_t keep);

/* How much is used and idle. */
void tdl_blocks_stats(struct tdl_blocks *blocks, struct tdl_blocks_stats *stats);

/* ---- who reads ------------------------------------------------------------------------ */

struct tdl_blocks_view;

/* Map the store in `fd`, which may be closed afterwards.
 * Returns 0 with a view that has one reference, -ENOMEM, -EINVAL for a file that
 * is no store, or what the system said. */
int tdl_blocks_view(int fd, struct tdl_blocks_view **view);

/* Another reference, and one less; the last one unmaps. */
void tdl_blocks_view_ref(struct tdl_blocks_view *view);
void tdl_blocks_view_unref(struct tdl_blocks_view *view);

/* Where a block is in memory.  Returns NULL if there cannot be such a block, or it
 * has been released. */
void *tdl_blocks_at(struct tdl_blocks_view *view, const struct tdl_block *block);

/* Release a block that has been read.  Harmless if it has been released already. */
void tdl_blocks_release(struct tdl_blocks_view *view, const struct tdl_block *block);

#endif

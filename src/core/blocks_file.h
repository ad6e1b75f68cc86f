/* What is in the file of a store: core/blocks.h.  Shared by its owner and its readers. */
#ifndef TDL_CORE_BLOCKS_FILE_H
#define TDL_CORE_BLOCKS_FILE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "core/blocks.h"

#define TDL_BLOCKS_MAGIC UINT64_C(0x7472646c626c6b31)

struct tdl_blocks_slot {
    _Atomic uint32_t turn; /* odd: in use */
    _Atomic uint32_t next; /* slot + 1 below in the stack of freed ones, 0 at its end */
    /* where its block is, written by the owner before its turn begins */
    _Atomic uint64_t offset;
    _Atomic uint64_t size;
};

struct tdl_blocks_file {
    uint64_t magic;         /* fixed once made */
    uint64_t capacity;      /* fixed once made; the whole file, in bytes */
    uint32_t number;        /* fixed once made; of use to the owner */
    _Atomic uint32_t owned; /* whether there is, or was, an owner */
    _Atomic uint32_t freed; /* slot + 1 on top of the stack, 0: empty */
    struct tdl_blocks_slot slots[TDL_BLOCKS_SLOTS];
};

/* Blocks begin here. */
enum {
    TDL_BLOCKS_FIRST = (sizeof(struct tdl_blocks_file) + TDL_BLOCKS_PAGE - 1) /
                       TDL_BLOCKS_PAGE * TDL_BLOCKS_PAGE
};

/* Map the store in `fd`.  Returns 0 with it in `*file`, or -errno. */
int tdl_blocks_file_map(int fd, struct tdl_blocks_file **file);

void tdl_blocks_file_unmap(struct tdl_blocks_file *file, size_t capacity);

/* End the turn of `block`.  Returns whether it was the caller that ended it. */
static inline bool
tdl_blocks_file_end(struct tdl_blocks_file *file, const struct tdl_block *block)
{
    uint32_t turn = block->turn;
    return (turn & 1) != 0 && block->slot < TDL_BLOCKS_SLOTS &&
           atomic_compare_exchange_strong_explicit(&file->slots[block->slot].turn, &turn,
                                                   turn + 1, memory_order_acq_rel,
                                                   memory_order_relaxed);
}

/* Put a slot whose turn the caller has ended where the owner finds it. */
static inline void
tdl_blocks_file_push(struct tdl_blocks_file *file, uint32_t slot)
{
    uint32_t top = atomic_load_explicit(&file->freed, memory_order_relaxed);
    do
        atomic_store_explicit(&file->slots[slot].next, top, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&file->freed, &top, slot + 1,
                                                  memory_order_release, memory_order_relaxed));
}

#endif

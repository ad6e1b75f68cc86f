#include "core/blocks.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/blocks_file.h"
#include "core/lock.h"
#include "core/space.h"

/* Idle memory beyond this is given back without being asked. */
#define IDLE_MOST ((uint64_t)1 << 30)

struct slot {
    uint32_t chunk; /* index in the space */
    uint32_t holder;
    uint32_t next; /* slot + 1 in the list of free ones */
    bool busy;
};

struct tdl_blocks {
    struct tdl_blocks_file *file; /* fixed until freed */
    size_t capacity;              /* fixed */
    int fd;                       /* fixed; to give pages back */
    _Atomic bool disowned;
    struct tdl_lock lock; /* protects the rest */
    struct tdl_space space;
    uint64_t peak; /* most that was used since the last trim */
    size_t nbusy;
    struct slot *slots;
    uint32_t nslots; /* ever used */
    uint32_t slots_capacity;
    uint32_t free_slots;
};

static int
start(struct tdl_blocks *blocks, int fd)
{
    int r = tdl_blocks_file_map(fd, &blocks->file);
    if (r < 0)
        return r;
    blocks->capacity = (size_t)blocks->file->capacity;
    if (atomic_exchange(&blocks->file->owned, 1) != 0)
        r = -EBUSY;
    else if ((blocks->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0)) < 0)
        r = -errno;
    if (r < 0)
        tdl_blocks_file_unmap(blocks->file, blocks->capacity);
    return r;
}

int
tdl_blocks_own(int fd, struct tdl_blocks **blocks)
{
    struct tdl_blocks *b = tdl_calloc(1, sizeof *b);
    if (b == NULL)
        return -ENOMEM;
    int r = start(b, fd);
    if (r < 0) {
        tdl_free(b);
        return r;
    }
    tdl_lock_init(&b->lock);
    tdl_space_init(&b->space, TDL_BLOCKS_FIRST, b->capacity);
    *blocks = b;
    return 0;
}

uint32_t
tdl_blocks_number(const struct tdl_blocks *blocks)
{
    return blocks->file->number;
}

void
tdl_blocks_free(struct tdl_blocks *blocks)
{
    if (blocks == NULL)
        return;
    tdl_blocks_file_unmap(blocks->file, blocks->capacity);
    close(blocks->fd);
    tdl_space_fini(&blocks->space);
    tdl_free(blocks->slots);
    tdl_free(blocks);
}

void
tdl_blocks_disown(struct tdl_blocks *blocks)
{
    atomic_store_explicit(&blocks->disowned, true, memory_order_relaxed);
}

static bool
disowned(const struct tdl_blocks *blocks)
{
    return atomic_load_explicit(&blocks->disowned, memory_order_relaxed);
}

/* ---- slots ---------------------------------------------------------------------------------- */

static int64_t
new_slot_locked(struct tdl_blocks *b)
{
    if (b->free_slots != 0) {
        uint32_t index = b->free_slots - 1;
        b->free_slots = b->slots[index].next;
        return index;
    }
    if (b->nslots == TDL_BLOCKS_SLOTS)
        return -ENOSPC;
    if (b->nslots == b->slots_capacity) {
        uint32_t capacity = b->slots_capacity > 0 ? b->slots_capacity * 2 : 64;
        struct slot *slots = tdl_realloc(b->slots, capacity * sizeof *slots);
        if (slots == NULL)
            return -ENOSPC;
        b->slots = slots;
        b->slots_capacity = capacity;
    }
    return b->nslots++;
}

static void
free_slot_locked(struct tdl_blocks *b, uint32_t index)
{
    struct slot *slot = &b->slots[index];
    slot->busy = false;
    slot->next = b->free_slots;
    b->free_slots = index + 1;
}

/* The slot's turn has ended: its memory is free. */
static void
retire_locked(struct tdl_blocks *b, uint32_t index)
{
    tdl_space_free(&b->space, b->slots[index].chunk);
    b->nbusy--;
    free_slot_locked(b, index);
}

static _Atomic uint32_t *
turn_of(struct tdl_blocks *b, uint32_t index)
{
    return &b->file->slots[index].turn;
}

/* Take over what readers have released.  What they say is checked: a slot that is
 * not in use, or still is in its turn, is passed over, and a stack that goes in
 * circles comes to an end. */
static void
collect_locked(struct tdl_blocks *b)
{
    if (atomic_load_explicit(&b->file->freed, memory_order_relaxed) == 0)
        return;
    uint32_t at = atomic_exchange_explicit(&b->file->freed, 0, memory_order_acquire);
    for (uint32_t seen = 0; at != 0 && at <= b->nslots && seen < b->nslots; seen++) {
        uint32_t index = at - 1;
        at = atomic_load_explicit(&b->file->slots[index].next, memory_order_relaxed);
        uint32_t turn = atomic_load_explicit(turn_of(b, index), memory_order_acquire);
        if (b->slots[index].busy && (turn & 1) == 0)
            retire_locked(b, index);
    }
}

/* ---- blocks ----------------------------------------------------------------------------------- */

/* Say in the file what is in the slot from here on. */
static void
begin_turn(struct tdl_blocks *b, struct tdl_block *block)
{
    struct tdl_blocks_slot *slot = &b->file->slots[block->slot];
    block->turn = (atomic_load_explicit(&slot->turn, memory_order_relaxed) + 1) | 1;
    atomic_store_explicit(&slot->offset, block->offset, memory_order_relaxed);
    atomic_store_explicit(&slot->size, block->size, memory_order_relaxed);
    atomic_store_explicit(&slot->turn, block->turn, memory_order_release);
}

static int
alloc_locked(struct tdl_blocks *b, size_t size, struct tdl_block *block)
{
    collect_locked(b);
    int64_t index = new_slot_locked(b);
    if (index < 0)
        return -ENOSPC;
    int64_t chunk = tdl_space_alloc(&b->space, size);
    if (chunk < 0) {
        free_slot_locked(b, (uint32_t)index);
        return -ENOSPC;
    }
    b->slots[index] = (struct slot){.chunk = (uint32_t)chunk, .busy = true};
    b->nbusy++;
    if (b->space.used > b->peak)
        b->peak = b->space.used;
    *block = (struct tdl_block){
        .slot = (uint32_t)index,
        .offset = b->space.chunks[chunk].offset,
        .size = size,
    };
    begin_turn(b, block);
    return 0;
}

int
tdl_blocks_alloc(struct tdl_blocks *blocks, size_t size, struct tdl_block *block, void **memory)
{
    if (disowned(blocks))
        return -ENOSPC;
    tdl_lock_acquire(&blocks->lock);
    int r = alloc_locked(blocks, size, block);
    bool much = blocks->space.idle > IDLE_MOST;
    tdl_lock_release(&blocks->lock);
    if (r < 0)
        return r;
    *memory = (char *)blocks->file + block->offset;
    if (much)
        tdl_blocks_trim(blocks, IDLE_MOST / 2);
    return 0;
}

/* Whether `block` is one of the store's, in use since it was allocated. */
static bool
current_locked(struct tdl_blocks *b, const struct tdl_block *block)
{
    return block->slot < b->nslots && b->slots[block->slot].busy &&
           atomic_load_explicit(turn_of(b, block->slot), memory_order_relaxed) == block->turn;
}

void
tdl_blocks_hand(struct tdl_blocks *blocks, const struct tdl_block *block, uint32_t holder)
{
    if (disowned(blocks))
        return;
    tdl_lock_acquire(&blocks->lock);
    if (current_locked(blocks, block))
        blocks->slots[block->slot].holder = holder;
    tdl_lock_release(&blocks->lock);
}

bool
tdl_blocks_in_use(struct tdl_blocks *blocks, const struct tdl_block *block)
{
    return block->slot < TDL_BLOCKS_SLOTS &&
           atomic_load_explicit(turn_of(blocks, block->slot), memory_order_acquire) ==
               block->turn;
}

void
tdl_blocks_drop(struct tdl_blocks *blocks, const struct tdl_block *block)
{
    if (disowned(blocks))
        return;
    tdl_lock_acquire(&blocks->lock);
    if (current_locked(blocks, block) && tdl_blocks_file_end(blocks->file, block))
        retire_locked(blocks, block->slot);
    tdl_lock_release(&blocks->lock);
}

size_t
tdl_blocks_reclaim(struct tdl_blocks *blocks, uint32_t holder)
{
    size_t count = 0;
    if (disowned(blocks))
        return 0;
    tdl_lock_acquire(&blocks->lock);
    collect_locked(blocks);
    for (uint32_t i = 0; i < blocks->nslots; i++) {
        if (!blocks->slots[i].busy || blocks->slots[i].holder != holder)
            continue;
        /* It may have died between ending the turn and saying so. */
        uint32_t turn = atomic_load_explicit(turn_of(blocks, i), memory_order_relaxed);
        if ((turn & 1) != 0)
            atomic_store_explicit(turn_of(blocks, i), turn + 1, memory_order_release);
        retire_locked(blocks, i);
        count++;
    }
    tdl_lock_release(&blocks->lock);
    return count;
}

/* ---- giving memory back ------------------------------------------------------------------------- */

static int
punch(struct tdl_blocks *b, uint64_t offset, uint64_t size)
{
#ifdef __linux__
    return fallocate(b->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                     (off_t)size);
#else
    (void)b, (void)offset, (void)size;
    return -1;
#endif
}

size_t
tdl_blocks_trim(struct tdl_blocks *blocks, size_t keep)
{
    size_t given = 0;
    if (disowned(blocks))
        return 0;
    tdl_lock_acquire(&blocks->lock);
    collect_locked(blocks);
    uint64_t wanted = blocks->peak - blocks->space.used;
    wanted = wanted < keep ? keep : wanted;
    blocks->peak = blocks->space.used;
    if (blocks->space.idle > wanted)
        tdl_space_tidy(&blocks->space, false);
    while (blocks->space.idle > wanted) {
        int64_t chunk = tdl_space_take_warm(&blocks->space);
        if (chunk < 0)
            break;
        struct tdl_chunk warm = blocks->space.chunks[chunk];
        tdl_lock_release(&blocks->lock);
        int r = punch(blocks, warm.offset, warm.size);
        tdl_lock_acquire(&blocks->lock);
        if (r == 0)
            given += warm.size;
        tdl_space_chill(&blocks->space, (uint32_t)chunk);
    }
    tdl_lock_release(&blocks->lock);
    return given;
}

void
tdl_blocks_stats(struct tdl_blocks *blocks, struct tdl_blocks_stats *stats)
{
    *stats = (struct tdl_blocks_stats){.capacity = blocks->capacity};
    if (disowned(blocks))
        return;
    tdl_lock_acquire(&blocks->lock);
    collect_locked(blocks);
    stats->used = blocks->space.used;
    stats->idle = blocks->space.idle;
    stats->blocks = blocks->nbusy;
    tdl_lock_release(&blocks->lock);
}

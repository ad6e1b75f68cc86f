#include <errno.h>

#include "core/alloc.h"
#include "core/blocks_file.h"

struct tdl_blocks_view {
    struct tdl_blocks_file *file;
    size_t capacity; /* as it was when the file was mapped */
    _Atomic size_t references;
};

int
tdl_blocks_view(int fd, struct tdl_blocks_view **view)
{
    struct tdl_blocks_view *v = tdl_calloc(1, sizeof *v);
    if (v == NULL)
        return -ENOMEM;
    int r = tdl_blocks_file_map(fd, &v->file);
    if (r < 0) {
        tdl_free(v);
        return r;
    }
    v->capacity = (size_t)v->file->capacity;
    atomic_init(&v->references, 1);
    *view = v;
    return 0;
}

void
tdl_blocks_view_ref(struct tdl_blocks_view *view)
{
    atomic_fetch_add_explicit(&view->references, 1, memory_order_relaxed);
}

void
tdl_blocks_view_unref(struct tdl_blocks_view *view)
{
    if (atomic_fetch_sub_explicit(&view->references, 1, memory_order_acq_rel) > 1)
        return;
    tdl_blocks_file_unmap(view->file, view->capacity);
    tdl_free(view);
}

void *
tdl_blocks_at(struct tdl_blocks_view *view, const struct tdl_block *block)
{
    if (block->slot >= TDL_BLOCKS_SLOTS || (block->turn & 1) == 0 ||
        block->offset < TDL_BLOCKS_FIRST || block->offset > view->capacity ||
        block->size > view->capacity - block->offset)
        return NULL;
    struct tdl_blocks_slot *slot = &view->file->slots[block->slot];
    if (atomic_load_explicit(&slot->turn, memory_order_acquire) != block->turn ||
        atomic_load_explicit(&slot->offset, memory_order_relaxed) != block->offset ||
        atomic_load_explicit(&slot->size, memory_order_relaxed) != block->size)
        return NULL;
    return (char *)view->file + block->offset;
}

void
tdl_blocks_release(struct tdl_blocks_view *view, const struct tdl_block *block)
{
    if (tdl_blocks_file_end(view->file, block))
        tdl_blocks_file_push(view->file, block->slot);
}

#include "procs/stores.h"

#include <errno.h>

#include "core/alloc.h"

void
tdl_stores_init(struct tdl_stores *stores)
{
    *stores = (struct tdl_stores){.count = 0};
    tdl_lock_init(&stores->lock);
}

void
tdl_stores_fini(struct tdl_stores *stores)
{
    for (size_t i = 0; i < stores->count; i++)
        tdl_blocks_view_unref(stores->items[i].view);
    tdl_free(stores->items);
    tdl_stores_init(stores);
}

static struct tdl_store *
find_locked(struct tdl_stores *stores, uint32_t number)
{
    for (size_t i = 0; i < stores->count; i++)
        if (stores->items[i].number == number)
            return &stores->items[i];
    return NULL;
}

static int
add_locked(struct tdl_stores *stores, uint32_t number, struct tdl_blocks_view *view)
{
    if (find_locked(stores, number) != NULL)
        return -EEXIST;
    if (stores->count == stores->capacity) {
        size_t capacity = stores->capacity > 0 ? stores->capacity * 2 : 4;
        struct tdl_store *items = tdl_realloc(stores->items, capacity * sizeof *items);
        if (items == NULL)
            return -ENOMEM;
        stores->items = items;
        stores->capacity = capacity;
    }
    stores->items[stores->count++] = (struct tdl_store){.number = number, .view = view};
    return 0;
}

int
tdl_stores_add(struct tdl_stores *stores, uint32_t number, int fd)
{
    struct tdl_blocks_view *view;
    int r = tdl_blocks_view(fd, &view);
    if (r < 0)
        return r;
    tdl_lock_acquire(&stores->lock);
    r = add_locked(stores, number, view);
    tdl_lock_release(&stores->lock);
    if (r < 0)
        tdl_blocks_view_unref(view);
    return r;
}

void
tdl_stores_expect(struct tdl_stores *stores, uint32_t number)
{
    tdl_lock_acquire(&stores->lock);
    struct tdl_store *store = find_locked(stores, number);
    if (store != NULL)
        store->expected++;
    tdl_lock_release(&stores->lock);
}

/* Take a store out that nothing comes from any more: the table's reference, or NULL. */
static struct tdl_blocks_view *
retire_locked(struct tdl_stores *stores, struct tdl_store *store)
{
    if (!store->lost || store->expected > 0)
        return NULL;
    struct tdl_blocks_view *view = store->view;
    *store = stores->items[--stores->count];
    return view;
}

struct tdl_blocks_view *
tdl_stores_take(struct tdl_stores *stores, uint32_t number)
{
    struct tdl_blocks_view *view = NULL, *retired = NULL;
    tdl_lock_acquire(&stores->lock);
    struct tdl_store *store = find_locked(stores, number);
    if (store != NULL) {
        view = store->view;
        tdl_blocks_view_ref(view);
        store->expected -= store->expected > 0;
        retired = retire_locked(stores, store);
    }
    tdl_lock_release(&stores->lock);
    if (retired != NULL)
        tdl_blocks_view_unref(retired);
    return view;
}

void
tdl_stores_lose(struct tdl_stores *stores, uint32_t number)
{
    struct tdl_blocks_view *retired = NULL;
    tdl_lock_acquire(&stores->lock);
    struct tdl_store *store = find_locked(stores, number);
    if (store != NULL) {
        store->lost = true;
        retired = retire_locked(stores, store);
    }
    tdl_lock_release(&stores->lock);
    if (retired != NULL)
        tdl_blocks_view_unref(retired);
}

/* The stores of blocks that a codec reads from, by number.
 *
 * In the parent one for each worker; in a worker one, number 0, of the parent.  A
 * store of a dead worker stays until all messages that were received from it have been
 * taken up.  Any thread; no Python thread state. */
#ifndef TDL_PROCS_STORES_H
#define TDL_PROCS_STORES_H

#include "core/blocks.h"
#include "core/lock.h"

struct tdl_store {
    uint32_t number;
    uint32_t expected; /* messages received that are yet to be taken up */
    bool lost;
    struct tdl_blocks_view *view; /* a reference */
};

struct tdl_stores {
    struct tdl_lock lock; /* protects the rest */
    struct tdl_store *items;
    size_t count;
    size_t capacity;
};

void tdl_stores_init(struct tdl_stores *stores);
void tdl_stores_fini(struct tdl_stores *stores);

/* Map the store in `fd` and keep it as `number`.  Returns 0, -EEXIST, or what else went
 * wrong as -errno. */
int tdl_stores_add(struct tdl_stores *stores, uint32_t number, int fd);

/* A message that refers to store `number` will be taken up. */
void tdl_stores_expect(struct tdl_stores *stores, uint32_t number);

/* A message is taken up: a new reference to its store, or NULL if there is none. */
struct tdl_blocks_view *tdl_stores_take(struct tdl_stores *stores, uint32_t number);

/* No more messages come from store `number`. */
void tdl_stores_lose(struct tdl_stores *stores, uint32_t number);

#endif

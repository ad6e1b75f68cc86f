/* What a transport could not write yet: a queue of byte ranges, written by
 * writev().
 *
 * Owner thread only; no locks, no Python thread state.  Small writes are copied
 * one behind the other into chunks; large buffers can be lent instead, with an
 * owner that is released once when the bytes are written or dropped.
 *
 *     size = the sum of the sizes of all ranges;  no range is empty
 *
 * The queue is in order whenever a release function is called, so that may come
 * back to the queue. */
#ifndef TDL_CORE_WQUEUE_H
#define TDL_CORE_WQUEUE_H

#include <stddef.h>
#include <sys/uio.h>

enum {
    TDL_WQUEUE_CHUNK = 8192, /* bytes that small writes share */
    TDL_WQUEUE_SMALL = 2048  /* a lent buffer up to this size is copied instead */
};

struct tdl_wrange; /* private: a range, with room for more if it is a chunk */

struct tdl_wqueue {
    struct tdl_wrange *head; /* owner; the oldest range, or NULL */
    struct tdl_wrange *tail; /* owner; the newest range, or NULL */
    size_t size;             /* owner; bytes queued */
};

/* Make `queue` empty.  Allocates nothing. */
static inline void
tdl_wqueue_init(struct tdl_wqueue *queue)
{
    *queue = (struct tdl_wqueue){0};
}

/* Drop all bytes, release their owners, oldest first, free all memory.  The queue
 * is empty, and can be used, from before the first release; this is also its end:
 * there is no other fini. */
void tdl_wqueue_clear(struct tdl_wqueue *queue);

/* Queue a copy of `size` bytes at `data`.
 * Returns 0, or -ENOMEM or -EOVERFLOW with the queue unchanged. */
int tdl_wqueue_push(struct tdl_wqueue *queue, const void *data, size_t size);

/* Queue `size` bytes at `data`, which stay as they are until `release(owner)`.
 * Small ones are copied and released before this returns.
 * Owns: takes `owner` on success; the caller keeps it on failure.
 * Returns 0, or -ENOMEM or -EOVERFLOW with the queue unchanged. */
int tdl_wqueue_push_steal(struct tdl_wqueue *queue, const void *data, size_t size, void *owner,
                          void (*release)(void *owner));

/* Describe the oldest bytes in up to `max` entries of `iov`, which are valid until
 * the queue changes.
 * Returns how many entries were filled; 0 if the queue is empty. */
int tdl_wqueue_fill(const struct tdl_wqueue *queue, struct iovec *iov, int max);

/* Drop the oldest `size` bytes, which have been written; release the owners of
 * ranges that are thereby done.
 * Returns 0, or -EINVAL, with nothing changed, if fewer bytes are queued. */
int tdl_wqueue_consume(struct tdl_wqueue *queue, size_t size);

/* Call `visit(owner, arg)` for the owner of each lent range, oldest first, until
 * one call returns something else than 0.  For traversals; `visit` must not
 * change the queue.  Returns what the last call returned, else 0. */
int tdl_wqueue_visit(const struct tdl_wqueue *queue, int (*visit)(void *owner, void *arg),
                     void *arg);

/* How many bytes are queued. */
static inline size_t
tdl_wqueue_size(const struct tdl_wqueue *queue)
{
    return queue->size;
}

#endif

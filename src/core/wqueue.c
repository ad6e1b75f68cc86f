#include "core/wqueue.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "core/alloc.h"

/* A lent range has an owner to release and no room.  A chunk has neither owner
 * nor release; its data points into its own storage. */
struct tdl_wrange {
    struct tdl_wrange *next;
    const char *data; /* the oldest byte not consumed */
    size_t size;
    char *end;   /* chunk: one past the newest byte */
    size_t room; /* chunk: bytes of storage free from there on */
    void *owner;
    void (*release)(void *owner);
    char storage[];
};

static struct tdl_wrange *
new_range(size_t room)
{
    struct tdl_wrange *range = tdl_malloc(sizeof *range + room);
    if (range == NULL)
        return NULL;
    *range = (struct tdl_wrange){
        .data = range->storage,
        .end = range->storage,
        .room = room,
    };
    return range;
}

static void
append_range(struct tdl_wqueue *queue, struct tdl_wrange *range)
{
    if (queue->tail == NULL)
        queue->head = range;
    else
        queue->tail->next = range;
    queue->tail = range;
}

/* Copy `size` bytes, which fit, to the end of the newest range. */
static void
append_bytes(struct tdl_wqueue *queue, const char *data, size_t size)
{
    struct tdl_wrange *tail = queue->tail;
    if (size == 0)
        return;
    memcpy(tail->end, data, size);
    tail->end += size;
    tail->size += size;
    tail->room -= size;
    queue->size += size;
}

static void
free_range(struct tdl_wrange *range)
{
    void *owner = range->owner;
    void (*release)(void *) = range->release;
    tdl_free(range);
    if (release != NULL)
        release(owner);
}

void
tdl_wqueue_clear(struct tdl_wqueue *queue)
{
    struct tdl_wrange *range = queue->head;
    tdl_wqueue_init(queue);
    while (range != NULL) {
        struct tdl_wrange *next = range->next;
        free_range(range);
        range = next;
    }
}

int
tdl_wqueue_push(struct tdl_wqueue *queue, const void *data, size_t size)
{
    const char *bytes = data;
    size_t room = queue->tail == NULL ? 0 : queue->tail->room;
    if (size > SIZE_MAX - queue->size)
        return -EOVERFLOW;
    if (size <= room) {
        append_bytes(queue, bytes, size);
        return 0;
    }
    size_t rest = size - room;
    if (rest > SIZE_MAX - sizeof(struct tdl_wrange))
        return -EOVERFLOW;
    struct tdl_wrange *chunk = new_range(rest > TDL_WQUEUE_CHUNK ? rest : TDL_WQUEUE_CHUNK);
    if (chunk == NULL)
        return -ENOMEM;
    append_bytes(queue, bytes, room);
    append_range(queue, chunk);
    append_bytes(queue, bytes + room, rest);
    return 0;
}

int
tdl_wqueue_push_steal(struct tdl_wqueue *queue, const void *data, size_t size, void *owner,
                      void (*release)(void *))
{
    if (size <= TDL_WQUEUE_SMALL) {
        int r = tdl_wqueue_push(queue, data, size);
        if (r == 0)
            release(owner);
        return r;
    }
    if (size > SIZE_MAX - queue->size)
        return -EOVERFLOW;
    struct tdl_wrange *range = new_range(0);
    if (range == NULL)
        return -ENOMEM;
    range->data = data;
    range->size = size;
    range->owner = owner;
    range->release = release;
    append_range(queue, range);
    queue->size += size;
    return 0;
}

int
tdl_wqueue_fill(const struct tdl_wqueue *queue, struct iovec *iov, int max)
{
    int n = 0;
    for (struct tdl_wrange *r = queue->head; r != NULL && n < max; r = r->next)
        iov[n++] = (struct iovec){(char *)r->data, r->size};
    return n;
}

int
tdl_wqueue_consume(struct tdl_wqueue *queue, size_t size)
{
    if (size > queue->size)
        return -EINVAL;
    queue->size -= size;
    /* ranges that are done are unlinked first and released together afterwards:
     * a release may come back to the queue */
    struct tdl_wrange *done = queue->head;
    struct tdl_wrange *last = NULL;
    struct tdl_wrange *range = done;
    for (; range != NULL && size >= range->size; range = range->next) {
        size -= range->size;
        last = range;
    }
    queue->head = range;
    if (range == NULL) {
        queue->tail = NULL;
    }
    else {
        range->data += size;
        range->size -= size;
    }
    if (last == NULL)
        return 0;
    last->next = NULL;
    struct tdl_wqueue rest = {.head = done};
    tdl_wqueue_clear(&rest);
    return 0;
}

int
tdl_wqueue_visit(const struct tdl_wqueue *queue, int (*visit)(void *owner, void *arg),
                 void *arg)
{
    for (struct tdl_wrange *range = queue->head; range != NULL; range = range->next) {
        int r = range->release == NULL ? 0 : visit(range->owner, arg);
        if (r != 0)
            return r;
    }
    return 0;
}

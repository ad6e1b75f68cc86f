/* Bytes that grow at the end: a message while it is put together.
 *
 * One owner thread at a time; no locks, no Python thread state.  The memory is
 * kept for the next message by tdl_bytes_reset(). */
#ifndef TDL_CORE_BYTES_H
#define TDL_CORE_BYTES_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct tdl_bytes {
    uint8_t *data; /* owned; NULL while capacity is 0 */
    size_t size;
    size_t capacity;
};

/* Make empty. Allocates nothing. */
static inline void
tdl_bytes_init(struct tdl_bytes *bytes)
{
    *bytes = (struct tdl_bytes){0};
}

/* Free the memory; empty again. */
void tdl_bytes_fini(struct tdl_bytes *bytes);

/* Forget the content. Much memory is given back, little is kept. */
void tdl_bytes_reset(struct tdl_bytes *bytes);

/* The slow half of tdl_bytes_extend(). */
int tdl_bytes_grow(struct tdl_bytes *bytes, size_t extra);

/* Make room for `extra` bytes after the last one, which count as content at once
 * but are yet to be written: at `*place`, valid until the next call.
 * Returns 0, or -ENOMEM with nothing changed. */
static inline int
tdl_bytes_extend(struct tdl_bytes *bytes, size_t extra, uint8_t **place)
{
    if (bytes->capacity - bytes->size < extra && tdl_bytes_grow(bytes, extra) < 0)
        return -ENOMEM;
    *place = bytes->data + bytes->size;
    bytes->size += extra;
    return 0;
}

/* Append `size` bytes. Returns 0, or -ENOMEM with nothing changed. */
static inline int
tdl_bytes_append(struct tdl_bytes *bytes, const void *data, size_t size)
{
    uint8_t *place;
    if (size == 0)
        return 0;
    if (tdl_bytes_extend(bytes, size, &place) < 0)
        return -ENOMEM;
    memcpy(place, data, size);
    return 0;
}

#endif

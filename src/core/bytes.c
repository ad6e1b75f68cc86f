#include "core/bytes.h"

#include "core/alloc.h"

/* More than this is not kept between messages. */
enum { KEEP = 64 << 10, SMALLEST = 256 };

void
tdl_bytes_fini(struct tdl_bytes *bytes)
{
    tdl_free(bytes->data);
    tdl_bytes_init(bytes);
}

void
tdl_bytes_reset(struct tdl_bytes *bytes)
{
    if (bytes->capacity > KEEP)
        tdl_bytes_fini(bytes);
    bytes->size = 0;
}

int
tdl_bytes_grow(struct tdl_bytes *bytes, size_t extra)
{
    size_t wanted;
    if (__builtin_add_overflow(bytes->size, extra, &wanted) || wanted > SIZE_MAX / 2)
        return -ENOMEM;
    size_t capacity = bytes->capacity + bytes->capacity / 2;
    if (capacity < SMALLEST)
        capacity = SMALLEST;
    if (capacity < wanted)
        capacity = wanted;
    uint8_t *data = tdl_realloc(bytes->data, capacity);
    if (data == NULL)
        return -ENOMEM;
    bytes->data = data;
    bytes->capacity = capacity;
    return 0;
}

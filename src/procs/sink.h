/* Where an outgoing message is put together: bytes that grow, and the large
 * pieces of memory that are not copied among them.
 *
 * One thread at a time, attached.  The bytes are the caller's. */
#ifndef TDL_PROCS_SINK_H
#define TDL_PROCS_SINK_H

#include <stdint.h>
#include <string.h>

#include "core/bytes.h"
#include "py/compat.h"

enum {
    TDL_PARTS_MAX = 1 << 16,  /* parts of one message at most */
    TDL_PART_MIN = 16 * 1024, /* what is smaller goes among the bytes */
};

/* Memory that travels beside the bytes. */
struct tdl_part {
    Py_buffer view; /* exported while the part is here, if view.obj is not NULL */
    const void *data;
    size_t size;
};

struct tdl_sink {
    struct tdl_bytes *out;
    struct tdl_part *parts;
    size_t nparts;
    size_t parts_capacity;
    size_t part_min; /* bytes objects at least this long become parts */
};

/* Make `sink` one that appends to `out`, without parts.  Allocates nothing. */
void tdl_sink_init(struct tdl_sink *sink, struct tdl_bytes *out);

/* Free what the sink has besides the bytes, releasing the buffers of its parts.
 * That may run any code; so may the next function. */
void tdl_sink_fini(struct tdl_sink *sink);

/* Forget bytes and parts from the given sizes on. */
void tdl_sink_cut(struct tdl_sink *sink, size_t size, size_t nparts);

/* Add `object`'s memory as a part; it stays exported as long as it is one.
 * Returns the part's number, or -1 with an exception set. */
Py_ssize_t tdl_sink_add_object(struct tdl_sink *sink, PyObject *object);

/* Add a buffer that the caller has got.
 * Owns: takes `view` in every case.  Returns the part's number, or -1 with an exception set. */
Py_ssize_t tdl_sink_add_view(struct tdl_sink *sink, Py_buffer *view);

/* Room for `n` bytes at the end, which then count as written; NULL with MemoryError. */
static inline uint8_t *
tdl_sink_extend(struct tdl_sink *sink, size_t n)
{
    uint8_t *at;
    if (tdl_bytes_extend(sink->out, n, &at) < 0) {
        PyErr_NoMemory();
        return NULL;
    }
    return at;
}

/* Append `n` bytes.  Returns 0, or -1 with MemoryError. */
static inline int
tdl_sink_put(struct tdl_sink *sink, const void *data, size_t n)
{
    uint8_t *at = tdl_sink_extend(sink, n);
    if (at == NULL)
        return -1;
    if (n > 0)
        memcpy(at, data, n);
    return 0;
}

/* Append one byte.  Returns 0, or -1 with MemoryError. */
static inline int
tdl_sink_put_byte(struct tdl_sink *sink, uint8_t byte)
{
    uint8_t *at = tdl_sink_extend(sink, 1);
    if (at == NULL)
        return -1;
    *at = byte;
    return 0;
}

enum { TDL_VARINT_MAX = 10 }; /* bytes of the longest number */

/* Write `value`, seven bits a byte, lowest first.  Returns how many bytes. */
static inline size_t
tdl_varint_write(uint8_t *at, uint64_t value)
{
    size_t n = 0;
    for (; value >= 0x80; value >>= 7)
        at[n++] = (uint8_t)(value | 0x80);
    at[n++] = (uint8_t)value;
    return n;
}

/* Read a number from [at, end).  Returns the bytes read, 0 if it is cut short or
 * longer than 64 bits. */
static inline size_t
tdl_varint_read(const uint8_t *at, const uint8_t *end, uint64_t *value)
{
    uint64_t v = 0;
    for (size_t n = 0; n < TDL_VARINT_MAX && at + n < end; n++) {
        uint64_t bits = at[n] & 0x7f;
        if (n == TDL_VARINT_MAX - 1 && bits > 1)
            return 0;
        v |= bits << (7 * n);
        if (at[n] < 0x80) {
            *value = v;
            return n + 1;
        }
    }
    return 0;
}

/* Append a number.  Returns 0, or -1 with MemoryError. */
static inline int
tdl_sink_put_varint(struct tdl_sink *sink, uint64_t value)
{
    uint8_t number[TDL_VARINT_MAX];
    return tdl_sink_put(sink, number, tdl_varint_write(number, value));
}

#endif

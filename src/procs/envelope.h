/* What goes around an encoded value: how it is encoded, and where its large parts are.
 *
 *     flags      one byte
 *     refs       with TDL_ENVELOPE_REFS: store, counts, where each part is, what
 *                shared buffers they are of
 *     body       the value; with TDL_ENVELOPE_INDIRECT it is the first part
 *     rest       parts for which there was no block
 *
 * Reading checks every length; no Python, any thread. */
#ifndef TDL_PROCS_ENVELOPE_H
#define TDL_PROCS_ENVELOPE_H

#include <stdbool.h>

#include "core/blocks.h"
#include "core/bytes.h"

enum {
    TDL_ENVELOPE_REFS = 1,
    TDL_ENVELOPE_INDIRECT = 2,
    TDL_ENVELOPE_PICKLE = 4, /* else compact */
    TDL_ENVELOPE_WHOLE = 8,  /* of a call: the callable is part of it */
    TDL_ENVELOPE_KEEP = 16,  /* blocks are copied, not released, by who decodes */
    TDL_ENVELOPE_FLAGS = 32,
};

/* Where a part is.  A block; or, told by the slot, elsewhere. */
#define TDL_REF_HERE UINT32_MAX         /* `offset` bytes into the message */
#define TDL_REF_SHARED (UINT32_MAX - 1) /* in shared buffer number `turn`, at `offset` */

/* A shared buffer as seen by who sent it. */
struct tdl_shared_ref {
    uint64_t device;
    uint64_t inode;
    uint64_t size;
    int32_t pid;
    int32_t fd;
};

struct tdl_envelope {
    unsigned flags;
    uint32_t store;
    uint32_t nrefs;
    uint32_t nshared;
    const uint8_t *refs;   /* struct tdl_block each, not aligned */
    const uint8_t *shared; /* struct tdl_shared_ref each, not aligned */
    const uint8_t *body;
    size_t body_size;
    const uint8_t *data; /* all of it */
    size_t size;
};

/* Take a message apart.  Returns 0, or -EPROTO if it is none. */
int tdl_envelope_read(const uint8_t *data, size_t size, struct tdl_envelope *envelope);

/* The ref or shared buffer number `index`, which must be below the count. */
struct tdl_block tdl_envelope_ref(const struct tdl_envelope *envelope, uint32_t index);
struct tdl_shared_ref tdl_envelope_shared(const struct tdl_envelope *envelope, uint32_t index);

/* Put flags and refs around a body that begins at `start` in `out`, one byte being
 * reserved there for the flags.  Returns 0, or -ENOMEM with nothing changed. */
int tdl_envelope_write(struct tdl_bytes *out, size_t start, const struct tdl_envelope *envelope,
                       const struct tdl_block *refs, const struct tdl_shared_ref *shared);

#endif

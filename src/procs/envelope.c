#include "procs/envelope.h"

#include <errno.h>
#include <string.h>

/* After the flags.  The length of the body comes last, since parts may follow it. */
struct counts {
    uint64_t body_size;
    uint32_t store;
    uint32_t nrefs;
    uint32_t nshared;
    uint32_t zero;
};

static int
read_counts(struct tdl_envelope *e, const uint8_t *at, size_t left)
{
    struct counts counts;
    if (left < sizeof counts)
        return -EPROTO;
    memcpy(&counts, at, sizeof counts);
    at += sizeof counts;
    left -= sizeof counts;
    if (counts.nrefs > left / sizeof(struct tdl_block))
        return -EPROTO;
    e->refs = at;
    at += counts.nrefs * sizeof(struct tdl_block);
    left -= counts.nrefs * sizeof(struct tdl_block);
    if (counts.nshared > left / sizeof(struct tdl_shared_ref))
        return -EPROTO;
    e->shared = at;
    at += counts.nshared * sizeof(struct tdl_shared_ref);
    left -= counts.nshared * sizeof(struct tdl_shared_ref);
    if (counts.body_size > left || counts.zero != 0)
        return -EPROTO;
    e->store = counts.store;
    e->nrefs = counts.nrefs;
    e->nshared = counts.nshared;
    e->body = at;
    e->body_size = (size_t)counts.body_size;
    return 0;
}

int
tdl_envelope_read(const uint8_t *data, size_t size, struct tdl_envelope *envelope)
{
    if (size < 1 || data[0] >= TDL_ENVELOPE_FLAGS)
        return -EPROTO;
    *envelope = (struct tdl_envelope){
        .flags = data[0],
        .body = data + 1,
        .body_size = size - 1,
        .data = data,
        .size = size,
    };
    if ((envelope->flags & TDL_ENVELOPE_REFS) == 0)
        return (envelope->flags & TDL_ENVELOPE_INDIRECT) == 0 ? 0 : -EPROTO;
    return read_counts(envelope, data + 1, size - 1);
}

struct tdl_block
tdl_envelope_ref(const struct tdl_envelope *envelope, uint32_t index)
{
    struct tdl_block block;
    memcpy(&block, envelope->refs + index * sizeof block, sizeof block);
    return block;
}

struct tdl_shared_ref
tdl_envelope_shared(const struct tdl_envelope *envelope, uint32_t index)
{
    struct tdl_shared_ref ref;
    memcpy(&ref, envelope->shared + index * sizeof ref, sizeof ref);
    return ref;
}

int
tdl_envelope_write(struct tdl_bytes *out, size_t start, const struct tdl_envelope *envelope,
                   const struct tdl_block *refs, const struct tdl_shared_ref *shared)
{
    size_t nrefs = envelope->nrefs * sizeof(struct tdl_block);
    size_t nshared = envelope->nshared * sizeof(struct tdl_shared_ref);
    size_t tail = out->size - start - 1;
    struct counts counts = {
        .body_size = envelope->body_size,
        .store = envelope->store,
        .nrefs = envelope->nrefs,
        .nshared = envelope->nshared,
    };
    uint8_t *end;
    if (tdl_bytes_extend(out, sizeof counts + nrefs + nshared, &end) < 0)
        return -ENOMEM;
    uint8_t *at = out->data + start;
    *at++ = (uint8_t)(envelope->flags | TDL_ENVELOPE_REFS);
    memmove(at + sizeof counts + nrefs + nshared, at, tail);
    memcpy(at, &counts, sizeof counts);
    at += sizeof counts;
    if (nrefs > 0)
        memcpy(at, refs, nrefs);
    if (nshared > 0)
        memcpy(at + nrefs, shared, nshared);
    return 0;
}

/* A ring of bytes in shared memory with one producer and one consumer, each
 * possibly in a process of its own.
 *
 *     head <= tail <= head + size      bytes [head, tail) are the consumer's
 *
 * Neither side trusts the other: what it reads of the other's words is checked, and
 * a ring whose words make no sense is an error (-EPROTO) from then on.  Each side
 * keeps its own position where the other cannot write.  A side that dies leaves the
 * ring usable to read; nobody holds a lock.
 *
 * One thread at a time on each side.  No Python thread state. */
#ifndef TDL_CORE_CHANNEL_H
#define TDL_CORE_CHANNEL_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/spin.h"

struct tdl_channel_shared {
    alignas(64) _Atomic uint64_t tail; /* written by the producer */
    _Atomic int32_t producer_cpu;      /* hint */
    alignas(64) _Atomic uint64_t head; /* written by the consumer */
    _Atomic int32_t consumer_cpu;      /* hint */
    /* Each side sets its own before it sleeps or gives up; the other clears it.
     * 1: it wants to be told. Futex words. */
    alignas(64) _Atomic uint32_t consumer_waits;
    _Atomic uint32_t producer_waits;
};

/* One side's view. */
struct tdl_channel {
    struct tdl_channel_shared *shared;
    uint8_t *data; /* mapped twice, see tdl_segment_map_ring() */
    uint64_t size; /* a power of two */
    uint64_t own;  /* producer: tail; consumer: head */
    uint64_t seen; /* producer: the head last seen; consumer: the tail */
};

/* Begin on a ring of `size` bytes whose words are zero. */
void tdl_channel_init(struct tdl_channel *channel, struct tdl_channel_shared *shared,
                      void *data, size_t size);

/* ---- producer --------------------------------------------------------------------- */

/* Room for `size` bytes in one piece.
 * Returns 0 (`*place`: where), -EAGAIN if the ring is too full now, -EMSGSIZE if it
 * is too small ever, -EPROTO. */
int tdl_channel_reserve(struct tdl_channel *channel, size_t size, uint8_t **place);

/* Publish `size` bytes that were reserved and have been written.
 * Returns whether the consumer is to be woken (tdl_channel_wake_consumer()). */
bool tdl_channel_commit(struct tdl_channel *channel, size_t size);

/* Wake the consumer that sleeps in tdl_channel_wait(). */
void tdl_channel_wake_consumer(struct tdl_channel *channel);

/* Ask to be told when there is more room.  Returns false, asking nothing, if `size`
 * bytes fit now. */
bool tdl_channel_want_room(struct tdl_channel *channel, size_t size);

/* Sleep until the consumer has taken something (after tdl_channel_want_room()).
 * Returns 0 to look again, -ETIMEDOUT or -EINTR. */
int tdl_channel_wait_room(struct tdl_channel *channel, int64_t deadline);

/* ---- consumer --------------------------------------------------------------------- */

/* What there is to read: `*data`, in one piece; it stays in the ring.
 * Returns 0 (`*size`: how much, perhaps nothing), or -EPROTO. */
int tdl_channel_peek(struct tdl_channel *channel, const uint8_t **data, size_t *size);

/* Take the first `size` bytes, which were there.
 * Returns whether the producer wants to be told (tdl_channel_wake_producer()). */
bool tdl_channel_consume(struct tdl_channel *channel, size_t size);

/* Wake the producer that sleeps in tdl_channel_wait_room(). */
void tdl_channel_wake_producer(struct tdl_channel *channel);

/* Sleep until there is something to read, spinning first as `spin` allows.
 * Returns 0 to look again, -ETIMEDOUT or -EINTR. */
int tdl_channel_wait(struct tdl_channel *channel, struct tdl_spin *spin, int64_t deadline);

#endif

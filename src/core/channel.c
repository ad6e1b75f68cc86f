#include "core/channel.h"

#include <errno.h>

#include "core/clock.h"
#include "core/futex.h"

void
tdl_channel_init(struct tdl_channel *channel, struct tdl_channel_shared *shared, void *data,
                 size_t size)
{
    *channel = (struct tdl_channel){.shared = shared, .data = data, .size = size};
}

static void
note_cpu(_Atomic int32_t *place)
{
    atomic_store_explicit(place, tdl_cpu_current(), memory_order_relaxed);
}

/* ---- producer --------------------------------------------------------------------- */

/* Look at the consumer's head.  Returns the bytes that are free, or -EPROTO. */
static int64_t
free_bytes(struct tdl_channel *channel)
{
    uint64_t head = atomic_load_explicit(&channel->shared->head, memory_order_acquire);
    if (head < channel->seen || head > channel->own)
        return -EPROTO;
    channel->seen = head;
    return (int64_t)(channel->size - (channel->own - head));
}

int
tdl_channel_reserve(struct tdl_channel *channel, size_t size, uint8_t **place)
{
    if (size > channel->size)
        return -EMSGSIZE;
    if (channel->size - (channel->own - channel->seen) < size) {
        int64_t room = free_bytes(channel);
        if (room < 0)
            return (int)room;
        if ((uint64_t)room < size)
            return -EAGAIN;
    }
    *place = channel->data + (channel->own & (channel->size - 1));
    return 0;
}

/* Clear the other side's request.  What was written before is visible to it if it
 * asks after this has looked, and its request is visible here if it asked before. */
static bool
take_request(_Atomic uint32_t *word)
{
    atomic_thread_fence(memory_order_seq_cst);
    return atomic_load_explicit(word, memory_order_relaxed) != 0 &&
           atomic_exchange_explicit(word, 0, memory_order_relaxed) != 0;
}

bool
tdl_channel_commit(struct tdl_channel *channel, size_t size)
{
    channel->own += size;
    note_cpu(&channel->shared->producer_cpu);
    atomic_store_explicit(&channel->shared->tail, channel->own, memory_order_release);
    return take_request(&channel->shared->consumer_waits);
}

void
tdl_channel_wake_consumer(struct tdl_channel *channel)
{
    tdl_futex_wake_shared(&channel->shared->consumer_waits, 1);
}

bool
tdl_channel_want_room(struct tdl_channel *channel, size_t size)
{
    atomic_store_explicit(&channel->shared->producer_waits, 1, memory_order_seq_cst);
    atomic_thread_fence(memory_order_seq_cst);
    int64_t room = free_bytes(channel);
    if (room >= 0 && (uint64_t)room < size)
        return true;
    atomic_store_explicit(&channel->shared->producer_waits, 0, memory_order_relaxed);
    return false;
}

int
tdl_channel_wait_room(struct tdl_channel *channel, int64_t deadline)
{
    int r = tdl_futex_wait_shared(&channel->shared->producer_waits, 1, deadline);
    return r == -EAGAIN ? 0 : r;
}

/* ---- consumer --------------------------------------------------------------------- */

int
tdl_channel_peek(struct tdl_channel *channel, const uint8_t **data, size_t *size)
{
    uint64_t tail = atomic_load_explicit(&channel->shared->tail, memory_order_acquire);
    if (tail < channel->seen || tail - channel->own > channel->size)
        return -EPROTO;
    channel->seen = tail;
    *data = channel->data + (channel->own & (channel->size - 1));
    *size = (size_t)(tail - channel->own);
    return 0;
}

bool
tdl_channel_consume(struct tdl_channel *channel, size_t size)
{
    channel->own += size;
    atomic_store_explicit(&channel->shared->head, channel->own, memory_order_release);
    return take_request(&channel->shared->producer_waits);
}

void
tdl_channel_wake_producer(struct tdl_channel *channel)
{
    tdl_futex_wake_shared(&channel->shared->producer_waits, 1);
}

static bool
has_more(struct tdl_channel *channel)
{
    return atomic_load_explicit(&channel->shared->tail, memory_order_acquire) != channel->own;
}

static bool
spin_for_more(struct tdl_channel *channel, struct tdl_spin *spin)
{
    int cpu = atomic_load_explicit(&channel->shared->producer_cpu, memory_order_relaxed);
    int64_t allowed = tdl_spin_allowed(spin, cpu);
    if (allowed == 0)
        return has_more(channel);
    int64_t end = tdl_clock_now() + allowed;
    do {
        for (int i = 0; i < 16; i++) {
            if (has_more(channel))
                return true;
            tdl_cpu_relax();
        }
    } while (tdl_clock_now() < end);
    return false;
}

int
tdl_channel_wait(struct tdl_channel *channel, struct tdl_spin *spin, int64_t deadline)
{
    struct tdl_channel_shared *shared = channel->shared;
    int64_t start = tdl_clock_now();
    int r = 0;
    note_cpu(&shared->consumer_cpu);
    if (!spin_for_more(channel, spin)) {
        atomic_store_explicit(&shared->consumer_waits, 1, memory_order_seq_cst);
        atomic_thread_fence(memory_order_seq_cst);
        if (!has_more(channel))
            r = tdl_futex_wait_shared(&shared->consumer_waits, 1, deadline);
        atomic_store_explicit(&shared->consumer_waits, 0, memory_order_relaxed);
    }
    tdl_spin_learn(spin, tdl_clock_now() - start);
    return r == -EAGAIN ? 0 : r;
}

/* Messages in a channel: a header and a payload, whole, one after the other.
 *
 * The header is copied out of shared memory once and then checked; a frame that
 * claims more than there is, or makes no sense, is -EPROTO and never a crash.  A
 * message that is too large for one frame travels in parts: frames with
 * TDL_FRAME_MORE, then a last one without, all of one task. */
#ifndef TDL_CORE_FRAME_H
#define TDL_CORE_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "core/channel.h"

enum tdl_frame_kind {
    /* to a worker */
    TDL_FRAME_CALL = 1, /* call `function` */
    TDL_FRAME_MAP,      /* call it for each item of a list */
    TDL_FRAME_DEFINE,   /* what `function` means */
    TDL_FRAME_EXIT,     /* end, when everything before is done */
    /* from a worker */
    TDL_FRAME_RESULT,
    TDL_FRAME_RAISED,
    TDL_FRAME_MAPPED, /* the results of TDL_FRAME_MAP; `function`: bytes of the list */
    TDL_FRAME_READY,  /* initialized: takes calls from here on */
    TDL_FRAME_KINDS
};

enum { TDL_FRAME_MORE = 1, TDL_FRAME_FLAGS = 1 };

struct tdl_frame {
    uint32_t length; /* of the payload, in bytes */
    uint16_t kind;
    uint16_t flags;
    uint32_t task;
    uint32_t function;
    int64_t submitted; /* of a call: when; core/clock.h */
};

/* The largest payload of one frame in `channel`: several fit into the ring. */
static inline size_t
tdl_frame_limit(const struct tdl_channel *channel)
{
    return (size_t)(channel->size / 4) - sizeof(struct tdl_frame);
}

/* Bytes of ring that a frame with `length` bytes of payload takes. */
static inline size_t
tdl_frame_size(size_t length)
{
    return sizeof(struct tdl_frame) + ((length + 7) & ~(size_t)7);
}

/* Put a frame with the payload `data` into the channel; frame->length says how long.
 * `*wake` gets whether the consumer is to be woken.
 * Returns 0, -EAGAIN if there is no room now, -EMSGSIZE above tdl_frame_limit(),
 * -EPROTO. */
int tdl_frame_put(struct tdl_channel *channel, const struct tdl_frame *frame, const void *data,
                  bool *wake);

/* The first frame in the channel; it stays there until tdl_frame_done().
 * Returns 1 (`*frame`: a copy of the header, `*data`: the payload in the ring), 0 if
 * there is none, -EPROTO. */
int tdl_frame_get(struct tdl_channel *channel, struct tdl_frame *frame, const uint8_t **data);

/* Take the frame that tdl_frame_get() gave out of the channel.
 * Returns whether the producer wants to be told that there is room. */
bool tdl_frame_done(struct tdl_channel *channel, const struct tdl_frame *frame);

#endif

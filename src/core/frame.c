#include "core/frame.h"

#include <errno.h>
#include <string.h>

int
tdl_frame_put(struct tdl_channel *channel, const struct tdl_frame *frame, const void *data,
              bool *wake)
{
    uint8_t *place;
    if (frame->length > tdl_frame_limit(channel))
        return -EMSGSIZE;
    size_t size = tdl_frame_size(frame->length);
    int r = tdl_channel_reserve(channel, size, &place);
    if (r < 0)
        return r;
    memcpy(place, frame, sizeof *frame);
    if (frame->length > 0)
        memcpy(place + sizeof *frame, data, frame->length);
    *wake = tdl_channel_commit(channel, size);
    return 0;
}

int
tdl_frame_get(struct tdl_channel *channel, struct tdl_frame *frame, const uint8_t **data)
{
    const uint8_t *first;
    size_t size;
    int r = tdl_channel_peek(channel, &first, &size);
    if (r < 0 || size == 0)
        return r;
    if (size < sizeof *frame)
        return -EPROTO;
    memcpy(frame, first, sizeof *frame);
    if (frame->length > tdl_frame_limit(channel) || tdl_frame_size(frame->length) > size ||
        frame->kind == 0 || frame->kind >= TDL_FRAME_KINDS ||
        (frame->flags & ~TDL_FRAME_FLAGS) != 0)
        return -EPROTO;
    *data = first + sizeof *frame;
    return 1;
}

bool
tdl_frame_done(struct tdl_channel *channel, const struct tdl_frame *frame)
{
    return tdl_channel_consume(channel, tdl_frame_size(frame->length));
}

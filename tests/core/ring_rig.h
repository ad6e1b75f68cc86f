/* Both ends of a channel through a ring of shared memory. */
#ifndef RING_RIG_H
#define RING_RIG_H

#include "check.h"
#include "core/channel.h"
#include "core/segment.h"

enum { RING = 4096 };

struct rig {
    struct tdl_segment segment;
    struct tdl_channel_shared *shared;
    uint8_t *ring;
    struct tdl_channel producer, consumer;
};

static inline void
rig_open(struct rig *rig)
{
    CHECK_INT(tdl_segment_create(&rig->segment, "test", 2 * RING), ==, 0);
    rig->shared = rig->segment.memory;
    rig->ring = tdl_segment_map_ring(&rig->segment, RING, RING);
    CHECK(rig->ring != NULL);
    tdl_channel_init(&rig->producer, rig->shared, rig->ring, RING);
    tdl_channel_init(&rig->consumer, rig->shared, rig->ring, RING);
}

static inline void
rig_close(struct rig *rig)
{
    tdl_segment_unmap_ring(rig->ring, RING);
    tdl_segment_close(&rig->segment);
}

#endif

#include "core/link.h"

#include <errno.h>

enum { MAGIC = 0x7472646c, VERSION = 2 };

static int
map_rings(struct tdl_link *link)
{
    size_t offset = tdl_segment_round(sizeof(struct tdl_link_shared));
    link->shared = link->segment.memory;
    void *calls = tdl_segment_map_ring(&link->segment, offset, TDL_LINK_RING);
    void *results = tdl_segment_map_ring(&link->segment, offset + TDL_LINK_RING, TDL_LINK_RING);
    tdl_channel_init(&link->calls, &link->shared->calls, calls, TDL_LINK_RING);
    tdl_channel_init(&link->results, &link->shared->results, results, TDL_LINK_RING);
    return calls == NULL || results == NULL ? -ENOMEM : 0;
}

static size_t
whole_size(void)
{
    return tdl_segment_round(sizeof(struct tdl_link_shared)) + 2 * (size_t)TDL_LINK_RING;
}

int
tdl_link_create(struct tdl_link *link)
{
    *link = (struct tdl_link){.segment = {.fd = -1}};
    int r = tdl_segment_create(&link->segment, "treadle-worker", whole_size());
    if (r == 0)
        r = map_rings(link);
    if (r < 0) {
        tdl_link_close(link);
        return r;
    }
    link->shared->magic = MAGIC;
    link->shared->version = VERSION;
    return 0;
}

int
tdl_link_attach(struct tdl_link *link, int fd)
{
    *link = (struct tdl_link){.segment = {.fd = -1}};
    int r = tdl_segment_attach(&link->segment, fd);
    if (r < 0)
        return r;
    const struct tdl_link_shared *shared = link->segment.memory;
    if (link->segment.size != whole_size() || shared->magic != MAGIC ||
        shared->version != VERSION)
        r = -EPROTO;
    else
        r = map_rings(link);
    if (r < 0) {
        link->segment.fd = -1; /* stays the caller's */
        tdl_link_close(link);
    }
    return r;
}

void
tdl_link_close(struct tdl_link *link)
{
    tdl_segment_unmap_ring(link->calls.data, TDL_LINK_RING);
    tdl_segment_unmap_ring(link->results.data, TDL_LINK_RING);
    tdl_segment_close(&link->segment);
    *link = (struct tdl_link){.segment = {.fd = -1}};
}

#include "core/link.h"

#include <errno.h>
#include <unistd.h>

#include "check.h"
#include "core/frame.h"

static void
test_both_sides(void)
{
    struct tdl_link parent, worker;
    struct tdl_frame frame = {.kind = TDL_FRAME_CALL, .task = 5, .length = 3}, got;
    const uint8_t *data;
    bool wake;
    CHECK_INT(tdl_link_create(&parent), ==, 0);
    CHECK_INT(tdl_link_attach(&worker, dup(parent.segment.fd)), ==, 0);
    CHECK_INT(tdl_frame_put(&parent.calls, &frame, "abc", &wake), ==, 0);
    CHECK_INT(tdl_frame_get(&worker.calls, &got, &data), ==, 1);
    CHECK(got.task == 5 && memcmp(data, "abc", 3) == 0);
    CHECK_INT(tdl_frame_get(&parent.results, &got, &data), ==, 0);
    tdl_link_close(&worker);
    tdl_link_close(&parent);
    tdl_link_close(&parent);
}

static void
test_a_task_has_one_owner(void)
{
    struct tdl_link link;
    CHECK_INT(tdl_link_create(&link), ==, 0);
    CHECK(!tdl_link_claim(&link, 3, TDL_TASK_STARTED));
    atomic_store(tdl_link_task(&link, 3), TDL_TASK_QUEUED);
    CHECK(tdl_link_claim(&link, 3, TDL_TASK_REVOKED));
    CHECK(!tdl_link_claim(&link, 3, TDL_TASK_STARTED));
    CHECK_INT(atomic_load(tdl_link_task(&link, 3 + TDL_LINK_TASKS)), ==, TDL_TASK_REVOKED);
    tdl_link_close(&link);
}

static void
test_attach_refuses_other_segments(void)
{
    struct tdl_link link;
    struct tdl_segment segment;
    CHECK_INT(tdl_segment_create(&segment, "test", sizeof(struct tdl_link_shared)), ==, 0);
    CHECK_INT(tdl_link_attach(&link, segment.fd), ==, -EPROTO);
    CHECK(segment.memory != NULL);
    CHECK_INT(fsync(segment.fd), ==, 0); /* still open */
    tdl_segment_close(&segment);
    CHECK_INT(tdl_link_attach(&link, -1), ==, -EBADF);
}

CHECK_MAIN(TEST(test_both_sides), TEST(test_a_task_has_one_owner),
           TEST(test_attach_refuses_other_segments))

/* Frames, and a bounded fuzz of what a damaged ring does to the reader: FRAME_FUZZ
 * rounds (default 20000), all the same from run to run. */
#include "core/frame.h"

#include <errno.h>
#include <stdlib.h>

#include "check.h"
#include "ring_rig.h"

static void
test_round_trip(void)
{
    struct rig rig;
    struct tdl_frame frame, got;
    const uint8_t *data;
    uint8_t payload[1024];
    uint64_t seed = 3;
    bool wake;
    rig_open(&rig);
    for (uint32_t i = 0; i < 3000; i++) {
        frame = (struct tdl_frame){.kind = 1 + i % (TDL_FRAME_KINDS - 1), .task = i};
        frame.flags = i % 2;
        frame.function = i * 7;
        frame.length = (uint32_t)check_below(&seed, tdl_frame_limit(&rig.producer) + 1);
        memset(payload, (int)i, frame.length);
        CHECK_INT(tdl_frame_put(&rig.producer, &frame, payload, &wake), ==, 0);
        CHECK_INT(tdl_frame_get(&rig.consumer, &got, &data), ==, 1);
        CHECK(memcmp(&frame, &got, sizeof frame) == 0);
        CHECK(frame.length == 0 || memcmp(data, payload, frame.length) == 0);
        tdl_frame_done(&rig.consumer, &got);
        CHECK_INT(tdl_frame_get(&rig.consumer, &got, &data), ==, 0);
    }
    rig_close(&rig);
}

static void
test_too_large_and_full(void)
{
    struct rig rig;
    struct tdl_frame frame = {.kind = TDL_FRAME_CALL};
    uint8_t payload[RING] = {0};
    bool wake;
    int put = 0;
    rig_open(&rig);
    frame.length = (uint32_t)tdl_frame_limit(&rig.producer) + 1;
    CHECK_INT(tdl_frame_put(&rig.producer, &frame, payload, &wake), ==, -EMSGSIZE);
    frame.length--;
    while (tdl_frame_put(&rig.producer, &frame, payload, &wake) == 0)
        put++;
    CHECK_INT(put, ==, 4);
    CHECK_INT(tdl_frame_put(&rig.producer, &frame, payload, &wake), ==, -EAGAIN);
    rig_close(&rig);
}

static void
test_damaged_header(void)
{
    static const struct tdl_frame bad[] = {
        {.kind = 0},
        {.kind = TDL_FRAME_KINDS},
        {.kind = TDL_FRAME_CALL, .flags = 2},
        {.kind = TDL_FRAME_CALL, .length = 8},
        {.kind = TDL_FRAME_CALL, .length = UINT32_MAX},
        {.kind = TDL_FRAME_CALL, .length = RING / 4},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct rig rig;
        struct tdl_frame got;
        const uint8_t *data;
        rig_open(&rig);
        memcpy(rig.ring, &bad[i], sizeof bad[i]);
        atomic_store(&rig.shared->tail, sizeof bad[i]);
        CHECK_INT(tdl_frame_get(&rig.consumer, &got, &data), ==, -EPROTO);
        atomic_store(&rig.shared->tail, sizeof bad[i] + 7);
        rig_close(&rig);
    }
}

static void
test_truncated(void)
{
    struct rig rig;
    struct tdl_frame frame = {.kind = TDL_FRAME_CALL, .length = 100}, got;
    uint8_t payload[100] = {0};
    const uint8_t *data;
    bool wake;
    rig_open(&rig);
    CHECK_INT(tdl_frame_put(&rig.producer, &frame, payload, &wake), ==, 0);
    for (uint64_t tail = 1; tail < tdl_frame_size(100); tail++) {
        struct tdl_channel reader = rig.consumer;
        atomic_store(&rig.shared->tail, tail);
        CHECK_INT(tdl_frame_get(&reader, &got, &data), ==, -EPROTO);
    }
    rig_close(&rig);
}

/* Read everything; returns a sum, so that the bytes are really read. */
static uint64_t
read_all(struct tdl_channel *channel)
{
    struct tdl_frame frame;
    const uint8_t *data;
    uint64_t sum = 0;
    while (tdl_frame_get(channel, &frame, &data) > 0) {
        for (uint32_t i = 0; i < frame.length; i++)
            sum += data[i];
        tdl_frame_done(channel, &frame);
    }
    return sum;
}

static void
test_fuzz(void)
{
    const char *text = getenv("FRAME_FUZZ");
    long rounds = text == NULL ? 20000 : atol(text);
    struct rig rig;
    uint64_t seed = 4, sum = 0;
    uint8_t payload[1024];
    rig_open(&rig);
    memset(payload, 0xff, sizeof payload);
    for (long round = 0; round < rounds; round++) {
        bool wake;
        atomic_store(&rig.shared->head, 0);
        atomic_store(&rig.shared->tail, 0);
        tdl_channel_init(&rig.producer, rig.shared, rig.ring, RING);
        tdl_channel_init(&rig.consumer, rig.shared, rig.ring, RING);
        for (size_t n = check_below(&seed, 6); n > 0; n--) {
            struct tdl_frame frame = {.kind = TDL_FRAME_CALL};
            frame.length = (uint32_t)check_below(&seed, 600);
            tdl_frame_put(&rig.producer, &frame, payload, &wake);
        }
        for (size_t n = 1 + check_below(&seed, 8); n > 0; n--)
            rig.ring[check_below(&seed, check_below(&seed, 2) ? 64 : RING)] =
                (uint8_t)check_random(&seed);
        if (check_below(&seed, 2))
            atomic_store(&rig.shared->tail, check_random(&seed) >> check_below(&seed, 64));
        sum += read_all(&rig.consumer);
    }
    CHECK_INT(sum, >, 0);
    rig_close(&rig);
}

CHECK_MAIN(TEST(test_round_trip), TEST(test_too_large_and_full), TEST(test_damaged_header),
           TEST(test_truncated), TEST(test_fuzz))

#include "core/channel.h"

#include <errno.h>

#include "check.h"
#include "core/clock.h"
#include "ring_rig.h"

static void
test_full_and_empty(void)
{
    struct rig rig;
    uint8_t *place = NULL;
    const uint8_t *data;
    size_t size;
    rig_open(&rig);
    CHECK_INT(tdl_channel_peek(&rig.consumer, &data, &size), ==, 0);
    CHECK_INT(size, ==, 0);
    CHECK_INT(tdl_channel_reserve(&rig.producer, RING + 1, &place), ==, -EMSGSIZE);
    CHECK_INT(tdl_channel_reserve(&rig.producer, RING, &place), ==, 0);
    memset(place, 7, RING);
    CHECK(!tdl_channel_commit(&rig.producer, RING));
    CHECK_INT(tdl_channel_reserve(&rig.producer, 1, &place), ==, -EAGAIN);
    CHECK_INT(tdl_channel_peek(&rig.consumer, &data, &size), ==, 0);
    CHECK_INT(size, ==, RING);
    CHECK(tdl_channel_want_room(&rig.producer, 1));
    CHECK(tdl_channel_consume(&rig.consumer, 100));
    CHECK(!tdl_channel_want_room(&rig.producer, 100));
    CHECK_INT(tdl_channel_reserve(&rig.producer, 100, &place), ==, 0);
    CHECK_INT(tdl_channel_reserve(&rig.producer, 101, &place), ==, -EAGAIN);
    rig_close(&rig);
}

static void
test_damaged_words(void)
{
    struct rig rig;
    uint8_t *place = NULL;
    const uint8_t *data;
    size_t size;
    rig_open(&rig);
    CHECK_INT(tdl_channel_reserve(&rig.producer, RING, &place), ==, 0);
    tdl_channel_commit(&rig.producer, RING);
    atomic_store(&rig.shared->head, UINT64_MAX);
    CHECK_INT(tdl_channel_reserve(&rig.producer, 8, &place), ==, -EPROTO);
    atomic_store(&rig.shared->tail, RING + 1);
    CHECK_INT(tdl_channel_peek(&rig.consumer, &data, &size), ==, -EPROTO);
    atomic_store(&rig.shared->tail, 64);
    CHECK_INT(tdl_channel_peek(&rig.consumer, &data, &size), ==, 0);
    atomic_store(&rig.shared->tail, 32);
    CHECK_INT(tdl_channel_peek(&rig.consumer, &data, &size), ==, -EPROTO);
    rig_close(&rig);
}

enum { BYTES = 400000 };

static void *
produce(void *arg)
{
    struct rig *rig = arg;
    uint64_t seed = 1;
    uint8_t next = 0;
    for (size_t sent = 0; sent < BYTES;) {
        size_t size = 1 + check_below(&seed, 900);
        if (size > BYTES - sent)
            size = BYTES - sent;
        uint8_t *place = NULL;
        int r = tdl_channel_reserve(&rig->producer, size, &place);
        if (r == -EAGAIN) {
            if (tdl_channel_want_room(&rig->producer, size))
                tdl_channel_wait_room(&rig->producer, TDL_NEVER);
            continue;
        }
        CHECK_INT(r, ==, 0);
        for (size_t i = 0; i < size; i++)
            place[i] = next++;
        if (tdl_channel_commit(&rig->producer, size))
            tdl_channel_wake_consumer(&rig->producer);
        sent += size;
    }
    return NULL;
}

static void
test_threads(void)
{
    struct rig rig;
    struct tdl_spin spin;
    pthread_t thread;
    uint64_t seed = 2;
    uint8_t next = 0;
    rig_open(&rig);
    tdl_spin_init(&spin);
    check_start(&thread, 1, produce, &rig, 0);
    for (size_t got = 0; got < BYTES;) {
        const uint8_t *data;
        size_t size;
        CHECK_INT(tdl_channel_peek(&rig.consumer, &data, &size), ==, 0);
        if (size == 0) {
            tdl_channel_wait(&rig.consumer, &spin, TDL_NEVER);
            continue;
        }
        size = 1 + check_below(&seed, size);
        for (size_t i = 0; i < size; i++)
            CHECK_INT(data[i], ==, next++);
        if (tdl_channel_consume(&rig.consumer, size))
            tdl_channel_wake_producer(&rig.consumer);
        got += size;
    }
    check_join(&thread, 1);
    rig_close(&rig);
}

static void
test_timeouts(void)
{
    struct rig rig;
    struct tdl_spin spin = {0};
    uint8_t *place = NULL;
    rig_open(&rig);
    int64_t soon = tdl_clock_now() + TDL_NS_PER_MS;
    CHECK_INT(tdl_channel_wait(&rig.consumer, &spin, soon), ==, -ETIMEDOUT);
    CHECK_INT(tdl_clock_now(), >=, soon);
    CHECK_INT(tdl_channel_reserve(&rig.producer, RING, &place), ==, 0);
    tdl_channel_commit(&rig.producer, RING);
    CHECK(tdl_channel_want_room(&rig.producer, 1));
    CHECK_INT(tdl_channel_wait_room(&rig.producer, soon), ==, -ETIMEDOUT);
    rig_close(&rig);
}

CHECK_MAIN(TEST(test_full_and_empty), TEST(test_damaged_words), TEST(test_threads),
           TEST(test_timeouts))

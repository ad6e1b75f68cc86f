#include "core/board.h"

#include <errno.h>

#include "check.h"
#include "core/clock.h"
#include "core/futex.h"

static struct tdl_board board;

static void
clear(void)
{
    uint64_t bits[TDL_BOARD_WORDS];
    tdl_board_take(&board, bits);
    tdl_board_disarm(&board);
}

static void
test_post_and_take(void)
{
    uint64_t bits[TDL_BOARD_WORDS];
    clear();
    CHECK(!tdl_board_take(&board, bits));
    tdl_board_post(&board, 0);
    tdl_board_post(&board, 65);
    tdl_board_post(&board, TDL_BOARD_WORKERS - 1);
    CHECK(tdl_board_is_ready(&board));
    CHECK(tdl_board_take(&board, bits));
    CHECK(bits[0] == 1 && bits[1] == 2);
    CHECK(bits[TDL_BOARD_WORDS - 1] == UINT64_C(1) << 63);
    CHECK(!tdl_board_is_ready(&board));
}

static void
test_one_ring_for_one_arming(void)
{
    clear();
    CHECK(!tdl_board_should_ring(&board));
    CHECK(tdl_board_arm(&board));
    CHECK(tdl_board_is_armed(&board));
    tdl_board_post(&board, 1);
    CHECK(tdl_board_should_ring(&board));
    CHECK(!tdl_board_should_ring(&board));
    CHECK(!tdl_board_arm(&board)); /* there is something already */
}

static void
test_requests(void)
{
    clear();
    CHECK(tdl_board_arm(&board));
    CHECK(
        tdl_board_want_wake(&board)); /* whoever sleeps is the collector: nobody else counts */
    CHECK(tdl_board_arm(&board));     /* and keeps what it has asked for */
    CHECK_INT(tdl_board_take_request(&board), ==, TDL_BOARD_WAKE);
    CHECK_INT(tdl_board_take_request(&board), ==, TDL_BOARD_NOTHING);
    CHECK(tdl_board_want_wake(&board));
    CHECK(!tdl_board_should_ring(&board)); /* it has woken instead */
    CHECK(!tdl_board_is_armed(&board));
    CHECK(tdl_board_want_wake(&board));
    tdl_board_kick(&board);
    CHECK(!tdl_board_is_armed(&board));
    CHECK(tdl_board_arm(&board));
    tdl_board_kick(&board); /* there is nobody to be woken; the doorbell is not its business */
    CHECK_INT(tdl_board_take_request(&board), ==, TDL_BOARD_RING);
    tdl_board_post(&board, 3);
    CHECK(!tdl_board_want_wake(&board));
}

enum { WORKERS = 3, POSTS = 20000 };
static _Atomic uint32_t values[WORKERS];
static _Atomic uint32_t rung;

static void *
post(void *arg)
{
    uint32_t index = (uint32_t)((_Atomic uint32_t *)arg - values);
    for (uint32_t i = 1; i <= POSTS; i++) {
        atomic_store_explicit(&values[index], i, memory_order_release);
        tdl_board_post(&board, index * 64);
        if (tdl_board_should_ring(&board))
            atomic_store(&rung, 1);
    }
    return NULL;
}

/* Nothing is missed: who sleeps has armed, and is rung for what comes afterwards. */
static void
test_nothing_is_missed(void)
{
    pthread_t threads[WORKERS];
    uint64_t bits[TDL_BOARD_WORDS];
    uint32_t seen[WORKERS] = {0};
    clear();
    check_start(threads, WORKERS, post, (void *)values, sizeof values[0]);
    int64_t patience = tdl_clock_now() + 60 * TDL_NS_PER_S;
    while (seen[0] < POSTS || seen[1] < POSTS || seen[2] < POSTS) {
        atomic_store(&rung, 0);
        if (tdl_board_arm(&board))
            while (!atomic_load(&rung))
                CHECK_INT(tdl_clock_now(), <, patience);
        tdl_board_take(&board, bits);
        for (int i = 0; i < WORKERS; i++)
            if (bits[i] & 1)
                seen[i] = atomic_load_explicit(&values[i], memory_order_acquire);
    }
    check_join(threads, WORKERS);
}

/* The same for one who sleeps on the word itself. */
static void
test_no_wake_is_missed(void)
{
    pthread_t threads[WORKERS];
    uint64_t bits[TDL_BOARD_WORDS];
    uint32_t seen[WORKERS] = {0};
    clear();
    for (int i = 0; i < WORKERS; i++)
        atomic_store(&values[i], 0);
    if (tdl_futex_wait_shared(&board.armed, 1, 0) == -ENOSYS)
        return;
    check_start(threads, WORKERS, post, (void *)values, sizeof values[0]);
    int64_t patience = tdl_clock_now() + 60 * TDL_NS_PER_S;
    while (seen[0] < POSTS || seen[1] < POSTS || seen[2] < POSTS) {
        if (tdl_board_want_wake(&board))
            CHECK_INT(tdl_futex_wait_shared(&board.armed, TDL_BOARD_WAKE, patience), !=,
                      -ETIMEDOUT);
        tdl_board_disarm(&board);
        tdl_board_take(&board, bits);
        for (int i = 0; i < WORKERS; i++)
            if (bits[i] & 1)
                seen[i] = atomic_load_explicit(&values[i], memory_order_acquire);
    }
    check_join(threads, WORKERS);
}

CHECK_MAIN(TEST(test_post_and_take), TEST(test_one_ring_for_one_arming), TEST(test_requests),
           TEST(test_nothing_is_missed), TEST(test_no_wake_is_missed))

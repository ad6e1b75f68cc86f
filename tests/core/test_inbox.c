#include "core/inbox.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>

#include "check.h"
#include "core/clock.h"
#include "core/poller.h"
#include "core/wakeup.h"

struct parcel {
    struct tdl_item item; /* first */
    int producer;
    int number;
};

/* Check that `batch` holds parcels `from` to `to` - 1 in this order. */
static void
check_batch(struct tdl_item *batch, int from, int to)
{
    for (; from < to; from++) {
        CHECK(batch != NULL);
        CHECK_INT(((struct parcel *)batch)->number, ==, from);
        batch = batch->next;
    }
    CHECK(batch == NULL);
}

static void
test_first_in_first_out(void)
{
    struct tdl_inbox inbox;
    struct parcel parcels[50];
    tdl_inbox_init(&inbox);
    for (int size = 1; size < 50; size++) {
        for (int i = 0; i < size; i++) {
            parcels[i] = (struct parcel){.number = i};
            CHECK_INT(tdl_inbox_post(&inbox, &parcels[i].item), ==, i == 0);
        }
        check_batch(tdl_inbox_drain(&inbox, TDL_INBOX_ARMED), 0, size);
    }
}

static void
test_zero_filled_is_armed(void)
{
    struct tdl_inbox inbox = {0};
    struct parcel parcel = {.number = 0};
    CHECK(tdl_inbox_drain(&inbox, TDL_INBOX_ARMED) == NULL);
    CHECK_INT(tdl_inbox_post(&inbox, &parcel.item), ==, 1);
    check_batch(tdl_inbox_drain(&inbox, TDL_INBOX_ARMED), 0, 1);
}

static void
test_pending_and_marked(void)
{
    static const enum tdl_inbox_mark marks[] = {TDL_INBOX_ARMED, TDL_INBOX_AWAKE};
    struct tdl_inbox inbox;
    struct parcel parcel = {.number = 0};
    tdl_inbox_init(&inbox);
    for (int i = 0; i < 4; i++) {
        enum tdl_inbox_mark mark = marks[i % 2], other = marks[1 - i % 2];
        tdl_inbox_drain(&inbox, mark);
        CHECK(tdl_inbox_marked(&inbox, mark) && !tdl_inbox_marked(&inbox, other));
        CHECK(!tdl_inbox_pending(&inbox));
        CHECK_INT(tdl_inbox_post(&inbox, &parcel.item), >=, 0);
        CHECK(!tdl_inbox_marked(&inbox, mark) && !tdl_inbox_marked(&inbox, other));
        CHECK(tdl_inbox_pending(&inbox));
    }
    tdl_inbox_close(&inbox);
    CHECK(!tdl_inbox_pending(&inbox) && !tdl_inbox_marked(&inbox, TDL_INBOX_AWAKE));
}

static void
test_one_wake_a_batch(void)
{
    struct tdl_inbox inbox;
    struct parcel a = {.number = 0}, b = {.number = 1};
    tdl_inbox_init(&inbox);
    for (int i = 0; i < 3; i++) {
        CHECK_INT(tdl_inbox_post(&inbox, &a.item), ==, 1);
        CHECK_INT(tdl_inbox_post(&inbox, &b.item), ==, 0);
        check_batch(tdl_inbox_drain(&inbox, TDL_INBOX_ARMED), 0, 2);
    }
}

static void
test_no_wake_while_the_owner_is_awake(void)
{
    struct tdl_inbox inbox;
    struct parcel a = {.number = 0}, b = {.number = 1};
    tdl_inbox_init(&inbox);
    CHECK(tdl_inbox_drain(&inbox, TDL_INBOX_AWAKE) == NULL);
    CHECK_INT(tdl_inbox_post(&inbox, &a.item), ==, 0);
    CHECK_INT(tdl_inbox_post(&inbox, &b.item), ==, 0);
    check_batch(tdl_inbox_drain(&inbox, TDL_INBOX_AWAKE), 0, 2);
    CHECK_INT(tdl_inbox_post(&inbox, &a.item), ==, 0);
    /* arming fails, as it were, while something is there */
    check_batch(tdl_inbox_drain(&inbox, TDL_INBOX_ARMED), 0, 1);
    CHECK(tdl_inbox_drain(&inbox, TDL_INBOX_ARMED) == NULL);
    CHECK_INT(tdl_inbox_post(&inbox, &a.item), ==, 1);
    check_batch(tdl_inbox_drain(&inbox, TDL_INBOX_AWAKE), 0, 1);
}

static void
test_close(void)
{
    struct tdl_inbox inbox;
    struct parcel parcels[3];
    tdl_inbox_init(&inbox);
    for (int i = 0; i < 3; i++) {
        parcels[i] = (struct parcel){.number = i};
        CHECK_INT(tdl_inbox_post(&inbox, &parcels[i].item), ==, i == 0);
    }
    check_batch(tdl_inbox_close(&inbox), 0, 3);
    parcels[0].item.next = &parcels[1].item;
    CHECK_INT(tdl_inbox_post(&inbox, &parcels[0].item), ==, -ESHUTDOWN);
    CHECK(parcels[0].item.next == &parcels[1].item);
    CHECK(tdl_inbox_drain(&inbox, TDL_INBOX_ARMED) == NULL);
    CHECK(tdl_inbox_drain(&inbox, TDL_INBOX_AWAKE) == NULL);
    CHECK_INT(tdl_inbox_post(&inbox, &parcels[0].item), ==, -ESHUTDOWN);
    CHECK(tdl_inbox_close(&inbox) == NULL);
    tdl_inbox_init(&inbox);
    CHECK(tdl_inbox_drain(&inbox, TDL_INBOX_AWAKE) == NULL);
    CHECK(tdl_inbox_close(&inbox) == NULL);
    CHECK_INT(tdl_inbox_post(&inbox, &parcels[0].item), ==, -ESHUTDOWN);
}

static struct tdl_inbox signal_inbox;
static struct parcel signal_parcels[100];
static _Atomic int signal_count;

static void
post_from_handler(int number)
{
    (void)number;
    int i = atomic_fetch_add(&signal_count, 1);
    signal_parcels[i] = (struct parcel){.number = i};
    tdl_inbox_post(&signal_inbox, &signal_parcels[i].item);
}

static void
test_post_in_a_signal_handler(void)
{
    struct sigaction action = {.sa_handler = post_from_handler}, before;
    tdl_inbox_init(&signal_inbox);
    atomic_store(&signal_count, 0);
    CHECK_INT(sigaction(SIGUSR1, &action, &before), ==, 0);
    for (int i = 0; i < 100; i++)
        raise(SIGUSR1);
    sigaction(SIGUSR1, &before, NULL);
    check_batch(tdl_inbox_drain(&signal_inbox, TDL_INBOX_ARMED), 0, 100);
}

/* Producers post, one owner takes: all arrive, once, in each producer's order,
 * and a sleeping owner is always woken. */
enum { PRODUCERS = 4, PARCELS = 30000 };

struct desk {
    struct tdl_inbox inbox;
    struct tdl_wakeup wakeup;
    _Atomic int wakes;
    struct parcel parcels[PRODUCERS][PARCELS];
    int next[PRODUCERS];
    int arrived;
};

struct producer {
    struct desk *desk;
    int number;
    int refused;
};

static void *
produce(void *arg)
{
    struct producer *self = arg;
    struct desk *desk = self->desk;
    for (int i = 0; i < PARCELS; i++) {
        struct parcel *parcel = &desk->parcels[self->number][i];
        parcel->producer = self->number;
        parcel->number = i;
        int r = tdl_inbox_post(&desk->inbox, &parcel->item);
        if (r < 0) {
            self->refused = PARCELS - i;
            break;
        }
        if (r == 1) {
            atomic_fetch_add(&desk->wakes, 1);
            tdl_wakeup_signal(&desk->wakeup);
        }
        if (i % 64 == self->number)
            sched_yield();
    }
    return NULL;
}

static int
take(struct desk *desk, struct tdl_item *batch)
{
    int count = 0;
    while (batch != NULL) {
        struct parcel *parcel = (struct parcel *)batch;
        batch = batch->next;
        CHECK_INT(parcel->number, ==, desk->next[parcel->producer]);
        desk->next[parcel->producer]++;
        memset(parcel, 0xa5, sizeof *parcel); /* ours now: nobody may read it */
        count++;
    }
    desk->arrived += count;
    return count;
}

/* One turn of an owner that sleeps only when armed and empty.  With `awake`, it
 * looks again without arming as long as there is something. */
static void
turn(struct desk *desk, struct tdl_poller *poller, bool awake)
{
    struct tdl_event event;
    if (awake && take(desk, tdl_inbox_drain(&desk->inbox, TDL_INBOX_AWAKE)) > 0)
        return;
    if (take(desk, tdl_inbox_drain(&desk->inbox, TDL_INBOX_ARMED)) > 0)
        return;
    CHECK_INT(tdl_poller_wait(poller, &event, 1, 20 * TDL_NS_PER_S), ==, 1);
    CHECK_INT(tdl_wakeup_drain(&desk->wakeup), ==, 1);
}

static void
run_desk(bool awake)
{
    static struct desk desk;
    struct tdl_poller poller;
    struct producer producers[PRODUCERS];
    pthread_t threads[PRODUCERS];
    memset(&desk, 0, sizeof desk);
    tdl_inbox_init(&desk.inbox);
    CHECK_INT(tdl_wakeup_open(&desk.wakeup, TDL_WAKEUP_BEST), ==, 0);
    CHECK_INT(tdl_poller_open(&poller, NULL), ==, 0);
    CHECK_INT(tdl_poller_add(&poller, tdl_wakeup_fd(&desk.wakeup), TDL_POLL_IN, NULL), ==, 0);
    for (int i = 0; i < PRODUCERS; i++)
        producers[i] = (struct producer){&desk, i, 0};
    check_start(threads, PRODUCERS, produce, producers, sizeof producers[0]);
    while (desk.arrived < PRODUCERS * PARCELS)
        turn(&desk, &poller, awake);
    check_join(threads, PRODUCERS);
    CHECK(tdl_inbox_close(&desk.inbox) == NULL);
    for (int i = 0; i < PRODUCERS; i++)
        CHECK_INT(desk.next[i], ==, PARCELS);
    CHECK_INT(desk.wakes, >, 0);
    CHECK_INT(desk.wakes, <=, PRODUCERS * PARCELS);
    tdl_poller_close(&poller);
    tdl_wakeup_close(&desk.wakeup);
}

static void
test_stress_always_armed(void)
{
    run_desk(false);
}

static void
test_stress_awake_then_armed(void)
{
    run_desk(true);
}

/* What was accepted comes out, what was refused does not. */
static void
test_stress_close_while_posting(void)
{
    static struct desk desk;
    for (int round = 0; round < 10; round++) {
        struct producer producers[PRODUCERS];
        pthread_t threads[PRODUCERS];
        memset(&desk, 0, sizeof desk);
        tdl_inbox_init(&desk.inbox);
        desk.wakeup = (struct tdl_wakeup){-1, -1};
        for (int i = 0; i < PRODUCERS; i++)
            producers[i] = (struct producer){&desk, i, 0};
        check_start(threads, PRODUCERS, produce, producers, sizeof producers[0]);
        while (desk.arrived < 500 * round)
            take(&desk, tdl_inbox_drain(&desk.inbox, TDL_INBOX_AWAKE));
        take(&desk, tdl_inbox_close(&desk.inbox));
        check_join(threads, PRODUCERS);
        CHECK(tdl_inbox_drain(&desk.inbox, TDL_INBOX_ARMED) == NULL);
        for (int i = 0; i < PRODUCERS; i++)
            CHECK_INT(desk.next[i], ==, PARCELS - producers[i].refused);
    }
}

CHECK_MAIN(TEST(test_first_in_first_out), TEST(test_zero_filled_is_armed),
           TEST(test_pending_and_marked), TEST(test_one_wake_a_batch),
           TEST(test_no_wake_while_the_owner_is_awake), TEST(test_close),
           TEST(test_post_in_a_signal_handler), TEST(test_stress_always_armed),
           TEST(test_stress_awake_then_armed), TEST(test_stress_close_while_posting))

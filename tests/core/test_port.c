#include "core/port.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>

#include "check.h"

enum { ANNOUNCERS = 4, ROUNDS = 20000 };

static bool
is_awake(struct tdl_port *port)
{
    struct pollfd descriptor = {.fd = tdl_wakeup_fd(&port->wakeup), .events = POLLIN};
    return poll(&descriptor, 1, 0) == 1;
}

static void
test_posting_wakes_once(void)
{
    struct tdl_port *port;
    struct tdl_item first, second;
    CHECK_INT(tdl_port_new(&port), ==, 0);
    CHECK(!is_awake(port));
    CHECK_INT(tdl_port_post(port, &first), ==, 0);
    CHECK(is_awake(port));
    CHECK_INT(tdl_wakeup_drain(&port->wakeup), ==, 1);
    CHECK_INT(tdl_port_post(port, &second), ==, 0);
    CHECK(!is_awake(port));
    CHECK(tdl_inbox_drain(&port->inbox, TDL_INBOX_ARMED) == &first);
    CHECK(first.next == &second);
    CHECK(!tdl_port_fetch(port, &first));
    CHECK(tdl_port_close(port) == NULL);
    tdl_port_unref(port);
}

static void
test_one_announcement_until_it_is_fetched(void)
{
    struct tdl_port *port;
    CHECK_INT(tdl_port_new(&port), ==, 0);
    tdl_port_announce(port);
    tdl_port_announce(port);
    struct tdl_item *item = tdl_inbox_drain(&port->inbox, TDL_INBOX_ARMED);
    CHECK(item != NULL && item->next == NULL);
    tdl_port_announce(port);
    CHECK(!tdl_inbox_pending(&port->inbox));
    CHECK(tdl_port_fetch(port, item));
    tdl_port_announce(port);
    CHECK(tdl_inbox_pending(&port->inbox));
    CHECK(tdl_port_fetch(port, tdl_port_close(port)));
    tdl_port_unref(port);
}

static void
test_nobody_is_woken_once_closed(void)
{
    struct tdl_port *port;
    struct tdl_item item;
    CHECK_INT(tdl_port_new(&port), ==, 0);
    struct tdl_port *other = tdl_port_ref(port);
    CHECK(tdl_port_close(port) == NULL);
    CHECK(tdl_port_close(port) == NULL);
    tdl_port_unref(port);
    CHECK_INT(tdl_wakeup_fd(&other->wakeup), ==, -1);
    CHECK_INT(tdl_port_post(other, &item), ==, -ESHUTDOWN);
    tdl_port_wake(other);
    tdl_port_announce(other);
    tdl_port_unref(other);
    tdl_port_unref(NULL);
}

/* As in a forked child while another thread of the parent was waking the owner. */
static void
test_disowning_a_locked_port(void)
{
    struct tdl_port *port;
    CHECK_INT(tdl_port_new(&port), ==, 0);
    tdl_lock_acquire(&port->lock);
    tdl_port_disown(port);
    CHECK_INT(tdl_wakeup_fd(&port->wakeup), ==, -1);
    tdl_port_wake(port);
    tdl_port_unref(port);
}

static void
test_arming_without_draining(void)
{
    struct tdl_port *port;
    struct tdl_item item;
    CHECK_INT(tdl_port_new(&port), ==, 0);
    CHECK(tdl_inbox_arm(&port->inbox));
    CHECK(tdl_inbox_drain(&port->inbox, TDL_INBOX_AWAKE) == NULL);
    CHECK(tdl_inbox_arm(&port->inbox));
    CHECK_INT(tdl_inbox_post(&port->inbox, &item), ==, 1);
    CHECK(!tdl_inbox_arm(&port->inbox));
    CHECK(tdl_inbox_drain(&port->inbox, TDL_INBOX_AWAKE) == &item);
    CHECK_INT(tdl_inbox_post(&port->inbox, &item), ==, 0);
    CHECK(!tdl_inbox_arm(&port->inbox));
    CHECK(tdl_port_close(port) == &item);
    CHECK(!tdl_inbox_arm(&port->inbox));
    tdl_port_unref(port);
}

struct announcer {
    struct tdl_port *port;
    _Atomic int *made; /* results, counted before they are announced */
};

static void *
announce(void *arg)
{
    struct announcer *self = arg;
    for (int i = 0; i < ROUNDS; i++) {
        atomic_fetch_add_explicit(self->made, 1, memory_order_release);
        tdl_port_announce(self->port);
    }
    tdl_port_unref(self->port);
    return NULL;
}

/* After every announcement comes a fetch that sees its result. */
static void
test_stress_no_result_is_left(void)
{
    struct tdl_port *port;
    struct announcer announcers[ANNOUNCERS];
    pthread_t threads[ANNOUNCERS];
    static _Atomic int made;
    int seen = 0;
    CHECK_INT(tdl_port_new(&port), ==, 0);
    for (int i = 0; i < ANNOUNCERS; i++)
        announcers[i] = (struct announcer){tdl_port_ref(port), &made};
    check_start(threads, ANNOUNCERS, announce, announcers, sizeof announcers[0]);
    while (seen < ANNOUNCERS * ROUNDS) {
        struct tdl_item *item = tdl_inbox_drain(&port->inbox, TDL_INBOX_AWAKE);
        if (item == NULL)
            sched_yield();
        else if (tdl_port_fetch(port, item))
            seen = atomic_load_explicit(&made, memory_order_acquire);
    }
    check_join(threads, ANNOUNCERS);
    tdl_port_close(port);
    tdl_port_unref(port);
}

static void
test_stress_close_while_announcing(void)
{
    static _Atomic int made;
    for (int round = 0; round < 20; round++) {
        struct tdl_port *port;
        struct announcer announcers[ANNOUNCERS];
        pthread_t threads[ANNOUNCERS];
        CHECK_INT(tdl_port_new(&port), ==, 0);
        for (int i = 0; i < ANNOUNCERS; i++)
            announcers[i] = (struct announcer){tdl_port_ref(port), &made};
        check_start(threads, ANNOUNCERS, announce, announcers, sizeof announcers[0]);
        sched_yield();
        tdl_port_close(port);
        tdl_port_unref(port);
        check_join(threads, ANNOUNCERS);
    }
}

CHECK_MAIN(TEST(test_posting_wakes_once), TEST(test_one_announcement_until_it_is_fetched),
           TEST(test_nobody_is_woken_once_closed), TEST(test_disowning_a_locked_port),
           TEST(test_arming_without_draining), TEST(test_stress_no_result_is_left),
           TEST(test_stress_close_while_announcing))

#include "core/park.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <time.h>

#include "check.h"
#include "core/clock.h"
#include "core/futex.h"

/* Each test runs without spinning and with it. */
static void
with_each(void (*body)(struct tdl_spin *spin))
{
    struct tdl_spin spin;
    body(NULL);
    tdl_spin_init(&spin);
    body(&spin);
}

/* Park through interruptions, which the portable stand-in makes up. */
static int
park(struct tdl_parker *parker, struct tdl_spin *spin, int64_t deadline)
{
    int r;
    do {
        r = tdl_parker_park(parker, spin, -1, deadline);
    } while (r == -EINTR);
    return r;
}

static void
notified_before(struct tdl_spin *spin)
{
    struct tdl_parker parker;
    tdl_parker_init(&parker);
    CHECK(!tdl_parker_notified(&parker));
    tdl_parker_unpark(&parker);
    CHECK(tdl_parker_notified(&parker));
    for (int i = 0; i < 3; i++) /* it stays so */
        CHECK_INT(tdl_parker_park(&parker, spin, -1, TDL_NEVER), ==, 0);
    CHECK_INT(tdl_parker_park(&parker, spin, -1, 0), ==, 0);
    tdl_parker_init(&parker);
    CHECK(!tdl_parker_notified(&parker));
    CHECK_INT(tdl_parker_park(&parker, spin, -1, 0), ==, -ETIMEDOUT);
}

static void
test_notified_before(void)
{
    with_each(notified_before);
}

static void
never_early(struct tdl_spin *spin)
{
    struct tdl_parker parker;
    tdl_parker_init(&parker);
    for (int64_t timeout = 1; timeout <= 100 * TDL_NS_PER_MS; timeout *= 10) {
        int64_t deadline = tdl_clock_now() + timeout;
        CHECK_INT(park(&parker, spin, deadline), ==, -ETIMEDOUT);
        CHECK_INT(tdl_clock_now(), >=, deadline);
    }
    tdl_parker_unpark(&parker); /* timeouts leave it usable */
    CHECK_INT(park(&parker, spin, TDL_NEVER), ==, 0);
}

static void
test_timeout_is_never_early(void)
{
    with_each(never_early);
}

static void
past(struct tdl_spin *spin)
{
    static const int64_t deadlines[] = {1, 0, -1, -1500000000, INT64_MIN};
    struct tdl_parker parker;
    tdl_parker_init(&parker);
    for (int i = 0; i < 5; i++)
        CHECK_INT(tdl_parker_park(&parker, spin, -1, deadlines[i]), ==, -ETIMEDOUT);
}

static void
test_past_deadlines(void)
{
    with_each(past);
}

struct sleeper {
    struct tdl_parker parker;
    struct tdl_spin *spin;
    _Atomic int parked; /* a wait has begun or is about to */
    _Atomic int ended;
    int result;
    int payload; /* written before the notification, read after it */
};

static void *
sleep_once(void *arg)
{
    struct sleeper *self = arg;
    atomic_store(&self->parked, 1);
    self->result = tdl_parker_park(&self->parker, self->spin, -1, TDL_NEVER);
    atomic_store(&self->ended, 1);
    return NULL;
}

static void
interrupted(struct tdl_spin *spin)
{
    struct sleeper self = {.spin = spin};
    struct timespec pause = {.tv_nsec = 2 * TDL_NS_PER_MS};
    pthread_t thread;
    tdl_parker_init(&self.parker);
    check_start(&thread, 1, sleep_once, &self, 0);
    while (!atomic_load(&self.ended)) {
        nanosleep(&pause, NULL);
        pthread_kill(thread, SIGUSR1);
    }
    pthread_join(thread, NULL);
    CHECK_INT(self.result, ==, -EINTR);
    CHECK(!tdl_parker_notified(&self.parker));
    tdl_parker_unpark(&self.parker); /* it can go on waiting */
    CHECK_INT(park(&self.parker, spin, TDL_NEVER), ==, 0);
}

static void
on_signal(int number)
{
    (void)number;
}

static void
test_a_signal_interrupts(void)
{
    struct sigaction action = {.sa_handler = on_signal}, before;
    CHECK_INT(sigaction(SIGUSR1, &action, &before), ==, 0);
    with_each(interrupted);
    sigaction(SIGUSR1, &before, NULL);
}

/* Two threads hand the turn to each other; plain memory goes with it. */
enum { ROUNDS = 4000 };

struct table {
    struct tdl_parker sides[2];
    struct tdl_spin spins[2];
    int spinning;
    int turns; /* plain: only the parkers order the accesses */
    int bad;
};

static int
play(struct table *table, int side)
{
    struct tdl_spin *spin = table->spinning ? &table->spins[side] : NULL;
    for (int i = 0; i < ROUNDS; i++) {
        if (park(&table->sides[side], spin, tdl_clock_now() + 20 * TDL_NS_PER_S) != 0)
            return -1;
        tdl_parker_init(&table->sides[side]);
        table->bad += table->turns != 2 * i + side;
        table->turns++;
        tdl_parker_unpark(&table->sides[!side]);
    }
    return 0;
}

static void *
play_second(void *arg)
{
    return play(arg, 1) == 0 ? NULL : "a notification was lost";
}

static void
test_stress_ping_pong(void)
{
    for (int spinning = 0; spinning < 2; spinning++) {
        struct table table = {.spinning = spinning};
        pthread_t thread;
        void *complaint;
        for (int side = 0; side < 2; side++) {
            tdl_parker_init(&table.sides[side]);
            tdl_spin_init(&table.spins[side]);
        }
        check_start(&thread, 1, play_second, &table, 0);
        tdl_parker_unpark(&table.sides[0]);
        CHECK_INT(play(&table, 0), ==, 0);
        pthread_join(thread, &complaint);
        CHECK(complaint == NULL);
        CHECK_INT(table.turns, ==, 2 * ROUNDS);
        CHECK_INT(table.bad, ==, 0);
    }
}

/* Parkers on the waiter's stack, gone and overwritten as soon as it was notified;
 * timeouts race with the notification. */
struct exchange {
    _Atomic(struct sleeper *) offered;
    _Atomic int stop;
};

static void *
unpark_offered(void *arg)
{
    struct exchange *exchange = arg;
    while (!atomic_load(&exchange->stop)) {
        struct sleeper *sleeper = atomic_exchange(&exchange->offered, NULL);
        if (sleeper == NULL) {
            sched_yield();
            continue;
        }
        sleeper->payload = 42;
        tdl_parker_unpark(&sleeper->parker);
    }
    return NULL;
}

/* Returns 1 if notified, 0 if the offer could be taken back after a timeout. */
static int
wait_on_stack(struct exchange *exchange, struct tdl_spin *spin, int64_t timeout)
{
    struct sleeper self = {.payload = 0};
    struct sleeper *mine = &self;
    tdl_parker_init(&self.parker);
    atomic_store(&exchange->offered, &self);
    int r = park(&self.parker, spin, tdl_clock_add(tdl_clock_now(), timeout));
    if (r == -ETIMEDOUT && atomic_compare_exchange_strong(&exchange->offered, &mine, NULL))
        return 0;
    /* taken: the notification is certain to come */
    CHECK_INT(park(&self.parker, spin, TDL_NEVER), ==, 0);
    CHECK_INT(self.payload, ==, 42);
    memset(&self, 0xff, sizeof self);
    return 1;
}

static void
parkers_on_the_stack(struct tdl_spin *spin)
{
    struct exchange exchange = {0};
    pthread_t thread;
    int notified = 0;
    check_start(&thread, 1, unpark_offered, &exchange, 0);
    for (int i = 0; i < 3000; i++)
        notified += wait_on_stack(&exchange, spin, i % 3 == 0 ? TDL_NEVER : i % 40 * 1000);
    atomic_store(&exchange.stop, 1);
    pthread_join(thread, NULL);
    CHECK_INT(notified, >=, 1000);
}

static void
test_stress_parkers_on_the_stack(void)
{
    with_each(parkers_on_the_stack);
}

static int64_t
cpu_time(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (int64_t)ts.tv_sec * TDL_NS_PER_S + ts.tv_nsec;
}

/* However eager the spin, a long wait sleeps. */
static void
long_waits(struct tdl_spin *spin)
{
    struct tdl_parker parker;
    tdl_parker_init(&parker);
    int64_t before = cpu_time();
    for (int i = 0; i < 5; i++)
        CHECK_INT(park(&parker, spin, tdl_clock_now() + 40 * TDL_NS_PER_MS), ==, -ETIMEDOUT);
    CHECK_INT(cpu_time() - before, <, 50 * TDL_NS_PER_MS);
}

static void
test_long_waits_sleep(void)
{
    with_each(long_waits);
}

struct two_ways {
    struct tdl_parker parker;
    _Atomic uint32_t shared, rounds;
};

/* By turns: notify, or change the shared word. */
static void *
end_waits(void *arg)
{
    struct two_ways *ways = arg;
    for (uint32_t i = 0; i < 2000; i++) {
        while (atomic_load(&ways->rounds) != i)
            sched_yield();
        if (i % 3)
            tdl_parker_unpark(&ways->parker);
        else {
            atomic_store(&ways->shared, 0);
            tdl_futex_wake_shared(&ways->shared, 1);
        }
    }
    return NULL;
}

static void
test_stress_park_or(void)
{
    struct two_ways ways = {.shared = 1, .rounds = UINT32_MAX};
    pthread_t thread;
    tdl_parker_init(&ways.parker);
    if (tdl_parker_park_or(&ways.parker, &ways.shared, 1, 0) == -ENOSYS)
        return;
    check_start(&thread, 1, end_waits, &ways, 0);
    int64_t patience = tdl_clock_now() + 60 * TDL_NS_PER_S;
    for (uint32_t i = 0; i < 2000; i++) {
        tdl_parker_init(&ways.parker);
        atomic_store(&ways.shared, 1);
        atomic_store(&ways.rounds, i);
        while (!tdl_parker_notified(&ways.parker) && atomic_load(&ways.shared) == 1) {
            int r = tdl_parker_park_or(&ways.parker, &ways.shared, 1, patience);
            CHECK(r == 0 || r == -EINTR);
        }
        CHECK_INT(tdl_parker_notified(&ways.parker), ==, i % 3 != 0);
    }
    check_join(&thread, 1);
}

static void
test_park_or_at_once(void)
{
    _Atomic uint32_t shared = 1;
    struct tdl_parker parker;
    tdl_parker_init(&parker);
    if (tdl_parker_park_or(&parker, &shared, 1, 0) == -ENOSYS)
        return;
    CHECK_INT(tdl_parker_park_or(&parker, &shared, 2, TDL_NEVER), ==, 0);
    CHECK(!tdl_parker_notified(&parker));
    CHECK_INT(tdl_parker_park_or(&parker, &shared, 1, 0), ==, -ETIMEDOUT);
    tdl_parker_unpark(&parker);
    CHECK_INT(tdl_parker_park_or(&parker, &shared, 1, TDL_NEVER), ==, 0);
    CHECK(tdl_parker_notified(&parker));
}

CHECK_MAIN(TEST(test_notified_before), TEST(test_timeout_is_never_early),
           TEST(test_past_deadlines), TEST(test_a_signal_interrupts),
           TEST(test_stress_ping_pong), TEST(test_stress_parkers_on_the_stack),
           TEST(test_long_waits_sleep), TEST(test_park_or_at_once), TEST(test_stress_park_or))

#include "core/lock.h"

#include <sched.h>
#include <sys/resource.h>
#include <time.h>

#include "check.h"
#include "core/clock.h"

static void
test_acquire_and_release(void)
{
    struct tdl_lock lock;
    tdl_lock_init(&lock);
    for (int i = 0; i < 3; i++) {
        tdl_lock_acquire(&lock);
        CHECK(!tdl_lock_try_acquire(&lock));
        tdl_lock_release(&lock);
        CHECK(tdl_lock_try_acquire(&lock));
        CHECK(!tdl_lock_try_acquire(&lock));
        tdl_lock_release(&lock);
    }
}

static void
test_zero_filled_is_free(void)
{
    struct tdl_lock lock = {0};
    CHECK(tdl_lock_try_acquire(&lock));
    tdl_lock_release(&lock);
}

struct shared {
    struct tdl_lock lock;
    long long counter; /* plain: only the lock protects it */
    long long mirror;
    int inside;
    int intruders;
    _Atomic int done;
};

enum { THREADS = 4, ROUNDS = 30000 };

static void
count_locked(struct shared *shared)
{
    shared->intruders += shared->inside++ != 0;
    shared->counter++;
    shared->mirror = shared->counter;
    shared->inside--;
}

static void *
count_up(void *arg)
{
    struct shared *shared = arg;
    for (int i = 0; i < ROUNDS; i++) {
        tdl_lock_acquire(&shared->lock);
        count_locked(shared);
        tdl_lock_release(&shared->lock);
    }
    return NULL;
}

static void
test_stress_mutual_exclusion(void)
{
    struct shared shared = {.counter = 0};
    pthread_t threads[THREADS];
    tdl_lock_init(&shared.lock);
    check_start(threads, THREADS, count_up, &shared, 0);
    check_join(threads, THREADS);
    CHECK_INT(shared.counter, ==, THREADS * ROUNDS);
    CHECK_INT(shared.mirror, ==, shared.counter);
    CHECK_INT(shared.intruders, ==, 0);
    CHECK(tdl_lock_try_acquire(&shared.lock));
}

static void *
try_to_count_up(void *arg)
{
    struct shared *shared = arg;
    for (int i = 0; i < ROUNDS / 4;) {
        if (!tdl_lock_try_acquire(&shared->lock)) {
            sched_yield();
            continue;
        }
        count_locked(shared);
        tdl_lock_release(&shared->lock);
        i++;
    }
    return NULL;
}

static void
test_stress_acquire_beside_try(void)
{
    struct shared shared = {.counter = 0};
    pthread_t threads[THREADS];
    tdl_lock_init(&shared.lock);
    check_start(threads, 2, try_to_count_up, &shared, 0);
    check_start(threads + 2, THREADS - 2, count_up, &shared, 0);
    check_join(threads, THREADS);
    CHECK_INT(shared.counter, ==, 2 * (ROUNDS / 4) + (THREADS - 2) * ROUNDS);
    CHECK_INT(shared.intruders, ==, 0);
}

static void *
acquire_once(void *arg)
{
    struct shared *shared = arg;
    tdl_lock_acquire(&shared->lock);
    count_locked(shared);
    tdl_lock_release(&shared->lock);
    atomic_fetch_add(&shared->done, 1);
    return NULL;
}

/* The holder is away for a while: the others sleep, and each of them is woken
 * although one release wakes one sleeper. */
static void
test_stress_sleepers_are_all_woken(void)
{
    for (int round = 0; round < 20; round++) {
        struct shared shared = {.counter = 0};
        pthread_t threads[8];
        struct timespec pause = {.tv_nsec = 3 * TDL_NS_PER_MS};
        tdl_lock_init(&shared.lock);
        tdl_lock_acquire(&shared.lock);
        check_start(threads, 8, acquire_once, &shared, 0);
        nanosleep(&pause, NULL);
        CHECK_INT(shared.done, ==, 0);
        tdl_lock_release(&shared.lock);
        check_join(threads, 8);
        CHECK_INT(shared.counter, ==, 8);
        CHECK_INT(shared.intruders, ==, 0);
    }
}

static int64_t
cpu_time(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (int64_t)ts.tv_sec * TDL_NS_PER_S + ts.tv_nsec;
}

/* Waiting long costs no CPU. */
static void
test_waiters_sleep(void)
{
    struct shared shared = {.counter = 0};
    pthread_t threads[2];
    struct timespec pause = {.tv_nsec = 300 * TDL_NS_PER_MS};
    tdl_lock_init(&shared.lock);
    tdl_lock_acquire(&shared.lock);
    check_start(threads, 2, acquire_once, &shared, 0);
    int64_t before = cpu_time();
    nanosleep(&pause, NULL);
    CHECK_INT(cpu_time() - before, <, 150 * TDL_NS_PER_MS);
    tdl_lock_release(&shared.lock);
    check_join(threads, 2);
    CHECK_INT(shared.counter, ==, 2);
}

CHECK_MAIN(TEST(test_acquire_and_release), TEST(test_zero_filled_is_free),
           TEST(test_stress_mutual_exclusion), TEST(test_stress_acquire_beside_try),
           TEST(test_stress_sleepers_are_all_woken), TEST(test_waiters_sleep))

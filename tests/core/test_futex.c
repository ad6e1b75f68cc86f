#include "core/futex.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "core/clock.h"

static void
test_other_value_returns_at_once(void)
{
    _Atomic uint32_t word = 5;
    CHECK_INT(tdl_futex_wait(&word, 4, TDL_NEVER), ==, -EAGAIN);
}

/* Wait as callers do, who cannot tell a spurious wake from an interruption:
 * again, until the word has changed or the time is over. */
static int
wait_for_change(_Atomic uint32_t *word, uint32_t expected, int64_t deadline)
{
    while (atomic_load(word) == expected) {
        int r = tdl_futex_wait(word, expected, deadline);
        if (r == -ETIMEDOUT)
            return r;
        CHECK(r == 0 || r == -EINTR || r == -EAGAIN);
    }
    return 0;
}

static void
test_timeout_is_never_early(void)
{
    _Atomic uint32_t word = 0;
    for (int64_t timeout = 1; timeout <= 100 * TDL_NS_PER_MS; timeout *= 10) {
        int64_t deadline = tdl_clock_now() + timeout;
        CHECK_INT(wait_for_change(&word, 0, deadline), ==, -ETIMEDOUT);
        CHECK_INT(tdl_clock_now(), >=, deadline);
    }
}

static void
test_past_deadlines(void)
{
    static const int64_t past[] = {1, 0, -1, -1500000000, INT64_MIN};
    _Atomic uint32_t word = 0;
    for (int i = 0; i < 5; i++)
        CHECK_INT(tdl_futex_wait(&word, 0, past[i]), ==, -ETIMEDOUT);
}

static void
test_wake_without_sleepers(void)
{
    _Atomic uint32_t word = 0;
    tdl_futex_wake(&word, 1);
    tdl_futex_wake(&word, INT32_MAX);
    CHECK_INT(tdl_futex_wait(&word, 0, tdl_clock_now() + 1000), ==, -ETIMEDOUT);
}

struct sleeper {
    _Atomic uint32_t word;
    _Atomic int up;
};

static void *
sleep_on(void *arg)
{
    struct sleeper *sleeper = arg;
    wait_for_change(&sleeper->word, 0, TDL_NEVER);
    atomic_fetch_add(&sleeper->up, 1);
    return NULL;
}

static void
test_wake_all(void)
{
    struct sleeper sleeper = {0};
    pthread_t threads[4];
    struct timespec pause = {.tv_nsec = 5 * TDL_NS_PER_MS};
    check_start(threads, 4, sleep_on, &sleeper, 0);
    nanosleep(&pause, NULL);
    CHECK_INT(sleeper.up, ==, 0);
    atomic_store(&sleeper.word, 1);
    tdl_futex_wake(&sleeper.word, INT32_MAX);
    check_join(threads, 4);
    CHECK_INT(sleeper.up, ==, 4);
}

static void
on_signal(int number)
{
    (void)number;
}

struct interruption {
    _Atomic uint32_t word;
    int result;
};

static void *
wait_interrupted(void *arg)
{
    struct interruption *self = arg;
    self->result = tdl_futex_wait(&self->word, 0, TDL_NEVER);
    atomic_store(&self->word, 1);
    return NULL;
}

static void
test_a_signal_interrupts(void)
{
    struct sigaction action = {.sa_handler = on_signal}, before;
    struct interruption self = {.result = 0};
    struct timespec pause = {.tv_nsec = 2 * TDL_NS_PER_MS};
    pthread_t thread;
    CHECK_INT(sigaction(SIGUSR1, &action, &before), ==, 0);
    check_start(&thread, 1, wait_interrupted, &self, 0);
    while (atomic_load(&self.word) == 0) { /* the first may come before the wait */
        pthread_kill(thread, SIGUSR1);
        nanosleep(&pause, NULL);
    }
    pthread_join(thread, NULL);
    sigaction(SIGUSR1, &before, NULL);
    CHECK_INT(self.result, ==, -EINTR);
}

/* A word goes back and forth: a lost wake would end in the timeout. */
enum { ROUNDS = 5000 };

static void *
even_turns(void *arg)
{
    _Atomic uint32_t *word = arg;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        if (wait_for_change(word, 2 * i, tdl_clock_now() + 20 * TDL_NS_PER_S) != 0)
            return "a wake was lost";
        atomic_store(word, 2 * i + 2);
        tdl_futex_wake(word, 1);
    }
    return NULL;
}

static void
test_stress_back_and_forth(void)
{
    _Atomic uint32_t word = 0;
    pthread_t thread;
    void *complaint;
    check_start(&thread, 1, even_turns, &word, 0);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        atomic_store(&word, 2 * i + 1);
        tdl_futex_wake(&word, 1);
        CHECK_INT(wait_for_change(&word, 2 * i + 1, tdl_clock_now() + 20 * TDL_NS_PER_S), ==,
                  0);
    }
    pthread_join(thread, &complaint);
    CHECK(complaint == NULL);
}

/* A child that was forked while others were inside can use it afresh. */
struct crowd {
    _Atomic uint32_t word;
    _Atomic int stop;
};

static void *
wake_often(void *arg)
{
    struct crowd *crowd = arg;
    while (!atomic_load(&crowd->stop))
        tdl_futex_wake(&crowd->word, 1);
    return NULL;
}

static void
test_fork_while_others_wake(void)
{
    struct crowd crowd = {0};
    pthread_t threads[2];
    check_start(threads, 2, wake_often, &crowd, 0);
    int good = 0;
    for (int i = 0; i < 20; i++) {
        int status = -1;
        pid_t child = fork();
        if (child == 0) {
            alarm(20); /* stuck forever, otherwise */
            tdl_futex_after_fork_child();
            tdl_futex_wake(&crowd.word, 1);
            int r = wait_for_change(&crowd.word, 0, tdl_clock_now() + TDL_NS_PER_MS);
            _exit(r == -ETIMEDOUT ? 0 : 1);
        }
        waitpid(child, &status, 0);
        good += status == 0;
    }
    atomic_store(&crowd.stop, 1);
    check_join(threads, 2);
    CHECK_INT(good, ==, 20);
}

/* Whether this build and kernel can wait for two words. */
static bool
has_either(void)
{
    _Atomic uint32_t words[2] = {0, 0};
    int r = tdl_futex_wait_either(&words[0], 1, &words[1], 1, 1);
    CHECK(r == -EAGAIN || r == -ENOSYS);
    return r != -ENOSYS;
}

static void
test_either_of_two(void)
{
    _Atomic uint32_t own = 1, shared = 2;
    if (!has_either())
        return; /* callers take another way then */
    CHECK_INT(tdl_futex_wait_either(&own, 0, &shared, 2, TDL_NEVER), ==, -EAGAIN);
    CHECK_INT(tdl_futex_wait_either(&own, 1, &shared, 0, TDL_NEVER), ==, -EAGAIN);
    CHECK_INT(tdl_futex_wait_either(&own, 1, &shared, 2, -5), ==, -ETIMEDOUT);
    int64_t deadline = tdl_clock_now() + 20 * TDL_NS_PER_MS;
    while (tdl_futex_wait_either(&own, 1, &shared, 2, deadline) != -ETIMEDOUT)
        CHECK_INT(tdl_clock_now(), <, deadline + 60 * TDL_NS_PER_S);
    CHECK_INT(tdl_clock_now(), >=, deadline);
}

struct pair {
    _Atomic uint32_t own, shared, turns;
};

static void *
change_one_of_two(void *arg)
{
    struct pair *pair = arg;
    for (uint32_t i = 1; i <= 2000; i++) {
        if (i % 2) {
            atomic_store(&pair->own, i);
            tdl_futex_wake(&pair->own, 1);
        }
        else {
            atomic_store(&pair->shared, i);
            tdl_futex_wake_shared(&pair->shared, 1);
        }
        while (atomic_load(&pair->turns) != i)
            sched_yield();
    }
    return NULL;
}

static void
test_stress_either_of_two(void)
{
    struct pair pair = {0, 0, 0};
    pthread_t thread;
    uint32_t own = 0, shared = 0;
    if (!has_either())
        return;
    check_start(&thread, 1, change_one_of_two, &pair, 0);
    int64_t patience = tdl_clock_now() + 60 * TDL_NS_PER_S;
    for (uint32_t i = 1; i <= 2000; i++) {
        while (atomic_load(&pair.own) == own && atomic_load(&pair.shared) == shared) {
            int r = tdl_futex_wait_either(&pair.own, own, &pair.shared, shared, patience);
            CHECK(r == 0 || r == -EAGAIN || r == -EINTR);
        }
        own = atomic_load(&pair.own);
        shared = atomic_load(&pair.shared);
        CHECK_INT(own > shared ? own : shared, ==, i);
        atomic_store(&pair.turns, i);
    }
    check_join(&thread, 1);
}

CHECK_MAIN(TEST(test_other_value_returns_at_once), TEST(test_timeout_is_never_early),
           TEST(test_past_deadlines), TEST(test_wake_without_sleepers), TEST(test_wake_all),
           TEST(test_a_signal_interrupts), TEST(test_stress_back_and_forth),
           TEST(test_fork_while_others_wake), TEST(test_either_of_two),
           TEST(test_stress_either_of_two))

#include "core/clock.h"

#include "check.h"

static void
test_now_does_not_go_back(void)
{
    int64_t before = tdl_clock_now();
    for (int i = 0; i < 100000; i++) {
        int64_t now = tdl_clock_now();
        CHECK_INT(now, >=, before);
        before = now;
    }
}

static void
test_now_counts_nanoseconds(void)
{
    struct timespec pause = {.tv_nsec = 20 * TDL_NS_PER_MS};
    int64_t before = tdl_clock_now();
    nanosleep(&pause, NULL);
    int64_t passed = tdl_clock_now() - before;
    CHECK_INT(passed, >=, 20 * TDL_NS_PER_MS);
    CHECK_INT(passed, <, 10 * TDL_NS_PER_S);
}

static void
test_now_is_the_monotonic_clock(void)
{
    struct timespec ts;
    int64_t before = tdl_clock_now();
    clock_gettime(CLOCK_MONOTONIC, &ts);
    int64_t between = (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
    CHECK_INT(between, >=, before);
    CHECK_INT(tdl_clock_now(), >=, between);
}

static void
test_add_saturates(void)
{
    CHECK_INT(tdl_clock_add(5, 7), ==, 12);
    CHECK_INT(tdl_clock_add(5, -7), ==, -2);
    CHECK_INT(tdl_clock_add(TDL_NEVER - 1, 1), ==, TDL_NEVER);
    CHECK_INT(tdl_clock_add(TDL_NEVER, 1), ==, TDL_NEVER);
    CHECK_INT(tdl_clock_add(tdl_clock_now(), TDL_NEVER), ==, TDL_NEVER);
}

static void
test_units(void)
{
    CHECK_INT(TDL_NS_PER_S, ==, 1000 * TDL_NS_PER_MS);
    CHECK_INT(TDL_NS_PER_MS, ==, 1000 * TDL_NS_PER_US);
    CHECK_INT(TDL_NS_PER_US, ==, 1000);
}

static void
test_current_cpu_is_one_we_may_use(void)
{
#ifdef __linux__
    cpu_set_t before, after;
    CHECK_INT(sched_getaffinity(0, sizeof before, &before), ==, 0);
    int cpu = -1;
    for (int i = 0; i < CPU_SETSIZE; i++) {
        if (!CPU_ISSET(i, &before))
            continue;
        CPU_ZERO(&after);
        CPU_SET(i, &after);
        CHECK_INT(sched_setaffinity(0, sizeof after, &after), ==, 0);
        cpu = tdl_cpu_current();
        sched_setaffinity(0, sizeof before, &before);
        CHECK_INT(cpu, ==, i);
    }
    CHECK_INT(cpu, >=, 0);
#else
    CHECK_INT(tdl_cpu_current(), ==, -1);
#endif
}

CHECK_MAIN(TEST(test_now_does_not_go_back), TEST(test_now_counts_nanoseconds),
           TEST(test_now_is_the_monotonic_clock), TEST(test_add_saturates), TEST(test_units),
           TEST(test_current_cpu_is_one_we_may_use))

#include "core/spin.h"

#include <sched.h>

#include "check.h"
#include "core/clock.h"

#define LONG_WAIT (10 * TDL_NS_PER_MS)

static int
allowed_cpus(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

/* Whatever is learnt below, one CPU allows no spin. */
static int64_t
allowed(const struct tdl_spin *spin)
{
    int64_t ns = tdl_spin_allowed(spin, -1);
    CHECK_INT(ns, ==, allowed_cpus() > 1 ? spin->budget : 0);
    return ns;
}

static void
test_starts_with_a_bounded_budget(void)
{
    struct tdl_spin spin;
    tdl_spin_init(&spin);
    CHECK_INT(spin.budget, >, 0);
    CHECK_INT(spin.budget, <=, TDL_NS_PER_MS);
    CHECK_INT(allowed(&spin), <=, spin.budget);
}

static void
test_never_beside_a_peer_on_the_same_cpu(void)
{
    struct tdl_spin spin;
    cpu_set_t before, one;
    tdl_spin_init(&spin);
    CHECK_INT(sched_getaffinity(0, sizeof before, &before), ==, 0);
    CHECK(tdl_spin_may_help(-1) == (CPU_COUNT(&before) > 1)); /* counted once, unpinned */
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &before))
            continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        CHECK_INT(sched_setaffinity(0, sizeof one, &one), ==, 0);
        int64_t same = tdl_spin_allowed(&spin, cpu);
        int64_t other = tdl_spin_allowed(&spin, cpu + 1);
        bool help = tdl_spin_may_help(cpu);
        sched_setaffinity(0, sizeof before, &before);
        CHECK_INT(same, ==, 0);
        CHECK(!help);
        CHECK_INT(other, ==, CPU_COUNT(&before) > 1 ? spin.budget : 0);
    }
}

static void
test_long_waits_end_spinning(void)
{
    struct tdl_spin spin;
    tdl_spin_init(&spin);
    int waits = 0;
    for (int64_t before = spin.budget; spin.budget > 0; before = spin.budget) {
        tdl_spin_learn(&spin, LONG_WAIT);
        CHECK_INT(spin.budget, <, before);
        CHECK_INT(++waits, <, 20);
    }
    CHECK_INT(tdl_spin_allowed(&spin, -1), ==, 0);
    tdl_spin_learn(&spin, LONG_WAIT);
    CHECK_INT(spin.budget, ==, 0);
}

static void
test_a_short_wait_brings_spinning_back(void)
{
    struct tdl_spin spin;
    tdl_spin_init(&spin);
    for (int i = 0; i < 20; i++)
        tdl_spin_learn(&spin, LONG_WAIT);
    tdl_spin_learn(&spin, 60 * TDL_NS_PER_US);
    CHECK_INT(spin.budget, >, 0);
}

/* A spin that was nearly too short is lengthened, up to where it began. */
static void
test_a_success_lengthens_the_next_spin(void)
{
    struct tdl_spin spin;
    tdl_spin_init(&spin);
    int64_t most = spin.budget;
    tdl_spin_learn(&spin, LONG_WAIT);
    int64_t less = spin.budget;
    CHECK_INT(less, >, 0);
    tdl_spin_learn(&spin, less - 1);
    CHECK_INT(spin.budget, >, less);
    for (int i = 0; i < 10; i++)
        tdl_spin_learn(&spin, spin.budget - 1);
    CHECK_INT(spin.budget, ==, most);
}

/* Misses count only in a row. */
static void
test_a_success_forgives_misses(void)
{
    struct tdl_spin spin;
    tdl_spin_init(&spin);
    for (int i = 0; i < 200; i++) {
        tdl_spin_learn(&spin, i % 5 == 0 ? TDL_NS_PER_US : 150 * TDL_NS_PER_US);
        CHECK_INT(spin.budget, >, 0);
    }
}

/* Neither does an end of spinning last forever: after an idle time, the next
 * short wait is a new beginning. */
static void
test_idle_time_forgives_misses(void)
{
    struct tdl_spin spin;
    tdl_spin_init(&spin);
    for (int i = 0; i < 100; i++)
        tdl_spin_learn(&spin, 150 * TDL_NS_PER_US);
    CHECK_INT(spin.budget, ==, 0);
    tdl_spin_learn(&spin, LONG_WAIT);
    CHECK_INT(spin.budget, ==, 0);
    tdl_spin_learn(&spin, 150 * TDL_NS_PER_US);
    CHECK_INT(spin.budget, >, 0);
}

/* Waits just too long for a spin do not burn CPU forever. */
static void
test_misses_in_a_row_end_spinning(void)
{
    struct tdl_spin spin;
    tdl_spin_init(&spin);
    int64_t burnt = 0;
    for (int i = 0; i < 1000; i++) {
        burnt += spin.budget;
        tdl_spin_learn(&spin, 150 * TDL_NS_PER_US);
    }
    CHECK_INT(spin.budget, ==, 0);
    CHECK_INT(burnt, <, 5 * TDL_NS_PER_MS);
}

static void
test_short_waits_keep_spinning(void)
{
    struct tdl_spin spin;
    tdl_spin_init(&spin);
    int64_t most = spin.budget;
    for (int i = 0; i < 1000; i++) {
        tdl_spin_learn(&spin, 5 * TDL_NS_PER_US);
        CHECK_INT(spin.budget, >, 5 * TDL_NS_PER_US);
        CHECK_INT(spin.budget, <=, most);
    }
}

static void
test_sees_a_change_that_is_there(void)
{
    struct tdl_spin spin;
    _Atomic uint32_t word = 1;
    tdl_spin_init(&spin);
    CHECK(tdl_spin_until(&spin, &word, 0, -1));
    spin.budget = 0;
    CHECK(tdl_spin_until(&spin, &word, 0, -1));
    CHECK(!tdl_spin_until(&spin, &word, 1, -1));
}

static void
test_gives_up_after_its_budget(void)
{
    struct tdl_spin spin = {.budget = 3 * TDL_NS_PER_MS};
    _Atomic uint32_t word = 0;
    int64_t start = tdl_clock_now();
    CHECK(!tdl_spin_until(&spin, &word, 0, -1));
    int64_t passed = tdl_clock_now() - start;
    CHECK_INT(passed, >=, allowed(&spin));
    CHECK_INT(passed, <, 10 * TDL_NS_PER_S);
}

struct flag {
    _Atomic uint32_t word;
    int payload;
};

static void *
raise_flag(void *arg)
{
    struct flag *flag = arg;
    flag->payload = 42;
    atomic_store_explicit(&flag->word, 1, memory_order_release);
    return NULL;
}

/* A change seen is acquired: the payload is plain memory. */
static void
test_stress_change_by_another_thread(void)
{
    for (int i = 0; i < 100; i++) {
        struct tdl_spin spin = {.budget = TDL_NS_PER_MS};
        struct flag flag = {0};
        pthread_t thread;
        int64_t limit = tdl_clock_now() + 20 * TDL_NS_PER_S;
        check_start(&thread, 1, raise_flag, &flag, 0);
        while (!tdl_spin_until(&spin, &flag.word, 0, -1))
            CHECK_INT(tdl_clock_now(), <, limit);
        CHECK_INT(flag.payload, ==, 42);
        pthread_join(thread, NULL);
    }
}

CHECK_MAIN(TEST(test_starts_with_a_bounded_budget),
           TEST(test_never_beside_a_peer_on_the_same_cpu), TEST(test_long_waits_end_spinning),
           TEST(test_a_short_wait_brings_spinning_back),
           TEST(test_misses_in_a_row_end_spinning), TEST(test_short_waits_keep_spinning),
           TEST(test_a_success_lengthens_the_next_spin), TEST(test_a_success_forgives_misses),
           TEST(test_idle_time_forgives_misses), TEST(test_sees_a_change_that_is_there),
           TEST(test_gives_up_after_its_budget), TEST(test_stress_change_by_another_thread))

/* A tiny test harness: named checks, one table of tests a program, and no leak
 * or armed fault between two tests.
 *
 * A check that fails on the main thread ends its test; on another thread it is
 * recorded and the thread goes on.  The last line of a program is
 * "N passed, N failed"; its exit status is 1 if anything failed. */
#ifndef TDL_TESTS_CORE_CHECK_H
#define TDL_TESTS_CORE_CHECK_H

#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"

struct check_test {
    const char *name;
    void (*run)(void);
};

#define TEST(function) {#function, function}

static pthread_t check_main_thread;
static jmp_buf check_end;
static _Atomic int check_failures; /* of the test that runs */

static inline void
check_failed(const char *file, int line, const char *what, long long left, long long right)
{
    printf("%s:%d: %s (%lld, %lld)\n", file, line, what, left, right);
    atomic_fetch_add(&check_failures, 1);
    if (pthread_equal(pthread_self(), check_main_thread))
        longjmp(check_end, 1);
}

/* `condition` holds. */
#define CHECK(condition)                                        \
    do {                                                        \
        if (!(condition))                                       \
            check_failed(__FILE__, __LINE__, #condition, 0, 1); \
    } while (0)

/* Two integers compare as `op` says; both are printed if they do not. */
#define CHECK_INT(left, op, right)                                                 \
    do {                                                                           \
        long long check_left = (long long)(left);                                  \
        long long check_right = (long long)(right);                                \
        if (!(check_left op check_right))                                          \
            check_failed(__FILE__, __LINE__, #left " " #op " " #right, check_left, \
                         check_right);                                             \
    } while (0)

/* A reproducible stream of numbers (splitmix64). */
static inline uint64_t
check_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* A number below `limit`. */
static inline size_t
check_below(uint64_t *state, size_t limit)
{
    return (size_t)(check_random(state) % limit);
}

/* Start `count` threads of `body(arg + i * size)`; check_join() waits for them. */
static inline void
check_start(pthread_t *threads, int count, void *(*body)(void *), void *arg, size_t size)
{
    for (int i = 0; i < count; i++) {
        int r = pthread_create(&threads[i], NULL, body, (char *)arg + (size_t)i * size);
        if (r != 0) {
            printf("pthread_create: %s\n", strerror(r));
            abort();
        }
    }
}

static inline void
check_join(pthread_t *threads, int count)
{
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

/* Run one test; returns whether it passed. */
static inline int
check_run(const struct check_test *test)
{
    long live = tdl_alloc_live();
    atomic_store(&check_failures, 0);
    if (setjmp(check_end) == 0) {
        test->run();
        CHECK_INT(tdl_alloc_fail(0), ==, 0);
        CHECK_INT(tdl_alloc_live(), ==, live);
    }
    tdl_alloc_fail(0);
    return atomic_load(&check_failures) == 0;
}

/* Run the tests whose names contain `filter` (NULL: all). */
static inline int
check_run_all(const char *program, const struct check_test *tests, size_t count,
              const char *filter)
{
    int passed = 0;
    int failed = 0;
    check_main_thread = pthread_self();
    setvbuf(stdout, NULL, _IOLBF, 0);
    const char *slash = strrchr(program, '/');
    program = slash == NULL ? program : slash + 1;
    for (size_t i = 0; i < count; i++) {
        if (filter != NULL && strstr(tests[i].name, filter) == NULL)
            continue;
        int good = check_run(&tests[i]);
        *(good ? &passed : &failed) += 1;
        printf("%s %s: %s\n", good ? "ok  " : "FAIL", program, tests[i].name);
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0 || passed == 0;
}

#define CHECK_MAIN(...)                                                      \
    int main(int argc, char **argv)                                          \
    {                                                                        \
        static const struct check_test tests[] = {__VA_ARGS__};              \
        return check_run_all(argv[0], tests, sizeof tests / sizeof tests[0], \
                             argc > 1 ? argv[1] : NULL);                     \
    }

#endif

#include "core/alloc.h"

#include "check.h"

static void
test_calloc_is_zero(void)
{
    unsigned char *block = tdl_calloc(300, 7);
    CHECK(block != NULL);
    for (size_t i = 0; i < 2100; i++)
        CHECK_INT(block[i], ==, 0);
    tdl_free(block);
}

static void
test_realloc_keeps_content(void)
{
    char *block = tdl_realloc(NULL, 6);
    CHECK(block != NULL);
    memcpy(block, "treadl", 6);
    block = tdl_realloc(block, 100000);
    CHECK(block != NULL);
    CHECK_INT(memcmp(block, "treadl", 6), ==, 0);
    block = tdl_realloc(block, 3);
    CHECK_INT(memcmp(block, "tre", 3), ==, 0);
    tdl_free(block);
}

static void
test_free_of_null(void)
{
    long live = tdl_alloc_live();
    tdl_free(NULL);
    CHECK_INT(tdl_alloc_live(), ==, live);
}

static void
test_live_blocks_are_counted(void)
{
    long live = tdl_alloc_live();
    void *a = tdl_malloc(1);
    void *b = tdl_calloc(1, 1);
    void *c = tdl_realloc(NULL, 1);
    CHECK_INT(tdl_alloc_live(), ==, live + 3);
    c = tdl_realloc(c, 50);
    CHECK_INT(tdl_alloc_live(), ==, live + 3);
    tdl_free(a);
    tdl_free(b);
    tdl_free(c);
    CHECK_INT(tdl_alloc_live(), ==, live);
}

static void
test_nth_allocation_fails_once(void)
{
    CHECK_INT(tdl_alloc_fail(3), ==, 0);
    void *a = tdl_malloc(8);
    void *b = tdl_realloc(NULL, 8);
    CHECK(a != NULL && b != NULL);
    CHECK(tdl_calloc(1, 8) == NULL);
    void *c = tdl_malloc(8);
    CHECK(c != NULL);
    CHECK_INT(tdl_alloc_fail(0), ==, 0);
    tdl_free(a);
    tdl_free(b);
    tdl_free(c);
}

static void
test_unused_fault_is_reported(void)
{
    tdl_alloc_fail(2);
    void *a = tdl_malloc(8);
    CHECK_INT(tdl_alloc_fail(0), ==, 1);
    tdl_free(a);
}

static void
test_failed_realloc_keeps_the_block(void)
{
    char *block = tdl_malloc(4);
    long live = tdl_alloc_live();
    memcpy(block, "keep", 4);
    tdl_alloc_fail(1);
    CHECK(tdl_realloc(block, 4000) == NULL);
    CHECK_INT(memcmp(block, "keep", 4), ==, 0);
    CHECK_INT(tdl_alloc_live(), ==, live);
    tdl_free(block);
}

static void *
allocate_many(void *failures)
{
    for (int i = 0; i < 20000; i++) {
        void *block = tdl_malloc(16);
        if (block == NULL)
            atomic_fetch_add((_Atomic int *)failures, 1);
        tdl_free(block);
    }
    return NULL;
}

static void
test_one_failure_among_threads(void)
{
    pthread_t threads[4];
    _Atomic int failures = 0;
    tdl_alloc_fail(30000);
    check_start(threads, 4, allocate_many, &failures, 0);
    check_join(threads, 4);
    CHECK_INT(failures, ==, 1);
}

CHECK_MAIN(TEST(test_calloc_is_zero), TEST(test_realloc_keeps_content), TEST(test_free_of_null),
           TEST(test_live_blocks_are_counted), TEST(test_nth_allocation_fails_once),
           TEST(test_unused_fault_is_reported), TEST(test_failed_realloc_keeps_the_block),
           TEST(test_one_failure_among_threads))

#include "core/bytes.h"

#include "check.h"

static void
test_append(void)
{
    struct tdl_bytes bytes;
    uint64_t seed = 1;
    uint8_t expected[20000];
    size_t size = 0;
    tdl_bytes_init(&bytes);
    while (size < 15000) {
        size_t n = check_below(&seed, 300);
        for (size_t i = 0; i < n; i++)
            expected[size + i] = (uint8_t)check_random(&seed);
        CHECK_INT(tdl_bytes_append(&bytes, expected + size, n), ==, 0);
        size += n;
        CHECK_INT(bytes.size, ==, size);
        CHECK_INT(bytes.size, <=, bytes.capacity);
    }
    CHECK(memcmp(bytes.data, expected, size) == 0);
    tdl_bytes_fini(&bytes);
    CHECK(bytes.data == NULL && bytes.size == 0);
}

static void
test_reset_keeps_little(void)
{
    struct tdl_bytes bytes;
    uint8_t *place = NULL;
    tdl_bytes_init(&bytes);
    CHECK_INT(tdl_bytes_extend(&bytes, 1000, &place), ==, 0);
    memset(place, 1, 1000);
    tdl_bytes_reset(&bytes);
    CHECK_INT(bytes.size, ==, 0);
    CHECK(bytes.data == place);
    CHECK_INT(tdl_bytes_extend(&bytes, 1 << 20, &place), ==, 0);
    tdl_bytes_reset(&bytes);
    CHECK(bytes.data == NULL && bytes.capacity == 0);
    tdl_bytes_fini(&bytes);
}

static void
test_out_of_memory(void)
{
    struct tdl_bytes bytes;
    uint8_t *place = NULL;
    tdl_bytes_init(&bytes);
    CHECK_INT(tdl_bytes_append(&bytes, "abc", 3), ==, 0);
    tdl_alloc_fail(1);
    CHECK_INT(tdl_bytes_extend(&bytes, 10000, &place), ==, -ENOMEM);
    CHECK_INT(bytes.size, ==, 3);
    CHECK(memcmp(bytes.data, "abc", 3) == 0);
    CHECK_INT(tdl_bytes_extend(&bytes, SIZE_MAX, &place), ==, -ENOMEM);
    CHECK_INT(tdl_bytes_extend(&bytes, SIZE_MAX / 2, &place), ==, -ENOMEM);
    CHECK_INT(bytes.size, ==, 3);
    tdl_bytes_fini(&bytes);
}

CHECK_MAIN(TEST(test_append), TEST(test_reset_keeps_little), TEST(test_out_of_memory))

#include "core/segment.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"

static void
test_create_is_zeroed_and_sealed(void)
{
    struct tdl_segment segment;
    CHECK_INT(tdl_segment_create(&segment, "test", 5000), ==, 0);
    CHECK_INT(segment.size, ==, tdl_segment_round(5000));
    const uint8_t *bytes = segment.memory;
    for (size_t i = 0; i < segment.size; i++)
        CHECK_INT(bytes[i], ==, 0);
    CHECK_INT(ftruncate(segment.fd, 0), ==, -1);
    CHECK_INT(errno, ==, EPERM);
    CHECK_INT(ftruncate(segment.fd, 1 << 20), ==, -1);
    tdl_segment_close(&segment);
    CHECK_INT(segment.fd, ==, -1);
    tdl_segment_close(&segment);
}

static void
test_file_is_of_exactly_that_size_and_sealed(void)
{
    int fd = tdl_segment_file("test", 5000);
    CHECK_INT(fd, >=, 0);
    CHECK_INT(lseek(fd, 0, SEEK_END), ==, 5000);
    CHECK_INT(ftruncate(fd, 0), ==, -1);
    CHECK_INT(errno, ==, EPERM);
    CHECK_INT(tdl_segment_seal(fd), ==, -EPERM);
    close(fd);
    CHECK_INT(tdl_segment_seal(-1), ==, -EBADF);
}

static void
test_attach_sees_the_same_bytes(void)
{
    struct tdl_segment one, other;
    CHECK_INT(tdl_segment_create(&one, "test", 1), ==, 0);
    CHECK_INT(tdl_segment_attach(&other, dup(one.fd)), ==, 0);
    CHECK_INT(other.size, ==, one.size);
    ((uint8_t *)one.memory)[17] = 42;
    CHECK_INT(((uint8_t *)other.memory)[17], ==, 42);
    tdl_segment_close(&one);
    CHECK_INT(((uint8_t *)other.memory)[17], ==, 42);
    tdl_segment_close(&other);
}

static void
test_attach_refuses_what_can_shrink(void)
{
    struct tdl_segment segment;
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK_INT(ftruncate(fd, 4096), ==, 0);
    CHECK_INT(tdl_segment_attach(&segment, fd), ==, -EPERM);
    CHECK_INT(segment.fd, ==, -1);
    close(fd);
    int pipes[2];
    CHECK_INT(pipe(pipes), ==, 0);
    CHECK_INT(tdl_segment_attach(&segment, pipes[0]), <, 0);
    CHECK_INT(tdl_segment_attach(&segment, -1), ==, -EBADF);
    close(pipes[0]);
    close(pipes[1]);
}

static void
test_ring_goes_round(void)
{
    struct tdl_segment segment;
    size_t size = tdl_segment_round(1);
    CHECK_INT(tdl_segment_create(&segment, "test", 3 * size), ==, 0);
    uint8_t *ring = tdl_segment_map_ring(&segment, size, size);
    CHECK(ring != NULL);
    memcpy(ring + size - 2, "abcd", 4);
    CHECK(memcmp(ring, "cd", 2) == 0);
    CHECK(memcmp((uint8_t *)segment.memory + size, "cd", 2) == 0);
    tdl_segment_unmap_ring(ring, size);
    tdl_segment_unmap_ring(NULL, size);
    tdl_segment_close(&segment);
}

CHECK_MAIN(TEST(test_create_is_zeroed_and_sealed),
           TEST(test_file_is_of_exactly_that_size_and_sealed),
           TEST(test_attach_sees_the_same_bytes), TEST(test_attach_refuses_what_can_shrink),
           TEST(test_ring_goes_round))

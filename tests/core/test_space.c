#include "core/space.h"

#include <errno.h>

#include "check.h"

enum { UNIT = TDL_SPACE_UNIT, FIRST = 3 * TDL_SPACE_UNIT };

/* Every free chunk is inside, none overlaps another free one, and the sums hold. */
static void
check_shape(const struct tdl_space *space, uint64_t used)
{
    uint64_t idle = 0, binned = 0;
    uint64_t loose = 0;
    for (uint32_t at = space->loose; at != 0; at = space->chunks[at - 1].next) {
        idle += space->chunks[at - 1].warm ? space->chunks[at - 1].size : 0;
        loose += space->chunks[at - 1].size;
    }
    for (unsigned bin = 0; bin < TDL_SPACE_BINS; bin++)
        for (uint32_t at = space->bins[bin]; at != 0; at = space->chunks[at - 1].next) {
            CHECK(space->chunks[at - 1].warm);
            binned += space->chunks[at - 1].size;
        }
    CHECK_INT(idle + binned, ==, space->idle);
    CHECK_INT(binned, ==, space->binned);
    CHECK_INT(used, ==, space->used);
    CHECK_INT(FIRST + loose + binned + used, ==, space->top);
    CHECK_INT(space->top, <=, space->end);
}

static void
test_same_size_comes_back(void)
{
    struct tdl_space space;
    tdl_space_init(&space, FIRST, 1 << 20);
    int64_t a = tdl_space_alloc(&space, 5000);
    int64_t b = tdl_space_alloc(&space, 5000);
    CHECK_INT(space.chunks[a].offset, ==, FIRST);
    CHECK_INT(space.chunks[a].size, ==, 2 * UNIT);
    CHECK_INT(space.chunks[b].offset, ==, FIRST + 2 * UNIT);
    tdl_space_free(&space, (uint32_t)a);
    CHECK_INT(tdl_space_alloc(&space, 8000), ==, a);
    check_shape(&space, 4 * UNIT);
    tdl_space_fini(&space);
}

static void
test_sizes_go_up_by_eighths(void)
{
    for (uint64_t units = 1; units < 5000; units++) {
        struct tdl_space space;
        tdl_space_init(&space, FIRST, UINT64_C(1) << 40);
        int64_t chunk = tdl_space_alloc(&space, units * UNIT - 1);
        uint64_t size = space.chunks[chunk].size;
        CHECK_INT(size, >=, units * UNIT);
        CHECK_INT(size * 8, <=, units * UNIT * 9);
        tdl_space_free(&space, (uint32_t)chunk);
        CHECK_INT(tdl_space_alloc(&space, size), ==, chunk);
        tdl_space_fini(&space);
    }
}

static void
test_neighbours_are_joined_when_room_is_short(void)
{
    struct tdl_space space;
    int64_t chunks[16];
    tdl_space_init(&space, FIRST, FIRST + 16 * UNIT);
    for (int i = 0; i < 16; i++)
        chunks[i] = tdl_space_alloc(&space, UNIT);
    CHECK_INT(tdl_space_alloc(&space, 1), ==, -ENOSPC);
    for (int i = 0; i < 16; i += 2)
        tdl_space_free(&space, (uint32_t)chunks[i]);
    CHECK_INT(tdl_space_alloc(&space, 2 * UNIT), ==, -ENOSPC);
    tdl_space_free(&space, (uint32_t)chunks[7]);
    CHECK_INT(space.chunks[tdl_space_alloc(&space, 3 * UNIT)].offset, ==, FIRST + 6 * UNIT);
    check_shape(&space, 10 * UNIT);
    CHECK_INT(tdl_space_alloc(&space, UINT64_MAX - 5), ==, -ENOSPC);
    tdl_space_fini(&space);
}

static void
test_warm_before_cold(void)
{
    struct tdl_space space;
    tdl_space_init(&space, FIRST, 1 << 20);
    int64_t a = tdl_space_alloc(&space, 8 * UNIT);
    int64_t wall = tdl_space_alloc(&space, UNIT);
    int64_t b = tdl_space_alloc(&space, 8 * UNIT);
    CHECK_INT(tdl_space_take_warm(&space), ==, -1);
    tdl_space_free(&space, (uint32_t)a);
    tdl_space_tidy(&space, false);
    CHECK_INT(tdl_space_take_warm(&space), ==, a);
    tdl_space_chill(&space, (uint32_t)a);
    tdl_space_free(&space, (uint32_t)b);
    CHECK_INT(space.idle, ==, 8 * UNIT);
    CHECK_INT(space.chunks[tdl_space_alloc(&space, 7 * UNIT)].offset, ==, FIRST);
    tdl_space_tidy(&space, false);
    CHECK_INT(space.chunks[tdl_space_alloc(&space, 6 * UNIT)].offset, ==, FIRST + 9 * UNIT);
    check_shape(&space, 14 * UNIT);
    CHECK_INT(space.idle, ==, 2 * UNIT);
    tdl_space_free(&space, (uint32_t)wall);
    tdl_space_tidy(&space, true);
    check_shape(&space, 13 * UNIT);
    tdl_space_fini(&space);
}

struct piece {
    int64_t chunk;
    uint64_t offset;
    uint64_t size;
};

static void
check_apart(const struct piece *pieces, size_t n, const struct piece *new)
{
    for (size_t i = 0; i < n; i++)
        CHECK(pieces[i].offset + pieces[i].size <= new->offset ||
              new->offset + new->size <= pieces[i].offset);
}

static void
test_random_against_model(void)
{
    uint64_t random = 11;
    static struct piece pieces[200];
    struct tdl_space space;
    tdl_space_init(&space, FIRST, FIRST + 4096 * UNIT);
    size_t n = 0, refused = 0;
    uint64_t used = 0;
    for (int step = 0; step < 40000; step++) {
        if (n < 200 && check_below(&random, 100) < 55) {
            uint64_t size =
                1 + check_below(&random, (size_t)1 << (12 + check_below(&random, 11)));
            struct piece p = {.chunk = tdl_space_alloc(&space, size)};
            if (p.chunk < 0) {
                CHECK_INT(p.chunk, ==, -ENOSPC);
                refused++;
                continue;
            }
            p.offset = space.chunks[p.chunk].offset;
            p.size = space.chunks[p.chunk].size;
            CHECK_INT(p.size, >=, size);
            check_apart(pieces, n, &p);
            used += p.size;
            pieces[n++] = p;
        }
        else if (n > 0) {
            size_t i = check_below(&random, n);
            used -= pieces[i].size;
            tdl_space_free(&space, (uint32_t)pieces[i].chunk);
            pieces[i] = pieces[--n];
        }
        if (step % 97 == 0) {
            int64_t warm = tdl_space_take_warm(&space);
            if (warm >= 0)
                tdl_space_chill(&space, (uint32_t)warm);
        }
        check_shape(&space, used);
    }
    CHECK_INT(refused, >, 0);
    while (n > 0)
        tdl_space_free(&space, (uint32_t)pieces[--n].chunk);
    tdl_space_tidy(&space, true);
    CHECK_INT(space.chunks[space.loose - 1].size, ==, space.top - FIRST);
    CHECK_INT(tdl_space_alloc(&space, 4096 * UNIT), >=, 0);
    tdl_space_fini(&space);
}

static void
test_no_memory(void)
{
    long nth = 1;
    for (;; nth++) {
        struct tdl_space space;
        tdl_space_init(&space, FIRST, 1 << 30);
        tdl_alloc_fail(nth);
        int failures = 0;
        uint64_t used = 0;
        for (int i = 0; i < 200; i++) {
            int64_t chunk = tdl_space_alloc(&space, UNIT);
            CHECK(chunk >= 0 || chunk == -ENOMEM);
            failures += chunk < 0;
            used += chunk < 0 ? 0 : UNIT;
        }
        check_shape(&space, used);
        tdl_space_fini(&space);
        if (tdl_alloc_fail(0) != 0)
            break;
        CHECK_INT(failures, ==, 1);
    }
    CHECK_INT(nth, ==, 4); /* 64, 128 and 256 chunks */
}

CHECK_MAIN(TEST(test_same_size_comes_back), TEST(test_sizes_go_up_by_eighths),
           TEST(test_neighbours_are_joined_when_room_is_short), TEST(test_warm_before_cold),
           TEST(test_random_against_model), TEST(test_no_memory))

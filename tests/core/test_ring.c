#include "core/ring.h"

#include <errno.h>

#include "check.h"

/* Items are numbers: the ring never looks behind a pointer. */
static void *
item(size_t number)
{
    return (void *)(uintptr_t)(number + 1);
}

static size_t
number(void *popped)
{
    return (size_t)(uintptr_t)popped - 1;
}

static void
check_shape(const struct tdl_ring *ring)
{
    CHECK_INT(tdl_ring_count(ring), <=, ring->capacity);
    CHECK_INT(ring->capacity & (ring->capacity - 1), ==, 0);
    CHECK((ring->capacity == 0) == (ring->slots == NULL));
    CHECK(ring->capacity == 0 || ring->capacity >= TDL_RING_MIN);
}

static void
test_empty(void)
{
    struct tdl_ring ring;
    tdl_ring_init(&ring);
    CHECK_INT(tdl_ring_count(&ring), ==, 0);
    CHECK(tdl_ring_pop(&ring) == NULL);
    check_shape(&ring);
    tdl_ring_fini(&ring);
}

static void
test_first_in_first_out(void)
{
    struct tdl_ring ring;
    tdl_ring_init(&ring);
    for (size_t i = 0; i < 1000; i++)
        CHECK_INT(tdl_ring_push(&ring, item(i)), ==, 0);
    CHECK_INT(tdl_ring_count(&ring), ==, 1000);
    for (size_t i = 0; i < 1000; i++) {
        CHECK_INT(number(tdl_ring_at(&ring, 0)), ==, i);
        CHECK_INT(number(tdl_ring_at(&ring, 999 - i)), ==, 999);
        CHECK_INT(number(tdl_ring_pop(&ring)), ==, i);
    }
    CHECK(tdl_ring_pop(&ring) == NULL);
    tdl_ring_fini(&ring);
}

static void
test_push_front(void)
{
    struct tdl_ring ring;
    tdl_ring_init(&ring);
    for (size_t i = 0; i < 100; i++)
        CHECK_INT(tdl_ring_push_front(&ring, item(i)), ==, 0);
    CHECK_INT(tdl_ring_push(&ring, item(200)), ==, 0);
    for (size_t i = 100; i-- > 0;)
        CHECK_INT(number(tdl_ring_pop(&ring)), ==, i);
    CHECK_INT(number(tdl_ring_pop(&ring)), ==, 200);
    CHECK(tdl_ring_pop(&ring) == NULL);
    tdl_ring_fini(&ring);
}

static void
test_fini_leaves_an_empty_ring(void)
{
    struct tdl_ring ring;
    tdl_ring_init(&ring);
    CHECK_INT(tdl_ring_push(&ring, item(1)), ==, 0);
    tdl_ring_fini(&ring);
    CHECK_INT(tdl_ring_count(&ring), ==, 0);
    CHECK_INT(tdl_ring_push(&ring, item(2)), ==, 0);
    CHECK_INT(number(tdl_ring_pop(&ring)), ==, 2);
    tdl_ring_fini(&ring);
    tdl_ring_fini(&ring);
}

/* The counters are allowed to wrap around. */
static void
test_counters_wrap(void)
{
    struct tdl_ring ring;
    tdl_ring_init(&ring);
    CHECK_INT(tdl_ring_push(&ring, item(0)), ==, 0);
    tdl_ring_pop(&ring);
    ring.head = ring.tail = SIZE_MAX - 5;
    for (size_t i = 0; i < 16; i++)
        CHECK_INT(tdl_ring_push(&ring, item(i)), ==, 0);
    CHECK_INT(tdl_ring_count(&ring), ==, 16);
    CHECK_INT(tdl_ring_push(&ring, item(16)), ==, 0);
    CHECK_INT(ring.capacity, ==, 32);
    for (size_t i = 0; i <= 16; i++)
        CHECK_INT(number(tdl_ring_pop(&ring)), ==, i);
    tdl_ring_fini(&ring);
}

static void
fill(struct tdl_ring *ring, size_t count)
{
    for (size_t i = 0; i < count; i++)
        CHECK_INT(tdl_ring_push(ring, item(i)), ==, 0);
}

static void
empty(struct tdl_ring *ring)
{
    while (tdl_ring_pop(ring) != NULL)
        check_shape(ring);
}

static void
test_empty_ring_keeps_little(void)
{
    struct tdl_ring ring;
    tdl_ring_init(&ring);
    fill(&ring, 300000);
    CHECK_INT(ring.capacity, >=, 300000);
    empty(&ring);
    CHECK_INT(ring.capacity, <=, TDL_RING_KEEP);
    tdl_ring_fini(&ring);
}

static void
test_shrinks_after_a_burst(void)
{
    struct tdl_ring ring;
    tdl_ring_init(&ring);
    fill(&ring, 20000);
    empty(&ring);
    for (size_t i = 0; i < 32768; i++) {
        fill(&ring, 1);
        empty(&ring);
    }
    CHECK_INT(ring.capacity, ==, TDL_RING_MIN);
    tdl_ring_fini(&ring);
}

/* Shrinks to a quarter after capacity / 4 pops in a row that left it less than an
 * eighth full; without memory for that, it is not tried again at every pop. */
static void
test_shrinks_when_it_says(void)
{
    struct tdl_ring ring;
    tdl_ring_init(&ring);
    fill(&ring, 1024);
    for (size_t i = 0; i < 1024 - 128; i++)
        tdl_ring_pop(&ring);
    for (int try = 0; try < 2; try++) {
        tdl_alloc_fail(1);
        for (size_t i = 0; i < 255; i++) {
            tdl_ring_pop(&ring);
            fill(&ring, 1);
        }
        CHECK_INT(tdl_alloc_fail(0), ==, 1);
        CHECK_INT(ring.capacity, ==, 1024);
        tdl_alloc_fail(try == 0);
        tdl_ring_pop(&ring);
        fill(&ring, 1);
        CHECK_INT(tdl_alloc_fail(0), ==, 0);
    }
    CHECK_INT(ring.capacity, ==, 256);
    CHECK_INT(tdl_ring_count(&ring), ==, 128);
    tdl_ring_fini(&ring);
}

static void
test_smallest_ring_does_not_resize(void)
{
    struct tdl_ring ring;
    tdl_ring_init(&ring);
    fill(&ring, TDL_RING_MIN);
    tdl_alloc_fail(1);
    empty(&ring);
    for (int i = 0; i < 100; i++) {
        fill(&ring, 1);
        empty(&ring);
    }
    CHECK_INT(tdl_alloc_fail(0), ==, 1);
    tdl_ring_fini(&ring);
}

/* A load that comes in bursts does not allocate in every burst. */
static void
test_steady_bursts_do_not_resize(void)
{
    struct tdl_ring ring;
    tdl_ring_init(&ring);
    fill(&ring, 1000);
    empty(&ring);
    size_t capacity = ring.capacity;
    CHECK_INT(capacity, ==, 1024);
    tdl_alloc_fail(1);
    for (int burst = 0; burst < 100; burst++) {
        fill(&ring, 900);
        empty(&ring);
    }
    CHECK_INT(tdl_alloc_fail(0), ==, 1);
    CHECK_INT(ring.capacity, ==, capacity);
    tdl_ring_fini(&ring);
}

static void
test_no_memory_to_shrink(void)
{
    struct tdl_ring ring;
    tdl_ring_init(&ring);
    fill(&ring, 100000);
    for (size_t i = 0; i < 99999; i++)
        tdl_ring_pop(&ring);
    size_t capacity = ring.capacity;
    tdl_alloc_fail(1);
    CHECK_INT(number(tdl_ring_pop(&ring)), ==, 99999);
    CHECK_INT(tdl_alloc_fail(0), ==, 0);
    CHECK_INT(ring.capacity, ==, capacity);
    fill(&ring, 3);
    CHECK_INT(number(tdl_ring_pop(&ring)), ==, 0);
    tdl_ring_fini(&ring);
}

/* A naive ring: an array with much room on both sides. */
enum { MODEL_ROOM = 1 << 20 };
static size_t model[MODEL_ROOM];
static size_t model_head, model_tail;

static void
check_against_model(const struct tdl_ring *ring)
{
    size_t count = model_tail - model_head;
    CHECK_INT(tdl_ring_count(ring), ==, count);
    check_shape(ring);
    for (size_t i = 0; i < count; i += 1 + count / 16)
        CHECK_INT(number(tdl_ring_at(ring, i)), ==, model[model_head + i]);
}

static void
model_step(struct tdl_ring *ring, uint64_t *random, size_t pushes_in_16)
{
    size_t value = check_below(random, 1000000);
    size_t choice = check_below(random, 16);
    if (choice >= pushes_in_16) {
        void *popped = tdl_ring_pop(ring);
        CHECK((popped == NULL) == (model_head == model_tail));
        if (popped != NULL)
            CHECK_INT(number(popped), ==, model[model_head++]);
    }
    else if (choice % 4 == 0) {
        CHECK_INT(tdl_ring_push_front(ring, item(value)), ==, 0);
        model[--model_head] = value;
    }
    else {
        CHECK_INT(tdl_ring_push(ring, item(value)), ==, 0);
        model[model_tail++] = value;
    }
}

static void
test_random_against_model(void)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        uint64_t random = seed;
        struct tdl_ring ring;
        tdl_ring_init(&ring);
        model_head = model_tail = MODEL_ROOM / 2;
        for (int phase = 0; phase < 40; phase++) {
            size_t pushes = check_below(&random, 17);
            size_t steps = (size_t)1 << check_below(&random, 12);
            for (size_t i = 0; i < steps; i++)
                model_step(&ring, &random, pushes);
            check_against_model(&ring);
        }
        tdl_ring_fini(&ring);
    }
}

/* Push 100 items and pop them with the nth allocation failing; a failed push has
 * changed nothing and succeeds when tried again.  Returns whether it failed. */
static int
pass_with_fault(long nth, int front)
{
    struct tdl_ring ring;
    int failures = 0;
    int (*push)(struct tdl_ring *, void *) = front ? tdl_ring_push_front : tdl_ring_push;
    tdl_ring_init(&ring);
    tdl_alloc_fail(nth);
    for (size_t i = 0; i < 100; i++) {
        struct tdl_ring before = ring;
        int r = push(&ring, item(i));
        if (r == 0)
            continue;
        failures++;
        CHECK_INT(r, ==, -ENOMEM);
        CHECK_INT(memcmp(&before, &ring, sizeof ring), ==, 0);
        CHECK_INT(push(&ring, item(i)), ==, 0);
    }
    for (size_t i = 0; i < 100; i++)
        CHECK_INT(number(tdl_ring_pop(&ring)), ==, front ? 99 - i : i);
    CHECK(tdl_ring_pop(&ring) == NULL);
    tdl_ring_fini(&ring);
    CHECK_INT(failures, <=, 1);
    return tdl_alloc_fail(0) == 0;
}

static void
test_every_allocation_failing(void)
{
    for (int front = 0; front < 2; front++) {
        long nth = 1;
        while (pass_with_fault(nth, front))
            nth++;
        CHECK_INT(nth, >=, 5); /* 16, 32, 64 and 128 slots, and none after them */
    }
}

static void
test_reserve(void)
{
    for (size_t before = 0; before < 40; before += 13)
        for (size_t n = 0; n < 200; n += 33) {
            struct tdl_ring ring;
            tdl_ring_init(&ring);
            fill(&ring, before);
            CHECK_INT(tdl_ring_reserve(&ring, n), ==, 0);
            check_shape(&ring);
            tdl_alloc_fail(1);
            fill(&ring, n);
            CHECK_INT(tdl_alloc_fail(0), ==, 1);
            CHECK_INT(tdl_ring_count(&ring), ==, before + n);
            CHECK(before == 0 || number(tdl_ring_at(&ring, 0)) == 0);
            tdl_ring_fini(&ring);
        }
}

/* Room that is there already costs nothing; without memory what is in the ring stays. */
static void
test_reserve_without_memory(void)
{
    struct tdl_ring ring;
    tdl_ring_init(&ring);
    fill(&ring, 10);
    tdl_alloc_fail(1);
    CHECK_INT(tdl_ring_reserve(&ring, TDL_RING_MIN - 10), ==, 0);
    CHECK_INT(tdl_ring_reserve(&ring, TDL_RING_MIN), ==, -ENOMEM);
    CHECK_INT(tdl_alloc_fail(0), ==, 0);
    for (long nth = 1; nth <= 2; nth++) {
        tdl_alloc_fail(nth);
        CHECK_INT(tdl_ring_reserve(&ring, 200 * (size_t)nth), ==, -ENOMEM);
        CHECK_INT(tdl_alloc_fail(0), ==, 0);
        CHECK_INT(tdl_ring_count(&ring), ==, 10);
        check_shape(&ring);
    }
    for (size_t i = 0; i < 10; i++)
        CHECK_INT(number(tdl_ring_pop(&ring)), ==, i);
    tdl_ring_fini(&ring);
}

CHECK_MAIN(TEST(test_reserve), TEST(test_reserve_without_memory), TEST(test_empty),
           TEST(test_first_in_first_out), TEST(test_push_front),
           TEST(test_fini_leaves_an_empty_ring), TEST(test_counters_wrap),
           TEST(test_empty_ring_keeps_little), TEST(test_shrinks_after_a_burst),
           TEST(test_shrinks_when_it_says), TEST(test_smallest_ring_does_not_resize),
           TEST(test_steady_bursts_do_not_resize), TEST(test_no_memory_to_shrink),
           TEST(test_random_against_model), TEST(test_every_allocation_failing))

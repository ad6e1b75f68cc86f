#include "core/heap.h"

#include <errno.h>
#include <stdbool.h>

#include "check.h"

/* A timer that knows what happened to it. */
struct probe {
    struct tdl_timer timer; /* first */
    int released;
};

static void
count_release(struct tdl_timer *timer, void *arg)
{
    ((struct probe *)timer)->released++;
    if (arg != NULL)
        ++*(int *)arg;
}

static void
check_shape(const struct tdl_heap *heap)
{
    size_t cancelled = 0;
    CHECK_INT(heap->count, <=, heap->capacity);
    for (size_t i = 0; i < heap->count; i++) {
        const struct tdl_heap_entry *entry = &heap->entries[i];
        const struct tdl_heap_entry *parent = &heap->entries[i == 0 ? 0 : (i - 1) / 4];
        CHECK_INT(entry->deadline, ==, entry->timer->deadline);
        CHECK_INT(parent->deadline, <=, entry->deadline);
        if (parent->deadline == entry->deadline)
            CHECK_INT(parent->timer->sequence, <=, entry->timer->sequence);
        CHECK(entry->timer->state != TDL_TIMER_IDLE);
        cancelled += entry->timer->state == TDL_TIMER_CANCELLED;
    }
    CHECK_INT(heap->cancelled, ==, cancelled);
    CHECK_INT(heap->cancelled, <=, heap->count / 2);
    CHECK(heap->capacity <= 16 || heap->count >= heap->capacity / 8);
}

static void
test_empty(void)
{
    struct tdl_heap heap;
    tdl_heap_init(&heap, count_release, NULL);
    CHECK(tdl_heap_first(&heap) == NULL);
    CHECK(tdl_heap_pop(&heap, INT64_MAX) == NULL);
    CHECK_INT(tdl_heap_count(&heap), ==, 0);
    tdl_heap_fini(&heap);
}

static void
test_pops_in_order_of_deadlines(void)
{
    enum { N = 500 };
    static struct probe probes[N];
    struct tdl_heap heap;
    memset(probes, 0, sizeof probes);
    tdl_heap_init(&heap, count_release, NULL);
    for (int i = 0; i < N; i++) {
        CHECK_INT(tdl_heap_push(&heap, &probes[i].timer, i * 7919 % N), ==, 0);
        check_shape(&heap);
    }
    for (int i = 0; i < N; i++) {
        CHECK_INT(tdl_heap_first(&heap)->deadline, ==, i);
        struct tdl_timer *timer = tdl_heap_pop(&heap, INT64_MAX);
        CHECK_INT(timer->deadline, ==, i);
        CHECK_INT(timer->state, ==, TDL_TIMER_IDLE);
        check_shape(&heap);
    }
    CHECK(tdl_heap_pop(&heap, INT64_MAX) == NULL);
    tdl_heap_fini(&heap);
}

static void
test_equal_deadlines_in_order_of_arrival(void)
{
    enum { N = 300 };
    static struct probe probes[N];
    struct tdl_heap heap;
    memset(probes, 0, sizeof probes);
    tdl_heap_init(&heap, count_release, NULL);
    for (int i = 0; i < N; i++)
        CHECK_INT(tdl_heap_push(&heap, &probes[i].timer, i % 3), ==, 0);
    for (int i = 0; i < N; i++) {
        int expected = i / (N / 3) + i % (N / 3) * 3;
        CHECK(tdl_heap_pop(&heap, 2) == &probes[expected].timer);
    }
    tdl_heap_fini(&heap);
}

static void
test_only_due_timers_are_popped(void)
{
    struct probe early = {0}, late = {0};
    struct tdl_heap heap;
    tdl_heap_init(&heap, count_release, NULL);
    CHECK_INT(tdl_heap_push(&heap, &late.timer, 200), ==, 0);
    CHECK_INT(tdl_heap_push(&heap, &early.timer, -100), ==, 0);
    CHECK(tdl_heap_pop(&heap, -101) == NULL);
    CHECK(tdl_heap_pop(&heap, -100) == &early.timer);
    CHECK(tdl_heap_pop(&heap, 199) == NULL);
    CHECK(tdl_heap_first(&heap) == &late.timer);
    CHECK(tdl_heap_pop(&heap, 201) == &late.timer);
    tdl_heap_fini(&heap);
    CHECK_INT(early.released + late.released, ==, 0);
}

static void
test_extreme_deadlines(void)
{
    struct probe first = {0}, last = {0};
    struct tdl_heap heap;
    tdl_heap_init(&heap, count_release, NULL);
    CHECK_INT(tdl_heap_push(&heap, &last.timer, INT64_MAX), ==, 0);
    CHECK_INT(tdl_heap_push(&heap, &first.timer, INT64_MIN), ==, 0);
    CHECK(tdl_heap_pop(&heap, INT64_MAX - 1) == &first.timer);
    CHECK(tdl_heap_pop(&heap, INT64_MAX - 1) == NULL);
    CHECK(tdl_heap_pop(&heap, INT64_MAX) == &last.timer);
    tdl_heap_fini(&heap);
}

static void
test_busy_timer_is_refused(void)
{
    struct probe probes[3] = {0};
    struct tdl_heap heap;
    tdl_heap_init(&heap, count_release, NULL);
    for (int i = 0; i < 3; i++)
        CHECK_INT(tdl_heap_push(&heap, &probes[i].timer, i), ==, 0);
    CHECK_INT(tdl_heap_push(&heap, &probes[0].timer, 9), ==, -EBUSY);
    CHECK_INT(probes[0].timer.deadline, ==, 0);
    CHECK_INT(tdl_heap_cancel(&heap, &probes[0].timer), ==, 1);
    CHECK_INT(probes[0].released, ==, 0);
    CHECK_INT(tdl_heap_push(&heap, &probes[0].timer, 9), ==, -EBUSY);
    CHECK(tdl_heap_pop(&heap, 9) == &probes[1].timer);
    CHECK_INT(probes[0].released, ==, 1);
    CHECK_INT(tdl_heap_push(&heap, &probes[0].timer, 9), ==, 0);
    CHECK_INT(tdl_heap_count(&heap), ==, 2);
    tdl_heap_fini(&heap);
}

static void
test_cancel(void)
{
    struct probe probes[5] = {0};
    struct tdl_heap heap;
    tdl_heap_init(&heap, count_release, NULL);
    for (int i = 0; i < 5; i++)
        CHECK_INT(tdl_heap_push(&heap, &probes[i].timer, i), ==, 0);
    CHECK_INT(tdl_heap_cancel(&heap, &probes[0].timer), ==, 1);
    CHECK_INT(tdl_heap_cancel(&heap, &probes[0].timer), ==, 0);
    CHECK_INT(tdl_heap_cancel(&heap, &probes[2].timer), ==, 1);
    CHECK_INT(tdl_heap_count(&heap), ==, 3);
    check_shape(&heap);
    CHECK(tdl_heap_first(&heap) == &probes[1].timer);
    CHECK_INT(probes[0].released, ==, 1);
    CHECK(tdl_heap_pop(&heap, 9) == &probes[1].timer);
    CHECK(tdl_heap_pop(&heap, 9) == &probes[3].timer);
    CHECK_INT(probes[2].released, ==, 1);
    CHECK_INT(tdl_heap_cancel(&heap, &probes[3].timer), ==, 0);
    CHECK(tdl_heap_pop(&heap, 9) == &probes[4].timer);
    CHECK(tdl_heap_pop(&heap, 9) == NULL);
    for (int i = 0; i < 5; i++)
        CHECK_INT(probes[i].released, ==, i == 0 || i == 2);
    tdl_heap_fini(&heap);
}

static void
test_cancelling_the_newest_releases_at_once(void)
{
    struct probe old = {0}, young = {0};
    struct tdl_heap heap;
    tdl_heap_init(&heap, count_release, NULL);
    CHECK_INT(tdl_heap_push(&heap, &old.timer, 1), ==, 0);
    for (int i = 1; i <= 100; i++) {
        CHECK_INT(tdl_heap_push(&heap, &young.timer, 1000 + i), ==, 0);
        CHECK_INT(tdl_heap_cancel(&heap, &young.timer), ==, 1);
        CHECK_INT(young.released, ==, i);
        check_shape(&heap);
    }
    CHECK(tdl_heap_pop(&heap, 1) == &old.timer);
    tdl_heap_fini(&heap);
}

/* Memory follows what is queued, whatever was cancelled. */
static void
test_compaction_and_shrinking(void)
{
    enum { N = 10000 };
    static struct probe probes[N];
    struct tdl_heap heap;
    memset(probes, 0, sizeof probes);
    tdl_heap_init(&heap, count_release, NULL);
    for (int i = 0; i < N; i++)
        CHECK_INT(tdl_heap_push(&heap, &probes[i].timer, i), ==, 0);
    for (int i = 0; i < N / 2; i++)
        CHECK_INT(tdl_heap_cancel(&heap, &probes[i].timer), ==, 1);
    CHECK_INT(heap.count, ==, N);
    CHECK_INT(tdl_heap_cancel(&heap, &probes[N / 2].timer), ==, 1);
    CHECK_INT(heap.count, ==, N / 2 - 1);
    check_shape(&heap);
    for (int i = N / 2 + 1; i < N - 1; i++)
        CHECK_INT(tdl_heap_cancel(&heap, &probes[i].timer), ==, 1);
    check_shape(&heap);
    CHECK_INT(heap.capacity, ==, 16);
    CHECK(tdl_heap_pop(&heap, N) == &probes[N - 1].timer);
    for (int i = 0; i < N; i++)
        CHECK_INT(probes[i].released, ==, i < N - 1);
    tdl_heap_fini(&heap);
}

/* The entries that remain need not be in heap order where they stand. */
static void
test_compaction_restores_order(void)
{
    static const int64_t deadlines[] = {1, 9, 8, 7, 6};
    struct probe probes[5] = {0};
    struct tdl_heap heap;
    tdl_heap_init(&heap, count_release, NULL);
    for (int i = 0; i < 5; i++)
        CHECK_INT(tdl_heap_push(&heap, &probes[i].timer, deadlines[i]), ==, 0);
    CHECK_INT(tdl_heap_cancel(&heap, &probes[0].timer), ==, 1);
    CHECK_INT(tdl_heap_cancel(&heap, &probes[2].timer), ==, 1);
    CHECK_INT(tdl_heap_cancel(&heap, &probes[3].timer), ==, 1);
    CHECK_INT(heap.count, ==, 2);
    check_shape(&heap);
    CHECK(tdl_heap_pop(&heap, 9) == &probes[4].timer);
    CHECK(tdl_heap_pop(&heap, 9) == &probes[1].timer);
    tdl_heap_fini(&heap);
}

static void
test_fini_releases_all(void)
{
    struct probe probes[20] = {0};
    int releases = 0;
    struct tdl_heap heap;
    tdl_heap_init(&heap, count_release, &releases);
    for (int i = 0; i < 20; i++)
        CHECK_INT(tdl_heap_push(&heap, &probes[i].timer, i), ==, 0);
    CHECK_INT(tdl_heap_cancel(&heap, &probes[3].timer), ==, 1);
    tdl_heap_fini(&heap);
    CHECK_INT(releases, ==, 20);
    for (int i = 0; i < 20; i++) {
        CHECK_INT(probes[i].released, ==, 1);
        CHECK_INT(probes[i].timer.state, ==, TDL_TIMER_IDLE);
    }
    tdl_heap_fini(&heap);
    CHECK_INT(releases, ==, 20);
}

/* Releases that come back to the heap. */
struct meddler {
    struct tdl_heap heap;
    struct probe probes[64];
    struct probe spare[64];
    int releases;
    int pushes;
    bool finishing;
};

static void
meddle(struct tdl_timer *timer, void *arg)
{
    struct meddler *m = arg;
    int turn = m->releases++;
    ((struct probe *)timer)->released++;
    CHECK_INT(timer->state, ==, TDL_TIMER_IDLE);
    check_shape(&m->heap);
    tdl_heap_cancel(&m->heap, &m->probes[(turn * 5 + 1) % 64].timer);
    if (m->finishing || turn >= 64)
        return;
    CHECK_INT(tdl_heap_push(&m->heap, &m->spare[turn].timer, turn % 7), ==, 0);
    m->pushes++;
    tdl_heap_first(&m->heap);
    check_shape(&m->heap);
}

static void
test_release_may_come_back(void)
{
    static struct meddler m;
    m = (struct meddler){0};
    int popped = 0;
    tdl_heap_init(&m.heap, meddle, &m);
    for (int i = 0; i < 64; i++)
        CHECK_INT(tdl_heap_push(&m.heap, &m.probes[i].timer, i % 10), ==, 0);
    for (int i = 0; i < 40; i++)
        tdl_heap_cancel(&m.heap, &m.probes[i].timer);
    check_shape(&m.heap);
    while (tdl_heap_pop(&m.heap, 4) != NULL)
        popped++;
    check_shape(&m.heap);
    m.finishing = true;
    tdl_heap_fini(&m.heap);
    CHECK_INT(m.heap.count, ==, 0);
    for (int i = 0; i < 64; i++) {
        CHECK_INT(m.probes[i].released, <=, 1);
        CHECK_INT(m.spare[i].released, <=, 1);
    }
    CHECK_INT(m.pushes, >, 10);
    CHECK_INT(popped, >, 10);
    CHECK_INT(m.releases + popped, ==, 64 + m.pushes);
}

static void
release_block(struct tdl_timer *timer, void *arg)
{
    (void)arg;
    tdl_free(timer);
}

/* A release may free the timer, even the one that is being cancelled. */
static void
test_release_may_free(void)
{
    struct tdl_heap heap;
    uint64_t random = 7;
    tdl_heap_init(&heap, release_block, NULL);
    struct probe *probes[200];
    for (int i = 0; i < 200; i++) {
        probes[i] = tdl_calloc(1, sizeof *probes[i]);
        int64_t deadline = (int64_t)check_below(&random, 50);
        CHECK_INT(tdl_heap_push(&heap, &probes[i]->timer, deadline), ==, 0);
    }
    for (int i = 0; i < 150; i++)
        CHECK_INT(tdl_heap_cancel(&heap, &probes[i]->timer), ==, 1);
    check_shape(&heap);
    for (int i = 0; i < 20; i++)
        tdl_free(tdl_heap_pop(&heap, INT64_MAX));
    tdl_heap_fini(&heap);
}

/* The naive heap: each timer's place in the queue, searched from end to end. */
enum { MODEL_SIZE = 600 };

struct model {
    struct tdl_heap heap;
    struct probe probes[MODEL_SIZE];
    bool queued[MODEL_SIZE];    /* pushed, neither cancelled nor popped */
    int cancels[MODEL_SIZE];    /* successful ones: releases to come or past */
    uint64_t order[MODEL_SIZE]; /* of pushes */
    uint64_t pushes;
};

static int
model_first(const struct model *m)
{
    int best = -1;
    for (int i = 0; i < MODEL_SIZE; i++) {
        if (!m->queued[i])
            continue;
        int64_t deadline = m->probes[i].timer.deadline;
        int64_t least = best < 0 ? 0 : m->probes[best].timer.deadline;
        if (best < 0 || deadline < least || (deadline == least && m->order[i] < m->order[best]))
            best = i;
    }
    return best;
}

static void
model_push(struct model *m, int i, int64_t deadline)
{
    bool lent = m->queued[i] || m->cancels[i] != m->probes[i].released;
    CHECK_INT(tdl_heap_push(&m->heap, &m->probes[i].timer, deadline), ==, lent ? -EBUSY : 0);
    if (lent)
        return;
    m->queued[i] = true;
    m->order[i] = m->pushes++;
}

static void
model_cancel(struct model *m, int i)
{
    CHECK_INT(tdl_heap_cancel(&m->heap, &m->probes[i].timer), ==, m->queued[i]);
    m->cancels[i] += m->queued[i];
    m->queued[i] = false;
}

static void
model_pop(struct model *m, int64_t now)
{
    int expected = model_first(m);
    struct tdl_timer *timer = tdl_heap_pop(&m->heap, now);
    if (expected < 0 || m->probes[expected].timer.deadline > now) {
        CHECK(timer == NULL);
        return;
    }
    CHECK(timer == &m->probes[expected].timer);
    m->queued[expected] = false;
}

static void
model_check(struct model *m)
{
    size_t queued = 0;
    check_shape(&m->heap);
    for (int i = 0; i < MODEL_SIZE; i++) {
        queued += m->queued[i];
        CHECK_INT(m->probes[i].released, <=, m->cancels[i]);
        CHECK_INT(m->probes[i].released, >=, m->cancels[i] - 1);
    }
    CHECK_INT(tdl_heap_count(&m->heap), ==, queued);
}

static void
run_model(struct model *m, uint64_t random)
{
    *m = (struct model){0};
    tdl_heap_init(&m->heap, count_release, NULL);
    size_t span = (size_t)1 << check_below(&random, 20);
    for (int phase = 0; phase < 12; phase++) {
        size_t push = check_below(&random, 10);
        size_t cancel = push + check_below(&random, 10 - push);
        for (int step = 0; step < 400; step++) {
            size_t choice = check_below(&random, 10);
            int i = (int)check_below(&random, MODEL_SIZE);
            int64_t time = (int64_t)check_below(&random, span);
            if (choice < push)
                model_push(m, i, time);
            else if (choice < cancel)
                model_cancel(m, i);
            else
                model_pop(m, time);
        }
        model_check(m);
    }
    tdl_heap_fini(&m->heap);
    for (int i = 0; i < MODEL_SIZE; i++)
        CHECK_INT(m->probes[i].released, ==, m->cancels[i] + m->queued[i]);
}

static void
test_random_against_model(void)
{
    static struct model m;
    for (uint64_t seed = 1; seed <= 60; seed++)
        run_model(&m, seed);
}

/* Push, cancel and pop with the nth allocation failing.  Returns whether it did. */
static bool
pass_with_fault(long nth)
{
    enum { N = 100 };
    static struct probe probes[N];
    struct tdl_heap heap;
    memset(probes, 0, sizeof probes);
    tdl_heap_init(&heap, count_release, NULL);
    tdl_alloc_fail(nth);
    for (int i = 0; i < N; i++) {
        struct tdl_heap before = heap;
        struct probe untouched = probes[i];
        int r = tdl_heap_push(&heap, &probes[i].timer, i);
        if (r == 0)
            continue;
        CHECK_INT(r, ==, -ENOMEM);
        CHECK_INT(memcmp(&before, &heap, sizeof heap), ==, 0);
        CHECK_INT(memcmp(&untouched, &probes[i], sizeof untouched), ==, 0);
        CHECK_INT(tdl_heap_push(&heap, &probes[i].timer, i), ==, 0);
    }
    for (int i = 0; i < N; i += 4)
        CHECK_INT(tdl_heap_cancel(&heap, &probes[i].timer), ==, 1);
    for (int i = 0; i < N; i++) {
        if (i % 4 != 0)
            CHECK(tdl_heap_pop(&heap, N) == &probes[i].timer);
    }
    CHECK(tdl_heap_pop(&heap, N) == NULL);
    tdl_heap_fini(&heap);
    return tdl_alloc_fail(0) == 0;
}

static void
test_every_allocation_failing(void)
{
    long nth = 1;
    while (pass_with_fault(nth))
        nth++;
    CHECK_INT(nth, >, 5); /* four to grow, at least one to shrink */
}

CHECK_MAIN(TEST(test_empty), TEST(test_pops_in_order_of_deadlines),
           TEST(test_equal_deadlines_in_order_of_arrival),
           TEST(test_only_due_timers_are_popped), TEST(test_extreme_deadlines),
           TEST(test_busy_timer_is_refused), TEST(test_cancel),
           TEST(test_cancelling_the_newest_releases_at_once),
           TEST(test_compaction_and_shrinking), TEST(test_compaction_restores_order),
           TEST(test_fini_releases_all), TEST(test_release_may_come_back),
           TEST(test_release_may_free), TEST(test_random_against_model),
           TEST(test_every_allocation_failing))

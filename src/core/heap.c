#include "core/heap.h"

#include <errno.h>
#include <stdbool.h>

#include "core/alloc.h"

enum { ARITY = 4, CAPACITY_MIN = 16 };

static bool
earlier(const struct tdl_heap_entry *a, const struct tdl_heap_entry *b)
{
    if (a->deadline != b->deadline)
        return a->deadline < b->deadline;
    return a->timer->sequence < b->timer->sequence;
}

/* Place `entry` at the hole `i` or above it. */
static void
sift_up(struct tdl_heap *heap, size_t i, struct tdl_heap_entry entry)
{
    while (i > 0) {
        size_t parent = (i - 1) / ARITY;
        if (!earlier(&entry, &heap->entries[parent]))
            break;
        heap->entries[i] = heap->entries[parent];
        i = parent;
    }
    heap->entries[i] = entry;
}

static size_t
earliest_child(const struct tdl_heap *heap, size_t i)
{
    size_t first = i * ARITY + 1;
    size_t end = first + ARITY < heap->count ? first + ARITY : heap->count;
    size_t best = first;
    for (size_t child = first + 1; child < end; child++) {
        if (earlier(&heap->entries[child], &heap->entries[best]))
            best = child;
    }
    return best;
}

/* Place `entry` at the hole `i` or below it. */
static void
sift_down(struct tdl_heap *heap, size_t i, struct tdl_heap_entry entry)
{
    while (i * ARITY + 1 < heap->count) {
        size_t child = earliest_child(heap, i);
        if (!earlier(&heap->entries[child], &entry))
            break;
        heap->entries[i] = heap->entries[child];
        i = child;
    }
    heap->entries[i] = entry;
}

static int
resize(struct tdl_heap *heap, size_t capacity)
{
    struct tdl_heap_entry *entries = tdl_realloc(heap->entries, capacity * sizeof *entries);
    if (entries == NULL)
        return -ENOMEM;
    heap->entries = entries;
    heap->capacity = capacity;
    return 0;
}

/* A burst of timers does not keep its memory.  That the smaller array cannot be
 * had is no error: the larger one does as well. */
static void
shrink(struct tdl_heap *heap)
{
    size_t capacity = heap->capacity;
    while (capacity > CAPACITY_MIN && heap->count < capacity / 8)
        capacity /= 2;
    if (capacity < heap->capacity)
        resize(heap, capacity);
}

static void
remove_first(struct tdl_heap *heap)
{
    struct tdl_heap_entry last = heap->entries[--heap->count];
    if (heap->count > 0)
        sift_down(heap, 0, last);
}

static void
release_timer(struct tdl_heap *heap, struct tdl_timer *timer)
{
    timer->state = TDL_TIMER_IDLE;
    heap->release(timer, heap->arg);
}

/* Each timer may be gone once it is released: read the link before. */
static void
release_all(struct tdl_heap *heap, struct tdl_timer *timer)
{
    while (timer != NULL) {
        struct tdl_timer *next = timer->next;
        release_timer(heap, timer);
        timer = next;
    }
}

static void
restore_order(struct tdl_heap *heap)
{
    if (heap->count < 2)
        return;
    for (size_t i = (heap->count - 2) / ARITY + 1; i-- > 0;)
        sift_down(heap, i, heap->entries[i]);
}

/* Drop all cancelled entries.  They are released last, when the heap is whole
 * again, because a release may come back to it. */
static void
compact(struct tdl_heap *heap)
{
    struct tdl_timer *gone = NULL;
    size_t kept = 0;
    for (size_t i = 0; i < heap->count; i++) {
        struct tdl_timer *timer = heap->entries[i].timer;
        if (timer->state == TDL_TIMER_CANCELLED) {
            timer->next = gone;
            gone = timer;
        }
        else {
            heap->entries[kept++] = heap->entries[i];
        }
    }
    heap->count = kept;
    heap->cancelled = 0;
    restore_order(heap);
    shrink(heap);
    release_all(heap, gone);
}

/* Restore the bounds on memory after an entry has left or was cancelled. */
static void
settle(struct tdl_heap *heap)
{
    if (heap->cancelled > heap->count / 2)
        compact(heap);
    else
        shrink(heap);
}

void
tdl_heap_init(struct tdl_heap *heap, void (*release)(struct tdl_timer *, void *), void *arg)
{
    *heap = (struct tdl_heap){.release = release, .arg = arg};
}

void
tdl_heap_fini(struct tdl_heap *heap)
{
    struct tdl_timer *gone = NULL;
    for (size_t i = 0; i < heap->count; i++) {
        struct tdl_timer *timer = heap->entries[i].timer;
        /* a release that cancels another one of them must not find it queued */
        timer->state = TDL_TIMER_CANCELLED;
        timer->next = gone;
        gone = timer;
    }
    tdl_free(heap->entries);
    tdl_heap_init(heap, heap->release, heap->arg);
    release_all(heap, gone);
}

int
tdl_heap_push(struct tdl_heap *heap, struct tdl_timer *timer, int64_t deadline)
{
    if (timer->state != TDL_TIMER_IDLE)
        return -EBUSY;
    if (heap->count == heap->capacity) {
        int r = resize(heap, heap->capacity == 0 ? CAPACITY_MIN : heap->capacity * 2);
        if (r < 0)
            return r;
    }
    timer->deadline = deadline;
    timer->sequence = heap->sequence++;
    timer->state = TDL_TIMER_QUEUED;
    size_t hole = heap->count++;
    sift_up(heap, hole, (struct tdl_heap_entry){deadline, timer});
    return 0;
}

struct tdl_timer *
tdl_heap_first(struct tdl_heap *heap)
{
    while (heap->count > 0) {
        struct tdl_timer *timer = heap->entries[0].timer;
        if (timer->state == TDL_TIMER_QUEUED)
            return timer;
        heap->cancelled--;
        remove_first(heap);
        release_timer(heap, timer);
    }
    return NULL;
}

struct tdl_timer *
tdl_heap_pop(struct tdl_heap *heap, int64_t now)
{
    struct tdl_timer *timer = tdl_heap_first(heap);
    if (timer == NULL || timer->deadline > now)
        return NULL;
    remove_first(heap);
    timer->state = TDL_TIMER_IDLE;
    settle(heap);
    return timer;
}

int
tdl_heap_cancel(struct tdl_heap *heap, struct tdl_timer *timer)
{
    if (timer->state != TDL_TIMER_QUEUED)
        return 0;
    /* a timeout that is cancelled soon after it was set is the common case, and
     * its entry is often still the last: that one can go at once */
    bool last = heap->entries[heap->count - 1].timer == timer;
    timer->state = TDL_TIMER_CANCELLED;
    if (last)
        heap->count--;
    else
        heap->cancelled++;
    settle(heap);
    if (last)
        release_timer(heap, timer);
    return 1;
}

/* Timers in the order of their deadlines, equal ones in the order of arrival.
 *
 * Owner thread only; no locks, no Python thread state.  A 4-ary heap whose
 * entries carry the deadline, so that sifting reads one cache line a level and
 * touches no timer unless deadlines are equal.
 *
 * Cancelling is lazy: the timer is only marked and leaves later, at the latest
 * when more than half of the entries are marked, hence
 *
 *     cancelled <= count / 2   between calls
 *     entries[i] <= entries[4 * i + 1 ... 4 * i + 4]   by (deadline, sequence)
 *
 * What stays cancelled costs memory only; what `entries[i].timer` points to may be
 * visited for a traversal, i < count.
 *
 * Ownership: from a successful push to the moment it leaves, a timer must stay
 * where it is.  It leaves exactly once: returned by tdl_heap_pop(), or handed
 * to `release`.  The heap is in order whenever `release` is called, so `release`
 * may push, cancel and pop. */
#ifndef TDL_CORE_HEAP_H
#define TDL_CORE_HEAP_H

#include <stddef.h>
#include <stdint.h>

enum tdl_timer_state {
    TDL_TIMER_IDLE = 0, /* in no heap */
    TDL_TIMER_QUEUED,
    TDL_TIMER_CANCELLED /* still in the heap, never to be returned */
};

/* To be embedded in what has a deadline; zero-filled before its first push. */
struct tdl_timer {
    int64_t deadline;           /* owner; ns of the caller's clock */
    uint64_t sequence;          /* owner; the number of its push */
    struct tdl_timer *next;     /* owner; links those about to be released */
    enum tdl_timer_state state; /* owner */
};

struct tdl_heap_entry {
    int64_t deadline;
    struct tdl_timer *timer;
};

struct tdl_heap {
    struct tdl_heap_entry *entries; /* owner */
    size_t count;                   /* owner; entries in use, cancelled ones too */
    size_t capacity;                /* owner */
    size_t cancelled;               /* owner */
    uint64_t sequence;              /* owner; pushes so far */
    void (*release)(struct tdl_timer *timer, void *arg); /* fixed after init */
    void *arg;                                           /* fixed after init */
};

/* Make `heap` empty.  `release(timer, arg)` takes back a timer that was
 * cancelled, or was still there at tdl_heap_fini().  Allocates nothing. */
void tdl_heap_init(struct tdl_heap *heap, void (*release)(struct tdl_timer *, void *),
                   void *arg);

/* Release every timer, cancelled or not, in no particular order, and free the
 * storage.  The heap is empty, as after tdl_heap_init(), when `release` is first
 * called; what `release` pushes then stays and asks for another fini. */
void tdl_heap_fini(struct tdl_heap *heap);

/* Queue `timer` for `deadline`.
 * Owns: `timer` is lent to the heap on success; the caller keeps it on failure.
 * Returns 0; -EBUSY if it is in a heap already, perhaps cancelled; or -ENOMEM;
 * failures leave heap and timer unchanged. */
int tdl_heap_push(struct tdl_heap *heap, struct tdl_timer *timer, int64_t deadline);

/* Take out the first timer that is due, that is, whose deadline is `now` or
 * earlier.  May release cancelled timers.
 * Returns the timer, which is the caller's again, or NULL if none is due. */
struct tdl_timer *tdl_heap_pop(struct tdl_heap *heap, int64_t now);

/* The first timer, left in place.  May release cancelled timers.
 * Returns it, or NULL if none is queued. */
struct tdl_timer *tdl_heap_first(struct tdl_heap *heap);

/* See to it that `timer`, which must be in this heap or in none, is not returned
 * any more.  O(1), amortized.
 * Owns: `timer` itself may have been released when this returns.
 * Returns 1 if it was queued, 0 if it was not. */
int tdl_heap_cancel(struct tdl_heap *heap, struct tdl_timer *timer);

/* How many timers are queued and not cancelled. */
static inline size_t
tdl_heap_count(const struct tdl_heap *heap)
{
    return heap->count - heap->cancelled;
}

#endif

/* Many producers hand items to one consumer: the way into a loop from other
 * threads, from a pool's workers and from signal handlers.
 *
 * Any thread may post; one thread, the owner, drains and closes.  Lock-free;
 * items are linked through themselves, so posting allocates nothing and is safe
 * in a signal handler.  No Python thread state.
 *
 * The whole state is one word: a stack of posted items, newest first, or one of
 * three marks.  Every change is a read-modify-write of that word, so an item is
 * either in the batch of a drain or finds the mark which that drain left.
 *
 *     armed   empty; the next post returns 1, and its caller wakes the owner
 *     awake   empty; the owner will look again before it sleeps: no wake needed
 *     closed  for good */
#ifndef TDL_CORE_INBOX_H
#define TDL_CORE_INBOX_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* To be embedded in what is posted. */
struct tdl_item {
    struct tdl_item *next; /* the inbox's from post to drain, then the owner's */
};

/* What an empty inbox says to the next post. */
enum tdl_inbox_mark { TDL_INBOX_ARMED = 0, TDL_INBOX_AWAKE = 1, TDL_INBOX_CLOSED = 2 };

struct tdl_inbox {
    _Atomic(uintptr_t) head; /* atomic; the newest item, or a mark */
};

/* Make `inbox` empty and armed.  Before it is shared, or in a forked child. */
static inline void
tdl_inbox_init(struct tdl_inbox *inbox)
{
    atomic_init(&inbox->head, TDL_INBOX_ARMED);
}

/* Hand `item` to the owner of `inbox`, from any thread or signal handler.
 * Owns: takes `item` on success; the caller keeps it on failure.
 * Thread state: not needed.  Blocks: never.  Locks: none.
 * Returns 1 if the owner must be woken, 0 if a wake-up is pending or the owner
 * is awake, -ESHUTDOWN after tdl_inbox_close(). */
int tdl_inbox_post(struct tdl_inbox *inbox, struct tdl_item *item);

/* Whether something was posted and not drained yet.  A moment's answer. */
static inline int
tdl_inbox_pending(struct tdl_inbox *inbox)
{
    return atomic_load_explicit(&inbox->head, memory_order_acquire) > TDL_INBOX_CLOSED;
}

/* Whether `mark` stands: nothing was posted since it was left.  A moment's answer. */
static inline int
tdl_inbox_marked(struct tdl_inbox *inbox, enum tdl_inbox_mark mark)
{
    return atomic_load_explicit(&inbox->head, memory_order_relaxed) == (uintptr_t)mark;
}

/* The item that was posted last, left in place, or NULL: for traversals, of the list
 * that it begins, while nobody posts or drains. */
static inline struct tdl_item *
tdl_inbox_newest(struct tdl_inbox *inbox)
{
    uintptr_t head = atomic_load_explicit(&inbox->head, memory_order_acquire);
    return head > TDL_INBOX_CLOSED ? (struct tdl_item *)head : NULL;
}

/* Take out all that was posted and leave `mark`, ARMED or AWAKE, behind.
 * The owner passes AWAKE while it has other work to do, and must pass ARMED, and
 * get NULL, directly before it sleeps.  One that always passes ARMED is woken
 * once a batch.  What a poster did before its post is visible to the owner.
 * Owns: the items are the owner's.  Owner only.  Blocks: never.
 * Returns the batch, oldest first and ended by NULL; NULL if there is none or
 * the inbox is closed. */
struct tdl_item *tdl_inbox_drain(struct tdl_inbox *inbox, enum tdl_inbox_mark mark);

/* Leave ARMED where AWAKE was, without taking anything out: for an owner that is
 * about to sleep and cannot deal with items now.  Owner only.
 * Returns whether the inbox is armed; if not, something was posted, or it is closed. */
static inline int
tdl_inbox_arm(struct tdl_inbox *inbox)
{
    uintptr_t awake = TDL_INBOX_AWAKE;
    return atomic_compare_exchange_strong_explicit(&inbox->head, &awake, TDL_INBOX_ARMED,
                                                   memory_order_acq_rel,
                                                   memory_order_acquire) ||
           awake == TDL_INBOX_ARMED;
}

/* Let every later post fail.  Owner only; calling again is harmless.
 * Returns what was posted and not yet drained, as tdl_inbox_drain() does. */
struct tdl_item *tdl_inbox_close(struct tdl_inbox *inbox);

#endif

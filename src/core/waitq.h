/* A first-in, first-out list of those who wait for something, and the three state
 * machines that locks, semaphores and queues are made of.
 *
 * It knows nothing of how anybody sleeps: a waiter is granted what it waits for here,
 * and told by the caller.  No locks: the caller holds the one that protects the whole
 * object, for the few instructions that a call takes.
 *
 * A waiter is QUEUED, then GRANTED by whoever has something to give, and leaves the
 * list when it takes what it was granted, or gives up; then the grant passes on.
 * Grants are made in order, so the list is GRANTED and SKIPPED waiters first, then
 * QUEUED ones. */
#ifndef TDL_CORE_WAITQ_H
#define TDL_CORE_WAITQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum tdl_wait_state {
    TDL_WAIT_IDLE,    /* on no list: before, and after */
    TDL_WAIT_QUEUED,  /* on a list, nothing was granted */
    TDL_WAIT_GRANTED, /* it may go on; still on the list, unless it was popped */
    TDL_WAIT_SKIPPED, /* it is known to give up soon: it gets nothing */
};

struct tdl_wait {
    struct tdl_wait *next, *prev;
    enum tdl_wait_state state;
};

struct tdl_waitq {
    struct tdl_wait *first, *last;
    struct tdl_wait *pending; /* the first that is QUEUED, or NULL */
    size_t count;
};

static inline void
tdl_waitq_init(struct tdl_waitq *q)
{
    *q = (struct tdl_waitq){NULL, NULL, NULL, 0};
}

static inline void
tdl_wait_init(struct tdl_wait *w)
{
    *w = (struct tdl_wait){NULL, NULL, TDL_WAIT_IDLE};
}

/* Put `w`, which is IDLE, at the end. */
void tdl_waitq_push(struct tdl_waitq *q, struct tdl_wait *w);

/* Put `w`, which is IDLE, before all that are QUEUED. */
void tdl_waitq_push_front(struct tdl_waitq *q, struct tdl_wait *w);

/* Take `w` off; nothing if it is not on the list.  It is IDLE afterwards. */
void tdl_waitq_remove(struct tdl_waitq *q, struct tdl_wait *w);

/* Grant to the first that is QUEUED; it stays on the list.  Returns it or NULL. */
struct tdl_wait *tdl_waitq_grant(struct tdl_waitq *q);

/* Pass over the first that is QUEUED, if there is one. */
void tdl_waitq_skip(struct tdl_waitq *q);

/* As tdl_waitq_grant(), and take it off the list. */
struct tdl_wait *tdl_waitq_pop(struct tdl_waitq *q);

/* ---- a lock ------------------------------------------------------------------------
 *
 * release() grants to the first waiter and leaves the lock unlocked: it is locked again
 * when that waiter takes it.  Nobody overtakes meanwhile, since try() fails while there
 * are waiters. */

struct tdl_mutex {
    struct tdl_waitq waiters;
    bool locked;
};

/* Lock it unless it is locked or others wait; `overtake`: even if they do.
 * Returns whether it was. */
bool tdl_mutex_try(struct tdl_mutex *m, bool overtake);

/* Unlock it, which must be locked.  Returns whom to tell, or NULL. */
struct tdl_wait *tdl_mutex_release(struct tdl_mutex *m);

/* `w` was granted the lock and takes it. */
void tdl_mutex_take(struct tdl_mutex *m, struct tdl_wait *w);

/* Grant it to the first waiter, unless it is locked or granted: after one that was
 * granted has left the list.  Returns whom to tell, or NULL. */
struct tdl_wait *tdl_mutex_grant(struct tdl_mutex *m);

/* ---- a semaphore -------------------------------------------------------------------
 *
 * A grant takes one off the value at once. */

struct tdl_semaphore {
    struct tdl_waitq waiters;
    int64_t value;
};

/* Take one unless there is none or others wait; `overtake`: even if they do. */
bool tdl_semaphore_try(struct tdl_semaphore *s, bool overtake);

/* Grant to the next waiter if there is one to give.  Returns whom to tell, or NULL. */
struct tdl_wait *tdl_semaphore_grant(struct tdl_semaphore *s);

/* Give one back; the caller goes on with tdl_semaphore_grant(). */
static inline void
tdl_semaphore_release(struct tdl_semaphore *s)
{
    s->value++;
}

/* `w` was granted one and goes on; the caller with tdl_semaphore_grant(). */
void tdl_semaphore_take(struct tdl_semaphore *s, struct tdl_wait *w);

/* `w` gives up and with it what it was granted; the caller goes on with
 * tdl_semaphore_grant(). */
void tdl_semaphore_leave(struct tdl_semaphore *s, struct tdl_wait *w);

/* ---- one side of a queue -----------------------------------------------------------
 *
 * Those who wait for an item, or for room for one.  One who is granted is off the list,
 * and comes to take it in a while.  What is there for it meanwhile is its own if the
 * side is `fair`, and anybody's if not; then it may have to wait again. */

struct tdl_side {
    struct tdl_waitq waiters;
    size_t promised; /* granted and not come yet */
    bool fair;
};

/* How many of `there` a newcomer may take. */
static inline size_t
tdl_side_free(const struct tdl_side *side, size_t there)
{
    if (!side->fair)
        return there;
    return there > side->promised ? there - side->promised : 0;
}

/* Something came: grant it to the first waiter.  Returns whom to tell, or NULL. */
struct tdl_wait *tdl_side_grant(struct tdl_side *side);

/* `w`, which was granted, has come.  It is IDLE afterwards. */
void tdl_side_come(struct tdl_side *side, struct tdl_wait *w);

/* `w` found nothing after all, and waits again: at its old place if the side is fair. */
void tdl_side_again(struct tdl_side *side, struct tdl_wait *w);

/* `w` gives up.  Returns whether it was granted: then the caller grants to the next if
 * there still is something. */
bool tdl_side_leave(struct tdl_side *side, struct tdl_wait *w);

#endif

/* A thread that waits for futures to complete.
 *
 * A waiter lives on the waiting thread's stack or in an iterator; one node
 * links it to each future that it waits for.  The thread that completes a
 * future takes the nodes off under the future's lock, lets each waiter say
 * whether that was enough, and fires it: at once, or after it has released the
 * GIL, so that the woken thread finds it free.
 *
 * Lifetime: a waiter whose node was taken off and that was chosen to fire
 * (`firing`) must not go away before it has fired; tdl_waiter_leave() sees to it. */
#ifndef TDL_FUTURE_WAITER_H
#define TDL_FUTURE_WAITER_H

#include <stdatomic.h>
#include <stdbool.h>

#include "core/lock.h"
#include "core/park.h"
#include "future/loop_wake.h"
#include "future/source.h"
#include "py/state.h"

enum tdl_outcome { TDL_OUTCOME_RESULT, TDL_OUTCOME_EXCEPTION, TDL_OUTCOME_CANCELLED };

struct tdl_waiter;

struct tdl_wait_node {
    struct tdl_wait_node *next;  /* future's lock */
    struct tdl_wait_node **prev; /* future's lock; NULL when not linked */
    struct tdl_waiter *waiter;   /* fixed after init */
    FutureObject *future;        /* borrowed: the waiting side holds it */
};

struct tdl_waiter {
    struct tdl_parker parker;
    struct tdl_waiter *next_fire;
    /* Whether a cancelled future counts before it is notified: result() yes,
     * wait() and as_completed() no.  Fixed after init. */
    bool wants_cancel;
    _Atomic bool firing;
    /* A node's future has completed.  Called once a node, under the future's
     * lock; may not call into Python.  Returns whether the waiter is to fire.
     * NULL: always. */
    bool (*note)(struct tdl_waiter *waiter, struct tdl_wait_node *node,
                 enum tdl_outcome outcome);
};

/* Whom to wake: waiters that are to fire, in order, and a loop. */
struct tdl_fire {
    struct tdl_waiter *first;
    struct tdl_waiter **last;
    struct tdl_loop_wake *loop; /* NULL or one reference */
};

static inline void
tdl_fire_init(struct tdl_fire *fire)
{
    fire->first = NULL;
    fire->last = &fire->first;
    fire->loop = NULL;
}

static inline bool
tdl_fire_is_empty(const struct tdl_fire *fire)
{
    return fire->first == NULL && fire->loop == NULL;
}

/* Wake the loop too.  Takes no reference of the caller's.  A second loop wakes
 * the first at once. */
void tdl_fire_add_loop(struct tdl_fire *fire, struct tdl_loop_wake *loop);

/* Wake all on the list and empty it.  Thread state: not needed. */
void tdl_fire_all(struct tdl_fire *fire);

void tdl_waiter_init(struct tdl_waiter *waiter, bool wants_cancel,
                     bool (*note)(struct tdl_waiter *, struct tdl_wait_node *,
                                  enum tdl_outcome));

/* Make ready to wait once more after it has fired.  Owner only. */
void tdl_waiter_rearm(struct tdl_waiter *waiter);

/* One node's future has completed: put its waiter on `fire` if that was enough
 * and nobody has yet.  The caller holds the future's lock and has unlinked it. */
void tdl_waiter_note(struct tdl_wait_node *node, enum tdl_outcome outcome,
                     struct tdl_fire *fire);

/* Mark the waiter as firing and put it on `fire`, unless it is already. */
void tdl_waiter_choose(struct tdl_waiter *waiter, struct tdl_fire *fire);

/* Sleep until fired or `deadline`.  `source` may be NULL.
 * Thread state: attached; let go while waiting.
 * Returns 1 when fired, 0 at the deadline, -1 if a signal handler raised. */
int tdl_waiter_wait(struct tdl_waiter *waiter, struct tdl_source *source, int64_t deadline);

/* After the last of its nodes is off: wait for whoever still means to fire it. */
void tdl_waiter_leave(struct tdl_waiter *waiter);

/* Wait for whoever is known to have decided to fire the waiter. */
void tdl_waiter_settle(struct tdl_waiter *waiter);

#endif

/* treadle.Future: concurrent.futures.Future with its state in one word.
 *
 * Everything that the standard class makes for each future (a Condition, two
 * lists, a dictionary) is made on first look; a future that nobody looks into
 * is one object.
 *
 * "The future's lock" below is the GIL or, without one, the object's critical
 * section.  Lock order: the condition (if it exists) first, then the future's
 * lock, then core locks.  No call into Python under the future's lock. */
#ifndef TDL_FUTURE_FUTURE_H
#define TDL_FUTURE_FUTURE_H

#include <stdatomic.h>

#include "future/source.h"
#include "future/waiter.h"
#include "py/state.h"

/* In the order of tdl_objects.state_names. */
enum tdl_future_state {
    TDL_PENDING,
    TDL_RUNNING,
    TDL_CANCELLED,
    TDL_CANCELLED_AND_NOTIFIED,
    TDL_FINISHED,
};

struct FutureObject {
    PyObject_HEAD
    struct tdl_state *st;        /* fixed after init */
    _Atomic uint32_t state;      /* tdl_future_state; leaves PENDING by
                                  * compare-and-swap, else written under the lock */
    uint32_t callbacks_seen;     /* the list was handed out: keep it; the lock */
    PyObject *result;            /* NULL: None; the lock, constant once FINISHED */
    PyObject *exception;         /* NULL: none; likewise */
    PyObject *callbacks;         /* NULL or a list; the lock */
    PyObject *condition;         /* NULL until looked at; the lock */
    PyObject *waiters;           /* the standard library's; NULL or a list; the lock */
    struct tdl_wait_node *nodes; /* ours; the lock */
    PyObject *owner;             /* keeps `source` alive, or NULL; fixed after init */
    struct tdl_source *source;   /* inside `owner`, or NULL; fixed after init */
    _Atomic(void *) job;         /* the executor's, while it is queued; written under
                                  * the lock */
};

/* Whether the future's job may still be queued: a hint. */
static inline bool
tdl_future_has_job(FutureObject *future)
{
    return atomic_load_explicit(&future->job, memory_order_relaxed) != NULL;
}

/* Under the lock, or before the future is shared. */
static inline void
tdl_future_set_job(FutureObject *future, void *job)
{
    atomic_store_explicit(&future->job, job, memory_order_relaxed);
}

/* The state now; with acquire order. */
static inline enum tdl_future_state
tdl_future_state(FutureObject *future)
{
    return (enum tdl_future_state)atomic_load_explicit(&future->state, memory_order_acquire);
}

/* The state now, where the source may know that a pending job has begun.  Thread
 * state: attached. */
enum tdl_future_state tdl_future_look(FutureObject *future);

/* Whether the result is settled, if only by cancel(). */
static inline int
tdl_future_is_done(enum tdl_future_state state)
{
    return state >= TDL_CANCELLED;
}

/* Whether `op` is a treadle.Future (or a subclass). */
int tdl_future_check(struct tdl_state *st, PyObject *op);

/* A new pending treadle.Future.  `owner` may be NULL; it is referenced.
 * Returns a new reference or NULL. */
FutureObject *tdl_future_new(struct tdl_state *st, PyObject *owner, struct tdl_source *source);

/* set_running_or_notify_cancel(): the job starts now.
 * Returns 1 to run it, 0 if it was cancelled, -1 with an exception set. */
int tdl_future_start(FutureObject *self);

/* PENDING to RUNNING from a thread without a thread state: nobody is told.
 * Returns whether the future was pending. */
bool tdl_future_start_detached(FutureObject *self);

/* Complete the future: with `exception` if it is not NULL, else with `result`.
 * Owns: takes both references in any case.  Waiters that are to be woken go on
 * `fire` (the caller calls tdl_fire_all() later), or are woken here if NULL.
 * Then the callbacks run.  Thread state: attached.
 * Returns 0, or -1 with InvalidStateError or a callback's BaseException set. */
int tdl_future_finish(FutureObject *self, PyObject *result, PyObject *exception,
                      struct tdl_fire *fire);

/* cancel().  Returns 1 if cancelled (now or before), 0 if too late, -1 on error. */
int tdl_future_cancel(FutureObject *self);

/* Link `node` (waiter and future set) unless the future is complete as far as
 * its waiter cares.  Returns 1 if linked, 0 if already complete. */
int tdl_future_link(FutureObject *self, struct tdl_wait_node *node);

/* Take `node` off if it is still linked.  Returns 1 if it was. */
int tdl_future_unlink(FutureObject *self, struct tdl_wait_node *node);

/* Refuse to wait, in a forked child, for what only the parent's threads could
 * finish.  Returns 0, or -1 with BrokenThreadPool or BrokenProcessPool set. */
int tdl_future_check_not_orphaned(FutureObject *self);

/* Wait until done, lending a hand if the source allows it.
 * Returns 1 when done, 0 at the deadline, -1 with an exception set. */
int tdl_future_wait(FutureObject *self, PyObject *timeout);

/* Set the state as a user who writes `_state` does, waking whom that concerns. */
void tdl_future_force_state(FutureObject *self, enum tdl_future_state state);

/* What a finished future has: new references, NULL for what it has not. */
void tdl_future_outcome(FutureObject *self, PyObject **result, PyObject **exception);

/* The condition, made if nobody has looked yet.  A new reference or NULL. */
PyObject *tdl_future_condition(FutureObject *self);

/* Module exec: add the types.  Returns 0 or -1 with an exception set. */
int tdl_future_exec(PyObject *module);

/* The attributes that the standard class keeps in its dictionary (attributes.c). */
extern PyGetSetDef tdl_future_getset[];

/* The methods (methods.c). */
extern PyMethodDef tdl_future_methods[];

#endif

/* Future._condition: a threading.Condition whose re-entrant lock is built in.
 *
 * Made when somebody looks at a future's `_condition`, so it has to be cheap:
 * one object instead of a Condition, an RLock, a deque, a dictionary and five
 * bound methods.  wait() and notify() are inherited from threading.Condition;
 * what they use of the lock is answered natively. */
#ifndef TDL_FUTURE_CONDITION_H
#define TDL_FUTURE_CONDITION_H

#include "py/state.h"

/* A new condition, unlocked.  Returns a new reference or NULL. */
PyObject *tdl_condition_new(struct tdl_state *st);

/* Take `condition` (ours, or whatever a user put in its place) for this thread.
 * Thread state: attached; let go while blocked.  Returns 0 or -1 with an exception. */
int tdl_condition_acquire(struct tdl_state *st, PyObject *condition);

/* Release it.  Returns 0 or -1 with an exception set. */
int tdl_condition_release(struct tdl_state *st, PyObject *condition);

/* Wake all that wait() on it; the caller holds it.  Returns 0 or -1 with an exception. */
int tdl_condition_notify_all(struct tdl_state *st, PyObject *condition);

/* Module exec: add the types.  Returns 0 or -1 with an exception set. */
int tdl_condition_exec(PyObject *module);

#endif

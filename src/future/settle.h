/* Resolving a future of asyncio's kind, unless its owner has given up on it.
 *
 * By its methods: it may be of any class.  The thread of its loop; attached thread state. */
#ifndef TDL_FUTURE_SETTLE_H
#define TDL_FUTURE_SETTLE_H

#include "py/state.h"

/* future.done().  Returns 1, 0, or -1 with an exception set. */
int tdl_settle_is_done(struct tdl_state *st, PyObject *future);

/* future.set_result(value) or future.set_exception(exc), if it is not done.
 * Returns 1, 0 if it was done, or -1 with an exception set. */
int tdl_settle_result(struct tdl_state *st, PyObject *future, PyObject *value);
int tdl_settle_exception(struct tdl_state *st, PyObject *future, PyObject *exc);

#endif

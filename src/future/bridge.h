/* From concurrent futures to asyncio ones: one wake of the loop for a batch.
 *
 * asyncio.wrap_future() adds a Python callback to the future that posts one
 * call to the loop.  The bridge recognises that callback and puts the pair
 * (asyncio future, our future) into the loop's inbox instead; only the first
 * pair of a batch wakes the loop.  treadle.wrap_future() does the same without
 * any Python callback.  Whatever the bridge does not know takes the ordinary
 * way. */
#ifndef TDL_FUTURE_BRIDGE_H
#define TDL_FUTURE_BRIDGE_H

#include "future/future.h"

/* treadle.wrap_future(): an asyncio future of `loop`, which can be weakly referenced,
 * that follows `future`, one of ours.  Returns a new reference or NULL. */
PyObject *tdl_bridge_wrap(struct tdl_state *st, PyObject *future, PyObject *loop);

/* Deliver a done future to the asyncio future that the callback `fn` is for.
 * If the loop has to be woken, that is left to `fire` if it is not NULL.
 * Returns 1 if that was done, 0 if `fn` is no such callback and has to be
 * called, -1 with an exception set. */
int tdl_bridge_deliver(FutureObject *self, PyObject *fn, struct tdl_fire *fire);

/* Module exec: add the types and functions.  Returns 0 or -1 with an exception. */
int tdl_bridge_exec(PyObject *module);

#endif

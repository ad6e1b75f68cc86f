/* Copying the results of our futures into asyncio's, on the loop's thread. */
#ifndef TDL_FUTURE_DELIVER_H
#define TDL_FUTURE_DELIVER_H

#include "py/state.h"

/* Copy each outcome in `pairs`, a list of destination, source, ..., unless the
 * destination is done. What goes wrong with one is told to `loop`'s exception handler.
 * Returns 0, or -1 with an exception set that is for the loop: the rest has been
 * delivered all the same. */
int tdl_deliver_all(struct tdl_state *st, PyObject *pairs, PyObject *loop);

#endif

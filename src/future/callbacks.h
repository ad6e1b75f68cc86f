/* Done callbacks: kept in order, run once by whoever completes the future. */
#ifndef TDL_FUTURE_CALLBACKS_H
#define TDL_FUTURE_CALLBACKS_H

#include "future/future.h"

/* add_done_callback(): keep `fn`, or call it now if the future is done.
 * Returns 0, or -1 with a BaseException that `fn` raised (an Exception is logged). */
int tdl_callbacks_add(FutureObject *self, PyObject *fn);

/* Run all callbacks of a future that is done.  An Exception is logged and the
 * next one runs.  `fire` may get a loop to wake; NULL: loops are woken here.
 * Returns 0, or -1 with a BaseException set. */
int tdl_callbacks_run(FutureObject *self, struct tdl_fire *fire);

#endif

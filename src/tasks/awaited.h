/* What is done to a future, asyncio's or ours: callbacks, results, who awaits it.
 *
 * Any future that tdl_awaited_check() accepts.  The loop's thread, with the GIL or
 * attached; nothing here is called inside the future's critical section. */
#ifndef TDL_TASKS_AWAITED_H
#define TDL_TASKS_AWAITED_H

#include "tasks/layout.h"

/* loop.call_soon(callback, argument, context=context), of whatever loop; `argument` may
 * be NULL.  Returns 0 or -1 with an exception set. */
int tdl_awaited_soon(struct tdl_state *st, PyObject *loop, PyObject *callback,
                     PyObject *argument, PyObject *context);

/* Finish it with `result`.  Returns 0, or -1 with InvalidStateError or what a loop's
 * call_soon() raised. */
int tdl_awaited_set_result(struct tdl_state *st, PyObject *op, PyObject *result);

/* The same with an exception, which is an instance and no StopIteration. */
int tdl_awaited_set_exception(struct tdl_state *st, PyObject *op, PyObject *exception);

/* Cancel it: as Future.cancel(msg), also of tasks.  Returns 0, also if it was done
 * already, or -1 with what a loop's call_soon() raised. */
int tdl_awaited_cancel(struct tdl_state *st, PyObject *op, PyObject *msg);

/* future.add_done_callback(callback, context=context).  Returns 0 or -1. */
int tdl_awaited_add_callback(struct tdl_state *st, PyObject *op, PyObject *callback,
                             PyObject *context);

/* What a future that is done has for a task that awaited it: `*exception` gets a new
 * reference, or NULL if it has a result.  Returns 0, or -1 with InvalidStateError if it is not done. */
int tdl_awaited_outcome(struct tdl_state *st, PyObject *op, PyObject **exception);

/* The CancelledError that cancelling gave it: a new reference or NULL. */
PyObject *tdl_awaited_cancelled_error(struct tdl_state *st, PyObject *op);

/* From 3.14 on: note who awaits it, and that nobody does.  Returns 0 or -1. */
int tdl_awaited_add_awaiter(PyObject *op, PyObject *task);
int tdl_awaited_drop_awaiter(PyObject *op, PyObject *task);

#endif

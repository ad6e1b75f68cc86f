/* Futures of any class, as gather(), wait() and the like treat them: those that
 * tdl_awaited_check() knows natively, all others by their methods.
 *
 * The loop's thread.  Functions on others than known ones call Python, which may do
 * anything. */
#ifndef TDL_TASKS_ANY_H
#define TDL_TASKS_ANY_H

#include "tasks/awaited.h"

/* Whether it is a future in asyncio's eyes: asyncio.isfuture().  1, 0 or -1. */
int tdl_any_is_future(struct tdl_state *st, PyObject *op);

/* The loop of a future, as asyncio.futures._get_loop() finds it: a new reference or NULL. */
PyObject *tdl_any_loop(struct tdl_state *st, PyObject *future);

/* future.done(), future.cancelled(): 1, 0 or -1 with an exception set. */
int tdl_any_done(struct tdl_state *st, PyObject *future);
int tdl_any_cancelled(struct tdl_state *st, PyObject *future);

/* Whether it is a known one that has a result, which then is `*result`, borrowed. */
static inline bool
tdl_any_has_result(struct tdl_state *st, PyObject *future, PyObject **result)
{
    struct tdl_aio_future *f = tdl_awaited_of(future);
    if (!tdl_awaited_check(st, future) || f->state != TDL_AIO_FINISHED || f->exception != NULL)
        return false;
    *result = f->result == NULL ? Py_None : f->result;
    return true;
}

/* Of one that is done: `*exception` gets a new reference to future.exception(), which counts
 * as retrieved, or to future._make_cancelled_error(), or NULL.  Returns 0 or -1. */
int tdl_any_outcome(struct tdl_state *st, PyObject *future, PyObject **exception);

/* future._make_cancelled_error(): a new reference or NULL. */
PyObject *tdl_any_cancelled_error(struct tdl_state *st, PyObject *future);

/* future.result(): a new reference or NULL with an exception set. */
PyObject *tdl_any_result(struct tdl_state *st, PyObject *future);

/* future.set_result(), future.set_exception().  Returns 0 or -1. */
int tdl_any_set_result(struct tdl_state *st, PyObject *future, PyObject *result);
int tdl_any_set_exception(struct tdl_state *st, PyObject *future, PyObject *exception);

/* future.cancel(msg=msg), or future.cancel() if `msg` is NULL.  1, 0 or -1. */
int tdl_any_cancel(struct tdl_state *st, PyObject *future, PyObject *msg);

/* future.add_done_callback(callback); `context` for those that are known, or NULL.
 * Returns 0 or -1. */
int tdl_any_add_callback(struct tdl_state *st, PyObject *future, PyObject *callback,
                         PyObject *context);

/* future.remove_done_callback(callback).  Returns 0 or -1. */
int tdl_any_remove_callback(struct tdl_state *st, PyObject *future, PyObject *callback);

/* asyncio.future_add_to_awaited_by(), asyncio.future_discard_from_awaited_by(); nothing
 * before 3.14, nor if `task` is NULL.  Returns 0 or -1. */
int tdl_any_add_awaiter(struct tdl_state *st, PyObject *future, PyObject *task);
int tdl_any_drop_awaiter(struct tdl_state *st, PyObject *future, PyObject *task);

/* asyncio.ensure_future(op, loop=loop), `loop` NULL: none given.  `*create`, NULL at first, is
 * the loop's create_task(), kept for the next.  A new reference or NULL. */
PyObject *tdl_any_ensure(struct tdl_state *st, PyObject *op, PyObject *loop, PyObject **create);

#endif

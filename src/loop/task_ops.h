/* What the loop asks of native tasks, which lie above it: set in the module's state once
 * tasks/probe.c has found asyncio's to be laid out as expected.  The loop's thread. */
#ifndef TDL_LOOP_TASK_OPS_H
#define TDL_LOOP_TASK_OPS_H

#include "loop/loop.h"

struct tdl_task_ops {
    /* Make a step of `task`, in its context: the first or the next, or because `future`
     * is done; NULL: because it was only put off.  Exceptions are reported.
     * Returns 0, or -1 with SystemExit or KeyboardInterrupt set. */
    int (*run)(LoopObject *loop, PyObject *task, PyObject *future);
    /* The task that `callback`, when called in `context`, would make such a step of, with
     * one argument or none: borrowed, or NULL. */
    PyObject *(*task_of)(struct tdl_state *st, PyObject *callback, bool argument,
                         PyObject *context);
    /* A callback that does what run() does, of an entry that has a future or not: a new
     * reference or NULL.  `*context` gets where it runs, borrowed. */
    PyObject *(*callback_of)(struct tdl_state *st, PyObject *task, bool future,
                             PyObject **context);
    /* A task of `coro`; name and context may be NULL or None: a new reference or NULL. */
    PyObject *(*create)(LoopObject *loop, PyObject *coro, PyObject *name, PyObject *context);
    /* The same by calling the class with `loop` and the keywords given. */
    PyObject *(*create_by_call)(LoopObject *loop, PyObject *const *args, PyObject *kwnames);
    /* A future of the loop's, or NULL. */
    PyObject *(*create_future)(LoopObject *loop);
    /* Of exact LoopFutures, in the thread of their loop: whether it is done, or has been
     * cancelled; have it awaited by who yields it; and set_result(), which returns 0 or
     * -1. */
    bool (*is_done)(PyObject *future);
    bool (*is_cancelled)(PyObject *future);
    void (*set_blocking)(PyObject *future);
    int (*set_result)(struct tdl_state *st, PyObject *future, PyObject *result);
};

/* schedule.c: have run() called for `task` in the next turn, as call_soon() would.
 * Returns 0 or -1 with an exception set. */
int tdl_loop_soon_task(LoopObject *loop, PyObject *task, PyObject *future);

#endif

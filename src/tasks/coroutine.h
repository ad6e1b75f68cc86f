/* What native functions for coroutines return, sleep() for one: a coroutine in all that
 * asyncio asks of one, without a frame.
 *
 * It does nothing before it is awaited.  Then its operation is done at once, or waits for
 * a future, or for the next turn, or hands over to a coroutine of asyncio's own, which
 * serves whatever is out of the ordinary.  One that is dropped while it waits gives up as
 * a coroutine would: GeneratorExit.  The thread that awaits it. */
#ifndef TDL_TASKS_COROUTINE_H
#define TDL_TASKS_COROUTINE_H

#include "loop/task_ops.h"
#include "tasks/awaited.h"

typedef struct CoroutineObject CoroutineObject;

/* What comes of a step. */
enum tdl_go {
    TDL_GO_ERROR = -1, /* an exception is set */
    TDL_GO_WAIT,       /* for `future`, which is set */
    TDL_GO_TURN,       /* for the next turn of the loop */
    TDL_GO_INNER,      /* go on as `inner`, with an exception that is set thrown in */
    TDL_GO_DONE,       /* `*result` is a new reference */
};

/* How an operation goes on. */
struct tdl_coroutine_op {
    const char *name, *qualname;
    /* It is awaited for the first time. */
    enum tdl_go (*start)(CoroutineObject *self, PyObject **result);
    /* `future` is done without an exception, or the turn is over. */
    enum tdl_go (*wake)(CoroutineObject *self, PyObject **result);
    /* An exception is set: it was thrown in, or `future` has it.  NULL: it is raised. */
    enum tdl_go (*fail)(CoroutineObject *self, PyObject **result);
    bool returns_owner; /* which then may live until the next StopIteration is raised */
    /* The coroutine that tdl_coroutine_enter() was given has returned `*result`, which is a
     * new reference, or raised what is set.  NULL where that is not called. */
    enum tdl_go (*leave)(CoroutineObject *self, PyObject **result);
};

struct CoroutineObject {
    PyObject_HEAD
    struct tdl_state *st;
    const struct tdl_coroutine_op *op;
    PyObject *owner; /* what it is about, strong, or NULL; as the next */
    PyObject *values[2];
    PyObject *handle; /* strong, or NULL */
    PyObject *future; /* strong, or NULL */
    PyObject *inner;  /* strong, or NULL */
    uint8_t stage;    /* see coroutine.c */
    bool within;      /* the operation goes on when `inner` has ended */
    bool expired;     /* the operation's own, as the next */
    int number;
};

/* A new one, with references of its own to what is not NULL. */
PyObject *tdl_coroutine_new(struct tdl_state *st, const struct tdl_coroutine_op *op,
                            PyObject *owner, PyObject *first, PyObject *second);

/* Go on as `made`, a coroutine that has not been started: takes the reference; NULL: an
 * exception is set.  Returns what a step returns then. */
enum tdl_go tdl_coroutine_become(CoroutineObject *self, PyObject *made);

/* Go on when `made` has ended: takes the reference; NULL: an exception is set.  Returns what
 * a step returns then. */
enum tdl_go tdl_coroutine_enter(CoroutineObject *self, PyObject *made);

/* A callable that is `function` when it is called, and `stock`, a function of asyncio's,
 * in whatever else is asked of it, so that inspect and unittest.mock take it for a coroutine
 * function with that signature.  A new reference or NULL. */
PyObject *tdl_coroutine_function_new(struct tdl_state *st, PyObject *stock,
                                     vectorcallfunc function);

/* What `function` gets of its callable, borrowed. */
struct tdl_state *tdl_coroutine_function_state(PyObject *callable);
PyObject *tdl_coroutine_function_stock(PyObject *callable);

/* `loop` as one of ours that native code may use without its methods: not in debug mode, no
 * method replaced, native tasks; borrowed, or NULL. */
LoopObject *tdl_loop_if_untouched(struct tdl_state *st, PyObject *loop);

/* The running loop as such.  A new reference; NULL: it is not that, or none runs. */
LoopObject *tdl_coroutine_loop(struct tdl_state *st);

/* The task that runs on `loop`, the running one: a new reference.  NULL, without an
 * exception: none, or one of another kind, or asyncio's function was replaced, or tasks are not native. */
PyObject *tdl_coroutine_task(struct tdl_state *st, PyObject *loop);

/* Module exec: add the types.  Each returns 0 or -1 with an exception set. */
int tdl_coroutine_exec(PyObject *module);
int tdl_coroutine_function_exec(PyObject *module);

#endif

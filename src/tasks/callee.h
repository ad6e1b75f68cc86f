/* Callees: what gather(), wait() and the like put among the callbacks of futures.
 *
 * On a loop of ours one is run straight from the ready queue, like a task's step: neither
 * a handle nor a Python frame comes with it, nor a context, since it runs no code of the
 * program's while all futures are asyncio's or ours.  Other loops and futures call it as any
 * callable.  The loop's thread. */
#ifndef TDL_TASKS_CALLEE_H
#define TDL_TASKS_CALLEE_H

#include "loop/loop.h"

typedef struct CalleeObject CalleeObject;

struct tdl_callee_kind {
    const char *name, *qualname; /* what repr() of futures shows */
    /* `future` is done; NULL if it was called without one.  Returns 0 or -1. */
    int (*done)(CalleeObject *self, PyObject *future);
};

/* What an operation keeps; which it uses, and for what, is its own affair. */
struct CalleeObject {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    struct tdl_state *st;
    const struct tdl_callee_kind *kind;
    PyObject *context; /* strong; a copy of the one in which it was made */
    PyObject *outer;   /* strong, or NULL: what is finished when it is time */
    PyObject *members; /* strong, or NULL: what is waited for */
    PyObject *task;    /* strong, or NULL: who waits, where futures know that */
    PyObject *timer;   /* strong, or NULL: a handle to be cancelled */
    Py_ssize_t left;   /* members that are not done yet */
    int mode;
};

/* A new one of `kind` with nothing but a context, or NULL. */
CalleeObject *tdl_callee_new(struct tdl_state *st, const struct tdl_callee_kind *kind);

/* Run it, as an entry of the ready queue.
 * Returns 0, or -1 with SystemExit or KeyboardInterrupt set. */
int tdl_callee_run(LoopObject *loop, PyObject *callee, PyObject *future);

/* Whether `op` is one. */
static inline bool
tdl_callee_check(const struct tdl_state *st, PyObject *op)
{
    return Py_IS_TYPE(op, st->objects.Callee);
}

/* Returns 0 or -1 with an exception set. */
int tdl_callee_exec(PyObject *module);

#endif

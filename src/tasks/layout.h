/* asyncio's own C futures and tasks, as they lie in memory.
 *
 * Native tasks and futures are subclasses without fields of their own: everything is
 * where asyncio's code looks for it, so any of its methods may be called on them at any
 * time, and native code may step asyncio's own tasks.  The structs are those of the
 * interpreter that this is compiled for; whether the one that runs has the same is found
 * out at import (tasks/probe.c), and without that nothing here is used.
 *
 * Fields are changed by the loop's thread, inside the object's critical section. */
#ifndef TDL_TASKS_LAYOUT_H
#define TDL_TASKS_LAYOUT_H

#include "py/state.h"

enum { TDL_AIO_PENDING, TDL_AIO_CANCELLED, TDL_AIO_FINISHED };

#if TDL_AIO_AWAITED_BY
#define TDL_FUTURE_AWAITED_BY PyObject *awaited_by; /* a task, a set of them, or NULL */
#define TDL_FUTURE_MARKS char is_task, awaited_by_is_set;
#else
#define TDL_FUTURE_AWAITED_BY
#define TDL_FUTURE_MARKS
#endif

#if TDL_AIO_OWN_DICT
#define TDL_FUTURE_TAIL \
    int state;          \
    int log_tb;         \
    int blocking;       \
    PyObject *dict;     \
    PyObject *weakrefs; \
    PyObject *cancelled_exc;
#else
#define TDL_FUTURE_TAIL      \
    PyObject *cancelled_exc; \
    TDL_FUTURE_AWAITED_BY    \
    int state;               \
    TDL_FUTURE_MARKS         \
    unsigned log_tb : 1;     \
    unsigned blocking : 1;
#endif

#define TDL_FUTURE_FIELDS   \
    PyObject_HEAD           \
    PyObject *loop;         \
    PyObject *callback0;    \
    PyObject *context0;     \
    PyObject *callbacks;    \
    PyObject *exception;    \
    PyObject *exception_tb; \
    PyObject *result;       \
    PyObject *source_tb;    \
    PyObject *cancel_msg;   \
    TDL_FUTURE_TAIL

struct tdl_aio_future {
    TDL_FUTURE_FIELDS
};

struct tdl_aio_links {
    struct tdl_aio_links *next;
    struct tdl_aio_links *prev;
};

struct tdl_aio_task {
    TDL_FUTURE_FIELDS
#if TDL_AIO_OWN_DICT
    PyObject *fut_waiter;
    PyObject *coro;
    PyObject *name;
    PyObject *context;
    int must_cancel;
    int log_destroy_pending;
    int cancels;
#else
    unsigned must_cancel : 1;
    unsigned log_destroy_pending : 1;
    int cancels;
    PyObject *fut_waiter;
    PyObject *coro;
    PyObject *name;
    PyObject *context;
#if TDL_AIO_TASK_LINKS
    struct tdl_aio_links links;
#if TDL_FREE_THREADED
    uintptr_t thread;
#endif
#endif
#endif
};

static inline struct tdl_aio_future *
tdl_awaited_of(PyObject *op)
{
    return (struct tdl_aio_future *)op;
}

static inline struct tdl_aio_task *
tdl_task_of(PyObject *op)
{
    return (struct tdl_aio_task *)op;
}

/* Whether `op` is a task, asyncio's or ours, whose methods are what they are known to be. */
static inline bool
tdl_task_check(const struct tdl_state *st, PyObject *op)
{
    return Py_IS_TYPE(op, st->objects.Task) ||
           Py_IS_TYPE(op, (PyTypeObject *)st->objects.aio_task);
}

/* The same of tasks and futures; but for cancel(), which is gather()'s own. */
static inline bool
tdl_awaited_check(const struct tdl_state *st, PyObject *op)
{
    return tdl_task_check(st, op) || Py_IS_TYPE(op, st->objects.LoopFuture) ||
           Py_IS_TYPE(op, (PyTypeObject *)st->objects.aio_future) ||
           Py_IS_TYPE(op, st->objects.Gathering);
}

/* Whether `op` is an instance of asyncio's C classes or of a subclass. */
static inline bool
tdl_awaited_check_subclass(const struct tdl_state *st, PyObject *op)
{
    return PyObject_TypeCheck(op, (PyTypeObject *)st->objects.aio_task) ||
           PyObject_TypeCheck(op, (PyTypeObject *)st->objects.aio_future);
}

#endif

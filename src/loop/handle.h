/* Handles: real asyncio.Handle and TimerHandle subclasses with native fields.
 *
 * The base classes keep their slots, which stay empty; what they would hold is
 * answered from the native part, which lies behind the larger of the two bases.
 *
 * The loop's thread makes and runs handles; cancel() may come from any thread:
 * callback and arguments are given up under the handle's critical section. */
#ifndef TDL_LOOP_HANDLE_H
#define TDL_LOOP_HANDLE_H

#include <stdbool.h>

#include "core/heap.h"
#include "core/inbox.h"
#include "py/state.h"

enum { TDL_HANDLE_INLINE = 3 };

/* The native part. */
struct tdl_handle {
    struct tdl_item item;   /* while posted from another thread */
    struct tdl_timer timer; /* of a TimerHandle */
    PyObject *loop;         /* strong; fixed after init */
    PyObject *context;      /* strong; fixed after init */
    PyObject *callback;     /* NULL once cancelled; critical section */
    PyObject *args;         /* tuple, or NULL: they are in argv; critical section */
    PyObject *argv[1 + TDL_HANDLE_INLINE]; /* [0] is vectorcall's; critical section */
    PyObject *traceback;                   /* where it was made, in debug mode; or NULL */
    PyObject *repr; /* what it was before cancel(), in debug mode; or NULL */
    PyObject *when; /* of a TimerHandle: loop time in seconds, as given */
    PyObject *lock; /* of a ThreadSafeHandle: held while it runs; or NULL */
    uint8_t nargs;  /* entries of argv */
    _Atomic bool cancelled;
};

/* The native part of a handle that tdl_handle_check() accepts. */
static inline struct tdl_handle *
tdl_handle_part(struct tdl_state *st, PyObject *op)
{
    return (struct tdl_handle *)((char *)op + st->handle_offset);
}

static inline PyObject *
tdl_handle_of_item(struct tdl_state *st, struct tdl_item *item)
{
    return (PyObject *)((char *)item - offsetof(struct tdl_handle, item) - st->handle_offset);
}

static inline PyObject *
tdl_handle_of_timer(struct tdl_state *st, struct tdl_timer *timer)
{
    return (PyObject *)((char *)timer - offsetof(struct tdl_handle, timer) - st->handle_offset);
}

static inline bool
tdl_handle_check(struct tdl_state *st, PyObject *op)
{
    return Py_IS_TYPE(op, st->objects.Handle) || Py_IS_TYPE(op, st->objects.TimerHandle) ||
           Py_IS_TYPE(op, st->objects.ThreadSafeHandle);
}

/* What a handle is made for. */
enum tdl_handle_kind { TDL_HANDLE_SOON, TDL_HANDLE_THREADSAFE, TDL_HANDLE_TIMER };

/* A handle that will call callback(*args) in `context` (NULL: a copy of the
 * current one).  `when`: of a TDL_HANDLE_TIMER.  `debug`: note where it is made.
 * Returns a new reference or NULL. */
PyObject *tdl_handle_new(struct tdl_state *st, enum tdl_handle_kind kind, PyObject *loop,
                         PyObject *callback, PyObject *const *args, Py_ssize_t nargs,
                         PyObject *context, PyObject *when, bool debug);

/* Call it, unless it was cancelled.  An exception goes to the loop's exception
 * handler; SystemExit and KeyboardInterrupt are left set.
 * Returns 0, or -1 with an exception set. */
int tdl_handle_run(struct tdl_state *st, PyObject *handle);

/* handle.cancel(), of whatever class.  Returns 0 or -1 with an exception set. */
int tdl_handle_cancel(struct tdl_state *st, PyObject *handle);

/* Module exec for the loop's part of the state: needs asyncio, so it is run when
 * the first loop is made.  Returns 0 or -1 with an exception set. */
int tdl_handle_exec(PyObject *module);

#endif

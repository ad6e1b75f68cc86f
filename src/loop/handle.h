/* Handles: real asyncio.Handle and TimerHandle subclasses with native fields.
 *
 * The slots of the base classes are never used as such: getters answer for
 * them, and the native part lies over them where they are laid out as expected
 * (elsewhere behind them).  What only some handles have lies behind that:
 *
 *     Handle            native part
 *     TimerHandle       native part, struct tdl_handle_timer
 *     ThreadSafeHandle  native part, struct tdl_handle_guard   (3.14 and later)
 *
 * The loop's thread makes and runs handles; cancel() may come from any thread:
 * callback and arguments are given up under the handle's critical section. */
#ifndef TDL_LOOP_HANDLE_H
#define TDL_LOOP_HANDLE_H

#include <stdbool.h>

#include "core/heap.h"
#include "core/inbox.h"
#include "core/lock.h"
#include "py/state.h"

/* Arguments beside the callback; more go into a tuple. */
enum { TDL_HANDLE_INLINE = 2, TDL_HANDLE_TUPLE = 255 };

/* The native part.  The comments name the base's slot that each field lies over:
 * fields that are no objects lie over those that nobody reads by other ways. */
struct tdl_handle {
    PyObject *first;      /* _args: first argument, or a tuple of all; critical section */
    PyObject *callback;   /* _callback: NULL once cancelled; critical section */
    PyObject *second;     /* _cancelled: second argument, or `notes`; critical section */
    PyObject *context;    /* _context: strong; replaced only while `shared` */
    PyObject *loop;       /* _loop: a LoopObject, strong; fixed after init */
    struct tdl_item item; /* _repr: while posted from another thread */
    uint8_t nargs;        /* _source_traceback: 0 to 2, or TDL_HANDLE_TUPLE; critical section */
    uint8_t kind;         /* an enum tdl_handle_kind; fixed after init */
    bool debug;           /* `second` is a list of notes; fixed after init */
    _Atomic bool cancelled;
    bool shared; /* `context` is a snapshot (loop/context.h); with the GIL */
};

/* What debug mode keeps of a handle: a list of these. */
enum { TDL_HANDLE_TRACEBACK = 0, TDL_HANDLE_REPR = 1 };

/* A time of the loop's clock, in seconds. */
struct tdl_when {
    double seconds;
    PyObject *given; /* what Python code gave; or NULL: `seconds` says it all */
};

struct tdl_handle_timer {
    struct tdl_timer timer;
    struct tdl_when when; /* strong; fixed after init */
};

/* Held while the handle runs: who cancels it from another thread waits for that.
 * Recursive. */
struct tdl_handle_guard {
    struct tdl_lock lock;
    unsigned depth;              /* of the holder */
    _Atomic unsigned long owner; /* thread ident, 0: nobody */
};

/* The native part of a handle that tdl_handle_check() accepts. */
static inline struct tdl_handle *
tdl_handle_part(const struct tdl_state *st, PyObject *op)
{
    return (struct tdl_handle *)((char *)op + st->handle_offset);
}

/* The same of a TimerHandle. */
static inline struct tdl_handle_timer *
tdl_handle_timer_part(const struct tdl_state *st, PyObject *op)
{
    return (struct tdl_handle_timer *)((char *)op + st->handle_tail);
}

/* The same of a ThreadSafeHandle. */
static inline struct tdl_handle_guard *
tdl_handle_guard_part(const struct tdl_state *st, PyObject *op)
{
    return (struct tdl_handle_guard *)((char *)op + st->handle_tail);
}

static inline PyObject *
tdl_handle_of_item(const struct tdl_state *st, struct tdl_item *item)
{
    return (PyObject *)((char *)item - offsetof(struct tdl_handle, item) - st->handle_offset);
}

static inline PyObject *
tdl_handle_of_timer(const struct tdl_state *st, struct tdl_timer *timer)
{
    return (PyObject *)((char *)timer - offsetof(struct tdl_handle_timer, timer) -
                        st->handle_tail);
}

static inline bool
tdl_handle_check(const struct tdl_state *st, PyObject *op)
{
    return Py_IS_TYPE(op, st->objects.Handle) || Py_IS_TYPE(op, st->objects.TimerHandle) ||
           Py_IS_TYPE(op, st->objects.ThreadSafeHandle);
}

/* What a handle is made for. */
enum tdl_handle_kind { TDL_HANDLE_SOON, TDL_HANDLE_THREADSAFE, TDL_HANDLE_TIMER };

/* What the methods that schedule take: callback, *args, context=None. Borrowed. */
struct tdl_request {
    PyObject *callback;
    PyObject *const *args;
    Py_ssize_t nargs;
    PyObject *context; /* or NULL: a copy of the current one */
    PyObject *first;   /* what comes before the callback; see tdl_loop_parse_request() */
};

/* A handle of `loop`, a LoopObject, for `request`.  `when`: of a TDL_HANDLE_TIMER.
 * `debug`: note where it is made.  Returns a new reference or NULL. */
PyObject *tdl_handle_new(struct tdl_state *st, enum tdl_handle_kind kind, PyObject *loop,
                         const struct tdl_request *request, const struct tdl_when *when,
                         bool debug);

/* Call it, unless it was cancelled.  An exception goes to the loop's exception
 * handler; SystemExit and KeyboardInterrupt are left set.
 * Returns 0, or -1 with an exception set. */
int tdl_handle_run(struct tdl_state *st, PyObject *handle);

/* Leave `context` after a call whose exception is set, and stays.  Returns -1. */
int tdl_handle_exit_failed(PyObject *context);

/* Leave `context` after a call that returned `value`, which is dropped; NULL: the
 * call's exception is set, and stays.  Returns 0 or -1 with an exception set. */
static inline int
tdl_handle_exit_context(PyObject *context, PyObject *value)
{
    if (value == NULL)
        return tdl_handle_exit_failed(context);
    Py_DECREF(value);
    return PyContext_Exit(context);
}

/* Hand the exception that is set to the loop's exception handler, as raised by
 * `handle`.  Returns 0, or -1 with SystemExit or KeyboardInterrupt still set. */
int tdl_handle_report(struct tdl_state *st, PyObject *handle);

/* handle.cancel(), of whatever class.  Returns 0 or -1 with an exception set. */
int tdl_handle_cancel(struct tdl_state *st, PyObject *handle);

/* Let the collector know of an object that is a handle of ours. */
void tdl_handle_track(struct tdl_state *st, PyObject *handle);

/* Drop the loop's reference to a handle.
 *
 * With a GIL, a handle is not tracked by the garbage collector while only the loop
 * has it: most never are. The loop visits what such a handle refers to as if it were
 * its own; here the collector takes over if somebody has kept the handle. */
static inline void
tdl_handle_release(struct tdl_state *st, PyObject *handle)
{
    if (!TDL_FREE_THREADED && Py_REFCNT(handle) > 1)
        tdl_handle_track(st, handle);
    Py_DECREF(handle);
}

/* For traversals of what holds handles: visit one. */
int tdl_handle_visit(struct tdl_state *st, PyObject *handle, visitproc visit, void *arg);

/* The context that `h` runs in, its own from now on: borrowed, or NULL with an
 * exception set. */
PyObject *tdl_handle_context(struct tdl_handle *h);

/* Give up callback and arguments. */
void tdl_handle_drop_call(PyObject *op, struct tdl_handle *h);

/* The arguments as a tuple for Python code to look at, None once cancelled; a new
 * reference or NULL.  Inside the handle's critical section. */
PyObject *tdl_handle_args(struct tdl_handle *h);

/* handle_guard.c: take and release the guard of a ThreadSafeHandle; of others: nothing.
 * Blocks, without the GIL, while another thread holds it. */
void tdl_handle_lock_guard(struct tdl_handle_guard *guard);
void tdl_handle_unlock_guard(struct tdl_handle_guard *guard);

static inline void
tdl_handle_lock(struct tdl_state *st, PyObject *op)
{
    if (tdl_handle_part(st, op)->kind == TDL_HANDLE_THREADSAFE &&
        st->objects.ThreadSafeHandle != NULL)
        tdl_handle_lock_guard(tdl_handle_guard_part(st, op));
}

static inline void
tdl_handle_unlock(struct tdl_state *st, PyObject *op)
{
    if (tdl_handle_part(st, op)->kind == TDL_HANDLE_THREADSAFE &&
        st->objects.ThreadSafeHandle != NULL)
        tdl_handle_unlock_guard(tdl_handle_guard_part(st, op));
}

/* handle_types.c: make the types. It needs asyncio, so it is run when the first loop
 * is made.  Returns 0 or -1 with an exception set. */
int tdl_handle_exec(PyObject *module);

#endif

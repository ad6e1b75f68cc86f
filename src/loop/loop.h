/* LoopBase: the native side of treadle.EventLoop.
 *
 * The loop's thread owns everything but the inbox and the wakeup, which are for
 * other threads, and `stopping`.  Programs that schedule from another thread all
 * the same are wrong, but must not corrupt memory: the ready queue and the heap
 * change under the object's critical section.  What is not native is inherited from
 * asyncio.SelectorEventLoop. */
#ifndef TDL_LOOP_LOOP_H
#define TDL_LOOP_LOOP_H

#include "core/heap.h"
#include "core/poller.h"
#include "core/port.h"
#include "core/ring.h"
#include "core/spin.h"
#include "future/landing.h"
#include "loop/address.h"
#include "loop/context.h"
#include "loop/handle.h"
#include "loop/spare.h"
#include "loop/stats.h"

/* What the wakeup is registered as with the poller; descriptors are not negative. */
#define TDL_LOOP_WAKEUP ((void *)(intptr_t)-1)

/* Room for a datagram of any protocol of the internet family. */
enum { TDL_LOOP_SCRATCH = 64 * 1024 };

struct tdl_intake;
struct tdl_io;
struct tdl_transport;

/* Who is to be called when a descriptor is ready; found by its number. */
struct tdl_watch {
    PyObject *reader; /* handle, strong; NULL: not watched */
    PyObject *writer;
    struct tdl_io *io; /* or native code (loop/io.h); not owned */
};

typedef struct LoopObject {
    PyObject_HEAD
    struct tdl_state *st;
    struct tdl_ring ready;  /* strong; see loop/ready.h */
    size_t more;            /* places of the ready queue beside the first of each entry */
    struct tdl_heap timers; /* handles' timers, strong */
    struct tdl_port
        *port; /* one reference; NULL until open.  Any thread posts handles' items, strong */
    struct tdl_landing landing;
    struct tdl_spin spin; /* how recent waits for results went */
    struct tdl_poller poller;
    struct tdl_contexts contexts;
    struct tdl_watch *watches; /* indexed by descriptor */
    int nwatches;
    struct tdl_transport *held; /* transports that hold writes back; strong, a list */
    bool busy;                  /* several descriptors were ready, and each takes long */
    int batch;                  /* descriptors since the last poll; 0: too few to learn from */
    int64_t batch_start;        /* ns; when they were ready */
    int64_t batch_cost;         /* ns; what one of them takes of late */
    bool holds;                 /* a turn is being made that ends with writing those */
    char *scratch; /* TDL_LOOP_SCRATCH bytes for what is received, or NULL: not yet */
    struct tdl_spares spares;      /* to receive into */
    struct tdl_intake *intake;     /* see loop/datagram_receive.c; or NULL: not yet */
    struct tdl_address_cache peer; /* of sock_recvfrom() and sock_sendto() */
    PyObject *stock_transports;    /* dict, strong; NULL until looked for */
    struct tdl_loop_stats stats;
    PyObject *task_factory;          /* strong; or NULL */
    PyObject *default_executor;      /* strong; or NULL */
    _Atomic bool executor_shut_down; /* shutdown_default_executor() was called */
    PyObject *loop_kwargs;           /* {'loop': this one}, or NULL */
    unsigned writers_expected;       /* calls of create_future() to look at; streams/adopt.c */
    unsigned unpolled;               /* turns since the poller was last asked */
    _Atomic unsigned long thread;    /* ident of the thread that runs it, 0: none */
    _Atomic(PyThreadState *) tstate; /* that thread's; borrowed */
    _Atomic bool polling;            /* in a poll that may block */
    PyObject *watchdog;              /* strong; or NULL */
    bool open;                       /* _open() was called, _close_native() was not */
    bool behind;      /* when the poller was asked, callbacks were ready: they come first */
    bool custom_time; /* somebody has replaced time() */
    bool plain;       /* nobody has replaced call_soon() */
    bool untouched;   /* nor call_at(), call_later(), create_future() or create_task() */
    _Atomic bool debug;
    bool inherited;                  /* by a forked child; see loop/fork.h */
    struct tdl_ring inherited_ready; /* what was ready in the parent; strong */
    size_t inherited_more;           /* places in it, as `more` */
    struct LoopObject *listed_next;  /* list of open loops; tdl_state.loops_lock */
    struct LoopObject **listed_prev; /* NULL: not on it */
    _Atomic bool closed;
    _Atomic bool stopping;
} LoopObject;

/* The loop's clock in ns: its own, or the one that replaced it.
 * Returns 0 or -1 with an exception set. */
int tdl_loop_now(LoopObject *loop, int64_t *now);

/* Queue what other threads have posted, and leave `mark` in the inbox.
 * Returns 0 or -1 with MemoryError set. */
int tdl_loop_take_posted(LoopObject *loop, enum tdl_inbox_mark mark);

/* Without a GIL, refuse a call from another thread than the one that runs the loop: it
 * would corrupt what is the loop's alone.  `loop` may be NULL.
 * Returns 0, or -1 with RuntimeError set. */
static inline int
tdl_loop_check_thread(const LoopObject *loop)
{
    if (!TDL_FREE_THREADED || loop == NULL || loop->thread == 0 ||
        loop->thread == PyThread_get_thread_ident())
        return 0;
    PyErr_SetString(PyExc_RuntimeError, "Non-thread-safe operation invoked on an event loop "
                                        "other than the current one");
    return -1;
}

/* RuntimeError for a loop that is closed, or was never opened.  Returns -1. */
int tdl_loop_raise_closed(LoopObject *loop);

/* Returns 0, or -1 with RuntimeError set if the loop is closed. */
static inline int
tdl_loop_check_closed(LoopObject *loop)
{
    return !loop->closed && loop->open ? 0 : tdl_loop_raise_closed(loop);
}

/* Make sure another thread's post is seen.  Any thread. */
void tdl_loop_wake(LoopObject *loop);

/* request.c: parse the arguments of `method`: `first` unless that is NULL, callback, *args,
 * context=None; all but *args by keyword as well.  Returns 0 or -1 with TypeError set. */
int tdl_loop_parse_request(struct tdl_state *st, const char *method, PyObject *const *args,
                           Py_ssize_t nargs, PyObject *kwnames, const char *first,
                           struct tdl_request *request);

/* The same without `first`. */
static inline int
tdl_loop_parse_callback(struct tdl_state *st, const char *method, PyObject *const *args,
                        Py_ssize_t nargs, PyObject *kwnames, struct tdl_request *request)
{
    if (nargs == 0 || kwnames != NULL)
        return tdl_loop_parse_request(st, method, args, nargs, kwnames, NULL, request);
    *request = (struct tdl_request){.callback = args[0], .args = args + 1, .nargs = nargs - 1};
    return 0;
}

/* A handle for `request`; `kind` and `when` as for tdl_handle_new().
 * Returns a new reference or NULL. */
PyObject *tdl_loop_make_handle(LoopObject *loop, enum tdl_handle_kind kind,
                               const struct tdl_request *request, const struct tdl_when *when);

/* As call_soon(callback, *args, context=context), for native code, which has no use
 * for the handle.  `context` NULL: a copy of the current one.
 * Returns 0 or -1 with an exception set. */
int tdl_loop_soon(LoopObject *loop, PyObject *callback, PyObject *const *args, Py_ssize_t nargs,
                  PyObject *context);

/* call_later(delay, ...) for native code, of a loop that is not in debug mode: `delay` is
 * whatever can be added to a float.  Returns the handle, a new reference, or NULL. */
PyObject *tdl_loop_call_later(LoopObject *loop, PyObject *delay,
                              const struct tdl_request *request);

/* The same of call_at(when, ...). */
PyObject *tdl_loop_call_at(LoopObject *loop, PyObject *when, const struct tdl_request *request);

/* The loop's scratch buffer: nobody's between two calls into Python.
 * Returns NULL with MemoryError set. */
char *tdl_loop_scratch(LoopObject *loop);

/* A new asyncio.Future of this loop, or NULL. */
PyObject *tdl_loop_create_future(LoopObject *loop);

/* loop.create_future(), of whatever loop: a new reference or NULL. */
PyObject *tdl_loop_any_future(struct tdl_state *st, PyObject *loop);

/* loop.create_task() as METH_FASTCALL | METH_KEYWORDS. */
PyObject *tdl_loop_create_task(LoopObject *loop, PyObject *const *args, Py_ssize_t nargs,
                               PyObject *kwnames);

/* loop._timer_handle_cancelled(handle).  Returns 0 or -1 with an exception set. */
int tdl_loop_timer_cancelled(LoopObject *loop, PyObject *handle);

/* loop_attributes.c: the attributes. */
extern PyGetSetDef tdl_loop_attributes[];

/* loop_views.c, schedule.c, create.c, executor.c, watch.c, run.c, sock.c, sock_connect.c,
 * sock_sendfile.c, datagram.c: the methods. */
extern PyMethodDef tdl_loop_views_methods[];
extern PyMethodDef tdl_loop_create_methods[];
extern PyMethodDef tdl_loop_executor_methods[];
extern PyMethodDef tdl_loop_schedule_methods[];
extern PyMethodDef tdl_loop_watch_methods[];
extern PyMethodDef tdl_loop_run_methods[];
extern PyMethodDef tdl_loop_sock_methods[];
extern PyMethodDef tdl_loop_sock_connect_methods[];
extern PyMethodDef tdl_loop_sock_sendfile_methods[];
extern PyMethodDef tdl_loop_datagram_methods[];

/* Module exec: add the type and the functions.  Returns 0 or -1 with an exception. */
int tdl_loop_exec(PyObject *module);

#endif

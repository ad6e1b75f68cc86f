/* The ready queue: what runs in the next turn, in order.
 *
 * An entry is a handle, a bare call, or a step of a task: asyncio's own C code drops what
 * call_soon() returns, so its calls need no handle. A bare call takes three places of the
 * ring, a step one, or two if a future comes with it; the lowest bits of the first
 * pointer tell which it is.
 *
 * The loop's thread; the ring changes under the loop's critical section, so that
 * programs which schedule from another thread are wrong, but corrupt nothing. */
#ifndef TDL_LOOP_READY_H
#define TDL_LOOP_READY_H

#include "loop/loop.h"

/* An entry taken out; the references are the taker's. */
struct tdl_ready {
    PyObject *handle;   /* or NULL: a bare call or a step */
    PyObject *task;     /* to be stepped, or NULL; `argument` is then the future or NULL */
    PyObject *callback; /* of a bare call */
    PyObject *argument; /* its argument, or None: called without one */
    PyObject *context;  /* where it runs */
    unsigned places;    /* of the ring that it took */
};

enum { TDL_READY_BARE_PLACES = 3 };

/* How many entries are queued. */
static inline size_t
tdl_ready_count(const LoopObject *loop)
{
    return tdl_ring_count(&loop->ready) - loop->more;
}

/* Make sure that the next `places` pushes of a handle succeed.
 * Returns 0 or -1 with MemoryError set. */
int tdl_ready_reserve(LoopObject *loop, size_t places);

/* The rest of a push that failed with `error`.  Returns -1. */
int tdl_ready_push_failed(LoopObject *loop, PyObject *handle, int error);

/* Queue a handle.
 * Owns: takes a reference of the caller's, even on failure.
 * Returns 0 or -1 with MemoryError set. */
static inline int
tdl_ready_push_steal(LoopObject *loop, PyObject *handle)
{
    int r;
    TDL_CRITICAL_BEGIN(loop);
    r = tdl_ring_push(&loop->ready, handle);
    TDL_CRITICAL_END();
    return r == 0 ? 0 : tdl_ready_push_failed(loop, handle, r);
}

/* The same, with a reference of its own. */
static inline int
tdl_ready_push(LoopObject *loop, PyObject *handle)
{
    return tdl_ready_push_steal(loop, Py_NewRef(handle));
}

/* Queue a bare call of `callback`, with `argument` unless that is NULL.
 * Returns 0 or -1 with MemoryError set. */
int tdl_ready_push_bare(LoopObject *loop, PyObject *callback, PyObject *argument,
                        PyObject *context);

/* Queue a step of `task`, because of `future` unless that is NULL; see loop/task_ops.h.
 * Returns 0 or -1 with MemoryError set. */
int tdl_ready_push_task(LoopObject *loop, PyObject *task, PyObject *future);

/* Take the first entry.  Returns false if there is none. */
bool tdl_ready_pop(LoopObject *loop, struct tdl_ready *entry);

/* Run an entry and drop its references.  Returns 0 or -1 with an exception set. */
int tdl_ready_run(LoopObject *loop, struct tdl_ready *entry);

/* The entry as a handle: a new reference or NULL. Drops the entry's references. */
PyObject *tdl_ready_as_handle(LoopObject *loop, struct tdl_ready *entry);

/* The queue as a list of handles for Python to look at; bare calls get handles made
 * for the occasion.  A new reference or NULL. */
PyObject *tdl_ready_list(LoopObject *loop);

/* Drop all entries. */
void tdl_ready_clear(LoopObject *loop);

int tdl_ready_traverse(LoopObject *loop, visitproc visit, void *arg);

#endif

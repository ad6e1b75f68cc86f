/* map(): one job for all items, without a future for each.
 *
 * The batch is a ring of slots: an item goes in as an argument, a worker takes
 * it, the result stays in the slot (ordered) or moves to the ring of results
 * (unordered) until the iterator takes it.  Indices only grow; a slot is found
 * by the index modulo the size of the ring.
 *
 *     ordered:    head <= next <= tail, slots [head, tail) in use
 *     unordered:  next <= tail, slots [next, tail) hold arguments,
 *                 results [done_head, done_tail) wait to be taken
 *     always:     tail - yielded <= size
 */
#ifndef TDL_THREADS_MAP_H
#define TDL_THREADS_MAP_H

#include "core/lock.h"
#include "threads/pool.h"

enum tdl_slot_state { TDL_SLOT_WAITING, TDL_SLOT_RUNNING, TDL_SLOT_RESULT, TDL_SLOT_RAISED };

struct tdl_slot {
    PyObject *value; /* argument, then result or exception; strong */
    enum tdl_slot_state state;
};

typedef struct {
    PyObject_HEAD
    struct tdl_job job;
    struct tdl_state *st;
    PyObject *function;   /* fixed after init */
    PyObject *context;    /* NULL, or copied for each item; fixed after init */
    bool star;            /* an argument is a tuple of arguments; fixed after init */
    bool unordered;       /* fixed after init */
    struct tdl_lock lock; /* protects all below */
    struct tdl_slot *slots, *results;
    uint64_t size; /* of both rings; a power of two, or 0 */
    uint64_t next, tail, yielded;
    uint64_t done_tail;        /* unordered: results so far */
    struct tdl_waiter *waiter; /* of the iterator, while it waits */
} MapBatchObject;

/* A new, empty batch.  Returns a new reference or NULL. */
MapBatchObject *tdl_map_batch_new(struct tdl_state *st, PyObject *function, bool star,
                                  bool unordered, PyObject *context, uint32_t chunksize,
                                  int32_t priority);

/* Append an item.  Owns: takes `argument`.  Returns 0 or -1 with MemoryError. */
int tdl_map_batch_append(MapBatchObject *batch, PyObject *argument);

/* Take the next result.  Returns 1 (`*value`: a new reference, `*raised`: it is
 * an exception), 0 if it is not there yet (`waiter`, if not NULL, will be fired
 * when it is), -1 if there is nothing to wait for. */
int tdl_map_batch_take(MapBatchObject *batch, struct tdl_waiter *waiter, PyObject **value,
                       bool *raised);

/* Nobody waits any more. */
void tdl_map_batch_forget_waiter(MapBatchObject *batch);

/* Run one item that nobody has taken on this thread.  Returns whether there was one. */
bool tdl_map_batch_run_one(MapBatchObject *batch, struct tdl_fire *fire);

/* Drop all items that nobody has taken. */
void tdl_map_batch_cancel(MapBatchObject *batch);

/* Module exec: add the types.  Returns 0 or -1 with an exception set. */
int tdl_map_batch_exec(PyObject *module);
int tdl_map_iterator_exec(PyObject *module);

/* An iterator over function(*items) for the items of `iterables` (a tuple),
 * whose first jobs are queued when it returns.  See ThreadPoolBase._map(). */
struct tdl_map_options {
    PyObject *timeout;     /* seconds, NULL or None */
    PyObject *context;     /* or NULL */
    Py_ssize_t buffersize; /* 0: all items are taken at once */
    uint32_t chunksize;
    int32_t priority;
    bool unordered;
};

/* `executor` starts threads.  Returns a new reference or NULL with an exception. */
PyObject *tdl_map_new(WorkQueueObject *queue, PyObject *executor, PyObject *function,
                      PyObject *iterables, const struct tdl_map_options *options);

#endif

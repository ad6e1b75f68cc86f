/* map(): items go to workers in chunks, without a future for each.
 *
 * Chunks are cut when a worker has room for one, by whoever has the GIL then: the
 * thread that asks for results, else the dispatcher.  So their size can follow what
 * an item takes: about a millisecond's worth, unless the caller has said how many.
 *
 * A chunk is one task and one object; its outcome is a list of values and, behind
 * them, perhaps an exception, which ends the iterator.  The batch is what chunks and
 * iterator share.  Everything here needs a thread state; the fields of a batch and
 * its chunks are protected by the batch's critical section, except where said. */
#ifndef TDL_PROCS_MAP_H
#define TDL_PROCS_MAP_H

#include "procs/pool.h"

typedef struct ProcChunkObject {
    PyObject_HEAD
    ProcBatchObject *batch;       /* strong; NULL once it has its outcome */
    struct ProcChunkObject *next; /* strong: whose values come after it */
    struct tdl_task *task;        /* one reference; NULL once it has its outcome */
    Py_ssize_t count;             /* items; fixed */
    PyObject *values;             /* list, once it has its outcome */
    PyObject *exception;          /* behind the values, or NULL */
    bool done;
} ProcChunkObject;

struct ProcBatchObject {
    PyObject_HEAD
    ProcPoolObject *pool;           /* fixed */
    PyObject *function;             /* fixed */
    bool star, unordered;           /* fixed */
    int32_t retries;                /* of a chunk; fixed */
    int64_t timeout;                /* ns that a chunk may take, 0: no limit; fixed */
    Py_ssize_t chunksize;           /* 0: as many as take a millisecond; fixed */
    Py_ssize_t buffersize;          /* items between input and output; 0: any number; fixed */
    PyObject *items;                /* list: the whole input, or NULL */
    Py_ssize_t next_item;           /* the first that is in no chunk */
    PyObject *inputs;               /* iterator over the rest of the input, or NULL */
    PyObject *error;                /* what the input has raised, or NULL */
    bool feeding;                   /* somebody cuts a chunk, which may be in no list yet */
    Py_ssize_t pending;             /* items that were cut and whose results were not taken */
    Py_ssize_t chunks;              /* that have no outcome yet */
    int64_t item_ns;                /* what an item takes, a moving average; 0: unknown */
    ProcChunkObject *first, **last; /* strong: ordered: all; unordered: those that are done */
    struct tdl_waiter *waiter;      /* of the iterator, while it waits */
    bool hungry;                    /* in the pool's list; the pool's lock */
    ProcBatchObject *next_hungry;   /* strong; the pool's lock */
};

/* What map() was asked for. */
struct tdl_procs_map_options {
    Py_ssize_t chunksize, buffersize;
    int32_t retries;
    int64_t timeout;
    bool star, unordered;
};

/* A batch.  `items`: a list, or an iterator if there is a buffersize.
 * Returns a new reference or NULL. */
ProcBatchObject *tdl_procs_batch_new(ProcPoolObject *pool, PyObject *function, PyObject *items,
                                     const struct tdl_procs_map_options *options);

/* Cut chunks as long as workers have room, and have the dispatcher go on.
 * Returns 0, or -1 with what the input raised. */
int tdl_procs_batch_feed(ProcBatchObject *batch);

/* Whether there is nothing to cut any more. */
bool tdl_procs_batch_is_cut(ProcBatchObject *batch);

/* Drop what is not cut, take back what no worker has begun. */
void tdl_procs_batch_cancel(ProcBatchObject *batch);

/* Module exec: add the types.  Returns 0 or -1 with an exception set. */
int tdl_procs_batch_exec(PyObject *module);
int tdl_procs_map_exec(PyObject *module);

/* An iterator over the results of `batch`, up to `deadline`.  A new reference or NULL. */
PyObject *tdl_procs_map_new(ProcBatchObject *batch, int64_t deadline);

#endif

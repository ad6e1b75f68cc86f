/* ThreadPoolBase: the native side of treadle.ThreadPoolExecutor. */
#ifndef TDL_THREADS_EXECUTOR_H
#define TDL_THREADS_EXECUTOR_H

#include "threads/pool.h"

typedef struct {
    PyObject_HEAD
    WorkQueueObject *queue; /* NULL until _setup() */
} ThreadPoolObject;

/* The pool of `executor`, borrowed, or NULL with TypeError or RuntimeError set. */
WorkQueueObject *tdl_executor_queue(struct tdl_state *st, PyObject *executor);

/* Start a thread if `spawn`, as the push that returned it asked for.  When none
 * can be had and the pool has none, its jobs are cancelled.
 * Returns 0 or -1 with an exception set. */
int tdl_executor_spawn(PyObject *executor, WorkQueueObject *queue, int spawn);

/* Module exec: add the type.  Returns 0 or -1 with an exception set. */
int tdl_executor_exec(PyObject *module);

#endif

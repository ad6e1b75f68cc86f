/* A worker thread of a pool. */
#ifndef TDL_THREADS_WORKER_H
#define TDL_THREADS_WORKER_H

#include "threads/pool.h"

/* WorkQueue.run(): be a worker until the pool is closed and empty, or this
 * thread is not needed any more.  Returns None, or NULL with RuntimeError if
 * this thread is a worker already. */
PyObject *tdl_worker_run(WorkQueueObject *self, PyObject *ignored);

#endif

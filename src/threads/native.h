/* Native jobs: C functions that run on pool threads without the GIL. */
#ifndef TDL_THREADS_NATIVE_H
#define TDL_THREADS_NATIVE_H

#include <treadle.h>

#include "threads/pool.h"

/* Queue a job as treadle_api.submit() does.  Owns: takes `arg`, also on failure.
 * Returns the future, with `*spawn` telling whether to start a thread, or NULL. */
PyObject *tdl_native_submit(WorkQueueObject *queue, const treadle_job *kind, void *arg,
                            int *spawn);

/* The argument of a treadle_native_function call: takes a buffer of each object
 * in `buffers` (a tuple), writable where it can be had.  `keepalive` is what
 * owns the function's code.  `*kind` goes to tdl_native_submit().
 * Returns NULL with an exception set on failure. */
void *tdl_native_buffers_new(treadle_native_function function, PyObject *keepalive,
                             PyObject *buffers, const treadle_job **kind);

#endif

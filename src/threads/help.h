/* Running a job where it is waited for, instead of waiting.
 *
 * The job must not notice: it runs in a context of its own, as it would find
 * one on another worker, and counts in the pool's figures. Attached threads only. */
#ifndef TDL_THREADS_HELP_H
#define TDL_THREADS_HELP_H

#include "threads/pool.h"

struct tdl_help {
    WorkQueueObject *queue;
    PyObject *context; /* entered; strong */
    int64_t start;     /* clock */
    struct tdl_fire fire;
};

/* Get ready to run a job of `queue`.  Returns 0 or -1 with an exception set. */
int tdl_help_begin(struct tdl_help *help, WorkQueueObject *queue);

/* Leave the context and wake whom the job has put on `help->fire`.  `ran`: it
 * was run, having been queued at `submitted`.  Never leaves an exception set. */
void tdl_help_end(struct tdl_help *help, bool ran, int64_t submitted);

#endif

/* Jobs that call a Python callable and complete a future: submit(). */
#ifndef TDL_THREADS_CALL_H
#define TDL_THREADS_CALL_H

#include "threads/job.h"

/* A job that will call args[0](*args[1:nargs]) with keywords as in vectorcall,
 * in `context` if that is not NULL, and complete `future`.
 * Returns the job with one reference, or NULL with an exception set. */
struct tdl_job *tdl_call_job_new(FutureObject *future, PyObject *const *args, Py_ssize_t nargs,
                                 PyObject *kwnames, PyObject *context, int32_t priority);

/* A pool's source's `raise_orphaned` and `may_help`. */
void tdl_call_raise_orphaned(struct tdl_source *source);
bool tdl_call_may_help(struct tdl_source *source);

/* A source's `help` for all jobs that complete a future: run the future's job
 * here if this thread may and nobody has started it. */
int tdl_call_help(struct tdl_source *source, FutureObject *future);

/* What jobs with one future have in common; first in their structs. */
struct tdl_future_job {
    struct tdl_job base;
    FutureObject *future;   /* strong; fixed after init */
    _Atomic uint32_t taken; /* somebody runs it or has given it up */
};

/* Tie `job` and `future` together.  Takes a reference to the future. */
void tdl_future_job_init(struct tdl_future_job *job, FutureObject *future);

/* Whether the caller is the one to deal with the job. */
bool tdl_future_job_take(struct tdl_future_job *job);

/* Take the job and mark the future as running; false if it is taken or cancelled. */
bool tdl_future_job_start(struct tdl_future_job *job);

/* Complete the job's future; takes both references, one of them NULL.
 * Never leaves an exception set. */
void tdl_future_job_finish(struct tdl_future_job *job, PyObject *result, PyObject *exception,
                           struct tdl_fire *fire);

/* tdl_job_ops.abandon for jobs with one future. */
void tdl_future_job_abandon(struct tdl_job *job, PyObject *reason);

#endif

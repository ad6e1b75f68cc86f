/* A job: what a pool's worker takes from the run queue and runs.
 *
 * Kinds of job differ by their table of operations.  A job may consist of
 * several units that different workers run (a map); most have one.
 *
 * Reference count: the run queue holds one reference while the job is linked,
 * whoever runs it another.  All operations need an attached thread state
 * unless they say otherwise. */
#ifndef TDL_THREADS_JOB_H
#define TDL_THREADS_JOB_H

#include <stdatomic.h>
#include <stdbool.h>

#include "future/future.h"
#include "future/waiter.h"

struct tdl_job;

struct tdl_job_ops {
    /* Run one unit, unless it was cancelled or somebody else has it.  Waiters
     * to wake go on `fire`.  Returns whether it ran.  Never leaves an exception
     * set. */
    bool (*run)(struct tdl_job *job, struct tdl_fire *fire);
    /* Without a thread state: run the part that needs none, unless the job was
     * cancelled or somebody else has it.  Called by the worker that has taken the
     * job from the queue, which calls settle() next.  NULL: there is no such part. */
    void (*run_detached)(struct tdl_job *job);
    /* Deal with what run_detached() left behind.  Returns as run(). */
    bool (*settle)(struct tdl_job *job, struct tdl_fire *fire);
    /* Give all units up: their futures are cancelled or, if `reason` is not
     * NULL, fail with BrokenThreadPool(reason).  Never leaves an exception set. */
    void (*abandon)(struct tdl_job *job, PyObject *reason);
    int (*traverse)(struct tdl_job *job, visitproc visit, void *arg);
    void (*free)(struct tdl_job *job); /* of a job that counts for itself */
};

struct tdl_job {
    const struct tdl_job_ops *ops; /* fixed after init */
    /* The Python object that the job is part of: its reference count is the
     * job's.  NULL: the job counts for itself.  Fixed after init. */
    PyObject *object;
    struct tdl_job *next; /* the shard's lock */
    uint32_t units;       /* waiting to be taken; the shard's lock */
    uint32_t grab;        /* units taken at a time; fixed after init */
    bool linked;          /* in the queue; the shard's lock */
    uint16_t shard;       /* the shard's lock of its first push */
    int32_t priority;     /* fixed after init */
    _Atomic uint32_t references;
    int64_t submitted; /* clock; fixed after init */
};

static inline void
tdl_job_init(struct tdl_job *job, const struct tdl_job_ops *ops, int32_t priority)
{
    *job = (struct tdl_job){.ops = ops, .units = 1, .grab = 1, .priority = priority};
    atomic_init(&job->references, 1);
}

static inline void
tdl_job_ref(struct tdl_job *job)
{
    if (job->object != NULL)
        Py_INCREF(job->object);
    else
        atomic_fetch_add_explicit(&job->references, 1, memory_order_relaxed);
}

static inline void
tdl_job_unref(struct tdl_job *job)
{
    if (job->object != NULL)
        Py_DECREF(job->object);
    else if (atomic_fetch_sub_explicit(&job->references, 1, memory_order_acq_rel) == 1)
        job->ops->free(job);
}

#endif

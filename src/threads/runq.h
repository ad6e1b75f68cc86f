/* The run queue: jobs of one pool, first in, first out, with priorities.
 *
 * Sharded where threads run Python at the same time: tickets spread pushes and
 * pops over the shards in turn, so the order is first in, first out up to
 * concurrent calls; with one shard it is exact.  Jobs with a priority other
 * than 0 wait in a heap: above 0 before all others, below 0 after them.
 *
 * Any thread, with or without a thread state.  Locks are core locks. */
#ifndef TDL_THREADS_RUNQ_H
#define TDL_THREADS_RUNQ_H

#include "core/lock.h"
#include "threads/job.h"

/* Padded, so that two shards' locks are not on one cache line. */
struct tdl_runq_shard {
    struct tdl_lock lock;
    struct tdl_job *head;  /* lock */
    struct tdl_job **tail; /* lock */
    char padding[64];
};

/* A heap entry; equal priorities keep their order. */
struct tdl_runq_ranked {
    struct tdl_job *job;
    uint64_t sequence;
};

struct tdl_runq {
    _Atomic uint32_t count; /* units that wait; workers spin on it */
    uint32_t nshards;       /* a power of two; fixed after init */
    struct tdl_runq_shard *shards;
    _Atomic uint32_t push_ticket;
    _Atomic uint32_t pop_ticket;
    struct tdl_lock ranked_lock;
    struct tdl_runq_ranked *ranked; /* heap; ranked_lock */
    size_t nranked, ranked_size;    /* ranked_lock */
    uint64_t sequence;              /* ranked_lock */
    _Atomic uint32_t high, low;     /* ranked jobs above and below 0 */
};

/* Returns 0 or -ENOMEM. */
int tdl_runq_init(struct tdl_runq *runq, uint32_t nshards);

/* The queue must be empty. */
void tdl_runq_fini(struct tdl_runq *runq);

/* Units that wait now. */
static inline uint32_t
tdl_runq_count(struct tdl_runq *runq)
{
    return atomic_load_explicit(&runq->count, memory_order_seq_cst);
}

/* Put `job` at the end with its units.  Owns: takes the caller's reference.
 * Returns 0 or -ENOMEM (ranked jobs only). */
int tdl_runq_push(struct tdl_runq *runq, struct tdl_job *job);

/* Offer `units` more of `job`; links it again, with a reference of its own, if
 * it had run dry.  Returns 0 or -ENOMEM (ranked jobs only). */
int tdl_runq_add_units(struct tdl_runq *runq, struct tdl_job *job, uint32_t units);

/* Take back all units of `job` that nobody has taken. */
void tdl_runq_discard(struct tdl_runq *runq, struct tdl_job *job);

/* Whether the next job has a part that needs no thread state: a hint. */
bool tdl_runq_next_is_detached(struct tdl_runq *runq);

/* Take the next job's next units: `*units` gets how many, up to its `grab`.
 * `detached_only`: only if that job has a part that needs no thread state.
 * Returns the job with a reference for the caller, or NULL. */
struct tdl_job *tdl_runq_pop(struct tdl_runq *runq, bool detached_only, uint32_t *units);

/* Visit what the queued jobs refer to.  For the garbage collector. */
int tdl_runq_traverse(struct tdl_runq *runq, visitproc visit, void *arg);

#endif

/* The pool behind an executor: its run queue, its workers, who sleeps.
 *
 * The object is what the executor shows as `_work_queue`; workers and futures
 * hold it, never the executor, so that an executor that is dropped is noticed.
 *
 * Waking: at most one worker is on its way to find work at any time (the
 * searcher).  Whoever adds work wakes a sleeper unless there is a searcher; a
 * searcher that has found work and leaves more behind wakes the next.  A worker
 * that goes to sleep looks at the queue once more after it is on the list of
 * sleepers, and whoever adds work looks for sleepers afterwards: one of the two
 * sees the other (both sides in sequentially consistent order). */
#ifndef TDL_THREADS_POOL_H
#define TDL_THREADS_POOL_H

#include "core/park.h"
#include "core/spin.h"
#include "threads/runq.h"
#include "threads/stats.h"

typedef struct WorkQueueObject WorkQueueObject;

/* A worker thread's own part, on its stack while it runs jobs. */
struct tdl_worker {
    WorkQueueObject *queue;
    PyObject *context; /* a copy of what its jobs find; NULL if there is none */
    struct tdl_parker parker;
    struct tdl_worker *next_idle;    /* idle_lock */
    bool listed;                     /* on the list of sleepers; idle_lock */
    bool searching;                  /* has the searcher's role; owner */
    struct tdl_worker *next, **prev; /* all workers; idle_lock */
    struct tdl_spin spin;            /* owner */
    struct tdl_fire fire;            /* waiters to wake once the GIL is free; owner */
    int64_t now;                     /* clock after the last job; owner */
    int64_t attached;                /* clock when the GIL was taken; owner */
    struct tdl_job *detached;        /* a job whose detached part has run; owner */
    int64_t detached_start;          /* clock when that began; owner */
    struct tdl_stats stats;          /* owner writes, all read */
};

struct WorkQueueObject {
    PyObject_HEAD
    struct tdl_state *st;
    struct tdl_source source;
    struct tdl_runq runq;
    PyObject *weakrefs;
    PyObject *broken;           /* NULL or the reason; set once, under the lock */
    int64_t idle_timeout;       /* ns, TDL_NEVER: workers stay; fixed after init */
    bool inline_waits;          /* fixed after init */
    bool copy_context;          /* submit() copies the caller's; fixed after init */
    _Atomic int submitter_cpu;  /* where a job was last queued, -1 before; a hint */
    _Atomic bool closed;        /* no more jobs; workers leave when it is empty */
    _Atomic uint32_t searching; /* whether there is a searcher */
    _Atomic int32_t idle;       /* workers without work: sleeping or spinning */
    _Atomic int32_t starting;   /* threads that have not looked for work yet */
    _Atomic int32_t workers;    /* threads in all, starting ones included */
    _Atomic int32_t max_workers;
    _Atomic int32_t running; /* jobs being run */
    struct tdl_lock idle_lock;
    struct tdl_worker *sleepers;  /* last in, first out; idle_lock */
    _Atomic uint32_t nsleepers;   /* written under idle_lock */
    struct tdl_worker *all;       /* idle_lock */
    struct tdl_stats past;        /* of workers that have left; idle_lock */
    _Atomic int64_t gil_patience; /* ns to wait for the GIL to be let go; the searcher */
};

/* The worker that this thread is, or NULL. */
struct tdl_worker *tdl_worker_current(void);
void tdl_worker_set_current(struct tdl_worker *worker);

/* Whether the pool was made in this process, not in one that forked it. */
static inline bool
tdl_pool_is_ours(WorkQueueObject *queue)
{
    return queue->source.generation == queue->st->generation;
}

/* Whether jobs are accepted.  Returns 0, or -1 with the standard exception set. */
int tdl_pool_check_open(WorkQueueObject *queue);

/* Queue `job`; takes the reference, also on failure.
 * Returns 1 if another thread should be started, 0 if not, -1 with an exception. */
int tdl_pool_push(WorkQueueObject *queue, struct tdl_job *job);

/* After units were added: wake a worker if that helps.  Returns as tdl_pool_push(). */
int tdl_pool_added(WorkQueueObject *queue);

/* Wake one sleeper, unless somebody is on the way already. */
void tdl_pool_wake_one(WorkQueueObject *queue);

/* Wake all, so that they see that something has changed. */
void tdl_pool_wake_all(WorkQueueObject *queue);

/* Accept no more jobs; workers leave once all are done. */
void tdl_pool_close(WorkQueueObject *queue);

/* Empty the queue: cancel the jobs, or fail them with `reason` if not NULL. */
void tdl_pool_abandon_all(WorkQueueObject *queue, PyObject *reason);

/* Whether this thread may run jobs of the pool while it waits for them. */
bool tdl_pool_may_help(WorkQueueObject *queue);

/* A new pool.  Returns a new reference or NULL. */
WorkQueueObject *tdl_pool_new(struct tdl_state *st);

/* Module exec: add the type.  Returns 0 or -1 with an exception set. */
int tdl_pool_exec(PyObject *module);

#endif

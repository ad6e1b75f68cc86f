/* What the parent shares with one worker: a ring of calls, a ring of results, the
 * table of tasks, and what the worker says about itself.
 *
 * A task's number picks its word in the table.  Who changes the word from QUEUED by
 * compare-and-swap owns the task: the worker that begins it, or the parent that
 * takes it back.  The worker passes tasks in the order of their numbers, so a word
 * may be used again once its task was passed and its result was taken.
 *
 * No locks, no Python thread state; the fields say who writes them. */
#ifndef TDL_CORE_LINK_H
#define TDL_CORE_LINK_H

#include "core/channel.h"
#include "core/histogram.h"
#include "core/segment.h"

enum { TDL_LINK_TASKS = 1024 };
enum { TDL_LINK_RING = 128 << 10 };

/* A task that runs ends as DONE by the worker, unless the parent was first with STOPPED:
 * then the worker goes no further, and waits to be killed. */
enum tdl_task_word {
    TDL_TASK_FREE,
    TDL_TASK_QUEUED,
    TDL_TASK_STARTED,
    TDL_TASK_REVOKED,
    TDL_TASK_DONE,
    TDL_TASK_STOPPED
};

struct tdl_link_shared {
    uint32_t magic;
    uint32_t version;
    struct tdl_channel_shared calls;   /* parent to worker */
    struct tdl_channel_shared results; /* worker to parent */
    /* the worker writes: */
    alignas(64) _Atomic uint32_t passed; /* tasks run or skipped so far */
    _Atomic uint32_t task_ns;            /* what a task takes, a moving average; 0: unknown */
    _Atomic uint32_t running;            /* number of the task + 1, 0: none */
    _Atomic int64_t since;               /* when it began; core/clock.h */
    _Atomic uint32_t full;               /* not 0: it is to be replaced */
    struct tdl_histogram wait; /* of the tasks that it has run: from submit to begin */
    struct tdl_histogram run;  /* and from there to the outcome */
    alignas(64) _Atomic uint32_t tasks[TDL_LINK_TASKS];
};

struct tdl_link {
    struct tdl_segment segment;
    struct tdl_link_shared *shared;
    struct tdl_channel calls, results;
};

/* The parent's side: make the segment.  Returns 0, or -errno with nothing left open. */
int tdl_link_create(struct tdl_link *link);

/* The worker's side: map what `fd` refers to.
 * Owns: takes `fd` on success.  Returns 0, -EPROTO if that is no link, or -errno. */
int tdl_link_attach(struct tdl_link *link, int fd);

/* Unmap and close.  Calling again is harmless. */
void tdl_link_close(struct tdl_link *link);

static inline _Atomic uint32_t *
tdl_link_task(struct tdl_link *link, uint32_t number)
{
    return &link->shared->tasks[number % TDL_LINK_TASKS];
}

/* Change a task's word.  Returns whether it was `from`. */
static inline bool
tdl_link_change(struct tdl_link *link, uint32_t number, uint32_t from, uint32_t to)
{
    return atomic_compare_exchange_strong_explicit(tdl_link_task(link, number), &from, to,
                                                   memory_order_acq_rel, memory_order_acquire);
}

/* Change a task's word from QUEUED to `to`.  Returns whether it was QUEUED. */
static inline bool
tdl_link_claim(struct tdl_link *link, uint32_t number, enum tdl_task_word to)
{
    return tdl_link_change(link, number, TDL_TASK_QUEUED, to);
}

#endif

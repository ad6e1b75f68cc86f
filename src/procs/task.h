/* A task: one message to a worker, and what comes of it.
 *
 * Reference counted: the pool holds one from submit to the end, whoever looks at a
 * future's task another.  The bytes of the call are kept until the task is done, so
 * that it can be sent to another worker.  Python objects in it are touched with a
 * thread state only, the rest under the pool's lock, except where said. */
#ifndef TDL_PROCS_TASK_H
#define TDL_PROCS_TASK_H

#include <stdatomic.h>

#include "core/bytes.h"
#include "core/frame.h"
#include "core/heap.h"
#include "future/future.h"

struct tdl_task;

/* What kind of task it is. */
struct tdl_task_ops {
    /* Whether completing it runs nothing but our own code, so that any thread may. */
    bool (*is_plain)(struct tdl_task *task);
    /* Hand over the outcome: `value` or `exception`, both references are taken.
     * Thread state: attached.  Never leaves an exception set. */
    void (*complete)(struct tdl_task *task, PyObject *value, PyObject *exception,
                     struct tdl_fire *fire);
    /* Nobody will run it: cancel what waits for it.  Thread state: attached.  Never
     * leaves an exception set. */
    void (*cancel)(struct tdl_task *task);
};

/* NEW and OVER: in nobody's hands; GONE: only to be freed. */
enum tdl_task_place {
    TDL_TASK_NEW,
    TDL_TASK_WAITS,
    TDL_TASK_SENT,
    TDL_TASK_OVER,
    TDL_TASK_GONE
};

/* Why we stop a task that runs; for Python. */
enum tdl_task_ending { TDL_ENDING_NONE, TDL_ENDING_LIMIT, TDL_ENDING_TERMINATED };

/* When a task that was sent has to be looked at; in the pool's heap. */
struct tdl_task_limit {
    struct tdl_timer timer;
    struct tdl_task *task; /* borrowed: the limit is cancelled before the task goes */
};

struct tdl_task {
    struct tdl_task *next; /* in the pool's queue or its list of what is over */
    _Atomic uint32_t references;
    const struct tdl_task_ops *ops; /* fixed after init */
    PyObject *target;               /* strong: the future or the batch; fixed after init */
    PyObject *callable;             /* strong: what runs, for messages; fixed after init */
    struct tdl_bytes call;          /* encoded; fixed once submitted */
    uint32_t function;              /* its number; fixed once submitted */
    uint16_t kind;                  /* TDL_FRAME_CALL or _MAP; fixed after init */
    uint16_t outcome;               /* TDL_FRAME_RESULT ..., 0: failed without one */
    uint32_t split;                 /* of the outcome's frame: its `function` */
    enum tdl_task_place place;
    int32_t worker;               /* while SENT: its index */
    uint32_t number;              /* while SENT: its number there */
    int32_t retries;              /* reruns that are left */
    int64_t timeout;              /* ns that it may run, 0: no limit */
    struct tdl_task_limit *limit; /* while it is SENT, if it has a timeout */
    enum tdl_task_ending ending;
    int64_t submitted;
    struct tdl_bytes answer; /* the outcome, encoded */
    PyObject *failure;       /* strong: the exception if there is no encoded outcome */
};

/* A task with one reference.  Takes new references to `target` and `callable`.
 * Returns NULL with MemoryError set. */
struct tdl_task *tdl_task_new(const struct tdl_task_ops *ops, uint16_t kind, PyObject *target,
                              PyObject *callable);

static inline struct tdl_task *
tdl_task_ref(struct tdl_task *task)
{
    atomic_fetch_add_explicit(&task->references, 1, memory_order_relaxed);
    return task;
}

/* Thread state: attached, unless it is known not to be the last. */
void tdl_task_unref(struct tdl_task *task);

/* A first-in-first-out list of tasks. */
struct tdl_tasks {
    struct tdl_task *first, **last;
    size_t count;
};

static inline void
tdl_tasks_init(struct tdl_tasks *tasks)
{
    *tasks = (struct tdl_tasks){.last = &tasks->first};
}

static inline void
tdl_tasks_push(struct tdl_tasks *tasks, struct tdl_task *task)
{
    task->next = NULL;
    *tasks->last = task;
    tasks->last = &task->next;
    tasks->count++;
}

static inline void
tdl_tasks_push_front(struct tdl_tasks *tasks, struct tdl_task *task)
{
    if (tasks->first == NULL)
        tasks->last = &task->next;
    task->next = tasks->first;
    tasks->first = task;
    tasks->count++;
}

static inline struct tdl_task *
tdl_tasks_pop(struct tdl_tasks *tasks)
{
    struct tdl_task *task = tasks->first;
    if (task == NULL)
        return NULL;
    tasks->first = task->next;
    if (tasks->first == NULL)
        tasks->last = &tasks->first;
    tasks->count--;
    return task;
}

/* Take `task` out of the list.  Returns whether it was there.  O(length). */
bool tdl_tasks_remove(struct tdl_tasks *tasks, struct tdl_task *task);

/* Move all of `from` to the end of `to`. */
void tdl_tasks_move(struct tdl_tasks *to, struct tdl_tasks *from);

#endif

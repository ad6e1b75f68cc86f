/* The process pool as the parent sees it: its workers, its queue, its tasks.
 *
 * Any thread submits; one thread at a time, the collector, takes results out of the
 * rings; one thread, the dispatcher, sees to the rest.  `lock` protects everything
 * that has no other word beside it.  It is a core lock: innermost, never held across
 * a call into Python or a wait.  Nothing here but what a comment says needs a thread
 * state. */
#ifndef TDL_PROCS_POOL_H
#define TDL_PROCS_POOL_H

#include "core/board.h"
#include "core/link.h"
#include "core/lock.h"
#include "core/wakeup.h"
#include "procs/codec.h"
#include "procs/task.h"

typedef struct ProcPoolObject ProcPoolObject;
typedef struct ProcBatchObject ProcBatchObject;

enum tdl_proc_state {
    TDL_PROC_STARTING, /* has not reported that it is ready */
    TDL_PROC_READY,
    TDL_PROC_LEAVING, /* was told to end, or ends after its last task */
    TDL_PROC_DEAD,    /* its process has ended */
};

/* Something on its way into a worker's ring. */
struct tdl_outgoing {
    struct tdl_frame frame; /* frame.length: of what is left */
    const uint8_t *data;
    size_t left;
    struct tdl_task *task; /* keeps the data, or NULL; one reference */
};

/* One worker.  The pool's lock, except where said. */
struct tdl_proc {
    uint32_t index; /* fixed */
    enum tdl_proc_state state;
    struct tdl_link link;
    int pidfd;       /* the dispatcher's; -1: none */
    uint32_t serial; /* no other worker of the pool has it; fixed */
    int results_fd;  /* of the store for its results, until it is started; -1 */
    long pid;
    uint32_t next;     /* the number of the next task */
    uint32_t inflight; /* tasks sent whose outcome is not in */
    uint32_t budget;   /* tasks that it may still get; UINT32_MAX: any number */
    struct tdl_task *tasks[TDL_LINK_TASKS]; /* by number; one reference each */
    struct tdl_outgoing outgoing[2];        /* a definition, a call */
    int outgoing_count;
    struct tdl_bytes incoming; /* parts of an outcome; the collector's */
    uint8_t *known;            /* bits: numbers of functions that it has been told */
    uint32_t known_count;
    bool was_ready;     /* its initializer has succeeded */
    bool corrupt;       /* its ring made no sense: to be killed */
    bool killed;        /* we have killed it */
    bool retired;       /* it was told to end because it had nothing to do */
    int64_t idle_since; /* while its bit in `idle` is set; for pools with an idle_timeout */
};

/* Messages of some kilobytes come in numbers; fresh memory for each would be paid for
 * in page faults. */
enum {
    TDL_SPARES = 1024,
    TDL_SPARE_LEAST = 2 << 10, /* a smaller one costs nothing */
    TDL_SPARE_MOST = 64 << 10,
    TDL_SPARES_TOTAL = 8 << 20
};

struct ProcPoolObject {
    PyObject_HEAD
    struct tdl_state *st;     /* fixed */
    struct tdl_source source; /* for its futures */
    struct tdl_codec *codec;  /* fixed */
    struct tdl_segment board_segment;
    struct tdl_board *board;     /* fixed */
    struct tdl_wakeup doorbell;  /* fixed while open */
    _Atomic uint32_t collecting; /* 1: somebody is the collector */
    _Atomic bool wanted;         /* the dispatcher has to have that role */
    _Atomic bool trimming;       /* the dispatcher looks for memory to give back */
    _Atomic bool closed;         /* no more submits */
    _Atomic bool broken;
    struct tdl_lock lock;
    struct tdl_proc *procs[TDL_BOARD_WORKERS]; /* NULL: free */
    uint32_t proc_count;                       /* workers that are not dead */
    uint32_t proc_end;                         /* all indices are below */
    uint64_t idle[TDL_BOARD_WORDS];            /* ready and without tasks */
    uint64_t room[TDL_BOARD_WORDS];            /* may be sent one more */
    struct tdl_bytes spares[TDL_SPARES];       /* memory for messages to come */
    uint32_t spare_count;
    size_t spare_bytes;
    _Atomic size_t call_size;     /* of the last call; a hint */
    struct tdl_heap limits;       /* of tasks with a timeout */
    uint32_t cursor;              /* where the last task went */
    struct tdl_tasks queue;       /* not sent */
    struct tdl_tasks over;        /* outcome in, not completed */
    uint32_t delivering;          /* threads that have taken tasks from `over` */
    struct tdl_tasks victims;     /* begun by a worker that has died */
    ProcBatchObject *hungry;      /* strong: maps with items in no chunk */
    _Atomic uint32_t over_count;  /* of `over`; a hint */
    _Atomic uint32_t outstanding; /* tasks sent whose outcome is not in */
    _Atomic uint32_t max_workers;
    uint32_t serials; /* of workers, ever */
    uint64_t done;
    struct tdl_histogram wait, run; /* of workers that are no more */
    uint32_t max_tasks;             /* for each worker; 0: no limit */
    bool respawn;                   /* on_crash="respawn" */
    int64_t idle_ns;                /* after which an idle worker ends, or TDL_NEVER; fixed */
    int64_t idle_check;             /* when to look for such workers, or TDL_NEVER */
    uint32_t min_workers;           /* that do not end for that; fixed */
    uint32_t maps;                  /* that exist */
    bool grow_asked;  /* for a worker, and none has come or gone since; the collector's lock */
    int epoll;        /* what the dispatcher waits on; fixed while open */
    PyObject *reason; /* strong: why it is broken, or NULL; the object's lock */
};

/* Workers to be woken once the lock is released. */
struct tdl_wakes {
    uint64_t bits[TDL_BOARD_WORDS];
    bool any;
    bool dispatcher; /* it has to look at the limits */
};

static inline void
tdl_wakes_add(struct tdl_wakes *wakes, uint32_t index)
{
    wakes->bits[index / 64] |= UINT64_C(1) << (index % 64);
    wakes->any = true;
}

/* Wake them.  The lock is not held. */
void tdl_wakes_fire(ProcPoolObject *pool, const struct tdl_wakes *wakes);

/* Whether this process made the pool. */
static inline bool
tdl_procs_is_ours(ProcPoolObject *pool)
{
    return pool->source.generation == pool->st->generation;
}

/* ---- send.c: tasks on their way to workers ------------------------------------------ */

/* Put what is queued into rings, as far as there is room. */
void tdl_procs_pump_locked(ProcPoolObject *pool, struct tdl_wakes *wakes);

/* Go on with what did not fit into a worker's ring. */
void tdl_procs_flush_locked(ProcPoolObject *pool, struct tdl_proc *proc,
                            struct tdl_wakes *wakes);

/* Set the worker's bits in `idle` and `room` anew. */
void tdl_procs_update_locked(ProcPoolObject *pool, struct tdl_proc *proc);

/* How many workers there are that were not told to end. */
uint32_t tdl_procs_live_locked(ProcPoolObject *pool);

/* Have workers end until there are `workers`. */
void tdl_procs_shrink_locked(ProcPoolObject *pool, uint32_t workers, struct tdl_wakes *wakes);

/* Tell a worker to end once its tasks are done. */
void tdl_procs_dismiss_locked(ProcPoolObject *pool, struct tdl_proc *proc,
                              struct tdl_wakes *wakes);

/* Tell a worker to end after the task that it has begun; the others go to others. */
void tdl_procs_retire_locked(ProcPoolObject *pool, struct tdl_proc *proc,
                             struct tdl_wakes *wakes);

/* A worker has nothing to do and nothing is queued: take tasks back from one that has
 * some waiting. */
void tdl_procs_balance_locked(ProcPoolObject *pool);

/* Whether some worker may be sent one more. */
bool tdl_procs_has_room_locked(ProcPoolObject *pool);

/* Take back the chunks of a batch that no worker has begun: they go to `tasks`. */
void tdl_procs_take_back_locked(ProcPoolObject *pool, const ProcBatchObject *batch,
                                struct tdl_tasks *tasks);

/* Take a task that was sent back, unless its worker has begun it. */
bool tdl_procs_revoke_locked(ProcPoolObject *pool, struct tdl_task *task);

/* Queue or send a new task.  Takes the reference. */
void tdl_procs_submit(ProcPoolObject *pool, struct tdl_task *task);

/* ---- limit.c: tasks that may run for so long ----------------------------------------- */

void tdl_procs_limits_init(ProcPoolObject *pool);

/* The task was sent: watch it if it has a timeout. */
void tdl_procs_limit_locked(ProcPoolObject *pool, struct tdl_task *task,
                            struct tdl_wakes *wakes);

/* The task is no longer sent. */
void tdl_procs_unlimit_locked(ProcPoolObject *pool, struct tdl_task *task);

/* Stop a task that was sent and has begun by killing its worker.  Returns whether it
 * had not ended. */
bool tdl_procs_stop_locked(ProcPoolObject *pool, struct tdl_task *task);

/* The dispatcher: stop what has run for too long.  Returns when to come again. */
int64_t tdl_procs_check_limits(ProcPoolObject *pool);

/* ---- idle.c: workers that have nothing to do --------------------------------------------- */

/* A worker may have become idle: see to it that it is looked at. */
void tdl_procs_note_idle_locked(ProcPoolObject *pool, struct tdl_proc *proc,
                                struct tdl_wakes *wakes);

/* The dispatcher: tell workers to end that were idle for too long.  Returns when to come
 * again. */
int64_t tdl_procs_check_idle(ProcPoolObject *pool);

/* Whether there is work, nobody has room for it, and idle workers have ended that could
 * be replaced. */
bool tdl_procs_wants_worker(ProcPoolObject *pool);

/* A map begins to exist, or ends. */
void tdl_procs_begin_map(ProcPoolObject *pool);
void tdl_procs_end_map(ProcPoolObject *pool);

/* ---- collect.c: outcomes ------------------------------------------------------------ */

/* Become the collector.  Returns whether nobody else is. */
static inline bool
tdl_procs_try_collector(ProcPoolObject *pool)
{
    return atomic_load_explicit(&pool->collecting, memory_order_relaxed) == 0 &&
           atomic_exchange_explicit(&pool->collecting, 1, memory_order_acquire) == 0;
}

static inline void
tdl_procs_leave_collector(ProcPoolObject *pool)
{
    atomic_store_explicit(&pool->collecting, 0, memory_order_seq_cst);
}

/* The collector: take what the workers have, send what waits.  Returns whether
 * there was something. */
bool tdl_procs_collect(ProcPoolObject *pool);

/* The collector: take what one worker has. */
void tdl_procs_drain(ProcPoolObject *pool, struct tdl_proc *proc);

/* Complete the tasks that are over: all, or those that are plain.  Thread state:
 * attached.  Returns whether some were left. */
bool tdl_procs_deliver(ProcPoolObject *pool, bool all);

/* See to it that somebody collects: arm the doorbell, or ring it. */
void tdl_procs_tend(ProcPoolObject *pool);

/* Memory for a message of about `size` bytes: an empty one that may have some already. */
static inline struct tdl_bytes
tdl_procs_spare_locked(ProcPoolObject *pool, size_t size)
{
    if (size < TDL_SPARE_LEAST || pool->spare_count == 0)
        return (struct tdl_bytes){0};
    struct tdl_bytes spare = pool->spares[--pool->spare_count];
    pool->spare_bytes -= spare.capacity;
    return spare;
}

/* Keep the memory of a message that is done with, or free it. */
static inline void
tdl_procs_keep_locked(ProcPoolObject *pool, struct tdl_bytes *bytes)
{
    if (bytes->capacity >= TDL_SPARE_LEAST && bytes->capacity <= TDL_SPARE_MOST &&
        pool->spare_count < TDL_SPARES &&
        pool->spare_bytes + bytes->capacity <= TDL_SPARES_TOTAL) {
        bytes->size = 0;
        pool->spare_bytes += bytes->capacity;
        pool->spares[pool->spare_count++] = *bytes;
        tdl_bytes_init(bytes);
    }
    else
        tdl_bytes_fini(bytes);
}

/* Have a task delivered. */
static inline void
tdl_procs_over_locked(ProcPoolObject *pool, struct tdl_task *task)
{
    tdl_tasks_push(&pool->over, task);
    atomic_store_explicit(&pool->over_count, (uint32_t)pool->over.count, memory_order_relaxed);
}

/* A task ends with `exception` (a reference is taken), which is to be delivered. */
void tdl_procs_fail_locked(ProcPoolObject *pool, struct tdl_task *task, PyObject *exception);

/* A task that was sent has its outcome, or will never have one: its worker's no more.
 * The reference goes to the caller. */
void tdl_procs_take_locked(ProcPoolObject *pool, struct tdl_proc *proc, struct tdl_task *task);

/* ---- wait.c: what futures ask of their pool ----------------------------------------- */

void tdl_procs_source_init(ProcPoolObject *pool);

/* The pool that `source` is part of. */
static inline ProcPoolObject *
tdl_procs_of(struct tdl_source *source)
{
    return (ProcPoolObject *)((char *)source - offsetof(ProcPoolObject, source));
}

/* ---- future_task.c ------------------------------------------------------------------ */

/* What tasks of submit() do. */
extern const struct tdl_task_ops tdl_future_task_ops;

/* ---- map_batch.c -------------------------------------------------------------------- */

/* Whether a worker has room and a map items for it that are in no chunk. */
bool tdl_procs_is_hungry(ProcPoolObject *pool);

/* Cut chunks for the workers that have room.  Thread state: attached. */
void tdl_procs_feed_hungry(ProcPoolObject *pool);

/* Drop the items that are in no chunk; their maps end with what make() returns. */
void tdl_procs_abandon_hungry(ProcPoolObject *pool, PyObject *make);

/* Whether `task` is a chunk of `batch` without an outcome. */
bool tdl_procs_is_chunk_of(struct tdl_task *task, const ProcBatchObject *batch);

/* ---- crash.c: workers that end ------------------------------------------------------ */

/* Methods of the pool that its dispatcher's Python half calls. */
extern PyMethodDef tdl_procs_crash_methods[];

/* Kill a worker's process; the dispatcher will notice. */
void tdl_procs_kill_locked(struct tdl_proc *proc);

/* Free what the parent has of a worker, which is in no table any more. */
void tdl_procs_free_proc(struct tdl_proc *proc);

/* ---- dispatcher.c ------------------------------------------------------------------- */

extern PyMethodDef tdl_procs_dispatcher_methods[];

/* Have the dispatcher watch a descriptor: a worker's `pidfd`, or the doorbell (-1).
 * Returns 0 or -errno. */
int tdl_procs_watch(ProcPoolObject *pool, int fd, int64_t index);

/* Have the dispatcher look around. */
void tdl_procs_ring(ProcPoolObject *pool);

/* ---- stats.c ------------------------------------------------------------------------ */

extern PyMethodDef tdl_procs_stats_methods[];

/* ---- pool.c ------------------------------------------------------------------------- */

/* No more tasks; workers end when all are done. */
void tdl_procs_close(ProcPoolObject *pool);

/* Raise unless tasks may be submitted.  Returns 0 or -1 with an exception set. */
int tdl_procs_check_open(ProcPoolObject *pool);

ProcPoolObject *tdl_procs_new(struct tdl_state *st, PyObject *pickler);

int tdl_procs_pool_exec(PyObject *module);
int tdl_procs_executor_exec(PyObject *module);

#endif

#include "core/clock.h"
#include "procs/pool.h"

void
tdl_procs_take_locked(ProcPoolObject *pool, struct tdl_proc *proc, struct tdl_task *task)
{
    proc->tasks[task->number % TDL_LINK_TASKS] = NULL;
    tdl_procs_unlimit_locked(pool, task);
    proc->inflight--;
    atomic_fetch_sub_explicit(&pool->outstanding, 1, memory_order_seq_cst);
    task->place = TDL_TASK_OVER;
    task->worker = -1;
    pool->done++;
}

void
tdl_procs_fail_locked(ProcPoolObject *pool, struct tdl_task *task, PyObject *exception)
{
    task->place = TDL_TASK_OVER;
    task->outcome = 0;
    task->failure = exception;
    tdl_procs_over_locked(pool, task);
}

/* ---- frames ------------------------------------------------------------------------- */

/* The task that a frame of results is about, or NULL if the worker cannot have one. */
static struct tdl_task *
task_of(struct tdl_proc *proc, const struct tdl_frame *frame)
{
    struct tdl_task *task = proc->tasks[frame->task % TDL_LINK_TASKS];
    if (task == NULL || task->number != frame->task)
        return NULL;
    uint32_t word =
        atomic_load_explicit(tdl_link_task(&proc->link, frame->task), memory_order_acquire);
    return word == TDL_TASK_DONE ? task : NULL;
}

/* Values and exception of a map's chunk are two messages, behind the time it took. */
static void
note_received(ProcPoolObject *pool, struct tdl_task *task)
{
    const uint8_t *data = task->answer.data;
    size_t size = task->answer.size;
    size_t first = size;
    if (task->outcome == TDL_FRAME_MAPPED) {
        if (size < sizeof(int64_t) || task->split > size - sizeof(int64_t))
            return; /* does not decode */
        data += sizeof(int64_t);
        size -= sizeof(int64_t);
        first = task->split;
    }
    tdl_codec_received(pool->codec, data, first);
    if (first < size)
        tdl_codec_received(pool->codec, data + first, size - first);
}

/* Take the outcome in.  Returns 0, -EPROTO or -ENOMEM. */
static int
take_outcome(ProcPoolObject *pool, struct tdl_proc *proc, const struct tdl_frame *frame,
             const uint8_t *data)
{
    struct tdl_task *task = task_of(proc, frame);
    if (task == NULL)
        return -EPROTO;
    if (proc->incoming.capacity == 0)
        proc->incoming = tdl_procs_spare_locked(pool, frame->length);
    if (tdl_bytes_append(&proc->incoming, data, frame->length) < 0)
        return -ENOMEM;
    if (frame->flags & TDL_FRAME_MORE)
        return 0;
    task->answer = proc->incoming;
    tdl_bytes_init(&proc->incoming);
    task->outcome = frame->kind;
    task->split = frame->function;
    note_received(pool, task);
    tdl_procs_take_locked(pool, proc, task);
    tdl_procs_over_locked(pool, task);
    return 0;
}

static int
take_frame(ProcPoolObject *pool, struct tdl_proc *proc, const struct tdl_frame *frame,
           const uint8_t *data)
{
    switch (frame->kind) {
    case TDL_FRAME_READY:
        if (proc->state == TDL_PROC_STARTING)
            proc->state = TDL_PROC_READY;
        proc->was_ready = true;
        pool->grow_asked = false;
        return 0;
    case TDL_FRAME_RESULT:
    case TDL_FRAME_RAISED:
    case TDL_FRAME_MAPPED:
        return take_outcome(pool, proc, frame, data);
    default:
        return -EPROTO;
    }
}

static void
drain_locked(ProcPoolObject *pool, struct tdl_proc *proc, struct tdl_wakes *wakes)
{
    struct tdl_frame frame;
    const uint8_t *data;
    bool wake = false;
    int r = 0;
    while (!proc->corrupt && (r = tdl_frame_get(&proc->link.results, &frame, &data)) > 0) {
        r = take_frame(pool, proc, &frame, data);
        if (r < 0)
            break;
        wake |= tdl_frame_done(&proc->link.results, &frame);
    }
    if (r < 0)
        proc->corrupt = true;
    if (wake)
        tdl_channel_wake_producer(&proc->link.results);
    if (proc->outgoing_count > 0)
        tdl_procs_flush_locked(pool, proc, wakes);
    if (atomic_load_explicit(&proc->link.shared->full, memory_order_relaxed) != 0 &&
        proc->state == TDL_PROC_READY)
        tdl_procs_retire_locked(pool, proc, wakes);
    tdl_procs_update_locked(pool, proc);
    tdl_procs_note_idle_locked(pool, proc, wakes);
}

void
tdl_procs_drain(ProcPoolObject *pool, struct tdl_proc *proc)
{
    struct tdl_wakes wakes = {.any = false};
    tdl_lock_acquire(&pool->lock);
    drain_locked(pool, proc, &wakes);
    tdl_lock_release(&pool->lock);
    tdl_wakes_fire(pool, &wakes);
}

bool
tdl_procs_collect(ProcPoolObject *pool)
{
    uint64_t ready[TDL_BOARD_WORDS];
    struct tdl_wakes wakes = {.any = false};
    if (!tdl_board_take(pool->board, ready))
        return false;
    bool corrupt = false;
    tdl_lock_acquire(&pool->lock);
    for (uint32_t i = 0; i < TDL_BOARD_WORDS; i++)
        for (uint64_t bits = ready[i]; bits != 0; bits &= bits - 1) {
            struct tdl_proc *proc = pool->procs[i * 64 + (uint32_t)__builtin_ctzll(bits)];
            if (proc == NULL)
                continue;
            drain_locked(pool, proc, &wakes);
            corrupt |= proc->corrupt;
            atomic_store_explicit(&pool->source.cpu,
                                  atomic_load_explicit(&proc->link.shared->results.producer_cpu,
                                                       memory_order_relaxed),
                                  memory_order_relaxed);
        }
    tdl_procs_balance_locked(pool);
    tdl_procs_pump_locked(pool, &wakes);
    tdl_lock_release(&pool->lock);
    tdl_wakes_fire(pool, &wakes);
    if (corrupt)
        tdl_procs_ring(pool);
    return true;
}

/* ---- delivery ----------------------------------------------------------------------- */

static void
complete(ProcPoolObject *pool, struct tdl_task *task, struct tdl_fire *fire)
{
    PyObject *value = NULL, *exception = NULL;
    const uint8_t *data = task->answer.data;
    size_t size = task->answer.size;
    switch (task->outcome) {
    case TDL_FRAME_RESULT:
        value = tdl_codec_get_value(pool->codec, data, size);
        break;
    case TDL_FRAME_RAISED:
        exception = tdl_codec_get_exception(pool->codec, data, size);
        break;
    case TDL_FRAME_MAPPED:
        break;
    default:
        exception = Py_XNewRef(task->failure);
    }
    if (value == NULL && exception == NULL && PyErr_Occurred())
        exception = tdl_err_take();
    /* what nobody has decoded, or could be asked to decode again */
    if (task->outcome == 0 || tdl_codec_is_kept(task->call.data, task->call.size))
        tdl_codec_drop(pool->codec, task->call.data, task->call.size);
    task->ops->complete(task, value, exception, fire);
}

/* Drop the pool's reference to a task that is completed. */
static void
release(ProcPoolObject *pool, struct tdl_task *task)
{
    /* somebody who looks at it may look at anything but this; what is still on its way
     * into a ring has a reference, and needs it */
    if ((task->call.capacity >= TDL_SPARE_LEAST || task->answer.capacity >= TDL_SPARE_LEAST) &&
        atomic_load_explicit(&task->references, memory_order_acquire) == 1) {
        tdl_lock_acquire(&pool->lock);
        tdl_procs_keep_locked(pool, &task->call);
        tdl_procs_keep_locked(pool, &task->answer);
        tdl_lock_release(&pool->lock);
    }
    tdl_task_unref(task);
}

bool
tdl_procs_deliver(ProcPoolObject *pool, bool all)
{
    struct tdl_tasks over, left;
    struct tdl_fire fire;
    struct tdl_task *task;
    tdl_tasks_init(&over);
    tdl_tasks_init(&left);
    tdl_lock_acquire(&pool->lock);
    tdl_tasks_move(&over, &pool->over);
    atomic_store_explicit(&pool->over_count, 0, memory_order_relaxed);
    /* what is left over is given back: the dispatcher must not have ended by then */
    pool->delivering++;
    tdl_lock_release(&pool->lock);
    tdl_fire_init(&fire);
    while ((task = tdl_tasks_pop(&over)) != NULL) {
        if (task->place == TDL_TASK_GONE)
            tdl_task_unref(task);
        else if (!all && !task->ops->is_plain(task))
            tdl_tasks_push(&left, task);
        else {
            complete(pool, task, &fire);
            release(pool, task);
        }
    }
    tdl_fire_all(&fire);
    bool some = left.first != NULL;
    tdl_lock_acquire(&pool->lock);
    if (some) {
        tdl_tasks_move(&left, &pool->over);
        tdl_tasks_move(&pool->over, &left);
        atomic_store_explicit(&pool->over_count, (uint32_t)pool->over.count,
                              memory_order_relaxed);
    }
    pool->delivering--;
    tdl_lock_release(&pool->lock);
    if (!all && atomic_load_explicit(&pool->closed, memory_order_seq_cst))
        tdl_procs_ring(pool); /* it may have waited for this */
    return some;
}

void
tdl_procs_tend(ProcPoolObject *pool)
{
    if (atomic_load_explicit(&pool->outstanding, memory_order_seq_cst) == 0 ||
        atomic_load_explicit(&pool->collecting, memory_order_seq_cst) != 0)
        return;
    if (!tdl_board_arm(pool->board))
        tdl_procs_ring(pool);
}

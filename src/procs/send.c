#include "core/alloc.h"
#include "core/clock.h"
#include "procs/pool.h"

/* What a worker is given in advance takes about this long; at most so many tasks. */
#define AHEAD TDL_NS_PER_MS
enum { AHEAD_MAX = 400, AHEAD_UNKNOWN = 8 };

void
tdl_wakes_fire(ProcPoolObject *pool, const struct tdl_wakes *wakes)
{
    if (wakes->dispatcher)
        tdl_procs_ring(pool);
    if (!wakes->any)
        return;
    for (uint32_t i = 0; i < TDL_BOARD_WORDS; i++)
        for (uint64_t bits = wakes->bits[i]; bits != 0; bits &= bits - 1) {
            /* a worker is freed by the dispatcher only, after its process has ended; a
             * wake to nobody does no harm, but the memory has to be there */
            uint32_t index = i * 64 + (uint32_t)__builtin_ctzll(bits);
            tdl_lock_acquire(&pool->lock);
            struct tdl_proc *proc = pool->procs[index];
            if (proc != NULL)
                tdl_channel_wake_consumer(&proc->link.calls);
            tdl_lock_release(&pool->lock);
        }
}

/* ---- room --------------------------------------------------------------------------- */

static uint32_t
limit_of(struct tdl_proc *proc)
{
    uint32_t ns = atomic_load_explicit(&proc->link.shared->task_ns, memory_order_relaxed);
    if (ns == 0)
        return AHEAD_UNKNOWN;
    uint32_t ahead = (uint32_t)(AHEAD / ns);
    return ahead < 2 ? 2 : ahead > AHEAD_MAX ? AHEAD_MAX : ahead;
}

static void
set_bit(uint64_t *bits, uint32_t index, bool value)
{
    uint64_t bit = UINT64_C(1) << (index % 64);
    if (value)
        bits[index / 64] |= bit;
    else
        bits[index / 64] &= ~bit;
}

void
tdl_procs_update_locked(ProcPoolObject *pool, struct tdl_proc *proc)
{
    bool usable = proc->state <= TDL_PROC_READY && !proc->corrupt && !proc->killed &&
                  proc->outgoing_count == 0 && proc->budget > 0;
    bool idle = usable && proc->state == TDL_PROC_READY && proc->inflight == 0;
    if (pool->idle_ns != TDL_NEVER && idle &&
        !(pool->idle[proc->index / 64] & (UINT64_C(1) << (proc->index % 64))))
        proc->idle_since = tdl_clock_now();
    set_bit(pool->idle, proc->index, idle);
    set_bit(pool->room, proc->index,
            usable && (proc->inflight == 0 || proc->inflight < limit_of(proc)));
}

static int
first_from(const uint64_t *bits, uint32_t from)
{
    for (uint32_t i = 0; i <= TDL_BOARD_WORDS; i++) {
        uint32_t word = (from / 64 + i) % TDL_BOARD_WORDS;
        uint64_t value = bits[word];
        if (i == 0)
            value &= ~UINT64_C(0) << (from % 64);
        if (value != 0)
            return (int)(word * 64 + (uint32_t)__builtin_ctzll(value));
    }
    return -1;
}

/* Whom to send the next task: the worker that had the last one if it is idle, whose
 * caches are warm and who may be spinning, else an idle one, else the next with room. */
static struct tdl_proc *
pick_locked(ProcPoolObject *pool)
{
    uint32_t cursor = pool->cursor;
    int index;
    if (pool->idle[cursor / 64] & (UINT64_C(1) << (cursor % 64)))
        return pool->procs[cursor];
    index = first_from(pool->idle, 0);
    if (index < 0)
        index = first_from(pool->room, (cursor + 1) % TDL_BOARD_WORKERS);
    return index < 0 ? NULL : pool->procs[index];
}

bool
tdl_procs_has_room_locked(ProcPoolObject *pool)
{
    return first_from(pool->room, 0) >= 0;
}

/* ---- sending ------------------------------------------------------------------------ */

/* Put as much of `out` into the ring as fits.  Returns 1 when all is in, 0 or -errno. */
static int
push_outgoing(struct tdl_proc *proc, struct tdl_outgoing *out, bool *wake)
{
    size_t limit = tdl_frame_limit(&proc->link.calls);
    for (;;) {
        struct tdl_frame frame = out->frame;
        size_t part = out->left < limit ? out->left : limit;
        frame.length = (uint32_t)part;
        frame.flags = part < out->left ? TDL_FRAME_MORE : 0;
        bool wanted = false;
        int r = tdl_frame_put(&proc->link.calls, &frame, out->data, &wanted);
        if (r == -EAGAIN) {
            if (tdl_channel_want_room(&proc->link.calls, tdl_frame_size(part)))
                return 0;
            continue;
        }
        if (r < 0)
            return r;
        *wake |= wanted;
        out->data += part;
        out->left -= part;
        if (frame.flags == 0)
            return 1;
    }
}

void
tdl_procs_flush_locked(ProcPoolObject *pool, struct tdl_proc *proc, struct tdl_wakes *wakes)
{
    bool wake = false;
    while (proc->outgoing_count > 0) {
        int r = push_outgoing(proc, &proc->outgoing[0], &wake);
        if (r < 0)
            proc->corrupt = true;
        if (r <= 0)
            break;
        struct tdl_task *task = proc->outgoing[0].task;
        proc->outgoing[0] = proc->outgoing[1];
        proc->outgoing_count--;
        if (task != NULL &&
            atomic_fetch_sub_explicit(&task->references, 1, memory_order_acq_rel) == 1) {
            /* the last one: to be freed by somebody with a thread state */
            atomic_store_explicit(&task->references, 1, memory_order_relaxed);
            task->place = TDL_TASK_GONE;
            tdl_procs_over_locked(pool, task);
        }
    }
    if (wake)
        tdl_wakes_add(wakes, proc->index);
}

static void
add_outgoing(struct tdl_proc *proc, uint16_t kind, uint32_t number, uint32_t function,
             const uint8_t *data, size_t size, struct tdl_task *task)
{
    struct tdl_outgoing *out = &proc->outgoing[proc->outgoing_count++];
    *out = (struct tdl_outgoing){.data = data, .left = size, .task = task};
    out->frame = (struct tdl_frame){.kind = kind, .task = number, .function = function};
    out->frame.submitted = task == NULL ? 0 : task->submitted;
}

/* Remember that the worker knows `function`.  Returns whether it did not. */
static bool
learns(struct tdl_proc *proc, uint32_t function)
{
    if (function >= proc->known_count) {
        uint32_t count = (function / 1024 + 1) * 1024;
        uint8_t *known = tdl_realloc(proc->known, count / 8);
        if (known == NULL)
            return true; /* told once more: does no harm */
        memset(known + proc->known_count / 8, 0, (count - proc->known_count) / 8);
        proc->known = known;
        proc->known_count = count;
    }
    uint8_t bit = (uint8_t)(1u << (function % 8));
    bool news = (proc->known[function / 8] & bit) == 0;
    proc->known[function / 8] |= bit;
    return news;
}

static bool
table_is_full(struct tdl_proc *proc)
{
    uint32_t passed = atomic_load_explicit(&proc->link.shared->passed, memory_order_acquire);
    return proc->next - passed >= TDL_LINK_TASKS ||
           proc->tasks[proc->next % TDL_LINK_TASKS] != NULL;
}

/* A task is outstanding, and no worker can have it yet.  Who leaves the collector's role,
 * and the dispatcher before it sleeps, look at `outstanding` after they have changed what
 * is looked at here: so they see the task, or this sees what they did.  See docs/procs.md,
 * section 4. */
static void
have_it_collected_locked(ProcPoolObject *pool, struct tdl_wakes *wakes)
{
    if (atomic_load_explicit(&pool->collecting, memory_order_seq_cst) == 0 &&
        !tdl_board_is_armed(pool->board) && !tdl_board_arm(pool->board))
        wakes->dispatcher = true;
}

/* Takes the reference. */
static void
send_locked(ProcPoolObject *pool, struct tdl_proc *proc, struct tdl_task *task,
            struct tdl_wakes *wakes)
{
    const uint8_t *data;
    size_t size;
    uint32_t number = proc->next++;
    task->place = TDL_TASK_SENT;
    task->worker = (int32_t)proc->index;
    task->number = number;
    proc->tasks[number % TDL_LINK_TASKS] = task;
    atomic_store_explicit(tdl_link_task(&proc->link, number), TDL_TASK_QUEUED,
                          memory_order_release);
    proc->inflight++;
    atomic_fetch_add_explicit(&pool->outstanding, 1, memory_order_seq_cst);
    have_it_collected_locked(pool, wakes);
    if (proc->budget != UINT32_MAX)
        proc->budget--;
    if (task->function != 0 && learns(proc, task->function) &&
        tdl_codec_function(pool->codec, task->function, &data, &size) == 0)
        add_outgoing(proc, TDL_FRAME_DEFINE, number, task->function, data, size, NULL);
    add_outgoing(proc, task->kind, number, task->function, task->call.data, task->call.size,
                 tdl_task_ref(task));
    tdl_codec_sent(pool->codec, task->call.data, task->call.size, proc->serial);
    pool->cursor = proc->index;
    tdl_procs_limit_locked(pool, task, wakes);
    tdl_procs_flush_locked(pool, proc, wakes);
    tdl_procs_update_locked(pool, proc);
}

void
tdl_procs_pump_locked(ProcPoolObject *pool, struct tdl_wakes *wakes)
{
    while (pool->queue.first != NULL) {
        struct tdl_proc *proc = pick_locked(pool);
        if (proc == NULL)
            return;
        if (table_is_full(proc)) {
            set_bit(pool->room, proc->index, false);
            set_bit(pool->idle, proc->index, false);
            continue;
        }
        send_locked(pool, proc, tdl_tasks_pop(&pool->queue), wakes);
    }
}

void
tdl_procs_submit(ProcPoolObject *pool, struct tdl_task *task)
{
    struct tdl_wakes wakes = {.any = false};
    if (tdl_codec_has_blocks(task->call.data, task->call.size) &&
        !atomic_load_explicit(&pool->trimming, memory_order_relaxed) &&
        !atomic_exchange_explicit(&pool->trimming, true, memory_order_seq_cst))
        tdl_procs_ring(pool);
    tdl_lock_acquire(&pool->lock);
    task->place = TDL_TASK_WAITS;
    tdl_tasks_push(&pool->queue, task);
    tdl_procs_pump_locked(pool, &wakes);
    tdl_lock_release(&pool->lock);
    tdl_wakes_fire(pool, &wakes);
}

void
tdl_procs_dismiss_locked(ProcPoolObject *pool, struct tdl_proc *proc, struct tdl_wakes *wakes)
{
    if (proc->state >= TDL_PROC_LEAVING || proc->outgoing_count == 2)
        return;
    add_outgoing(proc, TDL_FRAME_EXIT, 0, 0, NULL, 0, NULL);
    proc->state = TDL_PROC_LEAVING;
    tdl_procs_flush_locked(pool, proc, wakes);
    tdl_procs_update_locked(pool, proc);
}

/* Whom to do without first: who has the least to do, of those the newest. */
static struct tdl_proc *
pick_superfluous(ProcPoolObject *pool)
{
    struct tdl_proc *found = NULL;
    for (uint32_t i = 0; i < pool->proc_end; i++) {
        struct tdl_proc *proc = pool->procs[i];
        if (proc != NULL && proc->state <= TDL_PROC_READY &&
            (found == NULL || proc->inflight <= found->inflight))
            found = proc;
    }
    return found;
}

uint32_t
tdl_procs_live_locked(ProcPoolObject *pool)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < pool->proc_end; i++)
        count += pool->procs[i] != NULL && pool->procs[i]->state <= TDL_PROC_READY;
    return count;
}

void
tdl_procs_shrink_locked(ProcPoolObject *pool, uint32_t workers, struct tdl_wakes *wakes)
{
    for (uint32_t count = tdl_procs_live_locked(pool); count > workers; count--) {
        struct tdl_proc *proc = pick_superfluous(pool);
        if (proc == NULL)
            return;
        for (uint32_t k = 1; k <= TDL_LINK_TASKS; k++) {
            struct tdl_task *task = proc->tasks[(proc->next - k) % TDL_LINK_TASKS];
            if (task != NULL && tdl_procs_revoke_locked(pool, task)) {
                task->place = TDL_TASK_WAITS;
                tdl_tasks_push_front(&pool->queue, task);
            }
        }
        tdl_procs_dismiss_locked(pool, proc, wakes);
    }
    tdl_procs_pump_locked(pool, wakes);
}

/* ---- taking back -------------------------------------------------------------------- */

bool
tdl_procs_revoke_locked(ProcPoolObject *pool, struct tdl_task *task)
{
    struct tdl_proc *proc = pool->procs[task->worker];
    if (!tdl_link_claim(&proc->link, task->number, TDL_TASK_REVOKED))
        return false;
    proc->tasks[task->number % TDL_LINK_TASKS] = NULL;
    tdl_procs_unlimit_locked(pool, task);
    proc->inflight--;
    atomic_fetch_sub_explicit(&pool->outstanding, 1, memory_order_seq_cst);
    if (proc->budget != UINT32_MAX)
        proc->budget++;
    tdl_codec_sent(pool->codec, task->call.data, task->call.size, 0);
    task->worker = -1;
    task->place = TDL_TASK_NEW;
    tdl_procs_update_locked(pool, proc);
    return true;
}

/* The newest of what `proc` has not begun, `wanted` at most, goes back to the front of
 * the queue. */
static bool
take_back(ProcPoolObject *pool, struct tdl_proc *proc, uint32_t wanted)
{
    uint32_t passed = atomic_load_explicit(&proc->link.shared->passed, memory_order_acquire);
    uint32_t waiting = proc->next - passed;
    bool any = false;
    for (uint32_t i = 1; i <= waiting && wanted > 0; i++) {
        struct tdl_task *task = proc->tasks[(proc->next - i) % TDL_LINK_TASKS];
        if (task == NULL || task->number != proc->next - i ||
            !tdl_procs_revoke_locked(pool, task))
            continue;
        task->place = TDL_TASK_WAITS;
        tdl_tasks_push_front(&pool->queue, task);
        wanted--;
        any = true;
    }
    return any;
}

static bool
take_half(ProcPoolObject *pool, struct tdl_proc *proc)
{
    return take_back(pool, proc, (proc->inflight + 1) / 2);
}

void
tdl_procs_retire_locked(ProcPoolObject *pool, struct tdl_proc *proc, struct tdl_wakes *wakes)
{
    tdl_procs_dismiss_locked(pool, proc, wakes);
    if (proc->state == TDL_PROC_LEAVING)
        take_back(pool, proc, UINT32_MAX);
}

void
tdl_procs_balance_locked(ProcPoolObject *pool)
{
    if (pool->queue.first != NULL || first_from(pool->idle, 0) < 0 ||
        atomic_load_explicit(&pool->outstanding, memory_order_relaxed) < 2)
        return;
    for (uint32_t i = 0; i < pool->proc_end; i++) {
        struct tdl_proc *proc = pool->procs[i];
        if (proc != NULL && proc->state != TDL_PROC_DEAD && proc->inflight > 1 &&
            take_half(pool, proc))
            return;
        /* the one that starts only now has nothing under way */
        if (proc != NULL && proc->state == TDL_PROC_STARTING && proc->inflight > 0 &&
            take_half(pool, proc))
            return;
    }
}

void
tdl_procs_take_back_locked(ProcPoolObject *pool, const ProcBatchObject *batch,
                           struct tdl_tasks *tasks)
{
    struct tdl_tasks others;
    struct tdl_task *task;
    tdl_tasks_init(&others);
    while ((task = tdl_tasks_pop(&pool->queue)) != NULL)
        tdl_tasks_push(tdl_procs_is_chunk_of(task, batch) ? tasks : &others, task);
    tdl_tasks_move(&pool->queue, &others);
    for (uint32_t i = 0; i < pool->proc_end; i++) {
        struct tdl_proc *proc = pool->procs[i];
        for (uint32_t k = 0; proc != NULL && k < TDL_LINK_TASKS; k++) {
            task = proc->tasks[k];
            if (task != NULL && tdl_procs_is_chunk_of(task, batch) &&
                tdl_procs_revoke_locked(pool, task))
                tdl_tasks_push(tasks, task);
        }
    }
    for (task = tasks->first; task != NULL; task = task->next)
        task->place = TDL_TASK_GONE;
}

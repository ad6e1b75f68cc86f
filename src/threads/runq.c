#include "threads/runq.h"

#include <errno.h>

#include "core/alloc.h"

/* ---- ranked jobs: a binary heap ------------------------------------------------ */

static bool
before(const struct tdl_runq_ranked *a, const struct tdl_runq_ranked *b)
{
    if (a->job->priority != b->job->priority)
        return a->job->priority > b->job->priority;
    return a->sequence < b->sequence;
}

static void
swap(struct tdl_runq_ranked *a, struct tdl_runq_ranked *b)
{
    struct tdl_runq_ranked t = *a;
    *a = *b;
    *b = t;
}

static void
sift_up(struct tdl_runq_ranked *heap, size_t i)
{
    while (i > 0 && before(&heap[i], &heap[(i - 1) / 2])) {
        swap(&heap[i], &heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
}

static void
sift_down(struct tdl_runq_ranked *heap, size_t count)
{
    size_t i = 0;
    for (;;) {
        size_t best = i;
        for (size_t child = 2 * i + 1; child < count && child <= 2 * i + 2; child++)
            if (before(&heap[child], &heap[best]))
                best = child;
        if (best == i)
            return;
        swap(&heap[i], &heap[best]);
        i = best;
    }
}

static _Atomic uint32_t *
rank_counter(struct tdl_runq *runq, const struct tdl_job *job)
{
    return job->priority > 0 ? &runq->high : &runq->low;
}

static int
insert_ranked_locked(struct tdl_runq *runq, struct tdl_job *job)
{
    if (runq->nranked == runq->ranked_size) {
        size_t size = runq->ranked_size == 0 ? 16 : 2 * runq->ranked_size;
        struct tdl_runq_ranked *more = tdl_realloc(runq->ranked, size * sizeof *more);
        if (more == NULL)
            return -ENOMEM;
        runq->ranked = more;
        runq->ranked_size = size;
    }
    runq->ranked[runq->nranked] =
        (struct tdl_runq_ranked){.job = job, .sequence = runq->sequence++};
    sift_up(runq->ranked, runq->nranked++);
    job->linked = true;
    atomic_fetch_add_explicit(rank_counter(runq, job), 1, memory_order_relaxed);
    return 0;
}

static void
remove_first_ranked_locked(struct tdl_runq *runq)
{
    struct tdl_job *job = runq->ranked[0].job;
    runq->ranked[0] = runq->ranked[--runq->nranked];
    sift_down(runq->ranked, runq->nranked);
    job->linked = false;
    atomic_fetch_sub_explicit(rank_counter(runq, job), 1, memory_order_relaxed);
}

/* ---- taking units, from either kind of queue -------------------------------------- */

/* Take up to `grab` units.  Returns whether the job has none left and has to be
 * unlinked; the queue's reference is then the caller's, else there is a new one. */
static bool
take_units_locked(struct tdl_job *job, uint32_t *units)
{
    *units = job->units < job->grab ? job->units : job->grab;
    job->units -= *units;
    if (job->units == 0)
        return true;
    tdl_job_ref(job);
    return false;
}

/* Whether a thread without a thread state may take the job. */
static bool
suits(const struct tdl_job *job, bool detached_only)
{
    return !detached_only || job->ops->run_detached != NULL;
}

static void
release_dry(struct tdl_job *dry)
{
    while (dry != NULL) {
        struct tdl_job *next = dry->next;
        tdl_job_unref(dry);
        dry = next;
    }
}

/* Unlink ranked jobs without units from the front, onto `*dry`. */
static void
drop_dry_ranked_locked(struct tdl_runq *runq, struct tdl_job **dry)
{
    while (runq->nranked > 0 && runq->ranked[0].job->units == 0) {
        struct tdl_job *job = runq->ranked[0].job;
        remove_first_ranked_locked(runq);
        job->next = *dry;
        *dry = job;
    }
}

/* The first ranked job with units, if its priority is above (`above`) or below 0. */
static struct tdl_job *
pop_ranked(struct tdl_runq *runq, bool above, bool detached_only, uint32_t *units)
{
    struct tdl_job *job = NULL, *dry = NULL;
    tdl_lock_acquire(&runq->ranked_lock);
    /* to drop a job takes a thread state */
    if (!detached_only)
        drop_dry_ranked_locked(runq, &dry);
    if (runq->nranked > 0 && (runq->ranked[0].job->priority > 0) == above &&
        runq->ranked[0].job->units > 0 && suits(runq->ranked[0].job, detached_only)) {
        job = runq->ranked[0].job;
        if (take_units_locked(job, units))
            remove_first_ranked_locked(runq);
    }
    if (!detached_only)
        drop_dry_ranked_locked(runq, &dry);
    tdl_lock_release(&runq->ranked_lock);
    release_dry(dry);
    return job;
}

/* ---- shards --------------------------------------------------------------------- */

int
tdl_runq_init(struct tdl_runq *runq, uint32_t nshards)
{
    *runq = (struct tdl_runq){.nshards = nshards};
    runq->shards = tdl_malloc(nshards * sizeof *runq->shards);
    if (runq->shards == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < nshards; i++) {
        tdl_lock_init(&runq->shards[i].lock);
        runq->shards[i].head = NULL;
        runq->shards[i].tail = &runq->shards[i].head;
    }
    tdl_lock_init(&runq->ranked_lock);
    return 0;
}

void
tdl_runq_fini(struct tdl_runq *runq)
{
    tdl_free(runq->shards);
    tdl_free(runq->ranked);
    runq->shards = NULL;
    runq->ranked = NULL;
}

static void
link_locked(struct tdl_runq_shard *shard, struct tdl_job *job)
{
    job->next = NULL;
    job->linked = true;
    *shard->tail = job;
    shard->tail = &job->next;
}

static void
unlink_head_locked(struct tdl_runq_shard *shard)
{
    struct tdl_job *job = shard->head;
    shard->head = job->next;
    if (shard->head == NULL)
        shard->tail = &shard->head;
    job->linked = false;
}

int
tdl_runq_push(struct tdl_runq *runq, struct tdl_job *job)
{
    /* counted before it can be taken, so that the count never wraps */
    uint32_t units = job->units;
    atomic_fetch_add_explicit(&runq->count, units, memory_order_seq_cst);
    if (job->priority != 0) {
        tdl_lock_acquire(&runq->ranked_lock);
        int r = insert_ranked_locked(runq, job);
        tdl_lock_release(&runq->ranked_lock);
        if (r < 0) {
            atomic_fetch_sub_explicit(&runq->count, units, memory_order_seq_cst);
            return r;
        }
    }
    else {
        uint32_t ticket = runq->nshards == 1 ? 0
                                             : atomic_fetch_add_explicit(&runq->push_ticket, 1,
                                                                         memory_order_relaxed);
        job->shard = (uint16_t)(ticket & (runq->nshards - 1));
        struct tdl_runq_shard *shard = &runq->shards[job->shard];
        tdl_lock_acquire(&shard->lock);
        link_locked(shard, job);
        tdl_lock_release(&shard->lock);
    }
    return 0;
}

/* The lock that protects `job`'s units and links. */
static struct tdl_lock *
lock_of(struct tdl_runq *runq, const struct tdl_job *job)
{
    return job->priority != 0 ? &runq->ranked_lock : &runq->shards[job->shard].lock;
}

int
tdl_runq_add_units(struct tdl_runq *runq, struct tdl_job *job, uint32_t units)
{
    int r = 0;
    struct tdl_lock *lock = lock_of(runq, job);
    atomic_fetch_add_explicit(&runq->count, units, memory_order_seq_cst);
    tdl_lock_acquire(lock);
    if (!job->linked) {
        if (job->priority != 0)
            r = insert_ranked_locked(runq, job);
        else
            link_locked(&runq->shards[job->shard], job);
        if (r == 0)
            tdl_job_ref(job);
    }
    if (r == 0)
        job->units += units;
    tdl_lock_release(lock);
    if (r < 0)
        atomic_fetch_sub_explicit(&runq->count, units, memory_order_seq_cst);
    return r;
}

/* Unlink jobs without units from the front, onto `*dry`. */
static void
drop_dry_locked(struct tdl_runq_shard *shard, struct tdl_job **dry)
{
    struct tdl_job *job;
    while ((job = shard->head) != NULL && job->units == 0) {
        unlink_head_locked(shard);
        job->next = *dry;
        *dry = job;
    }
}

void
tdl_runq_discard(struct tdl_runq *runq, struct tdl_job *job)
{
    struct tdl_lock *lock = lock_of(runq, job);
    struct tdl_job *dry = NULL;
    tdl_lock_acquire(lock);
    uint32_t units = job->units;
    job->units = 0;
    /* one that is not at the front goes when it gets there */
    if (job->priority != 0)
        drop_dry_ranked_locked(runq, &dry);
    else
        drop_dry_locked(&runq->shards[job->shard], &dry);
    tdl_lock_release(lock);
    atomic_fetch_sub_explicit(&runq->count, units, memory_order_seq_cst);
    release_dry(dry);
}

/* The first job of the shard that has units; dry ones before and behind it are
 * dropped, which takes a thread state. */
static struct tdl_job *
pop_shard(struct tdl_runq_shard *shard, bool detached_only, uint32_t *units)
{
    struct tdl_job *job, *dry = NULL;
    tdl_lock_acquire(&shard->lock);
    if (!detached_only)
        drop_dry_locked(shard, &dry);
    job = shard->head;
    if (job != NULL && (job->units == 0 || !suits(job, detached_only)))
        job = NULL;
    if (job != NULL && take_units_locked(job, units)) {
        unlink_head_locked(shard);
        if (!detached_only)
            drop_dry_locked(shard, &dry);
    }
    tdl_lock_release(&shard->lock);
    release_dry(dry);
    return job;
}

static struct tdl_job *
pop_shards(struct tdl_runq *runq, bool detached_only, uint32_t *units)
{
    struct tdl_job *job = NULL;
    uint32_t first = atomic_load_explicit(&runq->pop_ticket, memory_order_relaxed);
    for (uint32_t i = 0; job == NULL && i < runq->nshards; i++) {
        struct tdl_runq_shard *shard = &runq->shards[(first + i) & (runq->nshards - 1)];
        job = pop_shard(shard, detached_only, units);
    }
    if (job != NULL && runq->nshards > 1)
        atomic_fetch_add_explicit(&runq->pop_ticket, 1, memory_order_relaxed);
    return job;
}

bool
tdl_runq_next_is_detached(struct tdl_runq *runq)
{
    if (tdl_runq_count(runq) == 0 ||
        atomic_load_explicit(&runq->high, memory_order_relaxed) > 0)
        return false;
    uint32_t first = atomic_load_explicit(&runq->pop_ticket, memory_order_relaxed);
    struct tdl_job *job = NULL;
    bool detached = false;
    for (uint32_t i = 0; job == NULL && i < runq->nshards; i++) {
        struct tdl_runq_shard *shard = &runq->shards[(first + i) & (runq->nshards - 1)];
        tdl_lock_acquire(&shard->lock);
        job = shard->head;
        detached = job != NULL && suits(job, true);
        tdl_lock_release(&shard->lock);
    }
    return detached;
}

struct tdl_job *
tdl_runq_pop(struct tdl_runq *runq, bool detached_only, uint32_t *units)
{
    struct tdl_job *job = NULL;
    *units = 1;
    if (atomic_load_explicit(&runq->high, memory_order_relaxed) > 0) {
        job = pop_ranked(runq, true, detached_only, units);
        if (job == NULL && detached_only)
            return NULL; /* what comes first needs a thread state */
    }
    if (job == NULL)
        job = pop_shards(runq, detached_only, units);
    if (job == NULL && atomic_load_explicit(&runq->low, memory_order_relaxed) > 0)
        job = pop_ranked(runq, false, detached_only, units);
    if (job != NULL)
        atomic_fetch_sub_explicit(&runq->count, *units, memory_order_seq_cst);
    return job;
}

int
tdl_runq_traverse(struct tdl_runq *runq, visitproc visit, void *arg)
{
    /* whoever holds one of these locks is not stopped by a collection: stopped
     * threads are at a safe point, and there is none in here */
    int r = 0;
    for (uint32_t i = 0; r == 0 && i < runq->nshards; i++) {
        struct tdl_runq_shard *shard = &runq->shards[i];
        tdl_lock_acquire(&shard->lock);
        for (struct tdl_job *job = shard->head; r == 0 && job != NULL; job = job->next)
            r = job->ops->traverse(job, visit, arg);
        tdl_lock_release(&shard->lock);
    }
    tdl_lock_acquire(&runq->ranked_lock);
    for (size_t i = 0; r == 0 && i < runq->nranked; i++)
        r = runq->ranked[i].job->ops->traverse(runq->ranked[i].job, visit, arg);
    tdl_lock_release(&runq->ranked_lock);
    return r;
}

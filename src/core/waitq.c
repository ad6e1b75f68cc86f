#include "core/waitq.h"

/* Put `w` before `next`, or at the end if that is NULL. */
static void
insert(struct tdl_waitq *q, struct tdl_wait *w, struct tdl_wait *next)
{
    struct tdl_wait *prev = next == NULL ? q->last : next->prev;
    w->next = next;
    w->prev = prev;
    w->state = TDL_WAIT_QUEUED;
    *(prev == NULL ? &q->first : &prev->next) = w;
    *(next == NULL ? &q->last : &next->prev) = w;
    if (q->pending == next)
        q->pending = w;
    q->count++;
}

void
tdl_waitq_push(struct tdl_waitq *q, struct tdl_wait *w)
{
    insert(q, w, NULL);
}

void
tdl_waitq_push_front(struct tdl_waitq *q, struct tdl_wait *w)
{
    insert(q, w, q->pending);
}

static void
unlink_wait(struct tdl_waitq *q, struct tdl_wait *w)
{
    *(w->prev == NULL ? &q->first : &w->prev->next) = w->next;
    *(w->next == NULL ? &q->last : &w->next->prev) = w->prev;
    if (q->pending == w)
        q->pending = w->next;
    w->next = w->prev = NULL;
    q->count--;
}

static bool
is_linked(const struct tdl_waitq *q, const struct tdl_wait *w)
{
    return w->prev != NULL || q->first == w;
}

void
tdl_waitq_remove(struct tdl_waitq *q, struct tdl_wait *w)
{
    if (is_linked(q, w))
        unlink_wait(q, w);
    w->state = TDL_WAIT_IDLE;
}

static struct tdl_wait *
advance(struct tdl_waitq *q, enum tdl_wait_state state)
{
    struct tdl_wait *w = q->pending;
    if (w != NULL) {
        w->state = state;
        q->pending = w->next;
    }
    return w;
}

struct tdl_wait *
tdl_waitq_grant(struct tdl_waitq *q)
{
    return advance(q, TDL_WAIT_GRANTED);
}

void
tdl_waitq_skip(struct tdl_waitq *q)
{
    advance(q, TDL_WAIT_SKIPPED);
}

struct tdl_wait *
tdl_waitq_pop(struct tdl_waitq *q)
{
    struct tdl_wait *w = tdl_waitq_grant(q);
    if (w != NULL)
        unlink_wait(q, w);
    return w;
}

/* ---- a lock ---------------------------------------------------------------------- */

bool
tdl_mutex_try(struct tdl_mutex *m, bool overtake)
{
    if (m->locked || (m->waiters.first != NULL && !overtake))
        return false;
    m->locked = true;
    return true;
}

struct tdl_wait *
tdl_mutex_grant(struct tdl_mutex *m)
{
    if (m->locked || m->waiters.first != m->waiters.pending)
        return NULL;
    return tdl_waitq_grant(&m->waiters);
}

struct tdl_wait *
tdl_mutex_release(struct tdl_mutex *m)
{
    m->locked = false;
    return tdl_mutex_grant(m);
}

void
tdl_mutex_take(struct tdl_mutex *m, struct tdl_wait *w)
{
    tdl_waitq_remove(&m->waiters, w);
    m->locked = true;
}

/* ---- a semaphore ----------------------------------------------------------------- */

bool
tdl_semaphore_try(struct tdl_semaphore *s, bool overtake)
{
    if (s->value <= 0 || (s->waiters.first != NULL && !overtake))
        return false;
    s->value--;
    return true;
}

struct tdl_wait *
tdl_semaphore_grant(struct tdl_semaphore *s)
{
    struct tdl_wait *w = s->value > 0 ? tdl_waitq_grant(&s->waiters) : NULL;
    if (w != NULL)
        s->value--;
    return w;
}

void
tdl_semaphore_take(struct tdl_semaphore *s, struct tdl_wait *w)
{
    tdl_waitq_remove(&s->waiters, w);
}

void
tdl_semaphore_leave(struct tdl_semaphore *s, struct tdl_wait *w)
{
    if (w->state == TDL_WAIT_GRANTED)
        s->value++;
    tdl_waitq_remove(&s->waiters, w);
}

/* ---- one side of a queue --------------------------------------------------------- */

struct tdl_wait *
tdl_side_grant(struct tdl_side *side)
{
    struct tdl_wait *w = tdl_waitq_pop(&side->waiters);
    if (w != NULL)
        side->promised++;
    return w;
}

void
tdl_side_come(struct tdl_side *side, struct tdl_wait *w)
{
    side->promised--;
    w->state = TDL_WAIT_IDLE;
}

void
tdl_side_again(struct tdl_side *side, struct tdl_wait *w)
{
    if (side->fair)
        tdl_waitq_push_front(&side->waiters, w);
    else
        tdl_waitq_push(&side->waiters, w);
}

bool
tdl_side_leave(struct tdl_side *side, struct tdl_wait *w)
{
    bool granted = w->state == TDL_WAIT_GRANTED;
    if (granted)
        tdl_side_come(side, w);
    else
        tdl_waitq_remove(&side->waiters, w);
    return granted;
}

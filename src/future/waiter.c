#include "future/waiter.h"

#include <errno.h>

#include "core/clock.h"

/* How recent waits of this thread went, whatever it waited for. */
static _Thread_local struct tdl_spin thread_spin;
static _Thread_local bool thread_spin_ready;

static struct tdl_spin *
spin_of_thread(void)
{
    if (!thread_spin_ready) {
        tdl_spin_init(&thread_spin);
        thread_spin_ready = true;
    }
    return &thread_spin;
}

static void
wake_loop(struct tdl_fire *fire)
{
    tdl_loop_wake_signal(fire->loop);
    tdl_loop_wake_unref(fire->loop);
    fire->loop = NULL;
}

void
tdl_fire_add_loop(struct tdl_fire *fire, struct tdl_loop_wake *loop)
{
    if (fire->loop == loop)
        return;
    if (fire->loop != NULL)
        wake_loop(fire);
    fire->loop = tdl_loop_wake_ref(loop);
}

void
tdl_fire_all(struct tdl_fire *fire)
{
    struct tdl_waiter *waiter = fire->first;
    if (fire->loop != NULL)
        wake_loop(fire);
    while (waiter != NULL) {
        /* it may be gone as soon as it is told */
        struct tdl_waiter *next = waiter->next_fire;
        tdl_parker_unpark(&waiter->parker);
        waiter = next;
    }
    tdl_fire_init(fire);
}

void
tdl_waiter_init(struct tdl_waiter *waiter, bool wants_cancel,
                bool (*note)(struct tdl_waiter *, struct tdl_wait_node *, enum tdl_outcome))
{
    tdl_parker_init(&waiter->parker);
    waiter->next_fire = NULL;
    waiter->wants_cancel = wants_cancel;
    atomic_init(&waiter->firing, false);
    waiter->note = note;
}

void
tdl_waiter_rearm(struct tdl_waiter *waiter)
{
    tdl_parker_init(&waiter->parker);
    atomic_store_explicit(&waiter->firing, false, memory_order_release);
}

void
tdl_waiter_choose(struct tdl_waiter *waiter, struct tdl_fire *fire)
{
    if (atomic_exchange_explicit(&waiter->firing, true, memory_order_acq_rel))
        return;
    waiter->next_fire = NULL;
    *fire->last = waiter;
    fire->last = &waiter->next_fire;
}

void
tdl_waiter_note(struct tdl_wait_node *node, enum tdl_outcome outcome, struct tdl_fire *fire)
{
    struct tdl_waiter *waiter = node->waiter;
    if (waiter->note == NULL || waiter->note(waiter, node, outcome))
        tdl_waiter_choose(waiter, fire);
}

static int
park(struct tdl_waiter *waiter, struct tdl_source *source, struct tdl_spin *spin,
     int64_t deadline)
{
    int peer_cpu = -1;
    PyThreadState *tstate = PyEval_SaveThread();
    if (source != NULL) {
        atomic_fetch_add_explicit(&source->released, 1, memory_order_release);
        peer_cpu = atomic_load_explicit(&source->cpu, memory_order_relaxed);
    }
    int r = tdl_parker_park(&waiter->parker, spin, peer_cpu, deadline);
    PyEval_RestoreThread(tstate);
    return r;
}

int
tdl_waiter_wait(struct tdl_waiter *waiter, struct tdl_source *source, int64_t deadline)
{
    struct tdl_spin *spin = spin_of_thread();
    for (;;) {
        if (tdl_parker_notified(&waiter->parker))
            return 1;
        int r = source != NULL && source->wait != NULL
                    ? source->wait(source, waiter, spin, deadline)
                    : park(waiter, source, spin, deadline);
        if (r == 0)
            return 1;
        if (PyErr_CheckSignals() < 0)
            return -1;
        if (r == -ETIMEDOUT)
            return 0;
    }
}

void
tdl_waiter_leave(struct tdl_waiter *waiter)
{
    if (atomic_load_explicit(&waiter->firing, memory_order_acquire))
        tdl_waiter_settle(waiter);
}

void
tdl_waiter_settle(struct tdl_waiter *waiter)
{
    if (tdl_parker_notified(&waiter->parker))
        return;
    /* whoever fires is between its decision and the wake: microseconds away,
     * but it may need to be scheduled first */
    PyThreadState *tstate = PyEval_SaveThread();
    while (tdl_parker_park(&waiter->parker, NULL, -1, TDL_NEVER) != 0)
        continue;
    PyEval_RestoreThread(tstate);
}

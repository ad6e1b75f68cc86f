/* How a future changes its state, and who is told. */
#include "core/clock.h"
#include "future/callbacks.h"
#include "future/condition.h"
#include "future/future.h"
#include "py/errors.h"
#include "py/timeout.h"

/* What a state change leaves to do once the lock is released. */
struct change {
    PyObject *condition; /* held by us, or NULL */
    PyObject *waiters;   /* the standard library's list, or NULL */
    struct tdl_fire local;
    struct tdl_fire *fire;
    enum tdl_future_state before;
    bool callbacks; /* there are some */
};

static void
set_state(FutureObject *self, enum tdl_future_state state)
{
    atomic_store_explicit(&self->state, state, memory_order_release);
}

/* Leave PENDING.  Another thread without a thread state may do the same at the
 * same time (tdl_future_start_detached()), so the lock alone is not enough. */
static bool
leave_pending(FutureObject *self, enum tdl_future_state to)
{
    uint32_t pending = TDL_PENDING;
    return atomic_compare_exchange_strong_explicit(&self->state, &pending, to,
                                                   memory_order_acq_rel, memory_order_acquire);
}

bool
tdl_future_start_detached(FutureObject *self)
{
    return leave_pending(self, TDL_RUNNING);
}

enum tdl_future_state
tdl_future_look(FutureObject *self)
{
    struct tdl_source *source = self->source;
    if (tdl_future_state(self) == TDL_PENDING && source != NULL && source->is_started != NULL &&
        tdl_future_has_job(self) && source->is_started(source, self))
        leave_pending(self, TDL_RUNNING);
    return tdl_future_state(self);
}

static void
unlink_node(struct tdl_wait_node *node)
{
    *node->prev = node->next;
    if (node->next != NULL)
        node->next->prev = node->prev;
    node->prev = NULL;
}

static void
push_node(FutureObject *self, struct tdl_wait_node *node)
{
    node->next = self->nodes;
    node->prev = &self->nodes;
    if (self->nodes != NULL)
        self->nodes->prev = &node->next;
    self->nodes = node;
}

/* Whether this is a forked child's copy of a future of the parent's pool. Its
 * nodes are those of threads that do not exist here, mostly on their stacks. */
static int
is_orphaned(FutureObject *self)
{
    return self->source != NULL && self->source->generation != self->st->generation;
}

/* Take off the nodes that care for `outcome` and note it with their waiters.
 * `cancelling`: cancel() itself, which only some wait for.  The lock is held. */
static void
note_nodes(FutureObject *self, enum tdl_outcome outcome, int cancelling, struct tdl_fire *fire)
{
    if (is_orphaned(self))
        self->nodes = NULL;
    struct tdl_wait_node *node = self->nodes;
    while (node != NULL) {
        struct tdl_wait_node *next = node->next;
        if (!cancelling || node->waiter->wants_cancel) {
            unlink_node(node);
            tdl_waiter_note(node, outcome, fire);
        }
        node = next;
    }
}

/* Take the condition if there is one.  It may come into being until the lock is
 * held, so the caller checks again under the lock (see the loops below).
 * Returns 0 or -1 with an exception set. */
static int
hold_condition(FutureObject *self, struct change *change)
{
    TDL_CRITICAL_BEGIN(self);
    change->condition = Py_XNewRef(self->condition);
    TDL_CRITICAL_END();
    if (change->condition == NULL)
        return 0;
    if (tdl_condition_acquire(self->st, change->condition) == 0)
        return 0;
    Py_CLEAR(change->condition);
    return -1;
}

static int
let_condition_go(FutureObject *self, struct change *change)
{
    int r = 0;
    if (change->condition != NULL) {
        r = tdl_condition_release(self->st, change->condition);
        Py_CLEAR(change->condition);
    }
    return r;
}

static int
tell_waiters(FutureObject *self, PyObject *waiters, PyObject *method)
{
    /* by index: the list is the user's and may change meanwhile */
    PyObject *waiter;
    for (Py_ssize_t i = 0; (waiter = tdl_list_get(waiters, i)) != NULL; i++) {
        PyObject *r = PyObject_CallMethodOneArg(waiter, method, (PyObject *)self);
        Py_DECREF(waiter);
        if (r == NULL)
            return -1;
        Py_DECREF(r);
    }
    return 0;
}

/* After the change, the lock released: tell the standard library's waiters and
 * the condition's, release it, wake ours.  Returns 0 or -1 with an exception. */
static int
finish_change(FutureObject *self, struct change *change, PyObject *method, int notify)
{
    int r = 0;
    if (change->waiters != NULL) {
        r = tell_waiters(self, change->waiters, method);
        Py_CLEAR(change->waiters);
    }
    if (r == 0 && notify && change->condition != NULL)
        r = tdl_condition_notify_all(self->st, change->condition);
    if (change->condition != NULL) {
        PyObject *raised = r < 0 ? tdl_err_take() : NULL;
        int released = let_condition_go(self, change);
        if (raised != NULL) {
            if (released < 0)
                PyErr_Clear();
            tdl_err_put_steal(raised);
        }
        else
            r = released;
    }
    if (change->fire == &change->local)
        tdl_fire_all(&change->local);
    return r;
}

static int
begin_change(FutureObject *self, struct change *change, struct tdl_fire *fire)
{
    change->condition = NULL;
    change->waiters = NULL;
    tdl_fire_init(&change->local);
    change->fire = fire != NULL ? fire : &change->local;
    return hold_condition(self, change);
}

/* The condition appeared (or was replaced) since we took it: start over. */
static int
retry_condition(FutureObject *self, struct change *change)
{
    return let_condition_go(self, change) < 0 ? -1 : hold_condition(self, change);
}

int
tdl_future_start(FutureObject *self)
{
    struct change change;
    if (begin_change(self, &change, NULL) < 0)
        return -1;
    int stable = 0;
    while (!stable) {
        TDL_CRITICAL_BEGIN(self);
        stable = self->condition == change.condition;
        if (stable) {
            change.before =
                leave_pending(self, TDL_RUNNING) ? TDL_PENDING : tdl_future_state(self);
            if (change.before == TDL_CANCELLED) {
                set_state(self, TDL_CANCELLED_AND_NOTIFIED);
                change.waiters = Py_XNewRef(self->waiters);
                note_nodes(self, TDL_OUTCOME_CANCELLED, 0, change.fire);
            }
        }
        TDL_CRITICAL_END();
        if (!stable && retry_condition(self, &change) < 0)
            return -1;
    }
    if (finish_change(self, &change, self->st->names.add_cancelled, 0) < 0)
        return -1;
    if (change.before == TDL_PENDING)
        return 1;
    if (change.before == TDL_CANCELLED)
        return 0;
    PyObject *r = PyObject_CallMethod(
        self->st->objects.logger, "critical", "sNO", "Future %s in unexpected state: %s",
        PyLong_FromVoidPtr(self), self->st->objects.state_names[change.before]);
    Py_XDECREF(r);
    if (r != NULL)
        PyErr_SetString(PyExc_RuntimeError, "Future in unexpected state");
    return -1;
}

static int
raise_invalid_state(FutureObject *self, enum tdl_future_state state)
{
    PyErr_Format(self->st->objects.InvalidStateError, "%U: %R",
                 self->st->objects.state_names[state], self);
    return -1;
}

int
tdl_future_finish(FutureObject *self, PyObject *result, PyObject *exception,
                  struct tdl_fire *fire)
{
    struct change change;
    PyObject *old_result = result, *old_exception = exception;
    int failed = begin_change(self, &change, fire);
    int stable = failed;
    while (!stable) {
        TDL_CRITICAL_BEGIN(self);
        stable = self->condition == change.condition;
        change.before = tdl_future_state(self);
        if (stable && !tdl_future_is_done(change.before)) {
            if (exception != NULL) {
                old_exception = self->exception;
                self->exception = exception;
            }
            else {
                old_result = self->result;
                self->result = result;
            }
            set_state(self, TDL_FINISHED);
            change.callbacks = self->callbacks != NULL;
            change.waiters = Py_XNewRef(self->waiters);
            if (self->nodes != NULL)
                note_nodes(self, exception != NULL ? TDL_OUTCOME_EXCEPTION : TDL_OUTCOME_RESULT,
                           0, change.fire);
        }
        TDL_CRITICAL_END();
        if (!stable && retry_condition(self, &change) < 0)
            stable = failed = -1;
    }
    Py_XDECREF(old_result);
    Py_XDECREF(old_exception);
    if (failed)
        return -1;
    if (tdl_future_is_done(change.before)) {
        let_condition_go(self, &change);
        return raise_invalid_state(self, change.before);
    }
    PyObject *method =
        exception != NULL ? self->st->names.add_exception : self->st->names.add_result;
    if ((change.waiters != NULL || change.condition != NULL || change.fire == &change.local) &&
        finish_change(self, &change, method, 1) < 0)
        return -1;
    if (!change.callbacks)
        return 0;
    /* a callback may take its time, or wait for one of these */
    tdl_fire_all(change.fire);
    return tdl_callbacks_run(self, fire);
}

/* Have a pending future's job given up.  Returns whether the future stays pending. */
static bool
revoke_job(FutureObject *self)
{
    struct tdl_source *source = self->source;
    if (source == NULL || source->revoke == NULL || tdl_future_state(self) != TDL_PENDING)
        return false;
    if (source->revoke(source, self))
        return true;
    leave_pending(self, TDL_RUNNING);
    return false;
}

int
tdl_future_cancel(FutureObject *self)
{
    struct change change;
    bool revoked = revoke_job(self);
    if (begin_change(self, &change, NULL) < 0)
        return -1;
    int stable = 0;
    while (!stable) {
        TDL_CRITICAL_BEGIN(self);
        stable = self->condition == change.condition;
        if (stable && leave_pending(self, TDL_CANCELLED)) {
            change.before = TDL_PENDING;
            note_nodes(self, TDL_OUTCOME_CANCELLED, 1, change.fire);
        }
        else
            change.before = tdl_future_state(self);
        TDL_CRITICAL_END();
        if (!stable && retry_condition(self, &change) < 0)
            return -1;
    }
    if (finish_change(self, &change, NULL, change.before == TDL_PENDING) < 0)
        return -1;
    if (change.before != TDL_PENDING)
        return change.before != TDL_RUNNING && change.before != TDL_FINISHED;
    if (tdl_callbacks_run(self, NULL) < 0)
        return -1;
    /* nobody else will come to it */
    return revoked && tdl_future_start(self) < 0 ? -1 : 1;
}

void
tdl_future_force_state(FutureObject *self, enum tdl_future_state state)
{
    struct tdl_fire fire;
    tdl_fire_init(&fire);
    TDL_CRITICAL_BEGIN(self);
    set_state(self, state);
    if (state == TDL_CANCELLED)
        note_nodes(self, TDL_OUTCOME_CANCELLED, 1, &fire);
    else if (state == TDL_CANCELLED_AND_NOTIFIED)
        note_nodes(self, TDL_OUTCOME_CANCELLED, 0, &fire);
    else if (state == TDL_FINISHED)
        note_nodes(self, self->exception != NULL ? TDL_OUTCOME_EXCEPTION : TDL_OUTCOME_RESULT,
                   0, &fire);
    TDL_CRITICAL_END();
    tdl_fire_all(&fire);
}

int
tdl_future_link(FutureObject *self, struct tdl_wait_node *node)
{
    int linked = 0;
    TDL_CRITICAL_BEGIN(self);
    enum tdl_future_state state = tdl_future_state(self);
    if (!tdl_future_is_done(state) || (state == TDL_CANCELLED && !node->waiter->wants_cancel)) {
        linked = 1;
        if (is_orphaned(self))
            node->prev = NULL; /* the list is not to be touched, and nobody will look at it */
        else
            push_node(self, node);
    }
    else
        node->prev = NULL;
    TDL_CRITICAL_END();
    return linked;
}

int
tdl_future_unlink(FutureObject *self, struct tdl_wait_node *node)
{
    int linked;
    TDL_CRITICAL_BEGIN(self);
    linked = node->prev != NULL;
    if (linked && is_orphaned(self))
        node->prev = NULL; /* its neighbours are not to be touched */
    else if (linked)
        unlink_node(node);
    TDL_CRITICAL_END();
    return linked;
}

PyObject *
tdl_future_condition(FutureObject *self)
{
    PyObject *fresh = NULL, *condition = NULL;
    while (condition == NULL) {
        /* not under the lock: to make one may start a collection, which may run
         * anything (3.11) */
        if (self->condition == NULL && fresh == NULL &&
            (fresh = tdl_condition_new(self->st)) == NULL)
            return NULL;
        TDL_CRITICAL_BEGIN(self);
        if (self->condition == NULL) {
            self->condition = fresh;
            fresh = NULL;
        }
        condition = Py_XNewRef(self->condition);
        TDL_CRITICAL_END();
    }
    Py_XDECREF(fresh);
    return condition;
}

int
tdl_future_check_not_orphaned(FutureObject *self)
{
    if (!is_orphaned(self) || tdl_future_is_done(tdl_future_state(self)))
        return 0;
    self->source->raise_orphaned(self->source);
    return -1;
}

int
tdl_future_wait(FutureObject *self, PyObject *timeout)
{
    int64_t deadline;
    if (tdl_timeout_deadline(timeout, &deadline) < 0 || tdl_future_check_not_orphaned(self) < 0)
        return -1;
    /* who does not want to wait does not want to work either */
    if (self->source != NULL && tdl_future_has_job(self) &&
        (deadline == TDL_NEVER || tdl_clock_now() < deadline)) {
        int helped = self->source->help(self->source, self);
        if (helped < 0)
            return -1;
        if (tdl_future_is_done(tdl_future_state(self)))
            return 1;
    }
    struct tdl_waiter waiter;
    struct tdl_wait_node node = {.waiter = &waiter, .future = self};
    tdl_waiter_init(&waiter, true, NULL);
    if (!tdl_future_link(self, &node))
        return 1;
    int r = tdl_waiter_wait(&waiter, self->source, deadline);
    if (r != 1 && !tdl_future_unlink(self, &node))
        tdl_waiter_leave(&waiter);
    return r < 0 ? -1 : tdl_future_is_done(tdl_future_state(self));
}

/* The methods of queues that wait. */
#include "core/clock.h"
#include "py/args.h"
#include "sync/object.h"
#include "sync/queue.h"

/* ---- in a loop ------------------------------------------------------------------- */

/* put() and get() are the same but for the direction: one attempt, with `value` to put. */
static enum tdl_queue_outcome
visit_queue(AwaitObject *self, PyObject **result, const struct tdl_queue_visit *visit)
{
    QueueObject *queue = (QueueObject *)self->owner;
    if (self->value == NULL)
        return tdl_queue_get(queue, result, visit);
    enum tdl_queue_outcome outcome = tdl_queue_put(queue, self->value, visit);
    if (outcome == TDL_QUEUE_FINE)
        *result = Py_NewRef(Py_None);
    return outcome;
}

static enum tdl_step
as_step(enum tdl_queue_outcome outcome)
{
    return outcome == TDL_QUEUE_FINE   ? TDL_STEP_DONE
           : outcome == TDL_QUEUE_BUSY ? TDL_STEP_WAIT
                                       : TDL_STEP_ERROR;
}

/* Whether an attempt would most likely fail. */
static bool
looks_busy(QueueObject *queue, bool puts)
{
    bool busy = false;
    TDL_CRITICAL_BEGIN(queue);
    if (queue->native && !queue->is_shut) {
        Py_ssize_t size = Py_SIZE(queue->items);
        busy = puts ? queue->limit > 0 && size >= queue->limit : size == 0;
    }
    TDL_CRITICAL_END();
    return busy;
}

/* Try, and wait if that fails. */
static enum tdl_step
try_or_wait(AwaitObject *self, PyObject **result, bool returns)
{
    struct tdl_queue_visit visit = {NULL, returns};
    if (!looks_busy((QueueObject *)self->owner, self->value != NULL)) {
        enum tdl_queue_outcome outcome = visit_queue(self, result, &visit);
        if (outcome != TDL_QUEUE_BUSY)
            return as_step(outcome);
    }
    if (tdl_await_prepare(self) < 0)
        return TDL_STEP_ERROR;
    visit.party = &self->party; /* what has come meanwhile is had at once */
    return as_step(visit_queue(self, result, &visit));
}

static enum tdl_step
start(AwaitObject *self, PyObject **result)
{
    return try_or_wait(self, result, false);
}

static struct tdl_side *
side_of(AwaitObject *self)
{
    QueueObject *queue = (QueueObject *)self->owner;
    return self->value == NULL ? &queue->getters : &queue->putters;
}

static enum tdl_step
wake(AwaitObject *self, PyObject *Py_UNUSED(value), PyObject **result)
{
    tdl_queue_come((QueueObject *)self->owner, side_of(self), &self->party);
    return try_or_wait(self, result, true);
}

static enum tdl_step
fail(AwaitObject *self, PyObject **Py_UNUSED(result))
{
    PyObject *raised = tdl_err_take();
    if (self->party.future != NULL) {
        PyObject *future = Py_NewRef(self->party.future);
        PyObject *r = PyObject_CallMethodNoArgs(future, self->st->names.cancel);
        if (r == NULL)
            PyErr_WriteUnraisable(future);
        Py_XDECREF(r);
        Py_DECREF(future);
    }
    self->op->leave(&self->party);
    tdl_err_put_steal(raised);
    return TDL_STEP_ERROR;
}

static const struct tdl_await_op get_op = {"get", "Queue.get", start,
                                           wake,  fail,        tdl_queue_leave_getters};
static const struct tdl_await_op put_op = {"put", "Queue.put", start,
                                           wake,  fail,        tdl_queue_leave_putters};

/* Where put_nowait() or get_nowait() was replaced: at the right moment, it is called. */
static enum tdl_step
call_replaced(AwaitObject *self, PyObject **result)
{
    struct tdl_names *names = &self->st->names;
    PyObject *queue = (PyObject *)self->owner;
    if (self->value != NULL)
        *result = PyObject_CallMethodOneArg(queue, names->put_nowait, self->value);
    else
        *result = PyObject_CallMethodNoArgs(queue, names->get_nowait);
    return *result == NULL ? TDL_STEP_ERROR : TDL_STEP_DONE;
}

/* Whether there is room, or an item: else it is put on the list. */
static enum tdl_queue_outcome
look(AwaitObject *self, bool push, bool returns)
{
    QueueObject *queue = (QueueObject *)self->owner;
    Py_ssize_t size = tdl_queue_size(queue);
    if (size < 0)
        return TDL_QUEUE_ERROR;
    bool busy = self->value == NULL ? size == 0 : queue->limit > 0 && size >= queue->limit;
    if (!busy || queue->is_shut)
        return TDL_QUEUE_FINE;
    if (push) {
        TDL_CRITICAL_BEGIN(queue);
        if (returns)
            tdl_side_again(side_of(self), &self->party.wait);
        else
            tdl_waitq_push(&side_of(self)->waiters, &self->party.wait);
        TDL_CRITICAL_END();
    }
    return TDL_QUEUE_BUSY;
}

static enum tdl_step
look_or_wait(AwaitObject *self, PyObject **result, bool returns)
{
    enum tdl_queue_outcome outcome = look(self, false, returns);
    if (outcome == TDL_QUEUE_BUSY) {
        if (tdl_await_prepare(self) < 0)
            return TDL_STEP_ERROR;
        outcome = look(self, true, returns);
    }
    return outcome == TDL_QUEUE_FINE ? call_replaced(self, result) : as_step(outcome);
}

static enum tdl_step
start_replaced(AwaitObject *self, PyObject **result)
{
    return look_or_wait(self, result, false);
}

static enum tdl_step
wake_replaced(AwaitObject *self, PyObject *Py_UNUSED(value), PyObject **result)
{
    tdl_queue_come((QueueObject *)self->owner, side_of(self), &self->party);
    return look_or_wait(self, result, true);
}

static const struct tdl_await_op get_replaced_op = {
    "get", "Queue.get", start_replaced, wake_replaced, fail, tdl_queue_leave_getters};
static const struct tdl_await_op put_replaced_op = {
    "put", "Queue.put", start_replaced, wake_replaced, fail, tdl_queue_leave_putters};

static PyObject *
queue_get(QueueObject *self, PyObject *Py_UNUSED(ignored))
{
    return tdl_await_new(&self->head, self->plain_get ? &get_op : &get_replaced_op, NULL);
}

static PyObject *
queue_put(QueueObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"item"};
    PyObject *item;
    if (tdl_args_parse("put", args, nargs, kwnames, names, 1, 1, &item) < 0)
        return NULL;
    return tdl_await_new(&self->head, self->plain_put ? &put_op : &put_replaced_op, item);
}

/* ---- join() ---------------------------------------------------------------------- */

/* Wait until all is done.  Returns whether it is. */
static bool
is_done_or_push(QueueObject *self, struct tdl_party *party)
{
    bool done;
    TDL_CRITICAL_BEGIN(self);
    done = self->unfinished <= 0;
    if (!done && party != NULL)
        tdl_waitq_push(&self->joiners, &party->wait);
    TDL_CRITICAL_END();
    return done;
}

static enum tdl_step
start_join(AwaitObject *self, PyObject **result)
{
    QueueObject *queue = (QueueObject *)self->owner;
    bool done = is_done_or_push(queue, NULL);
    if (!done) {
        if (tdl_await_prepare(self) < 0)
            return TDL_STEP_ERROR;
        done = is_done_or_push(queue, &self->party);
    }
    if (!done)
        return TDL_STEP_WAIT;
    *result = Py_NewRef(Py_None);
    return TDL_STEP_DONE;
}

static enum tdl_step
wake_join(AwaitObject *self, PyObject *Py_UNUSED(value), PyObject **result)
{
    tdl_queue_leave_joiners(&self->party);
    *result = Py_NewRef(Py_None);
    return TDL_STEP_DONE;
}

static enum tdl_step
fail_join(AwaitObject *self, PyObject **Py_UNUSED(result))
{
    tdl_queue_leave_joiners(&self->party);
    return TDL_STEP_ERROR;
}

static const struct tdl_await_op join_op = {"join",    "Queue.join", start_join,
                                            wake_join, fail_join,    tdl_queue_leave_joiners};

static PyObject *
queue_join(QueueObject *self, PyObject *Py_UNUSED(ignored))
{
    return tdl_await_new(&self->head, &join_op, NULL);
}

/* ---- in a thread ----------------------------------------------------------------- */

/* Put `item`, or take one into `*item` if that is NULL, waiting until `deadline`.
 * Returns TDL_QUEUE_BUSY if it has passed. */
static enum tdl_queue_outcome
block(QueueObject *self, PyObject **item, int64_t deadline)
{
    bool puts = *item != NULL;
    struct tdl_side *side = puts ? &self->putters : &self->getters;
    struct tdl_parked parked;
    struct tdl_queue_visit visit = {&parked.party, false};
    tdl_parked_init(&parked, &self->head,
                    puts ? tdl_queue_leave_putters : tdl_queue_leave_getters);
    for (;;) {
        enum tdl_queue_outcome outcome =
            puts ? tdl_queue_put(self, *item, &visit) : tdl_queue_get(self, item, &visit);
        if (outcome != TDL_QUEUE_BUSY)
            return outcome;
        int r = tdl_parked_wait(&parked, deadline);
        if (r <= 0)
            return r < 0 ? TDL_QUEUE_ERROR : TDL_QUEUE_BUSY;
        tdl_queue_come(self, side, &parked.party);
        tdl_waiter_rearm(&parked.waiter);
        visit.returns = true;
    }
}

static PyObject *
get_sync(QueueObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    struct tdl_state *st = self->head.st;
    struct tdl_sync_patience patience;
    if (tdl_sync_parse_timeout("get_sync", args, nargs, kwnames, &patience) < 0)
        return NULL;
    if (patience.now)
        return PyObject_CallMethodNoArgs((PyObject *)self, st->names.get_nowait);
    if (tdl_sync_may_block(st, "get_sync()", "get(), or timeout=0") < 0)
        return NULL;
    PyObject *item = NULL;
    if (block(self, &item, patience.deadline) == TDL_QUEUE_BUSY)
        PyErr_SetNone(st->objects.QueueEmpty);
    return item;
}

static PyObject *
put_sync(QueueObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"item", "timeout"};
    struct tdl_state *st = self->head.st;
    struct tdl_sync_patience patience;
    PyObject *values[2];
    if (tdl_args_parse("put_sync", args, nargs, kwnames, names, 2, 1, values) < 0 ||
        tdl_sync_patience(values[1], &patience) < 0)
        return NULL;
    if (patience.now)
        return PyObject_CallMethodOneArg((PyObject *)self, st->names.put_nowait, values[0]);
    if (self->limit > 0 && tdl_sync_may_block(st, "put_sync()", "put(), or timeout=0") < 0)
        return NULL;
    enum tdl_queue_outcome outcome = block(self, &values[0], patience.deadline);
    if (outcome == TDL_QUEUE_FINE)
        Py_RETURN_NONE;
    if (outcome == TDL_QUEUE_BUSY)
        PyErr_SetNone(st->objects.QueueFull);
    return NULL;
}

static PyObject *
join_sync(QueueObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    struct tdl_sync_patience patience;
    struct tdl_parked parked;
    if (tdl_sync_parse_timeout("join_sync", args, nargs, kwnames, &patience) < 0)
        return NULL;
    if (patience.now)
        return PyBool_FromLong(is_done_or_push(self, NULL));
    if (tdl_sync_may_block(self->head.st, "join_sync()", "join(), or timeout=0") < 0)
        return NULL;
    tdl_parked_init(&parked, &self->head, tdl_queue_leave_joiners);
    int r = is_done_or_push(self, &parked.party);
    if (r == 0 && (r = tdl_parked_wait(&parked, patience.deadline)) > 0)
        tdl_queue_leave_joiners(&parked.party);
    return r < 0 ? NULL : PyBool_FromLong(r);
}

PyMethodDef tdl_queue_wait_methods[] = {
    {"put", TDL_METHOD(queue_put), METH_FASTCALL | METH_KEYWORDS,
     "put($self, /, item)\n--\n\n"
     "Put an item, waiting for room if the queue is full. QueueShutDown if it is shut down."},
    {"get", (PyCFunction)queue_get, METH_NOARGS,
     "get($self, /)\n--\n\n"
     "Take an item, waiting for one if there is none. QueueShutDown if the queue is shut\n"
     "down and empty."},
    {"join", (PyCFunction)queue_join, METH_NOARGS,
     "join($self, /)\n--\n\nWait until task_done() was called for every item that was put."},
    {"put_sync", TDL_METHOD(put_sync), METH_FASTCALL | METH_KEYWORDS,
     "put_sync($self, /, item, timeout=None)\n--\n\n"
     "As put(), for threads: wait for timeout seconds at most, None for ever, 0 not at\n"
     "all, then QueueFull. RuntimeError in a thread whose event loop runs if the queue has\n"
     "a maxsize, unless timeout is 0."},
    {"get_sync", TDL_METHOD(get_sync), METH_FASTCALL | METH_KEYWORDS,
     "get_sync($self, /, timeout=None)\n--\n\n"
     "As get(), for threads: wait for timeout seconds at most, None for ever, 0 not at\n"
     "all, then QueueEmpty. RuntimeError in a thread whose event loop runs, unless timeout\n"
     "is 0."},
    {"join_sync", TDL_METHOD(join_sync), METH_FASTCALL | METH_KEYWORDS,
     "join_sync($self, /, timeout=None)\n--\n\n"
     "As join(), for threads: wait for timeout seconds at most, None for ever, 0 not at\n"
     "all. Return whether all was done. RuntimeError in a thread whose event loop runs,\n"
     "unless timeout is 0."},
    {NULL, NULL, 0, NULL},
};

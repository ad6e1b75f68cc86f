/* Barrier. */
#include "core/clock.h"
#include "py/args.h"
#include "sync/object.h"
#include "sync/sync.h"

enum barrier_state { FILLING, DRAINING, RESETTING, BROKEN };

static const char *const state_names[] = {"filling", "draining", "resetting", "broken"};

/* All that changes: the object's critical section. */
typedef struct {
    SyncObject head;
    Py_ssize_t parties; /* fixed after init */
    Py_ssize_t count;   /* who is inside */
    enum barrier_state state;
    struct tdl_waitq entering; /* wait for those of the round before to be gone */
    struct tdl_waitq inside;   /* wait for the rest to come */
} BarrierObject;

/* ---- transitions ----------------------------------------------------------------- */

enum outcome { ABORTED = -2, HELD, THROUGH };

static struct tdl_wait *
grant_entering(SyncObject *op, void *Py_UNUSED(argument))
{
    return tdl_waitq_grant(&((BarrierObject *)op)->entering);
}

static struct tdl_wait *
grant_inside(SyncObject *op, void *Py_UNUSED(argument))
{
    return tdl_waitq_grant(&((BarrierObject *)op)->inside);
}

static void
wake_inside(BarrierObject *self)
{
    tdl_sync_pass_on(&self->head, &self->inside, grant_inside, true);
}

static void
wake_entering(BarrierObject *self)
{
    tdl_sync_pass_on(&self->head, &self->entering, grant_entering, true);
}

/* One who is inside goes; whoever goes last opens the barrier for the next round. */
static void
go(BarrierObject *self)
{
    bool last;
    TDL_CRITICAL_BEGIN(self);
    last = --self->count == 0;
    if (last && (self->state == RESETTING || self->state == DRAINING))
        self->state = FILLING;
    TDL_CRITICAL_END();
    if (last)
        wake_entering(self);
}

/* The two lists differ in what it takes to leave. */
static bool
leave_entering(struct tdl_party *party)
{
    return tdl_party_remove(party, &((BarrierObject *)party->owner)->entering);
}

static bool
leave_inside(struct tdl_party *party)
{
    BarrierObject *self = (BarrierObject *)party->owner;
    bool granted = tdl_party_remove(party, &self->inside);
    go(self);
    return granted;
}

/* Inside: wait on `q`; `leave` is for that list. */
static void
push(struct tdl_waitq *q, struct tdl_party *party, bool (*leave)(struct tdl_party *))
{
    party->leave = leave;
    tdl_waitq_push(q, &party->wait);
}

/* Come in, or wait where the barrier's state says: `*index` is which one we are, or -1
 * while we are outside.  `party` NULL: do not wait, and do not come in if that is to wait. */
static enum outcome
come(BarrierObject *self, struct tdl_party *party, Py_ssize_t *index)
{
    enum outcome outcome = HELD;
    bool last = false;
    TDL_CRITICAL_BEGIN(self);
    *index = -1;
    if (self->state == BROKEN)
        outcome = ABORTED;
    else if (self->state != FILLING) {
        if (party != NULL)
            push(&self->entering, party, leave_entering);
    }
    else {
        last = self->count + 1 == self->parties;
        if (last)
            self->state = DRAINING;
        else if (party != NULL)
            push(&self->inside, party, leave_inside);
        if (last || party != NULL)
            *index = self->count++;
        outcome = last ? THROUGH : HELD;
    }
    TDL_CRITICAL_END();
    if (last)
        wake_inside(self);
    return outcome;
}

/* One who waited inside goes on.  Returns whether the barrier was passed. */
static bool
finish(BarrierObject *self, struct tdl_party *party)
{
    bool passed;
    tdl_party_remove(party, &self->inside);
    TDL_CRITICAL_BEGIN(self);
    passed = self->state == DRAINING;
    TDL_CRITICAL_END();
    go(self);
    return passed;
}

static enum tdl_step
raise_broken(struct tdl_state *st, const char *message)
{
    PyErr_SetString(st->objects.BrokenBarrierError, message);
    return TDL_STEP_ERROR;
}

/* ---- in a loop ------------------------------------------------------------------- */

enum { OUTSIDE = 0, INSIDE };

/* Come in or wait, with a future in hand. */
static enum tdl_step
come_in(AwaitObject *self, PyObject **result)
{
    BarrierObject *barrier = (BarrierObject *)self->owner;
    Py_ssize_t index;
    if (tdl_await_prepare(self) < 0)
        return TDL_STEP_ERROR;
    enum outcome outcome = come(barrier, &self->party, &index);
    if (outcome == ABORTED)
        return raise_broken(self->st, "Barrier aborted");
    if (index < 0)
        return TDL_STEP_WAIT;
    self->step = INSIDE;
    Py_XSETREF(self->value, PyLong_FromSsize_t(index));
    if (outcome == HELD)
        return TDL_STEP_WAIT;
    go(barrier);
    *result = Py_XNewRef(self->value);
    return *result == NULL ? TDL_STEP_ERROR : TDL_STEP_DONE;
}

static enum tdl_step
wake(AwaitObject *self, PyObject *Py_UNUSED(value), PyObject **result)
{
    BarrierObject *barrier = (BarrierObject *)self->owner;
    if (self->step == OUTSIDE) {
        leave_entering(&self->party);
        return come_in(self, result);
    }
    self->step = OUTSIDE;
    if (!finish(barrier, &self->party))
        return raise_broken(self->st, "Abort or reset of barrier");
    *result = Py_XNewRef(self->value);
    return *result == NULL ? TDL_STEP_ERROR : TDL_STEP_DONE;
}

static enum tdl_step
fail(AwaitObject *self, PyObject **Py_UNUSED(result))
{
    if (self->step == INSIDE)
        leave_inside(&self->party);
    else
        leave_entering(&self->party);
    return TDL_STEP_ERROR;
}

static const struct tdl_await_op wait_op = {"wait", "Barrier.wait", come_in,
                                            wake,   fail,           leave_entering};
static const struct tdl_await_op enter_op = {"__aenter__", "Barrier.__aenter__", come_in, wake,
                                             fail,         leave_entering};

static PyObject *
barrier_wait(BarrierObject *self, PyObject *Py_UNUSED(ignored))
{
    return tdl_await_new(&self->head, &wait_op, NULL);
}

static PyObject *
aenter(BarrierObject *self, PyObject *Py_UNUSED(ignored))
{
    return tdl_await_new(&self->head, &enter_op, NULL);
}

static enum tdl_step
nothing(AwaitObject *Py_UNUSED(self), PyObject **result)
{
    *result = Py_NewRef(Py_None);
    return TDL_STEP_DONE;
}

static const struct tdl_await_op exit_op = {
    "__aexit__", "Barrier.__aexit__", nothing, NULL, NULL, NULL};

static PyObject *
aexit(BarrierObject *self, PyObject *const *Py_UNUSED(args), Py_ssize_t Py_UNUSED(nargs))
{
    return tdl_await_new(&self->head, &exit_op, NULL);
}

/* ---- reset() and abort() --------------------------------------------------------- */

static void
reset_now(BarrierObject *self)
{
    TDL_CRITICAL_BEGIN(self);
    self->state = self->count > 0 ? RESETTING : FILLING;
    TDL_CRITICAL_END();
    wake_inside(self);
    wake_entering(self);
}

static void
abort_now(BarrierObject *self)
{
    TDL_CRITICAL_BEGIN(self);
    self->state = BROKEN;
    TDL_CRITICAL_END();
    wake_inside(self);
    wake_entering(self);
}

static enum tdl_step
start_reset(AwaitObject *self, PyObject **result)
{
    reset_now((BarrierObject *)self->owner);
    return nothing(self, result);
}

static enum tdl_step
start_abort(AwaitObject *self, PyObject **result)
{
    abort_now((BarrierObject *)self->owner);
    return nothing(self, result);
}

static const struct tdl_await_op reset_op = {"reset", "Barrier.reset", start_reset, NULL, NULL,
                                             NULL};
static const struct tdl_await_op abort_op = {"abort", "Barrier.abort", start_abort, NULL, NULL,
                                             NULL};

static PyObject *
reset(BarrierObject *self, PyObject *Py_UNUSED(ignored))
{
    return tdl_await_new(&self->head, &reset_op, NULL);
}

static PyObject *
abort_barrier(BarrierObject *self, PyObject *Py_UNUSED(ignored))
{
    return tdl_await_new(&self->head, &abort_op, NULL);
}

static PyObject *
reset_sync(BarrierObject *self, PyObject *Py_UNUSED(ignored))
{
    reset_now(self);
    Py_RETURN_NONE;
}

static PyObject *
abort_sync(BarrierObject *self, PyObject *Py_UNUSED(ignored))
{
    abort_now(self);
    Py_RETURN_NONE;
}

/* ---- in a thread ----------------------------------------------------------------- */

/* Too late: as with threading.Barrier, the others cannot go on without us. */
static int
time_out(BarrierObject *self)
{
    abort_now(self);
    raise_broken(self->head.st, "Barrier aborted");
    return -1;
}

/* Returns the index, or -1 with an exception set. */
static Py_ssize_t
block(BarrierObject *self, const struct tdl_sync_patience *patience)
{
    for (;;) {
        struct tdl_parked parked;
        Py_ssize_t index;
        tdl_parked_init(&parked, &self->head, leave_entering);
        enum outcome outcome = come(self, patience->now ? NULL : &parked.party, &index);
        if (outcome == ABORTED)
            return raise_broken(self->head.st, "Barrier aborted");
        if (outcome == THROUGH) {
            go(self);
            return index;
        }
        if (patience->now)
            return time_out(self);
        int r = tdl_parked_wait(&parked, patience->deadline);
        if (r <= 0)
            return r < 0 ? -1 : time_out(self);
        if (index < 0)
            leave_entering(&parked.party);
        else if (finish(self, &parked.party))
            return index;
        else
            return raise_broken(self->head.st, "Abort or reset of barrier");
    }
}

static PyObject *
wait_sync(BarrierObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    struct tdl_sync_patience patience;
    if (tdl_sync_parse_timeout("wait_sync", args, nargs, kwnames, &patience) < 0 ||
        (!patience.now &&
         tdl_sync_may_block(self->head.st, "wait_sync()", "wait(), or timeout=0") < 0))
        return NULL;
    Py_ssize_t index = block(self, &patience);
    return index < 0 ? NULL : PyLong_FromSsize_t(index);
}

/* ---- the type -------------------------------------------------------------------- */

static PyObject *
barrier_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwds))
{
    BarrierObject *self = (BarrierObject *)tdl_sync_alloc(type);
    if (self == NULL)
        return NULL;
    tdl_waitq_init(&self->entering);
    tdl_waitq_init(&self->inside);
    self->parties = 1;
    return (PyObject *)self;
}

static int
barrier_init(BarrierObject *self, PyObject *args, PyObject *kwds)
{
    static const char *const names[] = {"parties"};
    PyObject *given;
    if (tdl_sync_parse("Barrier.__init__", args, kwds, names, 1, 1, &given) < 0)
        return -1;
    Py_ssize_t parties = PyLong_AsSsize_t(given);
    if (parties == -1 && PyErr_Occurred())
        return -1;
    if (parties < 1) {
        PyErr_SetString(PyExc_ValueError, TDL_AIO_PARTIES_MESSAGE);
        return -1;
    }
    self->parties = parties;
    return 0;
}

static PyObject *
barrier_repr(BarrierObject *self)
{
    const char *name = state_names[self->state];
    PyObject *extra;
    if (self->state == BROKEN)
        extra = PyUnicode_FromString(name);
    else
        extra = PyUnicode_FromFormat("%s, waiters:%zd/%zd", name,
                                     self->state == FILLING ? self->count : 0, self->parties);
    return tdl_sync_repr_steal((PyObject *)self, extra);
}

static PyObject *
get_parties(BarrierObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromSsize_t(self->parties);
}

static PyObject *
get_count(BarrierObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromSsize_t(self->count);
}

static PyObject *
get_n_waiting(BarrierObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromSsize_t(self->state == FILLING ? self->count : 0);
}

static PyObject *
get_broken(BarrierObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->state == BROKEN);
}

static PyMethodDef barrier_methods[] = {
    {"wait", (PyCFunction)barrier_wait, METH_NOARGS,
     "wait($self, /)\n--\n\n"
     "Wait until as many as there are parties do; return 0 to parties - 1, another to each.\n"
     "BrokenBarrierError if the barrier is aborted or reset."},
    {"wait_sync", TDL_METHOD(wait_sync), METH_FASTCALL | METH_KEYWORDS,
     "wait_sync($self, /, timeout=None)\n--\n\n"
     "As wait(), for threads, for timeout seconds at most, None for ever; then the barrier\n"
     "is aborted and BrokenBarrierError raised. RuntimeError in a thread whose event loop\n"
     "runs, unless timeout is 0."},
    {"reset", (PyCFunction)reset, METH_NOARGS,
     "reset($self, /)\n--\n\n"
     "Begin anew; those who wait get BrokenBarrierError. A coroutine, as asyncio's."},
    {"reset_sync", (PyCFunction)reset_sync, METH_NOARGS,
     "reset_sync($self, /)\n--\n\nThe same as a function, from any thread."},
    {"abort", (PyCFunction)abort_barrier, METH_NOARGS,
     "abort($self, /)\n--\n\n"
     "Break it: those who wait, and who come, get BrokenBarrierError. A coroutine, as\n"
     "asyncio's."},
    {"abort_sync", (PyCFunction)abort_sync, METH_NOARGS,
     "abort_sync($self, /)\n--\n\nThe same as a function, from any thread."},
    {"__aenter__", (PyCFunction)aenter, METH_NOARGS, NULL},
    {"__aexit__", TDL_METHOD(aexit), METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef barrier_getset[] = {
    {"parties", (getter)get_parties, NULL, "How many it takes.", NULL},
    {"n_waiting", (getter)get_n_waiting, NULL, "How many wait for the rest.", NULL},
    {"broken", (getter)get_broken, NULL, "Whether it was aborted.", NULL},
    {"_count", (getter)get_count, NULL, NULL, NULL},
    {"_loop", tdl_sync_get_bound, tdl_sync_set_bound, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot barrier_slots[] = {
    {Py_tp_new, barrier_new},
    {Py_tp_init, barrier_init},
    {Py_tp_methods, barrier_methods},
    {Py_tp_getset, barrier_getset},
    {Py_tp_repr, barrier_repr},
    {Py_tp_traverse, tdl_sync_traverse},
    {Py_tp_clear, tdl_sync_clear},
    {Py_tp_dealloc, tdl_sync_dealloc},
    {0, NULL},
};

static PyType_Spec barrier_spec = {
    .name = "treadle._native.BarrierBase",
    .basicsize = sizeof(BarrierObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = barrier_slots,
};

int
tdl_barrier_exec(PyObject *module)
{
    return tdl_state_add_type(module, &barrier_spec,
                              &tdl_state_of(module)->objects.BarrierBase);
}

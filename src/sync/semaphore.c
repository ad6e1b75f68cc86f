/* Semaphore and BoundedSemaphore. */
#include "core/clock.h"
#include "py/args.h"
#include "sync/object.h"
#include "sync/sync.h"

typedef struct {
    SyncObject head;
    struct tdl_semaphore semaphore; /* the object's critical section */
    bool bounded;                   /* fixed after init, as is `bound` */
    int64_t bound;
    bool plain; /* nobody has replaced acquire(); fixed */
} SemaphoreObject;

/* ---- transitions ----------------------------------------------------------------- */

/* Inside. */
static bool
try_inside(SemaphoreObject *self)
{
    struct tdl_waitq *q = &self->semaphore.waiters;
    bool overtake = q->first != NULL && self->semaphore.value > 0 && tdl_party_all_cancelled(q);
    return tdl_semaphore_try(&self->semaphore, overtake);
}

static bool
try_acquire(SemaphoreObject *self)
{
    bool got;
    TDL_CRITICAL_BEGIN(self);
    got = try_inside(self);
    TDL_CRITICAL_END();
    return got;
}

/* Take one, or wait for one.  Returns whether one was taken. */
static bool
try_or_push(SemaphoreObject *self, struct tdl_party *party)
{
    bool got;
    TDL_CRITICAL_BEGIN(self);
    got = try_inside(self);
    if (!got)
        tdl_waitq_push(&self->semaphore.waiters, &party->wait);
    TDL_CRITICAL_END();
    return got;
}

static struct tdl_wait *
grant(SyncObject *op, void *Py_UNUSED(argument))
{
    return tdl_semaphore_grant(&((SemaphoreObject *)op)->semaphore);
}

/* `argument`: a bool, cleared if it was released too often. */
static struct tdl_wait *
release(SyncObject *op, void *argument)
{
    SemaphoreObject *self = (SemaphoreObject *)op;
    if (self->bounded && self->semaphore.value >= self->bound) {
        *(bool *)argument = false;
        return NULL;
    }
    tdl_semaphore_release(&self->semaphore);
    return tdl_semaphore_grant(&self->semaphore);
}

/* Those that came meanwhile had to wait behind others: there may be some for them. */
static void
pass_on(SemaphoreObject *self)
{
    if (self->semaphore.value > 0 && self->semaphore.waiters.pending != NULL)
        tdl_sync_pass_on(&self->head, &self->semaphore.waiters, grant, true);
}

static bool
leave(struct tdl_party *party)
{
    SemaphoreObject *self = (SemaphoreObject *)party->owner;
    bool granted;
    TDL_CRITICAL_BEGIN(self);
    granted = party->wait.state == TDL_WAIT_GRANTED;
    tdl_semaphore_leave(&self->semaphore, &party->wait);
    tdl_party_detach(party);
    TDL_CRITICAL_END();
    pass_on(self);
    return granted;
}

static void
take(SemaphoreObject *self, struct tdl_party *party)
{
    TDL_CRITICAL_BEGIN(self);
    tdl_semaphore_take(&self->semaphore, &party->wait);
    tdl_party_detach(party);
    TDL_CRITICAL_END();
    pass_on(self);
}

/* ---- in a loop ------------------------------------------------------------------- */

/* Up to the result, as all below. */
static enum tdl_step
begin(AwaitObject *self)
{
    SemaphoreObject *semaphore = (SemaphoreObject *)self->owner;
    if (try_acquire(semaphore))
        return TDL_STEP_DONE;
    if (tdl_await_prepare(self) < 0)
        return TDL_STEP_ERROR;
    return try_or_push(semaphore, &self->party) ? TDL_STEP_DONE : TDL_STEP_WAIT;
}

static enum tdl_step
start(AwaitObject *self, PyObject **result)
{
    *result = Py_NewRef(Py_True);
    enum tdl_step step = begin(self);
    if (step != TDL_STEP_DONE)
        Py_CLEAR(*result);
    return step;
}

static enum tdl_step
wake(AwaitObject *self, PyObject *Py_UNUSED(value), PyObject **result)
{
    take((SemaphoreObject *)self->owner, &self->party);
    *result = Py_NewRef(Py_True);
    return TDL_STEP_DONE;
}

static enum tdl_step
enter(AwaitObject *self, PyObject **result)
{
    if (!((SemaphoreObject *)self->owner)->plain)
        return tdl_await_method(self, self->st->names.acquire);
    enum tdl_step step = begin(self);
    if (step == TDL_STEP_DONE)
        *result = Py_NewRef(Py_None);
    return step;
}

static enum tdl_step
wake_entered(AwaitObject *self, PyObject *value, PyObject **result)
{
    if (value == NULL)
        take((SemaphoreObject *)self->owner, &self->party);
    *result = Py_NewRef(Py_None);
    return TDL_STEP_DONE;
}

static enum tdl_step
fail(AwaitObject *self, PyObject **Py_UNUSED(result))
{
    leave(&self->party);
    return TDL_STEP_ERROR;
}

static const struct tdl_await_op acquire_op = {
    "acquire", "Semaphore.acquire", start, wake, fail, leave};
static const struct tdl_await_op enter_op = {
    "__aenter__", "Semaphore.__aenter__", enter, wake_entered, fail, leave};

/* ---- in a thread ----------------------------------------------------------------- */

/* Returns 1, 0 at the deadline, or -1 with an exception set. */
static int
block(SemaphoreObject *self, int64_t deadline)
{
    struct tdl_parked parked;
    tdl_parked_init(&parked, &self->head, leave);
    if (try_or_push(self, &parked.party))
        return 1;
    int r = tdl_parked_wait(&parked, deadline);
    if (r > 0)
        take(self, &parked.party);
    return r;
}

/* ---- the type -------------------------------------------------------------------- */

static PyObject *
semaphore_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwds))
{
    SemaphoreObject *self = (SemaphoreObject *)tdl_sync_alloc(type);
    if (self == NULL)
        return NULL;
    struct tdl_state *st = self->head.st;
    tdl_waitq_init(&self->semaphore.waiters);
    self->semaphore.value = 1;
    self->plain = tdl_sync_has_own(type, st->objects.SemaphoreBase, st->names.acquire);
    return (PyObject *)self;
}

/* Parse the first value.  Returns 0 or -1 with an exception set. */
static int
set_value(SemaphoreObject *self, const char *function, PyObject *args, PyObject *kwds)
{
    static const char *const names[] = {"value"};
    PyObject *given;
    if (tdl_sync_parse(function, args, kwds, names, 1, 0, &given) < 0)
        return -1;
    int64_t value = given == NULL ? 1 : PyLong_AsLongLong(given);
    if (value == -1 && PyErr_Occurred())
        return -1;
    if (value < 0) {
        PyErr_SetString(PyExc_ValueError, "Semaphore initial value must be >= 0");
        return -1;
    }
    self->semaphore.value = value;
    return 0;
}

static int
semaphore_init(SemaphoreObject *self, PyObject *args, PyObject *kwds)
{
    return set_value(self, "Semaphore.__init__", args, kwds);
}

static int
bounded_init(SemaphoreObject *self, PyObject *args, PyObject *kwds)
{
    if (set_value(self, "BoundedSemaphore.__init__", args, kwds) < 0)
        return -1;
    self->bounded = true;
    self->bound = self->semaphore.value;
    return 0;
}

static PyObject *
acquire(SemaphoreObject *self, PyObject *Py_UNUSED(ignored))
{
    return tdl_await_new(&self->head, &acquire_op, NULL);
}

static PyObject *
aenter(SemaphoreObject *self, PyObject *Py_UNUSED(ignored))
{
    return tdl_await_new(&self->head, &enter_op, NULL);
}

static PyObject *
semaphore_release(SemaphoreObject *self, PyObject *Py_UNUSED(ignored))
{
    bool fine = true;
    if (tdl_sync_grant(&self->head, &self->semaphore.waiters, release, &fine) < 0)
        return NULL;
    if (fine)
        Py_RETURN_NONE;
    PyErr_SetString(PyExc_ValueError, "BoundedSemaphore released too many times");
    return NULL;
}

/* Whether acquire() would wait. */
static bool
is_locked(SemaphoreObject *self)
{
    bool locked;
    TDL_CRITICAL_BEGIN(self);
    struct tdl_waitq *q = &self->semaphore.waiters;
    locked = self->semaphore.value == 0 || (q->first != NULL && !tdl_party_all_cancelled(q));
    TDL_CRITICAL_END();
    return locked;
}

static PyObject *
locked(SemaphoreObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(is_locked(self));
}

static PyObject *
acquire_sync(SemaphoreObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    struct tdl_sync_patience patience;
    if (tdl_sync_parse_timeout("acquire_sync", args, nargs, kwnames, &patience) < 0)
        return NULL;
    if (patience.now)
        return PyBool_FromLong(try_acquire(self));
    if (tdl_sync_may_block(self->head.st, "acquire_sync()", "acquire(), or timeout=0") < 0)
        return NULL;
    int r = block(self, patience.deadline);
    return r < 0 ? NULL : PyBool_FromLong(r);
}

static PyObject *
semaphore_enter(SemaphoreObject *self, PyObject *Py_UNUSED(ignored))
{
    if (tdl_sync_may_block(self->head.st, "with", "async with") < 0)
        return NULL;
    int r = block(self, TDL_NEVER);
    return r < 0 ? NULL : PyBool_FromLong(r);
}

static PyObject *
semaphore_repr(SemaphoreObject *self)
{
    char text[64] = "locked";
    if (!is_locked(self))
        PyOS_snprintf(text, sizeof text, "unlocked, value:%lld",
                      (long long)self->semaphore.value);
    return tdl_sync_repr_steal((PyObject *)self,
                               tdl_sync_extra(text, &self->semaphore.waiters));
}

static PyObject *
get_waiters(SemaphoreObject *self, void *Py_UNUSED(closure))
{
    return tdl_party_list(&self->head, &self->semaphore.waiters);
}

static PyObject *
get_value(SemaphoreObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromLongLong(self->semaphore.value);
}

static PyMethodDef semaphore_methods[] = {
    {"acquire", (PyCFunction)acquire, METH_NOARGS,
     "acquire($self, /)\n--\n\nWait until the value is above 0, take 1 off it, return True."},
    {"release", (PyCFunction)semaphore_release, METH_NOARGS,
     "release($self, /)\n--\n\n"
     "Add 1 to the value, or let the one who has waited longest go on. From any thread.\n"
     "A bounded one raises ValueError if it would exceed its first value."},
    {"locked", (PyCFunction)locked, METH_NOARGS,
     "locked($self, /)\n--\n\nReturn whether acquire() would have to wait."},
    {"acquire_sync", TDL_METHOD(acquire_sync), METH_FASTCALL | METH_KEYWORDS,
     "acquire_sync($self, /, timeout=None)\n--\n\n"
     "As acquire(), for threads: wait for timeout seconds at most, None for ever, 0 not\n"
     "at all. Return whether it was acquired. RuntimeError in a thread whose event loop\n"
     "runs, unless timeout is 0."},
    {"__aenter__", (PyCFunction)aenter, METH_NOARGS, NULL},
    {"__aexit__", TDL_METHOD(tdl_sync_aexit), METH_FASTCALL, NULL},
    {"__enter__", (PyCFunction)semaphore_enter, METH_NOARGS, NULL},
    {"__exit__", TDL_METHOD(tdl_sync_exit), METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef semaphore_getset[] = {
    {"_loop", tdl_sync_get_bound, tdl_sync_set_bound, NULL, NULL},
    {"_waiters", (getter)get_waiters, NULL, NULL, NULL},
    {"_value", (getter)get_value, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot semaphore_slots[] = {
    {Py_tp_new, semaphore_new},
    {Py_tp_init, semaphore_init},
    {Py_tp_methods, semaphore_methods},
    {Py_tp_getset, semaphore_getset},
    {Py_tp_repr, semaphore_repr},
    {Py_tp_traverse, tdl_sync_traverse},
    {Py_tp_clear, tdl_sync_clear},
    {Py_tp_dealloc, tdl_sync_dealloc},
    {0, NULL},
};

static PyType_Spec semaphore_spec = {
    .name = "treadle._native.SemaphoreBase",
    .basicsize = sizeof(SemaphoreObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = semaphore_slots,
};

static PyType_Slot bounded_slots[] = {
    {Py_tp_init, bounded_init},
    {0, NULL},
};

static PyType_Spec bounded_spec = {
    .name = "treadle._native.BoundedSemaphoreBase",
    .basicsize = sizeof(SemaphoreObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = bounded_slots,
};

int
tdl_semaphore_exec(PyObject *module)
{
    struct tdl_objects *o = &tdl_state_of(module)->objects;
    if (tdl_state_add_type(module, &semaphore_spec, &o->SemaphoreBase) < 0)
        return -1;
    PyObject *bounded =
        PyType_FromModuleAndSpec(module, &bounded_spec, (PyObject *)o->SemaphoreBase);
    int r = bounded == NULL ? -1 : PyModule_AddType(module, (PyTypeObject *)bounded);
    Py_XDECREF(bounded);
    return r;
}

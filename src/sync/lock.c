#include "sync/lock.h"

#include "core/clock.h"
#include "py/args.h"
#include "sync/object.h"
#include "sync/sync.h"

/* ---- transitions ----------------------------------------------------------------- */

/* Inside. */
static bool
try_inside(LockObject *self)
{
    struct tdl_waitq *q = &self->mutex.waiters;
    bool overtake = q->first != NULL && !self->mutex.locked && tdl_party_all_cancelled(q);
    return tdl_mutex_try(&self->mutex, overtake);
}

bool
tdl_lock_try(LockObject *self)
{
    bool got;
    TDL_CRITICAL_BEGIN(self);
    got = try_inside(self);
    TDL_CRITICAL_END();
    return got;
}

/* Lock it, or wait for it.  Returns whether it was locked. */
static bool
try_or_push(LockObject *self, struct tdl_party *party)
{
    bool got;
    TDL_CRITICAL_BEGIN(self);
    got = try_inside(self);
    if (!got)
        tdl_waitq_push(&self->mutex.waiters, &party->wait);
    TDL_CRITICAL_END();
    return got;
}

static struct tdl_wait *
release(SyncObject *op, void *was_locked)
{
    LockObject *self = (LockObject *)op;
    *(bool *)was_locked = self->mutex.locked;
    return self->mutex.locked ? tdl_mutex_release(&self->mutex) : NULL;
}

int
tdl_lock_unlock(LockObject *self)
{
    bool locked;
    int r = tdl_sync_grant(&self->head, &self->mutex.waiters, release, &locked);
    return r < 0 ? -1 : locked;
}

static struct tdl_wait *
grant(SyncObject *op, void *Py_UNUSED(argument))
{
    return tdl_mutex_grant(&((LockObject *)op)->mutex);
}

bool
tdl_lock_leave(struct tdl_party *party)
{
    LockObject *self = (LockObject *)party->owner;
    bool granted = tdl_party_remove(party, &self->mutex.waiters);
    tdl_sync_pass_on(&self->head, &self->mutex.waiters, grant, false);
    return granted;
}

void
tdl_lock_take(LockObject *self, struct tdl_party *party)
{
    TDL_CRITICAL_BEGIN(self);
    tdl_mutex_take(&self->mutex, &party->wait);
    tdl_party_detach(party);
    TDL_CRITICAL_END();
}

static PyObject *
lock_release(LockObject *self, PyObject *Py_UNUSED(ignored))
{
    int r = tdl_lock_unlock(self);
    if (r > 0)
        Py_RETURN_NONE;
    if (r == 0)
        PyErr_SetString(PyExc_RuntimeError, "Lock is not acquired.");
    return NULL;
}

/* ---- in a loop ------------------------------------------------------------------- */

/* Whether it can probably be had at once. */
static bool
looks_free(LockObject *self)
{
    bool free;
    TDL_CRITICAL_BEGIN(self);
    free = !self->mutex.locked && self->mutex.waiters.first == NULL;
    TDL_CRITICAL_END();
    return free;
}

enum tdl_step
tdl_lock_start(AwaitObject *self)
{
    LockObject *lock = (LockObject *)self->owner;
    if (looks_free(lock) && tdl_lock_try(lock))
        return TDL_STEP_DONE;
    if (tdl_await_prepare(self) < 0)
        return TDL_STEP_ERROR;
    /* it may have been unlocked meanwhile */
    return try_or_push(lock, &self->party) ? TDL_STEP_DONE : TDL_STEP_WAIT;
}

static enum tdl_step
start(AwaitObject *self, PyObject **result)
{
    enum tdl_step step = tdl_lock_start(self);
    if (step == TDL_STEP_DONE)
        *result = Py_NewRef(Py_True);
    return step;
}

static enum tdl_step
wake(AwaitObject *self, PyObject *Py_UNUSED(value), PyObject **result)
{
    tdl_lock_take((LockObject *)self->owner, &self->party);
    *result = Py_NewRef(Py_True);
    return TDL_STEP_DONE;
}

static enum tdl_step
fail(AwaitObject *self, PyObject **Py_UNUSED(result))
{
    tdl_lock_leave(&self->party);
    return TDL_STEP_ERROR;
}

static enum tdl_step
enter(AwaitObject *self, PyObject **result)
{
    LockObject *lock = (LockObject *)self->owner;
    if (!lock->plain)
        return tdl_await_method(self, self->st->names.acquire);
    enum tdl_step step = tdl_lock_start(self);
    if (step == TDL_STEP_DONE)
        *result = Py_NewRef(Py_None);
    return step;
}

static enum tdl_step
wake_entered(AwaitObject *self, PyObject *value, PyObject **result)
{
    if (value == NULL)
        tdl_lock_take((LockObject *)self->owner, &self->party);
    *result = Py_NewRef(Py_None);
    return TDL_STEP_DONE;
}

static enum tdl_step
leave_block(AwaitObject *self, PyObject **result)
{
    LockObject *lock = (LockObject *)self->owner;
    if (lock->plain)
        *result = lock_release(lock, NULL);
    else
        *result = PyObject_CallMethodNoArgs((PyObject *)lock, self->st->names.release);
    if (*result == NULL)
        return TDL_STEP_ERROR;
    Py_SETREF(*result, Py_NewRef(Py_None));
    return TDL_STEP_DONE;
}

static const struct tdl_await_op acquire_op = {"acquire", "Lock.acquire", start,
                                               wake,      fail,           tdl_lock_leave};
static const struct tdl_await_op enter_op = {
    "__aenter__", "Lock.__aenter__", enter, wake_entered, fail, tdl_lock_leave};
static const struct tdl_await_op exit_op = {
    "__aexit__", "Lock.__aexit__", leave_block, NULL, NULL, NULL};

/* ---- in a thread ----------------------------------------------------------------- */

int
tdl_lock_block(LockObject *self, int64_t deadline)
{
    struct tdl_parked parked;
    tdl_parked_init(&parked, &self->head, tdl_lock_leave);
    if (try_or_push(self, &parked.party))
        return 1;
    int r = tdl_parked_wait(&parked, deadline);
    if (r > 0)
        tdl_lock_take(self, &parked.party);
    return r;
}

/* ---- the type -------------------------------------------------------------------- */

static PyObject *
lock_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwds))
{
    LockObject *self = (LockObject *)tdl_sync_alloc(type);
    if (self == NULL)
        return NULL;
    tdl_waitq_init(&self->mutex.waiters);
    PyTypeObject *base = self->head.st->objects.LockBase;
    self->plain = tdl_sync_has_own(type, base, self->head.st->names.acquire) &&
                  tdl_sync_has_own(type, base, self->head.st->names.release);
    return (PyObject *)self;
}

/* What is put on the instance may be a method. */
static int
lock_setattro(PyObject *op, PyObject *name, PyObject *value)
{
    ((LockObject *)op)->plain = false;
    return PyObject_GenericSetAttr(op, name, value);
}

static int
lock_init(LockObject *Py_UNUSED(self), PyObject *args, PyObject *kwds)
{
    return tdl_sync_parse("Lock.__init__", args, kwds, NULL, 0, 0, NULL);
}

static PyObject *
acquire(LockObject *self, PyObject *Py_UNUSED(ignored))
{
    return tdl_await_new(&self->head, &acquire_op, NULL);
}

static PyObject *
aenter(LockObject *self, PyObject *Py_UNUSED(ignored))
{
    return tdl_await_new(&self->head, &enter_op, NULL);
}

static PyObject *
aexit(LockObject *self, PyObject *const *Py_UNUSED(args), Py_ssize_t Py_UNUSED(nargs))
{
    return tdl_await_new(&self->head, &exit_op, NULL);
}

static PyObject *
locked(LockObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(self->mutex.locked);
}

static PyObject *
acquire_sync(LockObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    struct tdl_sync_patience patience;
    if (tdl_sync_parse_timeout("acquire_sync", args, nargs, kwnames, &patience) < 0)
        return NULL;
    if (patience.now)
        return PyBool_FromLong(tdl_lock_try(self));
    if (tdl_sync_may_block(self->head.st, "acquire_sync()", "acquire()") < 0)
        return NULL;
    int r = tdl_lock_block(self, patience.deadline);
    return r < 0 ? NULL : PyBool_FromLong(r);
}

static PyObject *
lock_enter(LockObject *self, PyObject *Py_UNUSED(ignored))
{
    if (tdl_sync_may_block(self->head.st, "with", "async with") < 0)
        return NULL;
    int r = tdl_lock_block(self, TDL_NEVER);
    return r < 0 ? NULL : PyBool_FromLong(r);
}

static PyObject *
lock_repr(LockObject *self)
{
    return tdl_sync_repr_steal(
        (PyObject *)self,
        tdl_sync_extra(self->mutex.locked ? "locked" : "unlocked", &self->mutex.waiters));
}

static PyObject *
get_waiters(LockObject *self, void *Py_UNUSED(closure))
{
    return tdl_party_list(&self->head, &self->mutex.waiters);
}

static PyObject *
get_locked(LockObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->mutex.locked);
}

static PyMethodDef lock_methods[] = {
    {"acquire", (PyCFunction)acquire, METH_NOARGS,
     "acquire($self, /)\n--\n\nWait until the lock is unlocked, lock it, return True."},
    {"release", (PyCFunction)lock_release, METH_NOARGS,
     "release($self, /)\n--\n\n"
     "Unlock it and let the one who has waited longest go on. From any thread.\n"
     "RuntimeError if it is not locked."},
    {"locked", (PyCFunction)locked, METH_NOARGS,
     "locked($self, /)\n--\n\nReturn whether it is locked."},
    {"acquire_sync", TDL_METHOD(acquire_sync), METH_FASTCALL | METH_KEYWORDS,
     "acquire_sync($self, /, timeout=None)\n--\n\n"
     "As acquire(), for threads: wait for timeout seconds at most, None for ever, 0 not\n"
     "at all. Return whether it is locked now. RuntimeError in a thread whose event loop\n"
     "runs, unless timeout is 0."},
    {"__aenter__", (PyCFunction)aenter, METH_NOARGS, NULL},
    {"__aexit__", TDL_METHOD(aexit), METH_FASTCALL, NULL},
    {"__enter__", (PyCFunction)lock_enter, METH_NOARGS, NULL},
    {"__exit__", TDL_METHOD(tdl_sync_exit), METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef lock_getset[] = {
    {"_loop", tdl_sync_get_bound, tdl_sync_set_bound, NULL, NULL},
    {"_waiters", (getter)get_waiters, NULL, NULL, NULL},
    {"_locked", (getter)get_locked, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot lock_slots[] = {
    {Py_tp_new, lock_new},
    {Py_tp_init, lock_init},
    {Py_tp_methods, lock_methods},
    {Py_tp_getset, lock_getset},
    {Py_tp_setattro, lock_setattro},
    {Py_tp_repr, lock_repr},
    {Py_tp_traverse, tdl_sync_traverse},
    {Py_tp_clear, tdl_sync_clear},
    {Py_tp_dealloc, tdl_sync_dealloc},
    {0, NULL},
};

static PyType_Spec lock_spec = {
    .name = "treadle._native.LockBase",
    .basicsize = sizeof(LockObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = lock_slots,
};

int
tdl_lock_exec(PyObject *module)
{
    return tdl_state_add_type(module, &lock_spec, &tdl_state_of(module)->objects.LockBase);
}

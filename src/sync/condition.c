/* Condition. */
#include "core/clock.h"
#include "py/args.h"
#include "sync/lock.h"
#include "sync/object.h"
#include "sync/sync.h"

typedef struct {
    SyncObject head;
    struct tdl_waitq waiters; /* the object's critical section */
    PyObject *lock;           /* strong; a Lock of ours, or whatever works like asyncio's */
} ConditionObject;

/* ---- the lock -------------------------------------------------------------------- */

static PyObject *
lock_of(ConditionObject *self)
{
    if (self->lock == NULL)
        PyErr_SetString(PyExc_RuntimeError, "Condition.__init__() was not called");
    return self->lock;
}

/* 1, 0, or -1 with an exception set. */
static int
is_locked(ConditionObject *self)
{
    PyObject *lock = lock_of(self);
    PyObject *r =
        lock == NULL ? NULL : PyObject_CallMethodNoArgs(lock, self->head.st->names.locked);
    int yes = r == NULL ? -1 : PyObject_IsTrue(r);
    Py_XDECREF(r);
    return yes;
}

static int
check_locked(ConditionObject *self, const char *what)
{
    int locked = is_locked(self);
    if (locked == 0)
        PyErr_Format(PyExc_RuntimeError, "cannot %s on un-acquired lock", what);
    return locked > 0 ? 0 : -1;
}

static int
call_release(ConditionObject *self)
{
    PyObject *r = PyObject_CallMethodNoArgs((PyObject *)self, self->head.st->names.release);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

/* The lock if threads can wait for it, else NULL with TypeError set. */
static LockObject *
thread_lock(ConditionObject *self)
{
    PyObject *lock = lock_of(self);
    if (lock == NULL || PyObject_TypeCheck(lock, self->head.st->objects.LockBase))
        return (LockObject *)lock;
    PyErr_Format(PyExc_TypeError,
                 "threads cannot wait for a '%.200s'; make the Condition with a treadle.Lock",
                 Py_TYPE(lock)->tp_name);
    return NULL;
}

/* ---- notifying ------------------------------------------------------------------- */

static struct tdl_wait *
grant(SyncObject *op, void *Py_UNUSED(argument))
{
    return tdl_waitq_grant(&((ConditionObject *)op)->waiters);
}

/* Returns 0 or -1 with an exception set. */
static int
notify_some(ConditionObject *self, Py_ssize_t count)
{
    int r = 1;
    for (; count > 0 && r > 0; count--)
        r = tdl_sync_grant(&self->head, &self->waiters, grant, NULL);
    return r < 0 ? -1 : 0;
}

/* Somebody who may have been notified gives up: another goes on in its place. */
static void
pass_on(ConditionObject *self)
{
    tdl_sync_pass_on(&self->head, &self->waiters, grant, false);
}

static bool
leave(struct tdl_party *party)
{
    ConditionObject *self = (ConditionObject *)party->owner;
    bool granted = tdl_party_remove(party, &self->waiters);
    if (granted)
        pass_on(self);
    return granted;
}

static void
push(ConditionObject *self, struct tdl_party *party)
{
    TDL_CRITICAL_BEGIN(self);
    tdl_waitq_push(&self->waiters, &party->wait);
    TDL_CRITICAL_END();
}

/* ---- wait() in a loop ------------------------------------------------------------ */

enum { NOTIFIED = 0, ACQUIRING };

/* Get the lock again, whatever happens meanwhile. */
static enum tdl_step
acquire_again(AwaitObject *self)
{
    self->step = ACQUIRING;
    return tdl_await_method(self, self->st->names.acquire);
}

static enum tdl_step
start(AwaitObject *self, PyObject **Py_UNUSED(result))
{
    ConditionObject *condition = (ConditionObject *)self->owner;
    if (check_locked(condition, "wait") < 0 || tdl_await_prepare(self) < 0)
        return TDL_STEP_ERROR;
    /* before the lock is released: who takes it then may notify at once */
    push(condition, &self->party);
    if (call_release(condition) == 0)
        return TDL_STEP_WAIT;
    tdl_party_remove(&self->party, &condition->waiters);
    return TDL_STEP_ERROR;
}

static enum tdl_step
wake(AwaitObject *self, PyObject *Py_UNUSED(value), PyObject **result)
{
    ConditionObject *condition = (ConditionObject *)self->owner;
    if (self->step == NOTIFIED) {
        tdl_party_remove(&self->party, &condition->waiters);
        return acquire_again(self);
    }
    if (self->raised == NULL) {
        *result = Py_NewRef(Py_True);
        return TDL_STEP_DONE;
    }
    PyObject *raised = self->raised;
    self->raised = NULL;
    pass_on(condition);
    tdl_err_put_steal(raised);
    return TDL_STEP_ERROR;
}

static enum tdl_step
fail(AwaitObject *self, PyObject **Py_UNUSED(result))
{
    ConditionObject *condition = (ConditionObject *)self->owner;
    if (self->step == ACQUIRING && !PyErr_ExceptionMatches(self->st->objects.sync_cancelled)) {
        pass_on(condition);
        return TDL_STEP_ERROR;
    }
    Py_XSETREF(self->raised, tdl_err_take());
    tdl_party_remove(&self->party, &condition->waiters);
    return acquire_again(self);
}

static const struct tdl_await_op wait_op = {"wait", "Condition.wait", start, wake, fail, leave};

/* ---- wait_for() in a loop -------------------------------------------------------- */

static enum tdl_step
ask(AwaitObject *self, PyObject **result)
{
    PyObject *answer = PyObject_CallNoArgs(self->value);
    int yes = answer == NULL ? -1 : PyObject_IsTrue(answer);
    if (yes > 0) {
        *result = answer;
        return TDL_STEP_DONE;
    }
    Py_XDECREF(answer);
    return yes < 0 ? TDL_STEP_ERROR : tdl_await_method(self, self->st->names.wait);
}

static enum tdl_step
ask_again(AwaitObject *self, PyObject *Py_UNUSED(value), PyObject **result)
{
    return ask(self, result);
}

static enum tdl_step
give_up(AwaitObject *Py_UNUSED(self), PyObject **Py_UNUSED(result))
{
    return TDL_STEP_ERROR;
}

static const struct tdl_await_op wait_for_op = {
    "wait_for", "Condition.wait_for", ask, ask_again, give_up, leave};

/* ---- async with ------------------------------------------------------------------ */

static enum tdl_step
enter(AwaitObject *self, PyObject **Py_UNUSED(result))
{
    return tdl_await_method(self, self->st->names.acquire);
}

static enum tdl_step
entered(AwaitObject *Py_UNUSED(self), PyObject *Py_UNUSED(value), PyObject **result)
{
    *result = Py_NewRef(Py_None);
    return TDL_STEP_DONE;
}

static const struct tdl_await_op enter_op = {
    "__aenter__", "Condition.__aenter__", enter, entered, give_up, leave};

/* ---- in a thread ----------------------------------------------------------------- */

/* Get the lock again; a signal handler's exception waits until then.
 * Returns 0, or -1 with an exception set. */
static int
acquire_in_thread(LockObject *lock)
{
    PyObject *raised = tdl_err_take();
    while (tdl_lock_block(lock, TDL_NEVER) < 0)
        Py_XSETREF(raised, tdl_err_take());
    if (raised == NULL)
        return 0;
    tdl_err_put_steal(raised);
    return -1;
}

/* Returns 1 when notified, 0 at the deadline, -1 with an exception set. */
static int
block(ConditionObject *self, int64_t deadline)
{
    LockObject *lock = thread_lock(self);
    if (lock == NULL || check_locked(self, "wait") < 0)
        return -1;
    struct tdl_parked parked;
    tdl_parked_init(&parked, &self->head, leave);
    push(self, &parked.party);
    if (call_release(self) < 0) {
        if (leave(&parked.party))
            tdl_waiter_settle(&parked.waiter);
        return -1;
    }
    int r = tdl_parked_wait(&parked, deadline);
    if (r > 0)
        tdl_party_remove(&parked.party, &self->waiters);
    return acquire_in_thread(lock) < 0 ? -1 : r;
}

static PyObject *
wait_sync(ConditionObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    struct tdl_sync_patience patience;
    if (tdl_sync_parse_timeout("wait_sync", args, nargs, kwnames, &patience) < 0 ||
        tdl_sync_may_block(self->head.st, "wait_sync()", "wait()") < 0)
        return NULL;
    int r = block(self, patience.deadline);
    return r < 0 ? NULL : PyBool_FromLong(r);
}

static PyObject *
wait_for_sync(ConditionObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"predicate", "timeout"};
    struct tdl_sync_patience patience;
    PyObject *values[2];
    if (tdl_args_parse("wait_for_sync", args, nargs, kwnames, names, 2, 1, values) < 0 ||
        tdl_sync_patience(values[1], &patience) < 0 ||
        tdl_sync_may_block(self->head.st, "wait_for_sync()", "wait_for()") < 0)
        return NULL;
    int waited = 1;
    for (;;) {
        PyObject *answer = PyObject_CallNoArgs(values[0]);
        int yes = answer == NULL ? -1 : PyObject_IsTrue(answer);
        if (yes > 0 || (yes == 0 && waited == 0))
            return answer;
        Py_XDECREF(answer);
        if (yes < 0 || (waited = block(self, patience.deadline)) < 0)
            return NULL;
    }
}

static PyObject *
condition_enter(ConditionObject *self, PyObject *Py_UNUSED(ignored))
{
    LockObject *lock = thread_lock(self);
    if (lock == NULL || tdl_sync_may_block(self->head.st, "with", "async with") < 0)
        return NULL;
    int r = tdl_lock_block(lock, TDL_NEVER);
    return r < 0 ? NULL : PyBool_FromLong(r);
}

/* ---- the type -------------------------------------------------------------------- */

static PyObject *
condition_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwds))
{
    ConditionObject *self = (ConditionObject *)tdl_sync_alloc(type);
    if (self != NULL)
        tdl_waitq_init(&self->waiters);
    return (PyObject *)self;
}

static int
condition_init(ConditionObject *self, PyObject *args, PyObject *kwds)
{
    static const char *const names[] = {"lock"};
    struct tdl_objects *o = &self->head.st->objects;
    PyObject *lock;
    if (tdl_sync_parse("Condition.__init__", args, kwds, names, 1, 0, &lock) < 0)
        return -1;
    if (lock != NULL && PyObject_TypeCheck(lock, o->RLockBase)) {
        PyErr_SetString(PyExc_TypeError,
                        "a Condition needs a Lock: an RLock may be held several "
                        "times over while wait() releases it once");
        return -1;
    }
    lock =
        lock == NULL || lock == Py_None ? PyObject_CallNoArgs(o->lock_class) : Py_NewRef(lock);
    if (lock == NULL)
        return -1;
    Py_XSETREF(self->lock, lock);
    return 0;
}

static int
condition_traverse(ConditionObject *self, visitproc visit, void *arg)
{
    Py_VISIT(self->lock);
    return tdl_sync_traverse((PyObject *)self, visit, arg);
}

static int
condition_clear(ConditionObject *self)
{
    Py_CLEAR(self->lock);
    return tdl_sync_clear((PyObject *)self);
}

static void
condition_dealloc(ConditionObject *self)
{
    PyObject_GC_UnTrack(self);
    Py_CLEAR(self->lock);
    tdl_sync_free((PyObject *)self);
}

static PyObject *
condition_wait(ConditionObject *self, PyObject *Py_UNUSED(ignored))
{
    return tdl_await_new(&self->head, &wait_op, NULL);
}

static PyObject *
wait_for(ConditionObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"predicate"};
    PyObject *predicate;
    if (tdl_args_parse("wait_for", args, nargs, kwnames, names, 1, 1, &predicate) < 0)
        return NULL;
    return tdl_await_new(&self->head, &wait_for_op, predicate);
}

static PyObject *
aenter(ConditionObject *self, PyObject *Py_UNUSED(ignored))
{
    return tdl_await_new(&self->head, &enter_op, NULL);
}

static PyObject *
notify(ConditionObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"n"};
    PyObject *given;
    if (tdl_args_parse("notify", args, nargs, kwnames, names, 1, 0, &given) < 0)
        return NULL;
    Py_ssize_t count = given == NULL ? 1 : PyNumber_AsSsize_t(given, NULL);
    if (count == -1 && PyErr_Occurred())
        return NULL;
    if (check_locked(self, "notify") < 0 || notify_some(self, count) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
notify_all(ConditionObject *self, PyObject *Py_UNUSED(ignored))
{
    if (check_locked(self, "notify") < 0 ||
        notify_some(self, (Py_ssize_t)self->waiters.count) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
condition_repr(ConditionObject *self)
{
    int locked = is_locked(self);
    if (locked < 0)
        return NULL;
    return tdl_sync_repr_steal((PyObject *)self,
                               tdl_sync_extra(locked ? "locked" : "unlocked", &self->waiters));
}

static PyObject *
get_waiters(ConditionObject *self, void *Py_UNUSED(closure))
{
    return tdl_party_list(&self->head, &self->waiters);
}

static PyObject *
get_lock(ConditionObject *self, void *Py_UNUSED(closure))
{
    return Py_XNewRef(lock_of(self));
}

/* acquire(), release() and locked() are the lock's own. */
static PyObject *
get_of_lock(ConditionObject *self, void *name)
{
    PyObject *lock = lock_of(self);
    return lock == NULL ? NULL : PyObject_GetAttrString(lock, name);
}

static PyMethodDef condition_methods[] = {
    {"wait", (PyCFunction)condition_wait, METH_NOARGS,
     "wait($self, /)\n--\n\n"
     "Release the lock, wait until notified, lock it again, return True. RuntimeError if it\n"
     "is not locked."},
    {"wait_for", TDL_METHOD(wait_for), METH_FASTCALL | METH_KEYWORDS,
     "wait_for($self, /, predicate)\n--\n\n"
     "wait() until predicate() is true, and return what it returned."},
    {"wait_sync", TDL_METHOD(wait_sync), METH_FASTCALL | METH_KEYWORDS,
     "wait_sync($self, /, timeout=None)\n--\n\n"
     "As wait(), for threads, for timeout seconds at most, None for ever. Return whether it\n"
     "was notified. RuntimeError in a thread whose event loop runs, TypeError if the lock is\n"
     "not one of treadle's."},
    {"wait_for_sync", TDL_METHOD(wait_for_sync), METH_FASTCALL | METH_KEYWORDS,
     "wait_for_sync($self, /, predicate, timeout=None)\n--\n\n"
     "As wait_for(), for threads, for timeout seconds at most, None for ever. Return what\n"
     "predicate() returned last."},
    {"notify", TDL_METHOD(notify), METH_FASTCALL | METH_KEYWORDS,
     "notify($self, /, n=1)\n--\n\n"
     "Let n of those who wait go on, once they get the lock. RuntimeError if it is not\n"
     "locked. From any thread."},
    {"notify_all", (PyCFunction)notify_all, METH_NOARGS,
     "notify_all($self, /)\n--\n\nAs notify(), for all."},
    {"__aenter__", (PyCFunction)aenter, METH_NOARGS, NULL},
    {"__aexit__", TDL_METHOD(tdl_sync_aexit), METH_FASTCALL, NULL},
    {"__enter__", (PyCFunction)condition_enter, METH_NOARGS, NULL},
    {"__exit__", TDL_METHOD(tdl_sync_exit), METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef condition_getset[] = {
    {"acquire", (getter)get_of_lock, NULL, "The lock's acquire().", "acquire"},
    {"release", (getter)get_of_lock, NULL, "The lock's release().", "release"},
    {"locked", (getter)get_of_lock, NULL, "The lock's locked().", "locked"},
    {"_lock", (getter)get_lock, NULL, NULL, NULL},
    {"_waiters", (getter)get_waiters, NULL, NULL, NULL},
    {"_loop", tdl_sync_get_bound, tdl_sync_set_bound, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot condition_slots[] = {
    {Py_tp_new, condition_new},
    {Py_tp_init, condition_init},
    {Py_tp_methods, condition_methods},
    {Py_tp_getset, condition_getset},
    {Py_tp_repr, condition_repr},
    {Py_tp_traverse, condition_traverse},
    {Py_tp_clear, condition_clear},
    {Py_tp_dealloc, condition_dealloc},
    {0, NULL},
};

static PyType_Spec condition_spec = {
    .name = "treadle._native.AsyncConditionBase",
    .basicsize = sizeof(ConditionObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = condition_slots,
};

int
tdl_async_condition_exec(PyObject *module)
{
    return tdl_state_add_type(module, &condition_spec,
                              &tdl_state_of(module)->objects.AsyncConditionBase);
}

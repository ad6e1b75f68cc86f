/* RLock: a Lock that its owner, a task or a thread, may lock again. */
#include "core/clock.h"
#include "py/args.h"
#include "sync/lock.h"
#include "sync/object.h"
#include "sync/sync.h"

typedef struct {
    LockObject lock;
    PyObject *owner;      /* a task, or the ident of a thread; strong; critical section */
    unsigned long thread; /* ident if the owner is a thread, else 0; the same */
    size_t count;         /* how often it is locked; the same */
} RLockObject;

/* Who runs here: the current task, a new reference; or NULL and the thread's ident. */
struct runner {
    PyObject *task;
    unsigned long thread;
};

/* Returns 0 or -1 with an exception set. */
static int
find_runner(struct tdl_state *st, struct runner *runner)
{
    *runner = (struct runner){NULL, 0};
    PyObject *loop = tdl_sync_loop_here(st);
    if (loop == NULL)
        return -1;
    if (loop != Py_None)
        runner->task = PyObject_CallNoArgs(st->objects.sync_current_task);
    bool failed = loop != Py_None && runner->task == NULL;
    Py_DECREF(loop);
    if (failed)
        return -1;
    if (runner->task == Py_None)
        Py_CLEAR(runner->task);
    if (runner->task == NULL)
        runner->thread = PyThread_get_thread_ident();
    return 0;
}

/* Inside. */
static bool
is_owned_by(RLockObject *self, const struct runner *runner)
{
    return self->count > 0 && self->owner == runner->task && self->thread == runner->thread;
}

/* Lock it once more if it is the runner's. */
static bool
again(RLockObject *self, const struct runner *runner)
{
    bool owned;
    TDL_CRITICAL_BEGIN(self);
    owned = is_owned_by(self, runner);
    self->count += owned;
    TDL_CRITICAL_END();
    return owned;
}

/* The runner, whose reference to the task is taken, has got the lock. */
static void
own_steal(RLockObject *self, struct runner *runner)
{
    TDL_CRITICAL_BEGIN(self);
    self->owner = runner->task;
    self->thread = runner->thread;
    self->count = 1;
    TDL_CRITICAL_END();
}

/* ---- in a loop ------------------------------------------------------------------- */

static enum tdl_step
start(AwaitObject *self, PyObject **result)
{
    RLockObject *lock = (RLockObject *)self->owner;
    struct runner runner;
    if (find_runner(self->st, &runner) < 0)
        return TDL_STEP_ERROR;
    enum tdl_step step = TDL_STEP_DONE;
    if (again(lock, &runner))
        Py_XDECREF(runner.task);
    else if ((step = tdl_lock_start(self)) == TDL_STEP_DONE)
        own_steal(lock, &runner);
    else
        Py_XDECREF(runner.task);
    if (step == TDL_STEP_DONE)
        *result = Py_NewRef(self->op->name[0] == '_' ? Py_None : Py_True);
    return step;
}

static enum tdl_step
fail(AwaitObject *self, PyObject **Py_UNUSED(result))
{
    tdl_lock_leave(&self->party);
    return TDL_STEP_ERROR;
}

static enum tdl_step
wake(AwaitObject *self, PyObject *Py_UNUSED(value), PyObject **result)
{
    struct runner runner;
    if (find_runner(self->st, &runner) < 0)
        return fail(self, result);
    tdl_lock_take((LockObject *)self->owner, &self->party);
    own_steal((RLockObject *)self->owner, &runner);
    *result = Py_NewRef(self->op->name[0] == '_' ? Py_None : Py_True);
    return TDL_STEP_DONE;
}

static const struct tdl_await_op acquire_op = {"acquire", "RLock.acquire", start, wake,
                                               fail,      tdl_lock_leave};
static const struct tdl_await_op enter_op = {"__aenter__", "RLock.__aenter__", start, wake,
                                             fail,         tdl_lock_leave};

static PyObject *
acquire(RLockObject *self, PyObject *Py_UNUSED(ignored))
{
    return tdl_await_new(&self->lock.head, &acquire_op, NULL);
}

static PyObject *
aenter(RLockObject *self, PyObject *Py_UNUSED(ignored))
{
    return tdl_await_new(&self->lock.head, &enter_op, NULL);
}

/* ---- in a thread ----------------------------------------------------------------- */

/* Returns 1 when locked, 0 at the deadline, -1 with an exception set. */
static int
block(RLockObject *self, const struct tdl_sync_patience *patience, const char *what,
      const char *instead)
{
    struct runner runner;
    if (find_runner(self->lock.head.st, &runner) < 0)
        return -1;
    if (again(self, &runner)) {
        Py_XDECREF(runner.task);
        return 1;
    }
    int r;
    if (patience->now)
        r = tdl_lock_try(&self->lock);
    else if ((r = tdl_sync_may_block(self->lock.head.st, what, instead)) == 0)
        r = tdl_lock_block(&self->lock, patience->deadline);
    if (r > 0)
        own_steal(self, &runner);
    else
        Py_XDECREF(runner.task);
    return r;
}

static PyObject *
acquire_sync(RLockObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    struct tdl_sync_patience patience;
    if (tdl_sync_parse_timeout("acquire_sync", args, nargs, kwnames, &patience) < 0)
        return NULL;
    int r = block(self, &patience, "acquire_sync()", "acquire(), or timeout=0");
    return r < 0 ? NULL : PyBool_FromLong(r);
}

static PyObject *
enter(RLockObject *self, PyObject *Py_UNUSED(ignored))
{
    const struct tdl_sync_patience patience = {TDL_NEVER, false};
    int r = block(self, &patience, "with", "async with");
    return r < 0 ? NULL : PyBool_FromLong(r);
}

/* ---- the type -------------------------------------------------------------------- */

static PyObject *
release(RLockObject *self, PyObject *Py_UNUSED(ignored))
{
    struct runner runner;
    if (find_runner(self->lock.head.st, &runner) < 0)
        return NULL;
    PyObject *owner = NULL;
    bool owned, last;
    TDL_CRITICAL_BEGIN(self);
    owned = is_owned_by(self, &runner);
    last = owned && --self->count == 0;
    if (last) {
        owner = self->owner;
        self->owner = NULL;
        self->thread = 0;
    }
    TDL_CRITICAL_END();
    Py_XDECREF(runner.task);
    if (!owned) {
        PyErr_SetString(PyExc_RuntimeError, "cannot release un-acquired lock");
        return NULL;
    }
    int r = last ? tdl_lock_unlock(&self->lock) : 1;
    Py_XDECREF(owner);
    if (r < 0)
        return NULL;
    Py_RETURN_NONE;
}

static int
rlock_init(RLockObject *Py_UNUSED(self), PyObject *args, PyObject *kwds)
{
    return tdl_sync_parse("RLock.__init__", args, kwds, NULL, 0, 0, NULL);
}

static PyObject *
rlock_repr(RLockObject *self)
{
    PyObject *owner;
    size_t count;
    TDL_CRITICAL_BEGIN(self);
    owner = Py_XNewRef(self->owner);
    count = self->count;
    TDL_CRITICAL_END();
    PyObject *extra = tdl_sync_extra(self->lock.mutex.locked ? "locked" : "unlocked",
                                     &self->lock.mutex.waiters);
    if (extra != NULL && count > 0) {
        PyObject *all =
            owner != NULL ? PyUnicode_FromFormat("%U, count:%zu, owner:%R", extra, count, owner)
                          : PyUnicode_FromFormat("%U, count:%zu", extra, count);
        Py_SETREF(extra, all);
    }
    Py_XDECREF(owner);
    return tdl_sync_repr_steal((PyObject *)self, extra);
}

static int
rlock_traverse(RLockObject *self, visitproc visit, void *arg)
{
    Py_VISIT(self->owner);
    return tdl_sync_traverse((PyObject *)self, visit, arg);
}

static int
rlock_clear(RLockObject *self)
{
    Py_CLEAR(self->owner);
    return tdl_sync_clear((PyObject *)self);
}

static void
rlock_dealloc(RLockObject *self)
{
    PyObject_GC_UnTrack(self);
    Py_CLEAR(self->owner);
    tdl_sync_free((PyObject *)self);
}

static PyMethodDef rlock_methods[] = {
    {"acquire", (PyCFunction)acquire, METH_NOARGS,
     "acquire($self, /)\n--\n\n"
     "Lock it, once more if it is the current task's, waiting while it is another's; return\n"
     "True."},
    {"release", (PyCFunction)release, METH_NOARGS,
     "release($self, /)\n--\n\n"
     "Undo one acquire(); the last one unlocks. RuntimeError if it is not the current\n"
     "task's, or thread's."},
    {"acquire_sync", TDL_METHOD(acquire_sync), METH_FASTCALL | METH_KEYWORDS,
     "acquire_sync($self, /, timeout=None)\n--\n\n"
     "As acquire(), for threads: wait for timeout seconds at most, None for ever, 0 not\n"
     "at all. Return whether it is locked now. RuntimeError where it would have to wait in\n"
     "a thread whose event loop runs, unless timeout is 0."},
    {"__aenter__", (PyCFunction)aenter, METH_NOARGS, NULL},
    {"__enter__", (PyCFunction)enter, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot rlock_slots[] = {
    {Py_tp_init, rlock_init},
    {Py_tp_methods, rlock_methods},
    {Py_tp_repr, rlock_repr},
    {Py_tp_traverse, rlock_traverse},
    {Py_tp_clear, rlock_clear},
    {Py_tp_dealloc, rlock_dealloc},
    {0, NULL},
};

static PyType_Spec rlock_spec = {
    .name = "treadle._native.RLockBase",
    .basicsize = sizeof(RLockObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = rlock_slots,
};

int
tdl_rlock_exec(PyObject *module)
{
    struct tdl_objects *o = &tdl_state_of(module)->objects;
    o->RLockBase =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &rlock_spec, (PyObject *)o->LockBase);
    return o->RLockBase == NULL ? -1 : PyModule_AddType(module, o->RLockBase);
}

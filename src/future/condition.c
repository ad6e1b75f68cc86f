#include "future/condition.h"

#include <stdatomic.h>

typedef struct {
    PyObject_HEAD
    PyThread_type_lock lock;     /* held by `owner` */
    _Atomic unsigned long owner; /* thread ident, 0: nobody */
    unsigned long count;         /* owner only */
    PyObject *waiters;           /* deque, made on first look; the lock */
} ConditionObject;

static int
is_ours(struct tdl_state *st, PyObject *condition)
{
    return Py_IS_TYPE(condition, st->objects.Condition);
}

static int
is_owned(ConditionObject *self)
{
    return atomic_load_explicit(&self->owner, memory_order_relaxed) ==
           PyThread_get_thread_ident();
}

/* Returns 1 when taken, 0 on timeout, -1 if a signal handler raised. */
static int
acquire_timed(ConditionObject *self, PY_TIMEOUT_T microseconds)
{
    if (is_owned(self)) {
        self->count++;
        return 1;
    }
    PyLockStatus status = PyThread_acquire_lock_timed(self->lock, 0, 0);
    while (status != PY_LOCK_ACQUIRED && microseconds != 0) {
        Py_BEGIN_ALLOW_THREADS
        status = PyThread_acquire_lock_timed(self->lock, microseconds, 1);
        Py_END_ALLOW_THREADS
        /* an interrupted wait starts over with its whole time, as it may: only
         * signals handled without an exception lengthen it */
        if (status == PY_LOCK_INTR) {
            if (PyErr_CheckSignals() < 0)
                return -1;
        }
        else
            break;
    }
    if (status != PY_LOCK_ACQUIRED)
        return 0;
    atomic_store_explicit(&self->owner, PyThread_get_thread_ident(), memory_order_relaxed);
    self->count = 1;
    return 1;
}

static int
release_once(ConditionObject *self)
{
    if (!is_owned(self)) {
        PyErr_SetString(PyExc_RuntimeError, "cannot release un-acquired lock");
        return -1;
    }
    if (--self->count == 0) {
        atomic_store_explicit(&self->owner, 0, memory_order_relaxed);
        PyThread_release_lock(self->lock);
    }
    return 0;
}

static int
condition_init(ConditionObject *self, PyObject *args, PyObject *kwds)
{
    if (PyTuple_GET_SIZE(args) != 0 || (kwds != NULL && PyDict_GET_SIZE(kwds) != 0)) {
        PyErr_SetString(PyExc_TypeError, "a future's condition takes no arguments");
        return -1;
    }
    return 0;
}

static PyObject *
condition_tp_new(PyTypeObject *type, PyObject *args, PyObject *kwds)
{
    PyThread_type_lock lock = PyThread_allocate_lock();
    if (lock == NULL)
        return PyErr_NoMemory();
    ConditionObject *self = (ConditionObject *)type->tp_alloc(type, 0);
    if (self == NULL) {
        PyThread_free_lock(lock);
        return NULL;
    }
    self->lock = lock;
    return (PyObject *)self;
}

static int
condition_traverse(ConditionObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->waiters);
    return 0;
}

static int
condition_clear(ConditionObject *self)
{
    Py_CLEAR(self->waiters);
    return 0;
}

static void
condition_dealloc(ConditionObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    condition_clear(self);
    /* a lock must not be freed while it is held */
    if (atomic_load_explicit(&self->owner, memory_order_relaxed) != 0)
        PyThread_release_lock(self->lock);
    PyThread_free_lock(self->lock);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
condition_acquire(ConditionObject *self, PyObject *args, PyObject *kwds)
{
    static char *names[] = {"blocking", "timeout", NULL};
    int blocking = 1;
    double timeout = -1;
    if (!PyArg_ParseTupleAndKeywords(args, kwds, "|pd:acquire", names, &blocking, &timeout))
        return NULL;
    if (!blocking && timeout != -1) {
        PyErr_SetString(PyExc_ValueError, "can't specify a timeout for a non-blocking call");
        return NULL;
    }
    if (blocking && timeout < 0 && timeout != -1) {
        PyErr_SetString(PyExc_ValueError, "timeout value must be a non-negative number");
        return NULL;
    }
    PY_TIMEOUT_T us = -1;
    if (!blocking)
        us = 0;
    else if (timeout >= 0) {
        if (timeout * 1e6 >= (double)PY_TIMEOUT_MAX) {
            PyErr_SetString(PyExc_OverflowError, "timeout value is too large");
            return NULL;
        }
        us = (PY_TIMEOUT_T)(timeout * 1e6);
    }
    int r = acquire_timed(self, us);
    return r < 0 ? NULL : PyBool_FromLong(r);
}

static PyObject *
condition_release(ConditionObject *self, PyObject *Py_UNUSED(ignored))
{
    if (release_once(self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
condition_enter(ConditionObject *self, PyObject *Py_UNUSED(ignored))
{
    int r = acquire_timed(self, -1);
    return r < 0 ? NULL : PyBool_FromLong(r);
}

static PyObject *
condition_exit(ConditionObject *self, PyObject *Py_UNUSED(args))
{
    return condition_release(self, NULL);
}

/* Let go of the lock however often it is held: what wait() does before it sleeps. */
static PyObject *
condition_release_save(ConditionObject *self, PyObject *Py_UNUSED(ignored))
{
    if (!is_owned(self)) {
        PyErr_SetString(PyExc_RuntimeError, "cannot release un-acquired lock");
        return NULL;
    }
    PyObject *saved = PyLong_FromUnsignedLong(self->count);
    if (saved == NULL)
        return NULL;
    self->count = 1;
    release_once(self);
    return saved;
}

static PyObject *
condition_acquire_restore(ConditionObject *self, PyObject *saved)
{
    unsigned long count = PyLong_AsUnsignedLong(saved);
    if (count == (unsigned long)-1 && PyErr_Occurred())
        return NULL;
    /* wait() counts on having the lock again, also after a signal handler raised */
    int r;
    PyObject *raised = NULL;
    while ((r = acquire_timed(self, -1)) < 0)
        Py_XSETREF(raised, tdl_err_take());
    self->count = count;
    if (raised != NULL) {
        tdl_err_put_steal(raised);
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
condition_is_owned(ConditionObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(is_owned(self));
}

static PyObject *
condition_locked(ConditionObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(atomic_load_explicit(&self->owner, memory_order_relaxed) != 0);
}

static PyObject *
condition_recursion_count(ConditionObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromUnsignedLong(is_owned(self) ? self->count : 0);
}

/* In a forked child: the holder's thread is gone. */
static PyObject *
condition_at_fork_reinit(ConditionObject *self, PyObject *Py_UNUSED(ignored))
{
    PyThread_type_lock fresh = PyThread_allocate_lock();
    if (fresh == NULL)
        return PyErr_NoMemory();
    /* the old one is leaked: freeing a lock that somebody may hold is undefined */
    self->lock = fresh;
    atomic_store_explicit(&self->owner, 0, memory_order_relaxed);
    self->count = 0;
    Py_CLEAR(self->waiters);
    Py_RETURN_NONE;
}

static PyObject *
condition_get_lock(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(self);
}

static PyObject *
new_deque(ConditionObject *self)
{
    struct tdl_state *st = tdl_state_by_type(Py_TYPE(self));
    return st == NULL ? NULL : PyObject_CallNoArgs(st->objects.deque);
}

static PyObject *
waiters_of(ConditionObject *self)
{
    PyObject *fresh = NULL, *waiters = NULL;
    while (waiters == NULL) {
        /* not under the lock: it may call into Python */
        if (self->waiters == NULL && fresh == NULL && (fresh = new_deque(self)) == NULL)
            return NULL;
        TDL_CRITICAL_BEGIN(self);
        if (self->waiters == NULL) {
            self->waiters = fresh;
            fresh = NULL;
        }
        waiters = Py_XNewRef(self->waiters);
        TDL_CRITICAL_END();
    }
    Py_XDECREF(fresh);
    return waiters;
}

static PyObject *
condition_get_waiters(ConditionObject *self, void *Py_UNUSED(closure))
{
    return waiters_of(self);
}

static int
condition_set_waiters(ConditionObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "cannot delete _waiters");
        return -1;
    }
    TDL_CRITICAL_BEGIN(self);
    Py_XSETREF(self->waiters, Py_NewRef(value));
    TDL_CRITICAL_END();
    return 0;
}

static PyObject *
condition_repr(ConditionObject *self)
{
    PyObject *waiters;
    TDL_CRITICAL_BEGIN(self);
    waiters = Py_XNewRef(self->waiters);
    TDL_CRITICAL_END();
    Py_ssize_t waiting = waiters == NULL ? 0 : PyObject_Size(waiters);
    Py_XDECREF(waiters);
    unsigned long owner = atomic_load_explicit(&self->owner, memory_order_relaxed);
    if (waiting < 0)
        return NULL;
    return PyUnicode_FromFormat(
        "<Condition(<%s _thread.RLock object owner=%lu count=%lu at %p>, %zd)>",
        owner != 0 ? "locked" : "unlocked", owner, self->count, self, waiting);
}

static PyMethodDef condition_methods[] = {
    {"acquire", (PyCFunction)(void (*)(void))condition_acquire, METH_VARARGS | METH_KEYWORDS,
     "acquire($self, /, blocking=True, timeout=-1)\n--\n\n"
     "Take the lock; True on success. timeout in seconds, -1: forever."},
    {"release", (PyCFunction)condition_release, METH_NOARGS,
     "release($self, /)\n--\n\nRelease the lock; RuntimeError if this thread does not hold it."},
    {"__enter__", (PyCFunction)condition_enter, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)condition_exit, METH_VARARGS, NULL},
    {"_release_save", (PyCFunction)condition_release_save, METH_NOARGS, NULL},
    {"_acquire_restore", (PyCFunction)condition_acquire_restore, METH_O, NULL},
    {"_is_owned", (PyCFunction)condition_is_owned, METH_NOARGS, NULL},
    {"_recursion_count", (PyCFunction)condition_recursion_count, METH_NOARGS, NULL},
    {"locked", (PyCFunction)condition_locked, METH_NOARGS,
     "locked($self, /)\n--\n\nWhether any thread holds the lock."},
    {"_at_fork_reinit", (PyCFunction)condition_at_fork_reinit, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef condition_getset[] = {
    {"_lock", (getter)condition_get_lock, NULL, "The condition is its own lock.", NULL},
    {"_waiters", (getter)condition_get_waiters, (setter)condition_set_waiters, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot condition_slots[] = {
    {Py_tp_new, condition_tp_new},
    {Py_tp_init, condition_init},
    {Py_tp_dealloc, condition_dealloc},
    {Py_tp_traverse, condition_traverse},
    {Py_tp_clear, condition_clear},
    {Py_tp_repr, condition_repr},
    {Py_tp_methods, condition_methods},
    {Py_tp_getset, condition_getset},
    {0, NULL},
};

static PyType_Spec condition_spec = {
    .name = "treadle._native.ConditionBase",
    .basicsize = sizeof(ConditionObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = condition_slots,
};

PyObject *
tdl_condition_new(struct tdl_state *st)
{
    return condition_tp_new(st->objects.Condition, NULL, NULL);
}

int
tdl_condition_acquire(struct tdl_state *st, PyObject *condition)
{
    if (is_ours(st, condition)) {
        /* blocked by another holder; a signal must not end the wait half way */
        int r;
        PyObject *raised = NULL;
        while ((r = acquire_timed((ConditionObject *)condition, -1)) < 0)
            Py_XSETREF(raised, tdl_err_take());
        if (raised == NULL)
            return 0;
        release_once((ConditionObject *)condition);
        tdl_err_put_steal(raised);
        return -1;
    }
    PyObject *r = PyObject_CallMethodNoArgs(condition, st->names.acquire);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

int
tdl_condition_release(struct tdl_state *st, PyObject *condition)
{
    if (is_ours(st, condition))
        return release_once((ConditionObject *)condition);
    PyObject *r = PyObject_CallMethodNoArgs(condition, st->names.release);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

int
tdl_condition_notify_all(struct tdl_state *st, PyObject *condition)
{
    /* nobody ever waited on it: most are made by wait(), which only locks */
    if (is_ours(st, condition) && ((ConditionObject *)condition)->waiters == NULL)
        return 0;
    PyObject *r = PyObject_CallMethodNoArgs(condition, st->names.notify_all);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

int
tdl_condition_exec(PyObject *module)
{
    struct tdl_objects *o = &tdl_state_of(module)->objects;
    PyObject *threading = PyImport_ImportModule("threading");
    if (threading == NULL)
        return -1;
    PyObject *base = PyObject_GetAttrString(threading, "Condition");
    Py_DECREF(threading);
    if (base == NULL)
        return -1;
    int r = tdl_state_add_type(module, &condition_spec, &o->ConditionBase);
    if (r == 0)
        r = tdl_state_add_class(module, "Condition", o->ConditionBase, base,
                                "A future's _condition: a threading.Condition with its "
                                "re-entrant lock built in.",
                                &o->Condition);
    Py_DECREF(base);
    return r;
}

#include "future/as_completed.h"

#include "core/clock.h"
#include "future/wait_entry.h"
#include "py/args.h"
#include "py/exclusive.h"
#include "py/timeout.h"

/* Like the generator it stands in for, it starts with the first next(). */
typedef struct {
    PyObject_HEAD
    struct tdl_waiter waiter;
    struct tdl_lock lock;
    struct tdl_wait_entry *first; /* complete, not yielded yet; the lock */
    struct tdl_wait_entry **last; /* the lock */
    bool waiting;                 /* the consumer sleeps or is about to; the lock */
    bool started;
    _Atomic bool busy; /* a thread is in next() or close() */
    struct tdl_state *st;
    PyObject *futures; /* the argument, until started */
    PyObject *timeout; /* likewise */
    int64_t deadline;
    struct tdl_wait_entry *entries; /* owner; freed at the end */
    Py_ssize_t count;               /* entries in all */
    Py_ssize_t left;                /* not yielded yet */
    Py_ssize_t helped;              /* entries before this one need no help any more */
    struct tdl_source *source;      /* where all futures come from; NULL: from none */
    bool mixed;                     /* they come from several */
} AsCompletedObject;

static AsCompletedObject *
of_waiter(struct tdl_waiter *waiter)
{
    return (AsCompletedObject *)((char *)waiter - offsetof(AsCompletedObject, waiter));
}

static void
push_locked(AsCompletedObject *self, struct tdl_wait_entry *entry)
{
    entry->next = NULL;
    *self->last = entry;
    self->last = &entry->next;
}

static bool
note(struct tdl_waiter *waiter, struct tdl_wait_node *node, enum tdl_outcome outcome)
{
    (void)outcome;
    AsCompletedObject *self = of_waiter(waiter);
    tdl_lock_acquire(&self->lock);
    push_locked(self, (struct tdl_wait_entry *)node);
    bool fire = self->waiting;
    self->waiting = false;
    tdl_lock_release(&self->lock);
    return fire;
}

/* Let all futures go.  No entry is used by anybody when it returns. */
static void
let_go(AsCompletedObject *self)
{
    struct tdl_wait_entry *entries = self->entries;
    if (entries == NULL)
        return;
    for (Py_ssize_t i = 0; i < self->count; i++)
        tdl_wait_entry_unlink(self->st, &entries[i]);
    tdl_waiter_leave(&self->waiter);
    Py_ssize_t count = self->count;
    self->entries = NULL;
    self->first = NULL;
    self->last = &self->first;
    self->count = self->left = 0;
    for (Py_ssize_t i = 0; i < count; i++)
        Py_XDECREF(entries[i].future);
    PyMem_Free(entries);
}

/* Link one future, or queue it at once if it is complete. */
static int
enter(AsCompletedObject *self, struct tdl_wait_entry *entry)
{
    int r = tdl_wait_entry_link(self->st, entry);
    if (r == 0) {
        tdl_lock_acquire(&self->lock);
        push_locked(self, entry);
        tdl_lock_release(&self->lock);
    }
    return r < 0 ? -1 : 0;
}

static void
note_source(AsCompletedObject *self, const struct tdl_wait_entry *entry)
{
    struct tdl_source *source = tdl_wait_entry_source(entry);
    if (self->source == NULL)
        self->source = source;
    else if (source != NULL && source != self->source)
        self->mixed = true;
}

static int
start(AsCompletedObject *self)
{
    self->started = true;
    PyObject *set = NULL, *it = NULL, *future;
    int r = tdl_timeout_deadline(self->timeout, &self->deadline);
    if (r == 0)
        set = PySet_New(self->futures);
    Py_CLEAR(self->futures);
    Py_CLEAR(self->timeout);
    if (set == NULL)
        return -1;
    Py_ssize_t size = PySet_GET_SIZE(set);
    self->entries = PyMem_New(struct tdl_wait_entry, size > 0 ? size : 1);
    if (self->entries == NULL)
        PyErr_NoMemory();
    else
        it = PyObject_GetIter(set);
    r = it == NULL ? -1 : 0;
    while (r == 0 && (future = PyIter_Next(it)) != NULL) {
        tdl_wait_entry_init(&self->entries[self->count], self->st, future, &self->waiter);
        note_source(self, &self->entries[self->count]);
        self->count++;
        self->left++;
        r = enter(self, &self->entries[self->count - 1]);
        Py_DECREF(future);
    }
    Py_XDECREF(it);
    Py_DECREF(set);
    return r < 0 || PyErr_Occurred() ? -1 : 0;
}

/* Returns a new reference, or NULL if none is complete. */
static PyObject *
pop(AsCompletedObject *self, bool about_to_wait)
{
    PyObject *future = NULL;
    tdl_lock_acquire(&self->lock);
    struct tdl_wait_entry *entry = self->first;
    if (entry != NULL) {
        self->first = entry->next;
        if (self->first == NULL)
            self->last = &self->first;
    }
    else if (about_to_wait)
        self->waiting = true;
    tdl_lock_release(&self->lock);
    if (entry != NULL) {
        tdl_wait_entry_unlink(self->st, entry);
        future = entry->future;
        entry->future = NULL;
        self->left--;
    }
    return future;
}

static bool
needs_help(const struct tdl_wait_entry *entry)
{
    return entry->future != NULL && entry->linked && tdl_wait_entry_source(entry) != NULL &&
           tdl_future_has_job((FutureObject *)entry->future);
}

/* Run one job that only this worker could run.  Called before each wait, so it
 * must not look at all futures each time.  Returns as tdl_wait_entry_help(). */
static int
help_one(AsCompletedObject *self)
{
    if (!self->mixed && (self->source == NULL || !self->source->may_help(self->source)))
        return 0;
    int r = 0;
    for (Py_ssize_t i = self->helped; r == 0 && i < self->count; i++) {
        if (needs_help(&self->entries[i]))
            r = tdl_wait_entry_help(&self->entries[i]);
        else if (i == self->helped)
            self->helped++;
    }
    return r;
}

static PyObject *
timed_out(AsCompletedObject *self)
{
    return PyErr_Format(PyExc_TimeoutError, "%zd (of %zd) futures unfinished", self->left,
                        self->count);
}

/* Returns 1 to look again, 0 at the deadline, -1 with an exception set. */
static int
wait_for_more(AsCompletedObject *self)
{
    if (self->deadline != TDL_NEVER && tdl_clock_now() >= self->deadline)
        return 0;
    int r = help_one(self);
    if (r != 0)
        return r;
    tdl_waiter_rearm(&self->waiter);
    tdl_lock_acquire(&self->lock);
    bool empty = self->first == NULL;
    self->waiting = empty;
    tdl_lock_release(&self->lock);
    if (!empty)
        return 1;
    r = tdl_waiter_wait(&self->waiter, NULL, self->deadline);
    if (r == 1)
        return 1;
    tdl_lock_acquire(&self->lock);
    bool chosen = !self->waiting;
    self->waiting = false;
    tdl_lock_release(&self->lock);
    /* note() may have decided to fire without having marked the waiter yet */
    if (chosen)
        tdl_waiter_settle(&self->waiter);
    return r < 0 ? -1 : 1;
}

static PyObject *
next_future(AsCompletedObject *self)
{
    if (!self->started && start(self) < 0)
        return NULL;
    while (self->left > 0) {
        PyObject *future = pop(self, false);
        if (future != NULL)
            return future;
        int r = wait_for_more(self);
        if (r < 0)
            return NULL;
        if (r == 0)
            return timed_out(self);
    }
    return NULL;
}

static int
begin(AsCompletedObject *self)
{
    return tdl_exclusive_enter(&self->busy,
                               "as_completed() iterator is already being advanced");
}

static PyObject *
as_completed_next(AsCompletedObject *self)
{
    if (begin(self) < 0)
        return NULL;
    PyObject *future = next_future(self);
    if (future == NULL) {
        PyObject *error = tdl_err_take();
        let_go(self);
        if (error != NULL)
            tdl_err_put_steal(error);
    }
    tdl_exclusive_leave(&self->busy);
    return future;
}

static PyObject *
as_completed_close(AsCompletedObject *self, PyObject *Py_UNUSED(ignored))
{
    if (begin(self) < 0)
        return NULL;
    self->started = true;
    Py_CLEAR(self->futures);
    Py_CLEAR(self->timeout);
    let_go(self);
    tdl_exclusive_leave(&self->busy);
    Py_RETURN_NONE;
}

static int
as_completed_traverse(AsCompletedObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->futures);
    Py_VISIT(self->timeout);
    for (Py_ssize_t i = 0; i < self->count; i++)
        Py_VISIT(self->entries[i].future);
    return 0;
}

static int
as_completed_clear(AsCompletedObject *self)
{
    Py_CLEAR(self->futures);
    Py_CLEAR(self->timeout);
    let_go(self);
    return 0;
}

static void
as_completed_dealloc(AsCompletedObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    as_completed_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef as_completed_methods[] = {
    {"close", (PyCFunction)as_completed_close, METH_NOARGS,
     "close($self, /)\n--\n\nStop waiting and let the remaining futures go."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot as_completed_slots[] = {
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, as_completed_next},
    {Py_tp_traverse, as_completed_traverse},
    {Py_tp_clear, as_completed_clear},
    {Py_tp_dealloc, as_completed_dealloc},
    {Py_tp_methods, as_completed_methods},
    {Py_tp_doc, "Iterator over futures as they complete; see as_completed()."},
    {0, NULL},
};

static PyType_Spec as_completed_spec = {
    .name = "treadle._native.AsCompleted",
    .basicsize = sizeof(AsCompletedObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = as_completed_slots,
};

static PyObject *
as_completed(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"fs", "timeout"};
    PyObject *values[2];
    if (tdl_args_parse("as_completed", args, nargs, kwnames, names, 2, 1, values) < 0)
        return NULL;
    PyTypeObject *type = tdl_state_of(module)->objects.AsCompleted;
    AsCompletedObject *self = (AsCompletedObject *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->st = tdl_state_of(module);
    tdl_waiter_init(&self->waiter, false, note);
    tdl_lock_init(&self->lock);
    self->last = &self->first;
    self->futures = Py_NewRef(values[0]);
    self->timeout = Py_XNewRef(values[1]);
    return (PyObject *)self;
}

static PyMethodDef as_completed_functions[] = {
    {"as_completed", TDL_METHOD(as_completed), METH_FASTCALL | METH_KEYWORDS,
     "as_completed($module, /, fs, timeout=None)\n--\n\n"
     "Iterate over futures as they complete, each once.\n\n"
     "Raises TimeoutError if not all are done within timeout seconds of the first\n"
     "next(). As concurrent.futures.as_completed(); takes its futures and treadle's."},
    {NULL, NULL, 0, NULL},
};

int
tdl_as_completed_exec(PyObject *module)
{
    if (tdl_state_add_type(module, &as_completed_spec,
                           &tdl_state_of(module)->objects.AsCompleted) < 0)
        return -1;
    return PyModule_AddFunctions(module, as_completed_functions);
}

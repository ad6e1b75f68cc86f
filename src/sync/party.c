#include "sync/party.h"

#include "loop/task_ops.h"
#include "sync/object.h"

/* On its way to a loop: called there, it wakes a coroutine. */
struct GrantObject {
    PyObject_HEAD
    struct tdl_state *st;
    SyncObject *owner;       /* strong */
    PyObject *future;        /* strong, or NULL */
    struct tdl_party *party; /* NULL once delivered or useless; owner's critical section */
};

/* ---- where a coroutine is -------------------------------------------------------- */

static LoopObject *
native_loop(struct tdl_state *st, PyObject *loop)
{
    if (Py_IS_TYPE(loop, st->objects.EventLoop) ||
        PyObject_TypeCheck(loop, st->objects.LoopBase))
        return (LoopObject *)loop;
    return NULL;
}

/* Whether the party's loop runs in this thread, so that its future may be touched.  It
 * may be closed meanwhile. */
static bool
is_here(struct tdl_party *party)
{
    struct tdl_state *st = party->owner->st;
    LoopObject *loop = native_loop(st, party->loop);
    if (loop != NULL)
        return loop->thread == PyThread_get_thread_ident();
    PyObject *running = tdl_sync_loop_here(st);
    if (running == NULL)
        PyErr_Clear();
    Py_XDECREF(running);
    return running == party->loop;
}

/* Whether the party's loop is one of ours that was closed: it will never go on. */
static bool
is_stranded(struct tdl_party *party)
{
    LoopObject *loop =
        party->parked != NULL ? NULL : native_loop(party->owner->st, party->loop);
    return loop != NULL && atomic_load_explicit(&loop->closed, memory_order_relaxed);
}

static bool
future_says(struct tdl_party *party, PyObject *question)
{
    PyObject *r = PyObject_CallMethodNoArgs(party->future, question);
    if (r == NULL) {
        PyErr_Clear();
        return false;
    }
    Py_DECREF(r);
    return r == Py_True;
}

static bool
inherits(PyObject *type, PyObject *base, PyObject *name)
{
    PyObject *own = PyObject_GetAttr(type, name);
    PyObject *other = PyObject_GetAttr(base, name);
    Py_XDECREF(own);
    Py_XDECREF(other);
    if (own == NULL || other == NULL)
        PyErr_Clear();
    return own != NULL && own == other;
}

/* Whether asking `future` runs none but asyncio's C code: one of asyncio's class, or of
 * a subclass that has its methods.  The last one seen is remembered. */
static bool
is_plain(struct tdl_state *st, PyObject *future)
{
    struct tdl_objects *o = &st->objects;
    PyObject *type = (PyObject *)Py_TYPE(future);
    if (type == o->aio_future || type == (PyObject *)o->LoopFuture || type == o->sync_future)
        return true;
    if (TDL_FREE_THREADED || Py_TYPE(future)->tp_base != (PyTypeObject *)o->aio_future ||
        !inherits(type, o->aio_future, st->names.done) ||
        !inherits(type, o->aio_future, st->names.cancelled))
        return false;
    Py_XSETREF(o->sync_future, Py_NewRef(type));
    return true;
}

/* Whether it is known that the party, a coroutine, will give up, or was granted before.
 * `here`: its loop runs in this thread. */
static bool
is_done(struct tdl_party *party, bool here)
{
    struct tdl_state *st = party->owner->st;
    if (!here)
        return false;
    if (Py_IS_TYPE(party->future, st->objects.LoopFuture))
        return st->task_ops->is_done(party->future);
    return is_plain(st, party->future) && future_says(party, st->names.done);
}

/* Whether it is known that the party will give up. */
static bool
is_cancelled(struct tdl_party *party)
{
    struct tdl_state *st = party->owner->st;
    if (party->parked != NULL || !is_here(party))
        return false;
    if (Py_IS_TYPE(party->future, st->objects.LoopFuture))
        return st->task_ops->is_cancelled(party->future);
    return is_plain(st, party->future) && future_says(party, st->names.cancelled);
}

bool
tdl_party_all_cancelled(struct tdl_waitq *q)
{
    for (struct tdl_wait *w = q->first; w != NULL; w = w->next) {
        struct tdl_party *party = tdl_party_of(w);
        if (!is_stranded(party) && !is_cancelled(party))
            return false;
    }
    return true;
}

PyObject *
tdl_party_list(SyncObject *owner, struct tdl_waitq *q)
{
    PyObject *list;
    bool fits;
    do {
        size_t count = q->count, i = 0;
        fits = true;
        list = PyList_New((Py_ssize_t)count);
        if (list == NULL)
            return NULL;
        TDL_CRITICAL_BEGIN(owner);
        for (struct tdl_wait *w = q->first; w != NULL && fits; w = w->next) {
            PyObject *future = tdl_party_of(w)->future;
            fits = i < count;
            if (fits)
                PyList_SET_ITEM(list, i++, Py_NewRef(future == NULL ? Py_None : future));
        }
        fits = fits && i == count;
        TDL_CRITICAL_END();
        if (!fits)
            Py_DECREF(list);
    } while (!fits);
    return list;
}

/* ---- telling --------------------------------------------------------------------- */

bool
tdl_tell_prepare(struct tdl_tell *tell, struct tdl_waitq *q)
{
    for (struct tdl_wait *w = q->pending; w != NULL; w = q->pending) {
        struct tdl_party *party = tdl_party_of(w);
        tell->here = party->parked == NULL && is_here(party);
        if (is_stranded(party))
            tdl_waitq_remove(q, w);
        else if (is_done(party, tell->here))
            tdl_waitq_skip(q);
        else
            return tell->here || tell->spare != NULL || party->parked != NULL;
    }
    return true;
}

int
tdl_tell_provide(struct tdl_tell *tell, SyncObject *owner)
{
    PyTypeObject *type = owner->st->objects.Grant;
    GrantObject *grant = (GrantObject *)type->tp_alloc(type, 0);
    if (grant == NULL)
        return -1;
    grant->st = owner->st;
    grant->owner = (SyncObject *)Py_NewRef((PyObject *)owner);
    tell->spare = grant;
    return 0;
}

void
tdl_tell_add(struct tdl_tell *tell, struct tdl_wait *w)
{
    if (w == NULL)
        return;
    struct tdl_party *party = tdl_party_of(w);
    tell->parked = party->parked;
    if (party->parked != NULL)
        return;
    tell->future = Py_NewRef(party->future);
    if (tell->here)
        return;
    tell->loop = Py_NewRef(party->loop);
    tell->spare->future = Py_NewRef(party->future);
    tell->spare->party = party;
    party->grant = tell->spare;
}

static int
call_one(PyObject *op, PyObject *method, PyObject *argument)
{
    PyObject *r = PyObject_CallMethodOneArg(op, method, argument);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

/* Resolve a future of this thread.  Returns 0 or -1 with an exception set. */
static int
resolve(struct tdl_state *st, PyObject *future)
{
    if (Py_IS_TYPE(future, st->objects.LoopFuture))
        return st->task_ops->set_result(st, future, Py_True);
    if (!is_plain(st, future)) {
        PyObject *done = PyObject_CallMethodNoArgs(future, st->names.done);
        int yes = done == NULL ? -1 : PyObject_IsTrue(done);
        Py_XDECREF(done);
        if (yes != 0)
            return yes < 0 ? -1 : 0;
    }
    return call_one(future, st->names.set_result, Py_True);
}

/* Hand the grant to its loop.  One that is closed drops it, which passes it on. */
static int
post(struct tdl_state *st, struct tdl_tell *tell)
{
    PyObject *grant = (PyObject *)tell->spare;
    tell->spare = NULL;
    int r = call_one(tell->loop, st->names.call_soon_threadsafe, grant);
    if (r < 0 && PyErr_ExceptionMatches(PyExc_RuntimeError)) {
        PyErr_Clear();
        r = 0;
    }
    Py_DECREF(grant);
    return r;
}

int
tdl_tell_send(struct tdl_tell *tell, struct tdl_state *st)
{
    int r = 0;
    if (tell->parked != NULL) {
        tdl_parker_unpark(&tell->parked->parker);
        r = 1;
    }
    else if (tell->future != NULL) {
        r = tell->loop != NULL ? post(st, tell) : resolve(st, tell->future);
        r = r < 0 ? -1 : 1;
    }
    Py_XDECREF(tell->future);
    Py_XDECREF(tell->loop);
    Py_XDECREF((PyObject *)tell->spare);
    tdl_tell_init(tell);
    return r;
}

int
tdl_sync_grant(SyncObject *owner, struct tdl_waitq *q,
               struct tdl_wait *(*change)(SyncObject *, void *), void *argument)
{
    struct tdl_tell tell;
    tdl_tell_init(&tell);
    for (;;) {
        bool ready;
        TDL_CRITICAL_BEGIN(owner);
        ready = tdl_tell_prepare(&tell, q);
        if (ready)
            tdl_tell_add(&tell, change(owner, argument));
        TDL_CRITICAL_END();
        if (ready)
            return tdl_tell_send(&tell, owner->st);
        if (tdl_tell_provide(&tell, owner) < 0)
            return -1;
    }
}

void
tdl_sync_pass_on(SyncObject *owner, struct tdl_waitq *q,
                 struct tdl_wait *(*change)(SyncObject *, void *), bool all)
{
    PyObject *raised = tdl_err_take();
    int r;
    do {
        r = tdl_sync_grant(owner, q, change, NULL);
        if (r < 0)
            PyErr_WriteUnraisable((PyObject *)owner);
    } while (r > 0 && all);
    if (raised != NULL)
        tdl_err_put_steal(raised);
}

bool
tdl_party_remove(struct tdl_party *party, struct tdl_waitq *q)
{
    bool granted;
    TDL_CRITICAL_BEGIN(party->owner);
    granted = party->wait.state == TDL_WAIT_GRANTED;
    tdl_waitq_remove(q, &party->wait);
    tdl_party_detach(party);
    TDL_CRITICAL_END();
    return granted;
}

void
tdl_party_detach(struct tdl_party *party)
{
    if (party->grant != NULL) {
        party->grant->party = NULL;
        party->grant = NULL;
    }
}

void
tdl_party_clear(struct tdl_party *party)
{
    Py_CLEAR(party->future);
    Py_CLEAR(party->loop);
}

/* ---- grants ---------------------------------------------------------------------- */

static PyObject *
grant_call(GrantObject *self, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwds))
{
    PyObject *future;
    TDL_CRITICAL_BEGIN(self->owner);
    if (self->party != NULL)
        self->party->grant = NULL;
    self->party = NULL;
    future = self->future;
    self->future = NULL;
    TDL_CRITICAL_END();
    if (future == NULL)
        Py_RETURN_NONE;
    PyObject *done = PyObject_CallMethodNoArgs(future, self->st->names.done);
    int r = done == NULL ? -1 : PyObject_IsTrue(done);
    Py_XDECREF(done);
    if (r == 0)
        r = call_one(future, self->st->names.set_result, Py_True);
    Py_DECREF(future);
    if (r < 0)
        return NULL;
    Py_RETURN_NONE;
}

static int
grant_traverse(GrantObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->owner);
    Py_VISIT(self->future);
    return 0;
}

/* Not delivered: the party gives up, so that the grant passes on. */
static void
grant_finalize(GrantObject *self)
{
    struct tdl_party *party;
    TDL_CRITICAL_BEGIN(self->owner);
    party = self->party;
    self->party = NULL;
    if (party != NULL)
        party->grant = NULL;
    TDL_CRITICAL_END();
    if (party != NULL)
        party->leave(party);
}

static void
grant_dealloc(GrantObject *self)
{
    if (self->party != NULL && PyObject_CallFinalizerFromDealloc((PyObject *)self) < 0)
        return;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_XDECREF(self->owner);
    Py_XDECREF(self->future);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot grant_slots[] = {
    {Py_tp_call, grant_call},
    {Py_tp_traverse, grant_traverse},
    {Py_tp_finalize, grant_finalize},
    {Py_tp_dealloc, grant_dealloc},
    {Py_tp_doc, "What a coroutine has been granted, on its way to the coroutine's loop."},
    {0, NULL},
};

static PyType_Spec grant_spec = {
    .name = "treadle._native.Grant",
    .basicsize = sizeof(GrantObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = grant_slots,
};

int
tdl_party_exec(PyObject *module)
{
    return tdl_state_add_type(module, &grant_spec, &tdl_state_of(module)->objects.Grant);
}

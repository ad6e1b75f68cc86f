/* What is in a queue: putting and taking, and who is to be told. */
#include "sync/queue.h"

#include "sync/object.h"

/* ---- the container ----------------------------------------------------------------- */

int
tdl_queue_make(QueueObject *self)
{
    struct tdl_objects *o = &self->head.st->objects;
    PyObject *made =
        self->kind == TDL_QUEUE_FIFO ? PyObject_CallNoArgs(o->deque) : PyList_New(0);
    if (made == NULL)
        return -1;
    Py_XSETREF(self->items, made);
    tdl_queue_classify(self);
    return 0;
}

void
tdl_queue_classify(QueueObject *self)
{
    struct tdl_objects *o = &self->head.st->objects;
    PyTypeObject *expected =
        self->kind == TDL_QUEUE_FIFO ? (PyTypeObject *)o->deque : &PyList_Type;
    self->native = self->own_methods && self->kind != TDL_QUEUE_PRIORITY &&
                   self->items != NULL && Py_IS_TYPE(self->items, expected);
}

static PyObject *
items_of(QueueObject *self)
{
    PyObject *items;
    TDL_CRITICAL_BEGIN(self);
    items = Py_XNewRef(self->items);
    TDL_CRITICAL_END();
    if (items == NULL)
        PyErr_SetString(PyExc_AttributeError, "the queue has no attribute '_queue'");
    return items;
}

int
tdl_queue_push(QueueObject *self, PyObject *item)
{
    struct tdl_state *st = self->head.st;
    PyObject *items = items_of(self);
    if (items == NULL)
        return -1;
    PyObject *r;
    if (self->kind == TDL_QUEUE_PRIORITY)
        r = PyObject_CallFunctionObjArgs(st->objects.heappush, items, item, NULL);
    else
        r = PyObject_CallMethodOneArg(items, st->names.append, item);
    Py_DECREF(items);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

PyObject *
tdl_queue_pop(QueueObject *self)
{
    struct tdl_objects *o = &self->head.st->objects;
    PyObject *items = items_of(self);
    if (items == NULL)
        return NULL;
    PyObject *item;
    if (self->kind == TDL_QUEUE_PRIORITY)
        item = PyObject_CallOneArg(o->heappop, items);
    else
        item = PyObject_CallMethodNoArgs(items, self->kind == TDL_QUEUE_FIFO
                                                    ? self->head.st->names.popleft
                                                    : self->head.st->names.pop);
    Py_DECREF(items);
    return item;
}

/* Call a method of deques, with `argument` unless that is NULL: straight if it takes what
 * it always has. */
static PyObject *
call_deque(PyObject *method, PyObject *deque, PyObject *argument)
{
    if (Py_IS_TYPE(method, &PyMethodDescr_Type)) {
        PyMethodDef *def = ((PyMethodDescrObject *)method)->d_method;
        if (def->ml_flags == (argument == NULL ? METH_NOARGS : METH_O))
            return def->ml_meth(deque, argument);
    }
    PyObject *argv[] = {deque, argument};
    return PyObject_Vectorcall(method, argv, argument == NULL ? 1 : 2, NULL);
}

/* Inside, for a native queue, which runs no Python code. */
static int
push_native(QueueObject *self, PyObject *item)
{
    if (self->kind == TDL_QUEUE_LIFO)
        return PyList_Append(self->items, item);
    PyObject *r = call_deque(self->head.st->objects.deque_append, self->items, item);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

static PyObject *
pop_native(QueueObject *self)
{
    struct tdl_state *st = self->head.st;
    if (self->kind == TDL_QUEUE_FIFO)
        return call_deque(st->objects.deque_popleft, self->items, NULL);
    return PyObject_CallMethodNoArgs(self->items, st->names.pop);
}

Py_ssize_t
tdl_queue_size(QueueObject *self)
{
    if (self->native)
        return Py_SIZE(self->items);
    if (!self->own_methods) {
        PyObject *r = PyObject_CallMethodNoArgs((PyObject *)self, self->head.st->names.qsize);
        Py_ssize_t size = r == NULL ? -1 : PyLong_AsSsize_t(r);
        Py_XDECREF(r);
        return size;
    }
    PyObject *items = items_of(self);
    Py_ssize_t size = items == NULL ? -1 : PyObject_Size(items);
    Py_XDECREF(items);
    return size;
}

/* ---- transitions ------------------------------------------------------------------- */

/* Inside: somebody uses the queue. */
static void
note_thread(QueueObject *self)
{
    unsigned long me = PyThread_get_thread_ident();
    if (self->home == me)
        return;
    if (self->home != 0)
        self->getters.fair = self->putters.fair = true;
    else
        self->home = me;
}

void
tdl_queue_come(QueueObject *self, struct tdl_side *side, struct tdl_party *party)
{
    TDL_CRITICAL_BEGIN(self);
    tdl_party_detach(party);
    if (party->wait.state == TDL_WAIT_GRANTED)
        tdl_side_come(side, &party->wait);
    else
        tdl_waitq_remove(&side->waiters, &party->wait);
    TDL_CRITICAL_END();
}

/* Inside: `there` is what is there for the side: whether the visitor may have one of it;
 * if not, it waits. */
static enum tdl_queue_outcome
admit(QueueObject *self, struct tdl_side *side, Py_ssize_t there,
      const struct tdl_queue_visit *visit)
{
    size_t mine = there < 0 ? 0 : (size_t)there;
    if (!visit->returns && !self->is_shut)
        mine = tdl_side_free(side, mine);
    if (mine > 0)
        return TDL_QUEUE_FINE;
    if (visit->party != NULL && visit->returns)
        tdl_side_again(side, &visit->party->wait);
    else if (visit->party != NULL)
        tdl_waitq_push(&side->waiters, &visit->party->wait);
    return TDL_QUEUE_BUSY;
}

/* Inside: after an item was put, or taken. */
static void
commit_put(QueueObject *self, struct tdl_tell *tell)
{
    self->unfinished++;
    tdl_tell_add(tell, tdl_side_grant(&self->getters));
}

static void
commit_get(QueueObject *self, struct tdl_tell *tell)
{
    tdl_tell_add(tell, tdl_side_grant(&self->putters));
}

static int
put_by_python(QueueObject *self, PyObject *item)
{
    if (self->own_methods)
        return tdl_queue_push(self, item);
    struct tdl_state *st = self->head.st;
    PyObject *r = PyObject_CallMethodOneArg((PyObject *)self, st->names._put, item);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

static PyObject *
get_by_python(QueueObject *self)
{
    if (self->own_methods)
        return tdl_queue_pop(self);
    return PyObject_CallMethodNoArgs((PyObject *)self, self->head.st->names._get);
}

/* What one attempt is about. */
struct attempt {
    PyObject *item; /* to put, or NULL: one is taken and goes here */
    const struct tdl_queue_visit *visit;
    struct tdl_tell tell;
};

/* The same for both: look whether there is something for the visitor, and whether
 * everything is there to go on; go on if that takes no Python code.
 * Inside.  Returns the outcome; `*needs`: try again with a grant. */
static enum tdl_queue_outcome
attempt_inside(QueueObject *self, struct attempt *a, Py_ssize_t size, bool *needs)
{
    bool puts = a->item != NULL;
    struct tdl_side *mine = puts ? &self->putters : &self->getters;
    struct tdl_side *others = puts ? &self->getters : &self->putters;
    note_thread(self);
    if (self->is_shut && (puts || size == 0))
        return tdl_queue_raise(self->head.st->objects.QueueShutDown);
    Py_ssize_t there = size;
    if (puts)
        there = self->limit == 0 ? PY_SSIZE_T_MAX : self->limit - size;
    if (!tdl_tell_prepare(&a->tell, &others->waiters)) {
        *needs = true;
        return TDL_QUEUE_BUSY;
    }
    enum tdl_queue_outcome outcome = admit(self, mine, there, a->visit);
    if (outcome != TDL_QUEUE_FINE || !self->native)
        return outcome;
    if (puts && push_native(self, a->item) < 0)
        return TDL_QUEUE_ERROR;
    if (!puts && (a->item = pop_native(self)) == NULL)
        return TDL_QUEUE_ERROR;
    if (puts)
        commit_put(self, &a->tell);
    else
        commit_get(self, &a->tell);
    return TDL_QUEUE_FINE;
}

/* The part that runs Python code. */
static enum tdl_queue_outcome
finish_by_python(QueueObject *self, struct attempt *a)
{
    bool puts = a->item != NULL;
    struct tdl_side *others = puts ? &self->getters : &self->putters;
    if (puts ? put_by_python(self, a->item) < 0 : (a->item = get_by_python(self)) == NULL)
        return TDL_QUEUE_ERROR;
    for (;;) {
        bool ready;
        TDL_CRITICAL_BEGIN(self);
        ready = tdl_tell_prepare(&a->tell, &others->waiters);
        if (ready && puts)
            commit_put(self, &a->tell);
        else if (ready)
            commit_get(self, &a->tell);
        TDL_CRITICAL_END();
        if (ready)
            return TDL_QUEUE_FINE;
        if (tdl_tell_provide(&a->tell, &self->head) < 0) {
            if (!puts)
                Py_CLEAR(a->item);
            return TDL_QUEUE_ERROR;
        }
    }
}

static enum tdl_queue_outcome
attempt(QueueObject *self, struct attempt *a)
{
    bool guarded = !self->native;
    enum tdl_queue_outcome outcome;
    bool native, needs;
    if (guarded)
        tdl_handle_lock_guard(&self->guard);
    do {
        Py_ssize_t size = guarded ? tdl_queue_size(self) : 0;
        needs = false;
        if (size < 0) {
            outcome = TDL_QUEUE_ERROR;
            break;
        }
        TDL_CRITICAL_BEGIN(self);
        native = self->native;
        outcome = attempt_inside(self, a, native ? Py_SIZE(self->items) : size, &needs);
        TDL_CRITICAL_END();
        if (needs && tdl_tell_provide(&a->tell, &self->head) < 0) {
            outcome = TDL_QUEUE_ERROR;
            break;
        }
        if (outcome == TDL_QUEUE_FINE && !native)
            outcome = finish_by_python(self, a);
    } while (needs);
    if (guarded)
        tdl_handle_unlock_guard(&self->guard);
    return outcome;
}

/* Tell whoever is concerned.  What its loop raised is raised for asyncio's queues, too. */
static enum tdl_queue_outcome
conclude(QueueObject *self, struct attempt *a, enum tdl_queue_outcome outcome)
{
    PyObject *raised = outcome == TDL_QUEUE_ERROR ? tdl_err_take() : NULL;
    if (tdl_tell_send(&a->tell, self->head.st) < 0)
        PyErr_WriteUnraisable((PyObject *)self);
    if (raised != NULL)
        tdl_err_put_steal(raised);
    return outcome;
}

enum tdl_queue_outcome
tdl_queue_put(QueueObject *self, PyObject *item, const struct tdl_queue_visit *visit)
{
    struct attempt a = {.item = item, .visit = visit};
    tdl_tell_init(&a.tell);
    return conclude(self, &a, attempt(self, &a));
}

enum tdl_queue_outcome
tdl_queue_get(QueueObject *self, PyObject **item, const struct tdl_queue_visit *visit)
{
    struct attempt a = {.item = NULL, .visit = visit};
    tdl_tell_init(&a.tell);
    enum tdl_queue_outcome outcome = attempt(self, &a);
    outcome = conclude(self, &a, outcome);
    *item = a.item;
    return outcome;
}

/* ---- leaving, and letting all go ------------------------------------------------- */

static struct tdl_wait *
grant_getter(SyncObject *op, void *Py_UNUSED(argument))
{
    return tdl_side_grant(&((QueueObject *)op)->getters);
}

static struct tdl_wait *
grant_putter(SyncObject *op, void *Py_UNUSED(argument))
{
    return tdl_side_grant(&((QueueObject *)op)->putters);
}

static struct tdl_wait *
grant_joiner(SyncObject *op, void *Py_UNUSED(argument))
{
    return tdl_waitq_grant(&((QueueObject *)op)->joiners);
}

static bool
leave_side(struct tdl_side *side, struct tdl_party *party)
{
    bool granted;
    TDL_CRITICAL_BEGIN(party->owner);
    granted = tdl_side_leave(side, &party->wait);
    tdl_party_detach(party);
    TDL_CRITICAL_END();
    return granted;
}

/* The size when an exception may be set, which stays. */
static Py_ssize_t
size_now(QueueObject *self)
{
    PyObject *raised = tdl_err_take();
    Py_ssize_t size = tdl_queue_size(self);
    if (size < 0)
        PyErr_WriteUnraisable((PyObject *)self);
    if (raised != NULL)
        tdl_err_put_steal(raised);
    return size;
}

bool
tdl_queue_leave_getters(struct tdl_party *party)
{
    QueueObject *self = (QueueObject *)party->owner;
    bool granted = leave_side(&self->getters, party);
    if (granted && size_now(self) > 0)
        tdl_sync_pass_on(&self->head, &self->getters.waiters, grant_getter, false);
    return granted;
}

bool
tdl_queue_leave_putters(struct tdl_party *party)
{
    QueueObject *self = (QueueObject *)party->owner;
    bool granted = leave_side(&self->putters, party);
    if (granted && (self->limit == 0 || size_now(self) < self->limit))
        tdl_sync_pass_on(&self->head, &self->putters.waiters, grant_putter, false);
    return granted;
}

bool
tdl_queue_leave_joiners(struct tdl_party *party)
{
    return tdl_party_remove(party, &((QueueObject *)party->owner)->joiners);
}

/* Grant to as many as wait now: those who come meanwhile see how things are. */
static int
grant_all(QueueObject *self, struct tdl_waitq *q,
          struct tdl_wait *(*change)(SyncObject *, void *))
{
    int r = 1;
    for (size_t left = q->count; left > 0 && r > 0; left--)
        r = tdl_sync_grant(&self->head, q, change, NULL);
    return r < 0 ? -1 : 0;
}

int
tdl_queue_wake_joiners(QueueObject *self)
{
    return grant_all(self, &self->joiners, grant_joiner);
}

int
tdl_queue_wake_side(QueueObject *self, struct tdl_side *side)
{
    return grant_all(self, &side->waiters,
                     side == &self->getters ? grant_getter : grant_putter);
}

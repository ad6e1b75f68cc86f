/* Event. */
#include "core/clock.h"
#include "py/args.h"
#include "sync/object.h"
#include "sync/sync.h"

typedef struct {
    SyncObject head;
    struct tdl_waitq waiters; /* the object's critical section, as is `value` */
    bool value;
} EventObject;

/* ---- transitions ----------------------------------------------------------------- */

/* Wait, unless it is set.  Returns whether it is. */
static bool
is_set_or_push(EventObject *self, struct tdl_party *party)
{
    bool value;
    TDL_CRITICAL_BEGIN(self);
    value = self->value;
    if (!value)
        tdl_waitq_push(&self->waiters, &party->wait);
    TDL_CRITICAL_END();
    return value;
}

static struct tdl_wait *
grant(SyncObject *op, void *Py_UNUSED(argument))
{
    return tdl_waitq_grant(&((EventObject *)op)->waiters);
}

static bool
leave(struct tdl_party *party)
{
    return tdl_party_remove(party, &((EventObject *)party->owner)->waiters);
}

/* Set the flag.  Returns how many waited for that. */
static size_t
raise_flag(EventObject *self)
{
    size_t count;
    TDL_CRITICAL_BEGIN(self);
    count = self->value ? 0 : self->waiters.count;
    self->value = true;
    TDL_CRITICAL_END();
    return count;
}

/* ---- in a loop ------------------------------------------------------------------- */

static enum tdl_step
start(AwaitObject *self, PyObject **result)
{
    EventObject *event = (EventObject *)self->owner;
    bool set = event->value;
    if (!set) {
        if (tdl_await_prepare(self) < 0)
            return TDL_STEP_ERROR;
        set = is_set_or_push(event, &self->party);
    }
    if (!set)
        return TDL_STEP_WAIT;
    *result = Py_NewRef(Py_True);
    return TDL_STEP_DONE;
}

static enum tdl_step
wake(AwaitObject *self, PyObject *Py_UNUSED(value), PyObject **result)
{
    leave(&self->party);
    *result = Py_NewRef(Py_True);
    return TDL_STEP_DONE;
}

static enum tdl_step
fail(AwaitObject *self, PyObject **Py_UNUSED(result))
{
    leave(&self->party);
    return TDL_STEP_ERROR;
}

static const struct tdl_await_op wait_op = {"wait", "Event.wait", start, wake, fail, leave};

/* ---- the type -------------------------------------------------------------------- */

static PyObject *
event_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwds))
{
    EventObject *self = (EventObject *)tdl_sync_alloc(type);
    if (self != NULL)
        tdl_waitq_init(&self->waiters);
    return (PyObject *)self;
}

static int
event_init(EventObject *Py_UNUSED(self), PyObject *args, PyObject *kwds)
{
    return tdl_sync_parse("Event.__init__", args, kwds, NULL, 0, 0, NULL);
}

static PyObject *
is_set(EventObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(self->value);
}

static PyObject *
set(EventObject *self, PyObject *Py_UNUSED(ignored))
{
    /* those who come while others are told do not wait for this */
    for (size_t left = raise_flag(self); left > 0; left--) {
        int r = tdl_sync_grant(&self->head, &self->waiters, grant, NULL);
        if (r < 0)
            return NULL;
        if (r == 0)
            break;
    }
    Py_RETURN_NONE;
}

static PyObject *
clear(EventObject *self, PyObject *Py_UNUSED(ignored))
{
    TDL_CRITICAL_BEGIN(self);
    self->value = false;
    TDL_CRITICAL_END();
    Py_RETURN_NONE;
}

static PyObject *
event_wait(EventObject *self, PyObject *Py_UNUSED(ignored))
{
    return tdl_await_new(&self->head, &wait_op, NULL);
}

static PyObject *
wait_sync(EventObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    struct tdl_sync_patience patience;
    struct tdl_parked parked;
    if (tdl_sync_parse_timeout("wait_sync", args, nargs, kwnames, &patience) < 0)
        return NULL;
    if (patience.now)
        return PyBool_FromLong(self->value);
    if (tdl_sync_may_block(self->head.st, "wait_sync()", "wait(), or timeout=0") < 0)
        return NULL;
    tdl_parked_init(&parked, &self->head, leave);
    int r = is_set_or_push(self, &parked.party);
    if (r == 0 && (r = tdl_parked_wait(&parked, patience.deadline)) > 0)
        leave(&parked.party);
    return r < 0 ? NULL : PyBool_FromLong(r);
}

static PyObject *
event_repr(EventObject *self)
{
    return tdl_sync_repr_steal((PyObject *)self,
                               tdl_sync_extra(self->value ? "set" : "unset", &self->waiters));
}

static PyObject *
get_waiters(EventObject *self, void *Py_UNUSED(closure))
{
    return tdl_party_list(&self->head, &self->waiters);
}

static PyObject *
get_value(EventObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->value);
}

static PyMethodDef event_methods[] = {
    {"is_set", (PyCFunction)is_set, METH_NOARGS,
     "is_set($self, /)\n--\n\nReturn whether the flag is set."},
    {"set", (PyCFunction)set, METH_NOARGS,
     "set($self, /)\n--\n\nSet the flag and let all that wait go on. From any thread."},
    {"clear", (PyCFunction)clear, METH_NOARGS,
     "clear($self, /)\n--\n\nReset the flag. From any thread."},
    {"wait", (PyCFunction)event_wait, METH_NOARGS,
     "wait($self, /)\n--\n\nWait until the flag is set, return True."},
    {"wait_sync", TDL_METHOD(wait_sync), METH_FASTCALL | METH_KEYWORDS,
     "wait_sync($self, /, timeout=None)\n--\n\n"
     "As wait(), for threads: wait for timeout seconds at most, None for ever, 0 not at\n"
     "all. Return whether the flag was set. RuntimeError in a thread whose event loop\n"
     "runs, unless timeout is 0."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef event_getset[] = {
    {"_loop", tdl_sync_get_bound, tdl_sync_set_bound, NULL, NULL},
    {"_waiters", (getter)get_waiters, NULL, NULL, NULL},
    {"_value", (getter)get_value, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot event_slots[] = {
    {Py_tp_new, event_new},
    {Py_tp_init, event_init},
    {Py_tp_methods, event_methods},
    {Py_tp_getset, event_getset},
    {Py_tp_repr, event_repr},
    {Py_tp_traverse, tdl_sync_traverse},
    {Py_tp_clear, tdl_sync_clear},
    {Py_tp_dealloc, tdl_sync_dealloc},
    {0, NULL},
};

static PyType_Spec event_spec = {
    .name = "treadle._native.EventBase",
    .basicsize = sizeof(EventObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = event_slots,
};

int
tdl_event_exec(PyObject *module)
{
    return tdl_state_add_type(module, &event_spec, &tdl_state_of(module)->objects.EventBase);
}

#include "future/wait_proxy.h"

#include "core/lock.h"
#include "future/future.h"

typedef struct {
    PyObject_HEAD
    struct tdl_lock lock;
    struct tdl_wait_node *node; /* NULL once unlinked; the lock */
    int noted;                  /* the lock */
} ProxyObject;

static PyObject *
note(ProxyObject *self, enum tdl_outcome outcome)
{
    struct tdl_fire fire;
    tdl_fire_init(&fire);
    tdl_lock_acquire(&self->lock);
    if (self->node != NULL && !self->noted) {
        self->noted = 1;
        tdl_waiter_note(self->node, outcome, &fire);
    }
    tdl_lock_release(&self->lock);
    tdl_fire_all(&fire);
    Py_RETURN_NONE;
}

static PyObject *
add_result(ProxyObject *self, PyObject *Py_UNUSED(future))
{
    return note(self, TDL_OUTCOME_RESULT);
}

static PyObject *
add_exception(ProxyObject *self, PyObject *Py_UNUSED(future))
{
    return note(self, TDL_OUTCOME_EXCEPTION);
}

static PyObject *
add_cancelled(ProxyObject *self, PyObject *Py_UNUSED(future))
{
    return note(self, TDL_OUTCOME_CANCELLED);
}

static void
proxy_dealloc(ProxyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef proxy_methods[] = {
    {"add_result", (PyCFunction)add_result, METH_O, NULL},
    {"add_exception", (PyCFunction)add_exception, METH_O, NULL},
    {"add_cancelled", (PyCFunction)add_cancelled, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot proxy_slots[] = {
    {Py_tp_methods, proxy_methods},
    {Py_tp_dealloc, proxy_dealloc},
    {Py_tp_doc, "Our entry in a standard future's _waiters."},
    {0, NULL},
};

static PyType_Spec proxy_spec = {
    .name = "treadle._native.WaitProxy",
    .basicsize = sizeof(ProxyObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = proxy_slots,
};

int
tdl_std_future_complete(struct tdl_state *st, PyObject *future, int *raised)
{
    *raised = 0;
    PyObject *state = PyObject_GetAttr(future, st->names._state);
    if (state == NULL)
        return -1;
    int finished =
        PyObject_RichCompareBool(state, st->objects.state_names[TDL_FINISHED], Py_EQ);
    int complete = finished;
    if (finished == 0)
        complete = PyObject_RichCompareBool(
            state, st->objects.state_names[TDL_CANCELLED_AND_NOTIFIED], Py_EQ);
    Py_DECREF(state);
    if (finished > 0) {
        PyObject *exception = PyObject_CallMethodNoArgs(future, st->names.exception);
        if (exception == NULL)
            return -1;
        *raised = exception != Py_None;
        Py_DECREF(exception);
    }
    return complete;
}

static int
call_condition(struct tdl_state *st, PyObject *condition, PyObject *method)
{
    (void)st;
    PyObject *r = PyObject_CallMethodNoArgs(condition, method);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

/* future._waiters.<method>(proxy) */
static int
edit_waiters(struct tdl_state *st, PyObject *future, PyObject *method, PyObject *proxy)
{
    PyObject *waiters = PyObject_GetAttr(future, st->names._waiters);
    if (waiters == NULL)
        return -1;
    PyObject *r = PyObject_CallMethodOneArg(waiters, method, proxy);
    Py_DECREF(waiters);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

static ProxyObject *
proxy_new(struct tdl_state *st, struct tdl_wait_node *node)
{
    PyTypeObject *type = st->objects.WaitProxy;
    ProxyObject *self = (ProxyObject *)type->tp_alloc(type, 0);
    if (self != NULL) {
        tdl_lock_init(&self->lock);
        self->node = node;
    }
    return self;
}

int
tdl_wait_proxy_link(struct tdl_state *st, PyObject *future, struct tdl_wait_node *node,
                    PyObject **proxy)
{
    *proxy = NULL;
    PyObject *condition = PyObject_GetAttr(future, st->names._condition);
    if (condition == NULL)
        return -1;
    if (call_condition(st, condition, st->names.acquire) < 0) {
        Py_DECREF(condition);
        return -1;
    }
    int raised, r = -1;
    int complete = tdl_std_future_complete(st, future, &raised);
    if (complete == 0) {
        *proxy = (PyObject *)proxy_new(st, node);
        if (*proxy != NULL && edit_waiters(st, future, st->names.append, *proxy) == 0)
            r = 1;
        else
            Py_CLEAR(*proxy);
    }
    else if (complete > 0)
        r = 0;
    PyObject *error = r < 0 ? tdl_err_take() : NULL;
    if (call_condition(st, condition, st->names.release) < 0 && error == NULL) {
        r = -1;
        error = tdl_err_take();
    }
    if (error != NULL)
        tdl_err_put_steal(error);
    Py_DECREF(condition);
    return r;
}

void
tdl_wait_proxy_unlink(struct tdl_state *st, PyObject *future, PyObject *proxy)
{
    PyObject *error = tdl_err_take();
    ProxyObject *self = (ProxyObject *)proxy;
    tdl_lock_acquire(&self->lock);
    self->node = NULL;
    tdl_lock_release(&self->lock);
    PyObject *condition = PyObject_GetAttr(future, st->names._condition);
    if (condition != NULL && call_condition(st, condition, st->names.acquire) == 0) {
        edit_waiters(st, future, st->names.remove, proxy);
        PyObject *first = tdl_err_take();
        call_condition(st, condition, st->names.release);
        if (first != NULL) {
            PyErr_Clear();
            tdl_err_put_steal(first);
        }
    }
    if (PyErr_Occurred())
        PyErr_WriteUnraisable(future);
    Py_XDECREF(condition);
    Py_DECREF(proxy);
    if (error != NULL)
        tdl_err_put_steal(error);
}

int
tdl_wait_proxy_noted(PyObject *proxy)
{
    ProxyObject *self = (ProxyObject *)proxy;
    tdl_lock_acquire(&self->lock);
    int noted = self->noted;
    tdl_lock_release(&self->lock);
    return noted;
}

int
tdl_wait_proxy_exec(PyObject *module)
{
    return tdl_state_add_type(module, &proxy_spec, &tdl_state_of(module)->objects.WaitProxy);
}

/* Future's attributes as the standard class has them, made on first look. */
#include "future/condition.h"
#include "future/future.h"

static PyObject *
get_state(FutureObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(self->st->objects.state_names[tdl_future_look(self)]);
}

static int
set_state_name(FutureObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    for (int i = 0; value != NULL && i < TDL_STATE_NAMES; i++) {
        int same = PyObject_RichCompareBool(value, self->st->objects.state_names[i], Py_EQ);
        if (same < 0)
            return -1;
        if (same) {
            tdl_future_force_state(self, (enum tdl_future_state)i);
            return 0;
        }
    }
    if (value == NULL)
        PyErr_SetString(PyExc_AttributeError, "cannot delete _state");
    else
        PyErr_Format(PyExc_ValueError,
                     "_state must be one of the states of concurrent.futures._base, not %R",
                     value);
    return -1;
}

/* Put `value` (NULL or None: nothing) into a slot of the future. */
static void
put(FutureObject *self, PyObject **slot, PyObject *value)
{
    PyObject *old;
    TDL_CRITICAL_BEGIN(self);
    old = *slot;
    *slot = value == Py_None ? NULL : Py_XNewRef(value);
    TDL_CRITICAL_END();
    Py_XDECREF(old);
}

static PyObject *
get(FutureObject *self, PyObject **slot)
{
    PyObject *value;
    TDL_CRITICAL_BEGIN(self);
    value = Py_NewRef(*slot == NULL ? Py_None : *slot);
    TDL_CRITICAL_END();
    return value;
}

static int
no_delete(PyObject *value, const char *name)
{
    if (value != NULL)
        return 0;
    PyErr_Format(PyExc_AttributeError, "cannot delete %s", name);
    return -1;
}

static PyObject *
get_result(FutureObject *self, void *Py_UNUSED(closure))
{
    return get(self, &self->result);
}

static int
set_result(FutureObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (no_delete(value, "_result") < 0)
        return -1;
    put(self, &self->result, value);
    return 0;
}

static PyObject *
get_exception(FutureObject *self, void *Py_UNUSED(closure))
{
    return get(self, &self->exception);
}

static int
set_exception(FutureObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (no_delete(value, "_exception") < 0)
        return -1;
    put(self, &self->exception, value);
    return 0;
}

static PyObject *
get_condition(FutureObject *self, void *Py_UNUSED(closure))
{
    return tdl_future_condition(self);
}

static int
set_condition(FutureObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (no_delete(value, "_condition") < 0)
        return -1;
    put(self, &self->condition, value);
    return 0;
}

/* The list in `slot`, made if there is none. */
static PyObject *
get_list(FutureObject *self, PyObject **slot, int is_callbacks)
{
    PyObject *fresh = NULL, *list = NULL;
    while (list == NULL) {
        /* not under the lock, as in tdl_callbacks_add() */
        if (*slot == NULL && fresh == NULL && (fresh = PyList_New(0)) == NULL)
            return NULL;
        TDL_CRITICAL_BEGIN(self);
        if (*slot == NULL) {
            *slot = fresh;
            fresh = NULL;
        }
        if (is_callbacks)
            self->callbacks_seen = 1;
        list = Py_XNewRef(*slot);
        TDL_CRITICAL_END();
    }
    Py_XDECREF(fresh);
    return list;
}

static int
set_list(FutureObject *self, PyObject **slot, PyObject *value, const char *name)
{
    if (no_delete(value, name) < 0)
        return -1;
    if (!PyList_Check(value)) {
        PyErr_Format(PyExc_TypeError, "%s must be a list, not '%.200s'", name,
                     Py_TYPE(value)->tp_name);
        return -1;
    }
    put(self, slot, value);
    return 0;
}

static PyObject *
get_waiters(FutureObject *self, void *Py_UNUSED(closure))
{
    return get_list(self, &self->waiters, 0);
}

static int
set_waiters(FutureObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    return set_list(self, &self->waiters, value, "_waiters");
}

static PyObject *
get_callbacks(FutureObject *self, void *Py_UNUSED(closure))
{
    return get_list(self, &self->callbacks, 1);
}

static int
set_callbacks(FutureObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (set_list(self, &self->callbacks, value, "_done_callbacks") < 0)
        return -1;
    self->callbacks_seen = 1;
    return 0;
}

PyGetSetDef tdl_future_getset[] = {
    {"_state", (getter)get_state, (setter)set_state_name, NULL, NULL},
    {"_result", (getter)get_result, (setter)set_result, NULL, NULL},
    {"_exception", (getter)get_exception, (setter)set_exception, NULL, NULL},
    {"_condition", (getter)get_condition, (setter)set_condition, NULL, NULL},
    {"_waiters", (getter)get_waiters, (setter)set_waiters, NULL, NULL},
    {"_done_callbacks", (getter)get_callbacks, (setter)set_callbacks, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

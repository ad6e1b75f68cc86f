/* The queues as Python sees them: behind loop._ready and loop._scheduled. */
#include "loop/ready.h"

static PyObject *
write_to_self(LoopObject *self, PyObject *Py_UNUSED(ignored))
{
    tdl_loop_wake(self);
    Py_RETURN_NONE;
}

static PyObject *
ready_append(LoopObject *self, PyObject *handle)
{
    if (tdl_ready_push(self, handle) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
ready_popleft(LoopObject *self, PyObject *Py_UNUSED(ignored))
{
    struct tdl_ready entry;
    if (tdl_ready_pop(self, &entry))
        return tdl_ready_as_handle(self, &entry);
    PyErr_SetString(PyExc_IndexError, "pop from an empty deque");
    return NULL;
}

static PyObject *
ready_list(LoopObject *self, PyObject *Py_UNUSED(ignored))
{
    return tdl_ready_list(self);
}

static PyObject *
ready_clear(LoopObject *self, PyObject *Py_UNUSED(ignored))
{
    tdl_ready_clear(self);
    Py_RETURN_NONE;
}

/* The timers that are not cancelled, soonest first. */
static PyObject *
scheduled_list(LoopObject *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < self->timers.count; i++) {
        struct tdl_timer *timer = self->timers.entries[i].timer;
        if (timer->state == TDL_TIMER_QUEUED &&
            PyList_Append(list, tdl_handle_of_timer(self->st, timer)) < 0)
            Py_CLEAR(list);
    }
    if (list != NULL && PyList_Sort(list) < 0)
        Py_CLEAR(list);
    return list;
}

static PyObject *
scheduled_clear(LoopObject *self, PyObject *Py_UNUSED(ignored))
{
    tdl_heap_fini(&self->timers);
    Py_RETURN_NONE;
}

PyMethodDef tdl_loop_views_methods[] = {
    {"_write_to_self", (PyCFunction)write_to_self, METH_NOARGS, NULL},
    {"_ready_append", (PyCFunction)ready_append, METH_O, NULL},
    {"_ready_popleft", (PyCFunction)ready_popleft, METH_NOARGS, NULL},
    {"_ready_list", (PyCFunction)ready_list, METH_NOARGS, NULL},
    {"_ready_clear", (PyCFunction)ready_clear, METH_NOARGS, NULL},
    {"_scheduled_list", (PyCFunction)scheduled_list, METH_NOARGS, NULL},
    {"_scheduled_clear", (PyCFunction)scheduled_clear, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* What both kinds of pipe transport have: protocol, state, the calls of the loop. */
#include "future/settle.h"
#include "loop/pipe.h"
#include "py/args.h"
#include "py/fields.h"

PyObject *
tdl_pipe_repr(PyObject *op)
{
    PipeObject *self = (PipeObject *)op;
    PyObject *name = PyObject_GetAttrString((PyObject *)Py_TYPE(op), "__name__");
    if (name == NULL)
        return NULL;
    const char *state = self->pipe == NULL ? " closed" : self->closing ? " closing" : "";
    unsigned event = self->writes ? TDL_POLL_OUT : TDL_POLL_IN;
    PyObject *text;
    if (self->pipe == NULL || self->loop == NULL || self->loop->closed)
        text = PyUnicode_FromFormat("<%U%s fd=%d %s>", name, state, self->number,
                                    self->pipe == NULL ? "closed" : "open");
    else if (self->writes)
        text = PyUnicode_FromFormat("<%U%s fd=%d %s bufsize=%zu>", name, state, self->number,
                                    self->io.events & event ? "polling" : "idle",
                                    tdl_wqueue_size(&self->queue));
    else
        text = PyUnicode_FromFormat("<%U%s fd=%d %s>", name, state, self->number,
                                    self->io.events & event ? "polling" : "idle");
    Py_DECREF(name);
    return text;
}

/* ---- attributes ---------------------------------------------------------------------------- */

static PyObject *
get_number(PyObject *op, void *offset)
{
    return PyLong_FromLong(*(int *)((char *)op + (size_t)offset));
}

/* Who sets _pipe takes the old one over, open: asyncio's own tests do so. */
static int
set_pipe(PipeObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "cannot delete this attribute");
        return -1;
    }
    if (value == Py_None)
        tdl_pipe_release(self);
    Py_XSETREF(self->pipe, value == Py_None ? NULL : Py_NewRef(value));
    return 0;
}

#define OFFSET(field) ((void *)offsetof(PipeObject, field))

PyGetSetDef tdl_pipe_getset[] = {
    {"_extra", tdl_field_object, NULL, NULL, OFFSET(extra)},
    {"_pipe", tdl_field_object, (setter)set_pipe, NULL, OFFSET(pipe)},
    {"_loop", tdl_field_object, NULL, NULL, OFFSET(loop)},
    {"_protocol", tdl_field_object, NULL, NULL, OFFSET(protocol)},
    {"_fileno", get_number, NULL, NULL, OFFSET(number)},
    {"_conn_lost", get_number, NULL, NULL, OFFSET(conn_lost)},
    {"_closing", tdl_field_flag, NULL, NULL, OFFSET(closing)},
    {"_paused", tdl_field_flag, NULL, NULL, OFFSET(paused)},
    {"_protocol_paused", tdl_field_flag, NULL, NULL, OFFSET(flow.paused)},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

/* ---- methods ------------------------------------------------------------------------------- */

static PyObject *
set_protocol(PipeObject *self, PyObject *protocol)
{
    if (tdl_pipe_enter(self) < 0)
        return NULL;
    Py_XSETREF(self->protocol, Py_NewRef(protocol));
    Py_RETURN_NONE;
}

static PyObject *
get_protocol(PipeObject *self, PyObject *Py_UNUSED(ignored))
{
    return Py_NewRef(self->protocol == NULL ? Py_None : self->protocol);
}

static PyObject *
is_closing(PipeObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(self->closing);
}

/* What follows connection_made(): read, or watch for the end, and tell who waits. */
static PyObject *
start_reading(PipeObject *self, PyObject *waiter)
{
    bool wanted = self->writes ? self->watches_end : !self->paused;
    int r = 0;
    if (wanted && !self->lost && !(self->closing && !self->writes))
        r = tdl_pipe_want(self, self->io.events | TDL_POLL_IN);
    PyObject *raised = r < 0 ? tdl_err_take() : NULL;
    r = waiter == Py_None ? 0 : tdl_settle_result(self->st, waiter, Py_None);
    if (raised != NULL) {
        tdl_err_put_steal(raised);
        return NULL;
    }
    return r < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
call_connection_lost(PipeObject *self, PyObject *exc)
{
    if (tdl_pipe_lose(self, exc == Py_None ? NULL : exc) < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyMethodDef tdl_pipe_common_methods[] = {
    {"set_protocol", (PyCFunction)set_protocol, METH_O,
     "set_protocol($self, protocol, /)\n--\n\nSet the protocol that is called from now on."},
    {"get_protocol", (PyCFunction)get_protocol, METH_NOARGS,
     "get_protocol($self, /)\n--\n\nReturn the current protocol."},
    {"is_closing", (PyCFunction)is_closing, METH_NOARGS,
     "is_closing($self, /)\n--\n\nReturn whether the transport is closing or closed."},
    {"_start_reading", (PyCFunction)start_reading, METH_O, NULL},
    {"_call_connection_lost", (PyCFunction)call_connection_lost, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

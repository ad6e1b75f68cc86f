/* ReadPipeTransport: reading, and pausing it. */
#include <errno.h>
#include <unistd.h>

#include "loop/pipe.h"
#include "py/args.h"

static bool
is_reading(const PipeObject *self)
{
    return !self->paused && !self->closing;
}

/* call_soon(protocol.eof_received), then the end. */
static int
on_eof(PipeObject *self)
{
    if (tdl_pipe_debug(self) && tdl_pipe_log(self, "info", "%r was closed by peer") < 0)
        return -1;
    if (!is_reading(self))
        return 0; /* whoever got the message has closed it */
    self->closing = true;
    if (tdl_pipe_want(self, 0) < 0)
        return -1;
    PyObject *protocol = self->protocol == NULL ? Py_None : self->protocol;
    PyObject *method = PyObject_GetAttr(protocol, self->st->names.eof_received);
    int r = method == NULL ? -1 : tdl_pipe_soon(self, method, NULL);
    Py_XDECREF(method);
    return r < 0 ? -1 : tdl_pipe_close(self, NULL);
}

/* As in asyncio, an exception of data_received() closes nothing. */
static int
deliver(PipeObject *self, PyObject *data)
{
    PyObject *protocol = Py_NewRef(self->protocol == NULL ? Py_None : self->protocol);
    PyObject *r = PyObject_CallMethodOneArg(protocol, self->st->names.data_received, data);
    Py_DECREF(protocol);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

static ssize_t
read_some(int fd, char *buffer, size_t size)
{
    ssize_t n;
    do
        n = read(fd, buffer, size);
    while (n < 0 && errno == EINTR);
    return n;
}

int
tdl_pipe_read(PipeObject *self)
{
    if (!is_reading(self))
        return 0;
    char *scratch = tdl_loop_scratch(self->loop);
    if (scratch == NULL)
        return -1;
    ssize_t n = read_some(self->fd, scratch, TDL_LOOP_SCRATCH);
    if (n == 0)
        return on_eof(self);
    if (n < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return 0;
        PyErr_SetFromErrno(PyExc_OSError);
        return tdl_pipe_fatal(self, "Fatal read error on pipe transport");
    }
    PyObject *data = PyBytes_FromStringAndSize(scratch, n);
    int r = data == NULL ? -1 : deliver(self, data);
    Py_XDECREF(data);
    return r;
}

/* ---- methods -------------------------------------------------------------------------- */

static PyObject *
get_is_reading(PipeObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(is_reading(self));
}

static PyObject *
pause_reading(PipeObject *self, PyObject *Py_UNUSED(ignored))
{
    if (tdl_pipe_enter(self) < 0)
        return NULL;
    if (!is_reading(self))
        Py_RETURN_NONE;
    self->paused = true;
    if (tdl_pipe_want(self, 0) < 0 ||
        (tdl_pipe_debug(self) && tdl_pipe_log(self, "debug", "%r pauses reading") < 0))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
resume_reading(PipeObject *self, PyObject *Py_UNUSED(ignored))
{
    if (tdl_pipe_enter(self) < 0)
        return NULL;
    if (self->closing || !self->paused)
        Py_RETURN_NONE;
    self->paused = false;
    if (tdl_loop_check_closed(self->loop) < 0 || tdl_pipe_want(self, TDL_POLL_IN) < 0 ||
        (tdl_pipe_debug(self) && tdl_pipe_log(self, "debug", "%r resumes reading") < 0))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
close_transport(PipeObject *self, PyObject *Py_UNUSED(ignored))
{
    if (tdl_pipe_enter(self) < 0 || (!self->closing && tdl_pipe_close(self, NULL) < 0))
        return NULL;
    Py_RETURN_NONE;
}

PyMethodDef tdl_pipe_read_methods[] = {
    {"is_reading", (PyCFunction)get_is_reading, METH_NOARGS,
     "is_reading($self, /)\n--\n\nReturn whether the transport is receiving."},
    {"pause_reading", (PyCFunction)pause_reading, METH_NOARGS,
     "pause_reading($self, /)\n--\n\nReceive nothing until resume_reading()."},
    {"resume_reading", (PyCFunction)resume_reading, METH_NOARGS,
     "resume_reading($self, /)\n--\n\nReceive again after pause_reading()."},
    {"close", (PyCFunction)close_transport, METH_NOARGS,
     "close($self, /)\n--\n\nStop reading; connection_lost() follows."},
    {NULL, NULL, 0, NULL},
};

/* WritePipeTransport: at once if the pipe takes it, the rest from a queue. */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "loop/lent.h"
#include "loop/pipe.h"
#include "py/args.h"
#include "py/errors.h"

enum {
    IOV = 64,                /* buffers handed to the system at once */
    WRITES_LOST_SILENTLY = 5 /* after the end; as asyncio's constants have it */
};

static const char *const write_failed = "Fatal write error on pipe transport";

/* ---- the system calls ------------------------------------------------------------------ */

/* Returns bytes, 0 if none can be written now, or -errno. */
static ssize_t
write_list(int fd, const struct iovec *iov, int count)
{
    ssize_t n;
    do
        n = count == 1 ? write(fd, iov->iov_base, iov->iov_len) : writev(fd, iov, count);
    while (n < 0 && errno == EINTR);
    return n >= 0 ? n : errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
}

static int
on_error(PipeObject *self, ssize_t error)
{
    self->conn_lost++;
    errno = (int)-error;
    PyErr_SetFromErrno(PyExc_OSError);
    return tdl_pipe_fatal(self, write_failed);
}

/* ---- the queue ------------------------------------------------------------------------- */

static int
grew(PipeObject *self)
{
    if (self->loop == NULL)
        return 0;
    return tdl_flow_grew(&self->flow, tdl_wqueue_size(&self->queue), self->loop,
                         (PyObject *)self, self->protocol);
}

/* The queue is written.  As in asyncio, only now may the protocol resume. */
static int
on_empty(PipeObject *self)
{
    if (tdl_pipe_want(self, self->io.events & ~(unsigned)TDL_POLL_OUT) < 0 ||
        tdl_flow_shrank(&self->flow, 0, self->loop, (PyObject *)self, self->protocol) < 0)
        return -1;
    /* resume_writing() may have written more, or closed */
    if (!self->closing || self->lost || tdl_wqueue_size(&self->queue) > 0)
        return 0;
    return tdl_pipe_lose(self, NULL);
}

static int
flush(PipeObject *self)
{
    struct iovec iov[IOV];
    int count = tdl_wqueue_fill(&self->queue, iov, IOV);
    ssize_t n = count == 0 ? 0 : write_list(self->fd, iov, count);
    if (n < 0)
        return on_error(self, n);
    tdl_wqueue_consume(&self->queue, (size_t)n);
    return tdl_wqueue_size(&self->queue) > 0 ? 0 : on_empty(self);
}

/* The other end is closed: what is still queued goes nowhere. */
static int
on_closed_by_peer(PipeObject *self)
{
    if (tdl_pipe_debug(self) && tdl_pipe_log(self, "info", "%r was closed by peer") < 0)
        return -1;
    if (tdl_wqueue_size(&self->queue) == 0)
        return tdl_pipe_close(self, NULL);
    PyObject *exc = PyObject_CallNoArgs(PyExc_BrokenPipeError);
    int r = exc == NULL ? -1 : tdl_pipe_close(self, exc);
    Py_XDECREF(exc);
    return r;
}

/* Ask once more: the event may be about a file that had this number before. */
static bool
is_closed_by_peer(const PipeObject *self)
{
    struct pollfd state = {.fd = self->fd, .events = POLLIN};
    return poll(&state, 1, 0) > 0 && !(state.revents & POLLNVAL);
}

int
tdl_pipe_serve_writer(PipeObject *self, unsigned events)
{
    unsigned broken = events & (TDL_POLL_ERR | TDL_POLL_HUP);
    if ((events & TDL_POLL_IN || broken) && self->io.events & TDL_POLL_IN &&
        is_closed_by_peer(self))
        return on_closed_by_peer(self);
    if ((events & TDL_POLL_OUT || broken) && self->io.events & TDL_POLL_OUT)
        return flush(self);
    return 0;
}

/* ---- write() ---------------------------------------------------------------------------- */

static int
count_lost_write(PipeObject *self)
{
    int r = 0;
    if (self->conn_lost >= WRITES_LOST_SILENTLY)
        r = tdl_pipe_log(self, "warning",
                         "pipe closed by peer or os.write(pipe, data) raised exception.");
    self->conn_lost++;
    return r;
}

/* Write, or queue, `size` bytes at `data`; `owner` as for push(). */
static int
write_bytes(PipeObject *self, PyObject *owner, const char *data, size_t size)
{
    if (tdl_wqueue_size(&self->queue) == 0) {
        struct iovec iov = {(void *)data, size};
        ssize_t n = write_list(self->fd, &iov, 1);
        if (n == (ssize_t)size)
            return 0;
        if (n < 0)
            return on_error(self, n);
        data += n;
        size -= (size_t)n;
        if (tdl_loop_check_closed(self->loop) < 0 ||
            tdl_pipe_want(self, self->io.events | TDL_POLL_OUT) < 0)
            return -1;
    }
    return tdl_lent_push(&self->queue, owner, data, size) < 0 ? -1 : grew(self);
}

static int
write_object(PipeObject *self, PyObject *data)
{
    Py_buffer view;
    int empty = PyObject_Not(data);
    if (empty != 0)
        return empty < 0 ? -1 : 0;
    if (self->conn_lost > 0 || self->closing)
        return count_lost_write(self);
    if (PyBytes_CheckExact(data))
        return write_bytes(self, data, PyBytes_AS_STRING(data), (size_t)PyBytes_GET_SIZE(data));
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        if (tdl_wqueue_size(&self->queue) > 0)
            return -1;
        self->conn_lost++;
        return tdl_pipe_fatal(self, write_failed);
    }
    int r = 0;
    if (self->closing)
        r = count_lost_write(self); /* making the view has closed it */
    else if (view.len > 0)
        r = write_bytes(self, NULL, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    return r;
}

static PyObject *
pipe_write(PipeObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"data"};
    PyObject *data;
    if (tdl_args_parse("write", args, nargs, kwnames, names, 1, 1, &data) < 0)
        return NULL;
    if (!PyBytes_Check(data) && !PyByteArray_Check(data) && !PyMemoryView_Check(data)) {
        PyObject *text = PyObject_Repr(data);
        if (text != NULL)
            PyErr_SetObject(PyExc_AssertionError, text);
        Py_XDECREF(text);
        return NULL;
    }
    if (tdl_pipe_enter(self) < 0 || write_object(self, data) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- the other methods -------------------------------------------------------------------- */

/* write_eof() and close(): the end comes once the queue is written. */
static PyObject *
write_eof(PipeObject *self, PyObject *Py_UNUSED(ignored))
{
    if (tdl_pipe_enter(self) < 0)
        return NULL;
    if (self->closing)
        Py_RETURN_NONE;
    self->closing = true;
    if (tdl_wqueue_size(&self->queue) == 0 && tdl_pipe_close(self, NULL) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
pipe_abort(PipeObject *self, PyObject *Py_UNUSED(ignored))
{
    if (tdl_pipe_enter(self) < 0 || (self->loop != NULL && tdl_pipe_close(self, NULL) < 0))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
can_write_eof(PipeObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    Py_RETURN_TRUE;
}

static PyObject *
get_write_buffer_size(PipeObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromSize_t(tdl_wqueue_size(&self->queue));
}

static PyObject *
get_write_buffer_limits(PipeObject *self, PyObject *Py_UNUSED(ignored))
{
    return tdl_flow_limits(&self->flow);
}

static PyObject *
set_write_buffer_limits(PipeObject *self, PyObject *const *args, Py_ssize_t nargs,
                        PyObject *kwnames)
{
    if (tdl_pipe_enter(self) < 0 ||
        tdl_flow_set_limits(&self->flow, args, nargs, kwnames) < 0 || grew(self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyMethodDef tdl_pipe_write_methods[] = {
    {"write", TDL_METHOD(pipe_write), METH_FASTCALL | METH_KEYWORDS,
     "write($self, data)\n--\n\nWrite data, now or when the pipe takes it."},
    {"write_eof", (PyCFunction)write_eof, METH_NOARGS,
     "write_eof($self, /)\n--\n\nClose the pipe once what is queued was written."},
    {"close", (PyCFunction)write_eof, METH_NOARGS,
     "close($self, /)\n--\n\nClose the pipe once what is queued was written."},
    {"abort", (PyCFunction)pipe_abort, METH_NOARGS,
     "abort($self, /)\n--\n\nClose the pipe at once; what is queued is lost."},
    {"can_write_eof", (PyCFunction)can_write_eof, METH_NOARGS,
     "can_write_eof($self, /)\n--\n\nReturn True."},
    {"get_write_buffer_size", (PyCFunction)get_write_buffer_size, METH_NOARGS,
     "get_write_buffer_size($self, /)\n--\n\nReturn how many bytes are queued."},
    {"get_write_buffer_limits", (PyCFunction)get_write_buffer_limits, METH_NOARGS,
     "get_write_buffer_limits($self, /)\n--\n\nReturn the low and the high water mark."},
    {"set_write_buffer_limits", TDL_METHOD(set_write_buffer_limits),
     METH_FASTCALL | METH_KEYWORDS,
     "set_write_buffer_limits($self, high=None, low=None)\n--\n\n"
     "Set the marks, in bytes, where the protocol pauses and resumes writing."},
    {NULL, NULL, 0, NULL},
};

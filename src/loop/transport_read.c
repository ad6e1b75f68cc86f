/* Reading: a stream transport's input and the protocol that takes it. */
#include <errno.h>

#include "future/settle.h"
#include "loop/report.h"
#include "loop/stream_hooks.h"
#include "loop/transport.h"
#include "py/args.h"

/* From this size on a buffer is filled by more than one recv(). */
enum { MUCH = 128 * 1024 };

/* ---- what arrives -------------------------------------------------------------------- */

/* recv(), which a signal may interrupt.  Returns bytes, 0 at the end, or -errno. */
static ssize_t
receive(int fd, void *buffer, size_t size)
{
    ssize_t n;
    do
        n = recv(fd, buffer, size, 0);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

/* What follows a failed recv(). */
static int
on_error(TransportObject *self, int error)
{
    if (error == EAGAIN || error == EWOULDBLOCK)
        return 0;
    errno = error;
    PyErr_SetFromErrno(PyExc_OSError);
    return tdl_transport_fatal(self, "Fatal read error on socket transport");
}

/* logger.debug("%r <what>", self), in debug mode */
static int
log_debug(TransportObject *self, const char *what)
{
    if (self->loop == NULL || !self->loop->debug)
        return 0;
    PyObject *r = PyObject_CallMethod(self->st->objects.aio_logger, "debug", "sO", what, self);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

/* The protocol decides whether the other direction stays open. */
static int
on_eof(TransportObject *self)
{
    if (log_debug(self, "%r received EOF") < 0)
        return -1;
    PyObject *protocol = Py_NewRef(self->protocol);
    PyObject *answer = PyObject_CallMethodNoArgs(protocol, self->st->names.eof_received);
    int keep_open = answer == NULL ? -1 : PyObject_IsTrue(answer);
    Py_DECREF(protocol);
    Py_XDECREF(answer);
    if (keep_open < 0)
        return tdl_transport_fatal(self, "Fatal error: protocol.eof_received() call failed.");
    if (keep_open == 0)
        return tdl_transport_close(self);
    return tdl_transport_want(self, self->io.events & ~(unsigned)TDL_POLL_IN);
}

/* ---- Protocol -------------------------------------------------------------------------- */

/* What the protocol or who stands in for it has raised. */
static int
on_protocol_error(TransportObject *self)
{
    return tdl_transport_fatal(self, "Fatal error: protocol.data_received() call failed.");
}

/* To where the stream layer wants it.  Returns 1, 0 if it wants it no more, or -1 with
 * an exception set. */
static int
deliver_to_sink(TransportObject *self, PyObject *data)
{
    PyObject *sink = Py_NewRef(self->sink), *protocol = Py_NewRef(self->protocol);
    int r = self->st->stream_hooks->feed(self->st, sink, protocol, data);
    Py_DECREF(sink);
    Py_DECREF(protocol);
    return r;
}

static int
deliver(TransportObject *self, PyObject *data)
{
    if (self->sink != NULL) {
        int taken = deliver_to_sink(self, data);
        if (taken != 0)
            return taken > 0 ? 0 : on_protocol_error(self);
    }
    PyObject *args[2] = {Py_NewRef(self->protocol), data};
    PyObject *r = PyObject_VectorcallMethod(self->st->names.data_received, args,
                                            2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(args[0]);
    if (r == NULL)
        return on_protocol_error(self);
    Py_DECREF(r);
    return 0;
}

/* Little data goes through the scratch buffer into an object of exactly its size. */
static int
deliver_copy(TransportObject *self, const char *bytes, ssize_t n)
{
    PyObject *data = tdl_spare_copy(&self->loop->spares, bytes, (size_t)n);
    if (data == NULL)
        return tdl_transport_fatal(self, "Fatal read error on socket transport");
    int r = deliver(self, data);
    Py_DECREF(data);
    return r;
}

static int
read_little(TransportObject *self)
{
    char *scratch = tdl_loop_scratch(self->loop);
    if (scratch == NULL)
        return -1;
    ssize_t n = receive(self->fd, scratch, TDL_LOOP_SCRATCH);
    if (n < 0)
        return on_error(self, (int)-n);
    if (n == 0)
        return on_eof(self);
    self->size_class = (signed char)tdl_spare_class((size_t)n);
    return deliver_copy(self, scratch, n);
}

/* Receive what there is.  A sender of much is still at it while this runs: the more
 * the protocol gets at once the less each byte costs.  Returns as receive(); behind
 * data there may be an `*error`, which the system tells only once. */
static ssize_t
receive_all(int fd, char *buffer, size_t size, int *error)
{
    size_t got = 0;
    ssize_t n;
    *error = 0;
    do {
        n = receive(fd, buffer + got, size - got);
        got += n > 0 ? (size_t)n : 0;
    } while (n > 0 && got < size && size >= MUCH);
    if (got == 0)
        return n;
    if (n < 0 && n != -EAGAIN && n != -EWOULDBLOCK)
        *error = (int)-n;
    return (ssize_t)got;
}

/* Hand over the first `n` bytes of the spare object, or a copy of them if they are
 * too few for an object of its size.  Takes the reference. */
static int
deliver_spare_steal(TransportObject *self, int size_class, PyObject *bytes, size_t n)
{
    LoopObject *loop = self->loop;
    size_t capacity = tdl_spare_capacity(size_class);
    int r;
    if (n < capacity / 4) {
        r = deliver_copy(self, PyBytes_AS_STRING(bytes), (ssize_t)n);
        tdl_spare_give_back_steal(&loop->spares, size_class, bytes, false);
        return r;
    }
    bool shrink = self->keeps;
    bytes = tdl_spare_fit_steal(bytes, n, shrink);
    if (bytes == NULL)
        return tdl_transport_fatal(self, "Fatal read error on socket transport");
    r = deliver(self, bytes);
    self->keeps = tdl_spare_give_back_steal(&loop->spares, size_class, bytes, shrink);
    return r;
}

static int
read_much(TransportObject *self)
{
    int size_class = self->size_class;
    PyObject *bytes = tdl_spare_take(&self->loop->spares, size_class);
    if (bytes == NULL)
        return tdl_transport_fatal(self, "Fatal read error on socket transport");
    int error;
    ssize_t n =
        receive_all(self->fd, PyBytes_AS_STRING(bytes), tdl_spare_capacity(size_class), &error);
    if (n > 0) {
        self->size_class = (signed char)tdl_spare_class((size_t)n);
        if (deliver_spare_steal(self, size_class, bytes, (size_t)n) < 0)
            return -1;
        return error == 0 || self->conn_lost > 0 ? 0 : on_error(self, error);
    }
    tdl_spare_give_back_steal(&self->loop->spares, size_class, bytes, false);
    return n < 0 ? on_error(self, (int)-n) : on_eof(self);
}

/* ---- BufferedProtocol ------------------------------------------------------------------- */

/* protocol.get_buffer(-1), which must not be empty.  Returns a new reference or NULL. */
static PyObject *
ask_for_buffer(TransportObject *self)
{
    PyObject *protocol = Py_NewRef(self->protocol);
    PyObject *hint = PyLong_FromLong(-1);
    PyObject *buffer =
        hint == NULL ? NULL
                     : PyObject_CallMethodOneArg(protocol, self->st->names.get_buffer, hint);
    Py_XDECREF(hint);
    Py_DECREF(protocol);
    Py_ssize_t size = buffer == NULL ? -1 : PyObject_Size(buffer);
    if (size == 0)
        PyErr_SetString(PyExc_RuntimeError, "get_buffer() returned an empty buffer");
    if (size <= 0)
        Py_CLEAR(buffer);
    return buffer;
}

static int
tell_updated(TransportObject *self, ssize_t n)
{
    PyObject *protocol = Py_NewRef(self->protocol);
    PyObject *size = PyLong_FromSsize_t(n);
    PyObject *r =
        size == NULL
            ? NULL
            : PyObject_CallMethodOneArg(protocol, self->st->names.buffer_updated, size);
    Py_XDECREF(size);
    Py_DECREF(protocol);
    if (r == NULL)
        return tdl_transport_fatal(self, "Fatal error: protocol.buffer_updated() call failed.");
    Py_DECREF(r);
    return 0;
}

static int
read_into_buffer(TransportObject *self)
{
    PyObject *buffer = ask_for_buffer(self);
    if (buffer == NULL)
        return tdl_transport_fatal(self, "Fatal error: protocol.get_buffer() call failed.");
    Py_buffer view;
    int r = PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE);
    Py_DECREF(buffer); /* the view holds it */
    if (r < 0)
        return tdl_transport_fatal(self, "Fatal read error on socket transport");
    /* get_buffer() may have closed it */
    ssize_t n = self->conn_lost > 0            ? -EAGAIN
                : !tdl_transport_owns_fd(self) ? -EBADF
                                               : receive(self->fd, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    if (n < 0)
        return on_error(self, (int)-n);
    return n == 0 ? on_eof(self) : tell_updated(self, n);
}

int
tdl_transport_read(TransportObject *self)
{
    if (self->conn_lost > 0)
        return 0;
    if (!tdl_transport_owns_fd(self))
        return on_error(self, EBADF);
    if (self->buffered)
        return read_into_buffer(self);
    return self->size_class == TDL_SPARE_NONE ? read_little(self) : read_much(self);
}

/* ---- methods -------------------------------------------------------------------------- */

int
tdl_transport_set_protocol(TransportObject *self, PyObject *protocol, bool first)
{
    const struct tdl_stream_hooks *hooks = self->st->stream_hooks;
    int buffered = PyObject_IsInstance(protocol, self->st->objects.BufferedProtocol);
    PyObject *sink = NULL;
    if (buffered < 0 || (hooks != NULL && self->loop != NULL &&
                         hooks->adopt(self->loop, protocol, first, &sink) < 0))
        return -1;
    Py_XSETREF(self->sink, sink);
    self->buffered = buffered;
    self->connected = true;
    Py_XSETREF(self->protocol, Py_NewRef(protocol));
    return 0;
}

static PyObject *
set_protocol(TransportObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"protocol"};
    PyObject *protocol;
    if (tdl_args_parse("set_protocol", args, nargs, kwnames, names, 1, 1, &protocol) < 0 ||
        tdl_transport_enter(self) < 0 || tdl_transport_set_protocol(self, protocol, false) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
get_protocol(TransportObject *self, PyObject *Py_UNUSED(ignored))
{
    return Py_NewRef(self->protocol == NULL ? Py_None : self->protocol);
}

static bool
reading(TransportObject *self)
{
    return !self->closing && !self->paused;
}

static PyObject *
is_reading(TransportObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(reading(self));
}

static PyObject *
pause_reading(TransportObject *self, PyObject *Py_UNUSED(ignored))
{
    if (tdl_transport_enter(self) < 0)
        return NULL;
    if (!reading(self))
        Py_RETURN_NONE;
    self->paused = true;
    if (tdl_transport_want(self, self->io.events & ~(unsigned)TDL_POLL_IN) < 0 ||
        log_debug(self, "%r pauses reading") < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
resume_reading(TransportObject *self, PyObject *Py_UNUSED(ignored))
{
    if (tdl_transport_enter(self) < 0)
        return NULL;
    if (self->closing || !self->paused)
        Py_RETURN_NONE;
    self->paused = false;
    if (tdl_loop_check_closed(self->loop) < 0 ||
        tdl_transport_want(self, self->io.events | TDL_POLL_IN) < 0 ||
        log_debug(self, "%r resumes reading") < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* What follows connection_made(): read, and tell who waits for that. */
static PyObject *
start_reading(TransportObject *self, PyObject *waiter)
{
    if (tdl_transport_enter(self) < 0)
        return NULL;
    if (reading(self) && tdl_transport_want(self, self->io.events | TDL_POLL_IN) < 0)
        return NULL;
    if (waiter != Py_None && tdl_settle_result(self->st, waiter, Py_None) < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyMethodDef tdl_transport_read_methods[] = {
    {"set_protocol", TDL_METHOD(set_protocol), METH_FASTCALL | METH_KEYWORDS,
     "set_protocol($self, protocol)\n--\n\nSet the protocol that is called from now on."},
    {"get_protocol", (PyCFunction)get_protocol, METH_NOARGS,
     "get_protocol($self, /)\n--\n\nReturn the current protocol."},
    {"is_reading", (PyCFunction)is_reading, METH_NOARGS,
     "is_reading($self, /)\n--\n\nReturn whether the transport is receiving."},
    {"pause_reading", (PyCFunction)pause_reading, METH_NOARGS,
     "pause_reading($self, /)\n--\n\nReceive nothing until resume_reading()."},
    {"resume_reading", (PyCFunction)resume_reading, METH_NOARGS,
     "resume_reading($self, /)\n--\n\nReceive again after pause_reading()."},
    {"_start_reading", (PyCFunction)start_reading, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

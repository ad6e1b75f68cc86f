/* How a stream transport ends: close(), abort(), errors, connection_lost(). */
#include "future/settle.h"
#include "loop/report.h"
#include "loop/transport.h"
#include "py/args.h"

/* Stop reading; go on writing what is queued. */
static int
stop_reading(TransportObject *self)
{
    return tdl_transport_want(self, self->io.events & ~(unsigned)TDL_POLL_IN);
}

/* call_soon(self._call_connection_lost, exc) */
static int
schedule_loss(TransportObject *self, PyObject *exc)
{
    PyObject *method =
        PyObject_GetAttr((PyObject *)self, self->st->names._call_connection_lost);
    if (method == NULL)
        return -1;
    PyObject *arg = exc == NULL ? Py_None : exc;
    int r = tdl_loop_soon(self->loop, method, &arg, 1, self->context);
    Py_DECREF(method);
    return r;
}

int
tdl_transport_close(TransportObject *self)
{
    if (self->closing)
        return 0;
    if (tdl_transport_send_held(self) < 0)
        return -1;
    self->closing = true;
    if (stop_reading(self) < 0)
        return -1;
    if (tdl_wqueue_size(&self->queue) > 0)
        return 0;
    self->conn_lost++;
    return schedule_loss(self, NULL);
}

int
tdl_transport_force_close(TransportObject *self, PyObject *exc)
{
    if (self->conn_lost > 0)
        return 0;
    self->closing = true;
    self->conn_lost++;
    /* asking for nothing takes no memory, so this cannot fail */
    if (tdl_transport_want(self, 0) < 0 || schedule_loss(self, exc) < 0)
        return -1;
    tdl_wqueue_clear(&self->queue);
    return 0;
}

/* Report `exc`, which nobody raises now, and close by force. */
static int
fail(TransportObject *self, PyObject *exc, const char *message)
{
    int r = 0;
    LoopObject *loop = self->loop;
    if (loop == NULL)
        return 0; /* it is over: there is nobody to tell */
    if (!PyObject_TypeCheck(exc, (PyTypeObject *)PyExc_OSError))
        r = tdl_report_exception(loop, message, exc, (PyObject *)self,
                                 self->protocol == NULL ? Py_None : self->protocol);
    else if (loop->debug)
        r = tdl_report_debug(loop, message, exc, (PyObject *)self);
    return r < 0 ? -1 : tdl_transport_force_close(self, exc);
}

int
tdl_transport_fatal(TransportObject *self, const char *message)
{
    if (tdl_report_is_fatal())
        return -1;
    PyObject *exc = tdl_err_take();
    int r = fail(self, exc, message);
    Py_DECREF(exc);
    return r;
}

/* ---- the last call ------------------------------------------------------------------- */

/* protocol.connection_lost(exc) */
static int
tell_protocol(TransportObject *self, PyObject *exc)
{
    if (!self->connected)
        return 0;
    PyObject *protocol = Py_NewRef(self->protocol == NULL ? Py_None : self->protocol);
    PyObject *r = PyObject_CallMethodOneArg(protocol, self->st->names.connection_lost,
                                            exc == NULL ? Py_None : exc);
    Py_DECREF(protocol);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

/* Whoever waits for the queue to be written waits in vain. */
static int
fail_empty_waiter(TransportObject *self)
{
    if (self->empty_waiter == NULL)
        return 0;
    PyObject *waiter = Py_NewRef(self->empty_waiter);
    PyObject *exc =
        PyObject_CallFunction(PyExc_ConnectionError, "s", "Connection is closed by peer");
    int r = exc == NULL ? -1 : tdl_settle_exception(self->st, waiter, exc);
    Py_XDECREF(exc);
    Py_DECREF(waiter);
    return r < 0 ? -1 : 0;
}

/* Run one step of the end, and keep the first exception of all. */
static void
step(int (*function)(TransportObject *), TransportObject *self, PyObject **first)
{
    if (function(self) == 0)
        return;
    PyObject *exc = tdl_err_take();
    if (*first == NULL)
        *first = exc;
    else
        Py_DECREF(exc);
}

int
tdl_transport_lose(TransportObject *self, PyObject *exc)
{
    if (self->loop == NULL)
        return 0;
    LoopObject *loop = (LoopObject *)Py_NewRef(self->loop);
    PyObject *first = tell_protocol(self, exc) < 0 ? tdl_err_take() : NULL;
    self->closing = true;
    self->conn_lost += self->conn_lost == 0;
    tdl_io_detach(loop, &self->io);
    tdl_wqueue_clear(&self->queue);
    step(tdl_transport_close_fd, self, &first);
    step(fail_empty_waiter, self, &first);
    Py_CLEAR(self->protocol);
    Py_CLEAR(self->sink);
    Py_CLEAR(self->loop);
    step(tdl_transport_leave_server, self, &first);
    Py_DECREF(loop);
    if (first == NULL)
        return 0;
    tdl_err_put_steal(first);
    return -1;
}

/* ---- methods -------------------------------------------------------------------------- */

static PyObject *
transport_close(TransportObject *self, PyObject *Py_UNUSED(ignored))
{
    if (tdl_transport_enter(self) < 0 || tdl_transport_close(self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
transport_abort(TransportObject *self, PyObject *Py_UNUSED(ignored))
{
    if (tdl_transport_enter(self) < 0 || tdl_transport_force_close(self, NULL) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
is_closing(TransportObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(self->closing);
}

static PyObject *
force_close(TransportObject *self, PyObject *exc)
{
    if (tdl_transport_enter(self) < 0 ||
        tdl_transport_force_close(self, exc == Py_None ? NULL : exc) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
fatal_error(TransportObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"exc", "message"};
    PyObject *v[2];
    if (tdl_args_parse("_fatal_error", args, nargs, kwnames, names, 2, 1, v) < 0 ||
        tdl_transport_enter(self) < 0)
        return NULL;
    const char *message = v[1] == NULL ? "Fatal error on transport" : PyUnicode_AsUTF8(v[1]);
    if (message == NULL || fail(self, v[0], message) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
call_connection_lost(TransportObject *self, PyObject *exc)
{
    if (tdl_transport_enter(self) < 0 ||
        tdl_transport_lose(self, exc == Py_None ? NULL : exc) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Let others watch the descriptor: sendfile() works on it behind the transport. */
static PyObject *
release_fd(TransportObject *self, PyObject *Py_UNUSED(ignored))
{
    if (tdl_transport_enter(self) < 0)
        return NULL;
    if (self->loop != NULL)
        tdl_io_detach(self->loop, &self->io);
    Py_RETURN_NONE;
}

/* The end of that. */
static PyObject *
reclaim_fd(TransportObject *self, PyObject *Py_UNUSED(ignored))
{
    if (tdl_transport_enter(self) < 0)
        return NULL;
    if (self->loop != NULL && self->fd >= 0 && self->io.fd < 0 && self->loop->open &&
        tdl_io_attach(self->loop, &self->io, self->fd) < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyMethodDef tdl_transport_close_methods[] = {
    {"close", (PyCFunction)transport_close, METH_NOARGS,
     "close($self, /)\n--\n\nClose the transport once what is queued was written."},
    {"abort", (PyCFunction)transport_abort, METH_NOARGS,
     "abort($self, /)\n--\n\nClose the transport at once; what is queued is lost."},
    {"is_closing", (PyCFunction)is_closing, METH_NOARGS,
     "is_closing($self, /)\n--\n\nReturn whether the transport is closing or closed."},
    {"_force_close", (PyCFunction)force_close, METH_O, NULL},
    {"_fatal_error", TDL_METHOD(fatal_error), METH_FASTCALL | METH_KEYWORDS, NULL},
    {"_release_fd", (PyCFunction)release_fd, METH_NOARGS, NULL},
    {"_reclaim_fd", (PyCFunction)reclaim_fd, METH_NOARGS, NULL},
    {"_call_connection_lost", (PyCFunction)call_connection_lost, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

/* What a stream transport tells about itself: its socket, addresses, attributes. */
#include <unistd.h>

#include "loop/socket.h"
#include "loop/transport.h"
#include "py/args.h"
#include "py/fields.h"

/* ---- the socket ------------------------------------------------------------------------ */

/* sock.<method>(arg), which returns nothing of use. */
static int
call(PyObject *sock, const char *method, PyObject *arg)
{
    PyObject *name = PyUnicode_FromString(method);
    PyObject *r = NULL;
    if (name != NULL)
        r = arg == NULL ? PyObject_CallMethodNoArgs(sock, name)
                        : PyObject_CallMethodOneArg(sock, name, arg);
    Py_XDECREF(name);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

/* socket.socket(family, SOCK_STREAM, proto, fileno=fd), not blocking. */
static PyObject *
make_sock(TransportObject *self, int fd)
{
    PyObject *sock =
        PyObject_CallFunction(self->st->objects.socket_type, "iiii", (int)self->family,
                              (int)SOCK_STREAM, self->proto, fd);
    if (sock == NULL)
        return NULL;
    if (call(sock, "setblocking", Py_False) == 0)
        return sock;
    PyObject *raised = tdl_err_take();
    if (call(sock, "detach", NULL) < 0)
        PyErr_Clear();
    Py_DECREF(sock);
    tdl_err_put_steal(raised);
    return NULL;
}

PyObject *
tdl_transport_sock(TransportObject *self)
{
    if (self->fd < 0)
        Py_RETURN_NONE;
    if (self->sock == NULL)
        self->sock = make_sock(self, self->fd);
    return Py_XNewRef(self->sock);
}

bool
tdl_transport_sock_is_open(TransportObject *self)
{
    struct tdl_socket found;
    int plain = tdl_socket_look(self->st, self->sock, &found);
    if (plain < 0)
        PyErr_Clear();
    return plain <= 0 || found.fd == self->fd;
}

int
tdl_transport_close_fd(TransportObject *self)
{
    int fd = self->fd;
    PyObject *sock = self->sock;
    if (fd < 0)
        return 0;
    self->fd = -1;
    self->sock = NULL;
    if (sock == NULL) {
        close(fd);
        return 0;
    }
    int r = call(sock, "close", NULL);
    Py_DECREF(sock);
    return r;
}

/* ---- get_extra_info() -------------------------------------------------------------------- */

/* asyncio's wrapper of the socket; of a closed one if it is too late. */
static PyObject *
make_transport_socket(TransportObject *self)
{
    PyObject *sock;
    if (self->fd >= 0)
        sock = tdl_transport_sock(self);
    else {
        sock = PyObject_CallFunction(self->st->objects.socket_type, "iii", (int)self->family,
                                     (int)SOCK_STREAM, self->proto);
        if (sock != NULL && call(sock, "close", NULL) < 0)
            Py_CLEAR(sock);
    }
    PyObject *wrapper =
        sock == NULL ? NULL : PyObject_CallOneArg(self->st->objects.TransportSocket, sock);
    Py_XDECREF(sock);
    return wrapper;
}

/* extra[name] = value, if that is there; drops the reference to `value`. */
static int
put_steal(PyObject *extra, const char *name, PyObject *value)
{
    int r = value == NULL ? -1 : PyDict_SetItemString(extra, name, value);
    Py_XDECREF(value);
    return r;
}

static int
fill_extra(TransportObject *self, PyObject *extra)
{
    if (put_steal(extra, "socket", make_transport_socket(self)) < 0 ||
        put_steal(extra, "sockname", tdl_endpoint_get(&self->sockname)) < 0)
        return -1;
    PyObject *peername = PyDict_GetItemString(extra, "peername");
    return peername != NULL ? 0
                            : put_steal(extra, "peername", tdl_endpoint_get(&self->peername));
}

PyObject *
tdl_transport_extra(TransportObject *self)
{
    if (self->extra_filled)
        return self->extra;
    PyObject *extra = self->extra == NULL ? PyDict_New() : Py_NewRef(self->extra);
    if (extra == NULL || fill_extra(self, extra) < 0) {
        Py_XDECREF(extra);
        return NULL;
    }
    self->extra_filled = true;
    Py_XSETREF(self->extra, extra);
    return extra;
}

static PyObject *
get_extra_info(TransportObject *self, PyObject *const *args, Py_ssize_t nargs,
               PyObject *kwnames)
{
    static const char *const names[] = {"name", "default"};
    PyObject *v[2];
    if (tdl_args_parse("get_extra_info", args, nargs, kwnames, names, 2, 1, v) < 0)
        return NULL;
    PyObject *extra = tdl_transport_extra(self);
    PyObject *value = extra == NULL ? NULL : tdl_dict_get(extra, v[0]);
    if (value == NULL && !PyErr_Occurred())
        value = Py_NewRef(v[1] == NULL ? Py_None : v[1]);
    return value;
}

/* ---- attributes ---------------------------------------------------------------------------- */

PyObject *
tdl_transport_repr(PyObject *op)
{
    TransportObject *self = (TransportObject *)op;
    PyObject *name = PyObject_GetAttrString((PyObject *)Py_TYPE(op), "__name__");
    if (name == NULL)
        return NULL;
    const char *state = self->fd < 0 ? " closed" : self->closing ? " closing" : "";
    PyObject *text;
    if (self->loop != NULL && !self->loop->closed)
        text = PyUnicode_FromFormat(
            "<%U%s fd=%d read=%s write=<%s, bufsize=%zu>>", name, state, self->number,
            self->io.events & TDL_POLL_IN ? "polling" : "idle",
            self->io.events & TDL_POLL_OUT ? "polling" : "idle", tdl_wqueue_size(&self->queue));
    else
        text = PyUnicode_FromFormat("<%U%s fd=%d>", name, state, self->number);
    Py_DECREF(name);
    return text;
}

static PyObject *
get_size(PyObject *op, void *offset)
{
    return PyLong_FromSize_t(*(size_t *)((char *)op + (size_t)offset));
}

static PyObject *
get_sock(TransportObject *self, void *Py_UNUSED(closure))
{
    return tdl_transport_sock(self);
}

/* Another object can be put in its place, as in asyncio; it is closed in the end, and
 * that is all. */
static int
set_sock(TransportObject *self, PyObject *sock, void *Py_UNUSED(closure))
{
    if (sock == NULL || self->fd < 0) {
        PyErr_SetString(PyExc_AttributeError, "the transport is closed");
        return -1;
    }
    Py_XSETREF(self->sock, Py_NewRef(sock));
    return 0;
}

/* What asyncio calls to read: None once it is closing. */
static PyObject *
get_read_ready(PyObject *op, void *Py_UNUSED(closure))
{
    if (((TransportObject *)op)->closing)
        Py_RETURN_NONE;
    return PyObject_GetAttrString(op, "_start_reading");
}

static PyObject *
get_number(TransportObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromLong(self->number);
}

static PyObject *
get_conn_lost(TransportObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLong(self->conn_lost);
}

static PyObject *
get_extra(TransportObject *self, void *Py_UNUSED(closure))
{
    return Py_XNewRef(tdl_transport_extra(self));
}

/* The queued ranges as bytes objects.  Returns a new list or NULL. */
static PyObject *
queued_parts(TransportObject *self)
{
    if (self->held && tdl_transport_enter(self) < 0)
        return NULL;
    int room = 16, n;
    struct iovec *iov = NULL;
    do {
        room *= 2;
        struct iovec *more = PyMem_Realloc(iov, (size_t)room * sizeof *more);
        if (more == NULL) {
            PyMem_Free(iov);
            return PyErr_NoMemory();
        }
        iov = more;
        n = tdl_wqueue_fill(&self->queue, iov, room);
    } while (n == room);
    PyObject *parts = PyList_New(n);
    for (int i = 0; parts != NULL && i < n; i++) {
        PyObject *bytes =
            PyBytes_FromStringAndSize(iov[i].iov_base, (Py_ssize_t)iov[i].iov_len);
        if (bytes == NULL)
            Py_CLEAR(parts);
        else
            PyList_SET_ITEM(parts, i, bytes);
    }
    PyMem_Free(iov);
    return parts;
}

/* A copy of what is queued, as the container that asyncio has there. */
static PyObject *
get_buffer(TransportObject *self, void *Py_UNUSED(closure))
{
    PyObject *parts = queued_parts(self);
    PyObject *buffer = NULL;
    if (parts != NULL && TDL_AIO_WRITES_LISTS)
        buffer = PyObject_CallOneArg(self->st->objects.deque, parts);
    else if (parts != NULL) {
        PyObject *empty = PyByteArray_FromStringAndSize(NULL, 0);
        buffer = empty == NULL ? NULL : PyObject_CallMethod(empty, "join", "(O)", parts);
        Py_XDECREF(empty);
    }
    Py_XDECREF(parts);
    return buffer;
}

#define OFFSET(field) ((void *)offsetof(TransportObject, field))

PyGetSetDef tdl_transport_getset[] = {
    {"_sock", (getter)get_sock, (setter)set_sock, NULL, NULL},
    {"_read_ready_cb", get_read_ready, NULL, NULL, NULL},
    {"_sock_fd", (getter)get_number, NULL, NULL, NULL},
    {"_extra", (getter)get_extra, NULL, NULL, NULL},
    {"_buffer", (getter)get_buffer, NULL, NULL, NULL},
    {"_conn_lost", (getter)get_conn_lost, NULL, NULL, NULL},
    {"_loop", tdl_field_object, NULL, NULL, OFFSET(loop)},
    {"_protocol", tdl_field_object, NULL, NULL, OFFSET(protocol)},
    {"_server", tdl_field_object, NULL, NULL, OFFSET(server)},
    {"_context", tdl_field_object, NULL, NULL, OFFSET(context)},
    {"_empty_waiter", tdl_field_object, NULL, NULL, OFFSET(empty_waiter)},
    {"_closing", tdl_field_flag, NULL, NULL, OFFSET(closing)},
    {"_eof", tdl_field_flag, NULL, NULL, OFFSET(eof)},
    {"_paused", tdl_field_flag, NULL, NULL, OFFSET(paused)},
    {"_protocol_connected", tdl_field_flag, NULL, NULL, OFFSET(connected)},
    {"_protocol_paused", tdl_field_flag, NULL, NULL, OFFSET(flow.paused)},
    {"_high_water", get_size, NULL, NULL, OFFSET(flow.high)},
    {"_low_water", get_size, NULL, NULL, OFFSET(flow.low)},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyMethodDef tdl_transport_info_methods[] = {
    {"get_extra_info", TDL_METHOD(get_extra_info), METH_FASTCALL | METH_KEYWORDS,
     "get_extra_info($self, name, default=None)\n--\n\n"
     "Return what is known as name: socket, sockname, peername."},
    {NULL, NULL, 0, NULL},
};

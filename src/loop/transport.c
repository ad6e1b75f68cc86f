/* The object: making, lifetime, type.  The rest is in transport_*.c. */
#include "loop/transport.h"

#include <netinet/tcp.h>
#include <unistd.h>

#include "loop/lent.h"
#include "loop/report.h"
#include "loop/socket.h"
#include "py/args.h"

/* ---- readiness ----------------------------------------------------------------------- */

static int
serve(TransportObject *self, unsigned events)
{
    unsigned broken = events & (TDL_POLL_ERR | TDL_POLL_HUP);
    if ((events & TDL_POLL_IN || broken) && self->io.events & TDL_POLL_IN &&
        tdl_transport_read(self) < 0)
        return -1;
    if ((events & TDL_POLL_OUT || broken) && self->io.events & TDL_POLL_OUT)
        return tdl_transport_flush(self);
    return 0;
}

int
tdl_transport_leave(PyObject *context, int r)
{
    if (r == 0)
        return PyContext_Exit(context);
    PyObject *exc = tdl_err_take();
    if (PyContext_Exit(context) < 0)
        PyErr_Clear();
    tdl_err_put_steal(exc);
    return r;
}

static int
on_ready(struct tdl_io *io, unsigned events)
{
    TransportObject *self = (TransportObject *)io->owner;
    if (PyContext_Enter(self->context) < 0)
        return tdl_report_raised(self->loop, "Cannot enter the context of a transport",
                                 io->owner, self->protocol);
    return tdl_transport_leave(self->context, serve(self, events));
}

/* ---- making -------------------------------------------------------------------------- */

/* sock.<method>(): an address of a family that only the socket module knows. */
static int
ask_socket(struct tdl_endpoint *name, PyObject *sock, const char *method)
{
    if (sock == NULL)
        return 0;
    name->object = PyObject_CallMethod(sock, method, NULL);
    if (name->object != NULL)
        return 0;
    if (!PyErr_ExceptionMatches(PyExc_OSError))
        return -1;
    PyErr_Clear();
    return 0;
}

/* Note where the two ends are: later there may be nobody to ask. */
static int
note_names(TransportObject *self, const struct tdl_transport_spec *spec)
{
    int here = tdl_endpoint_ask(&self->sockname, self->fd, getsockname);
    int there = spec->peer != NULL ? tdl_endpoint_set(&self->peername, spec->peer)
                                   : tdl_endpoint_ask(&self->peername, self->fd, getpeername);
    if (here < 0 || there < 0)
        return -1;
    if (here == 0 && ask_socket(&self->sockname, spec->sock, "getsockname") < 0)
        return -1;
    return there > 0 ? 0 : ask_socket(&self->peername, spec->sock, "getpeername");
}

/* As asyncio does: a TCP socket sends small writes at once. */
static int
set_nodelay(TransportObject *self)
{
    int on = 1;
    if (self->proto != IPPROTO_TCP || (self->family != AF_INET && self->family != AF_INET6))
        return 0;
    if (setsockopt(self->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    return 0;
}

static int
attach_to_server(TransportObject *self, PyObject *server)
{
    if (server == NULL || server == Py_None)
        return 0;
    PyObject *r =
        TDL_AIO_SERVER_KNOWS_CLIENTS
            ? PyObject_CallMethodOneArg(server, self->st->names._attach, (PyObject *)self)
            : PyObject_CallMethodNoArgs(server, self->st->names._attach);
    Py_XDECREF(r);
    if (r == NULL)
        return -1;
    self->server = Py_NewRef(server);
    return 0;
}

int
tdl_transport_leave_server(TransportObject *self)
{
    PyObject *server = self->server;
    if (server == NULL)
        return 0;
    self->server = NULL;
    PyObject *r =
        TDL_AIO_SERVER_KNOWS_CLIENTS
            ? PyObject_CallMethodOneArg(server, self->st->names._detach, (PyObject *)self)
            : PyObject_CallMethodNoArgs(server, self->st->names._detach);
    Py_DECREF(server);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

/* call_soon(op.<name>, arg) in the transport's context. */
static int
soon(TransportObject *self, PyObject *op, PyObject *name, PyObject *arg)
{
    PyObject *method = PyObject_GetAttr(op, name);
    if (method == NULL)
        return -1;
    int r = tdl_loop_soon(self->loop, method, &arg, 1, self->context);
    Py_DECREF(method);
    return r;
}

static int
schedule_start(TransportObject *self, PyObject *waiter)
{
    struct tdl_names *names = &self->st->names;
    if (soon(self, self->protocol, names->connection_made, (PyObject *)self) < 0)
        return -1;
    return soon(self, (PyObject *)self, names->_start_reading,
                waiter == NULL ? Py_None : waiter);
}

static int
set_up(TransportObject *self, const struct tdl_transport_spec *spec)
{
    self->family = (short)spec->family;
    self->proto = spec->proto;
    if (note_names(self, spec) < 0)
        return -1;
    self->context = spec->context != NULL && spec->context != Py_None ? Py_NewRef(spec->context)
                                                                      : PyContext_CopyCurrent();
    self->sock = Py_XNewRef(spec->sock);
    self->extra = Py_XNewRef(spec->extra == Py_None ? NULL : spec->extra);
    if (self->context == NULL || tdl_transport_set_protocol(self, spec->protocol, true) < 0 ||
        tdl_io_attach(self->loop, &self->io, self->fd) < 0 || set_nodelay(self) < 0 ||
        attach_to_server(self, spec->server) < 0)
        return -1;
    self->made = true;
    if (schedule_start(self, spec->waiter) == 0)
        return 0;
    PyObject *raised = tdl_err_take();
    if (tdl_transport_leave_server(self) < 0)
        PyErr_WriteUnraisable((PyObject *)self);
    tdl_err_put_steal(raised);
    return -1;
}

/* The making has failed: the descriptor stays the caller's, also if connection_made()
 * is scheduled already. */
static void
give_up(TransportObject *self)
{
    self->made = false;
    self->closing = true;
    self->conn_lost++;
    tdl_io_detach(self->loop, &self->io);
    self->fd = -1;
    Py_CLEAR(self->sock);
}

PyObject *
tdl_transport_new(LoopObject *loop, const struct tdl_transport_spec *spec)
{
    PyTypeObject *type = loop->st->objects.StreamTransport;
    TransportObject *self = (TransportObject *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->st = loop->st;
    self->loop = (LoopObject *)Py_NewRef(loop);
    self->fd = self->number = spec->fd;
    tdl_io_init(&self->io, (PyObject *)self, on_ready);
    tdl_wqueue_init(&self->queue);
    tdl_flow_init(&self->flow);
    self->size_class = TDL_SPARE_NONE;
    tdl_endpoint_init(&self->sockname);
    tdl_endpoint_init(&self->peername);
    if (set_up(self, spec) < 0) {
        give_up(self);
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

/* ---- the end ------------------------------------------------------------------------- */

/* __del__: an abandoned transport is closed, without a word to its protocol. */
static void
finalize(PyObject *op)
{
    TransportObject *self = (TransportObject *)op;
    if (!self->made || self->fd < 0)
        return;
    PyObject *raised = tdl_err_take();
    if (PyErr_ResourceWarning(op, 1, "unclosed transport %R", op) < 0)
        PyErr_WriteUnraisable(op);
    if (self->loop != NULL)
        tdl_io_detach(self->loop, &self->io);
    if (tdl_transport_close_fd(self) < 0)
        PyErr_WriteUnraisable(op);
    /* before 3.13 a server that counts its connections never heard of this */
    if (TDL_AIO_SERVER_KNOWS_CLIENTS && tdl_transport_leave_server(self) < 0)
        PyErr_WriteUnraisable(op);
    if (raised != NULL)
        tdl_err_put_steal(raised);
}

static int
transport_traverse(PyObject *op, visitproc visit, void *arg)
{
    TransportObject *self = (TransportObject *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->loop);
    Py_VISIT(self->protocol);
    Py_VISIT(self->sink);
    Py_VISIT(self->context);
    Py_VISIT(self->sock);
    Py_VISIT(self->server);
    Py_VISIT(self->empty_waiter);
    Py_VISIT(self->extra);
    Py_VISIT(self->dict);
    return tdl_lent_traverse(&self->queue, visit, arg);
}

static int
transport_clear(PyObject *op)
{
    TransportObject *self = (TransportObject *)op;
    self->closing = true;
    self->conn_lost += self->conn_lost == 0;
    if (self->loop != NULL)
        tdl_io_detach(self->loop, &self->io);
    tdl_wqueue_clear(&self->queue);
    Py_CLEAR(self->loop);
    Py_CLEAR(self->protocol);
    Py_CLEAR(self->sink);
    Py_CLEAR(self->sock);
    Py_CLEAR(self->server);
    Py_CLEAR(self->empty_waiter);
    Py_CLEAR(self->extra);
    Py_CLEAR(self->dict);
    return 0;
}

static void
transport_dealloc(PyObject *op)
{
    TransportObject *self = (TransportObject *)op;
    PyTypeObject *type = Py_TYPE(op);
    if (PyObject_CallFinalizerFromDealloc(op) < 0)
        return;
    PyObject_GC_UnTrack(op);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs(op);
    transport_clear(op);
    Py_CLEAR(self->context);
    Py_CLEAR(self->sockname.object);
    Py_CLEAR(self->peername.object);
    type->tp_free(op);
    Py_DECREF(type);
}

/* ---- the loop's methods ---------------------------------------------------------------- */

/* _make_stream_transport(sock, protocol, waiter=None, extra=None, server=None,
 * context=None) */
static PyObject *
make_stream_transport(LoopObject *self, PyObject *const *args, Py_ssize_t nargs,
                      PyObject *kwnames)
{
    static const char *const names[] = {"sock",  "protocol", "waiter",
                                        "extra", "server",   "context"};
    PyObject *v[6];
    if (tdl_args_parse("_make_stream_transport", args, nargs, kwnames, names, 6, 2, v) < 0 ||
        tdl_loop_check_closed(self) < 0)
        return NULL;
    struct tdl_socket sock;
    int plain = tdl_socket_look(self->st, v[0], &sock);
    if (plain == 0)
        PyErr_SetString(PyExc_TypeError, "a plain socket.socket is wanted");
    else if (plain > 0 && sock.fd < 0)
        PyErr_SetString(PyExc_ValueError, "the socket is closed");
    if (plain <= 0 || sock.fd < 0)
        return NULL;
    struct tdl_transport_spec spec = {
        .fd = sock.fd,
        .sock = v[0],
        .family = sock.family,
        .proto = sock.proto,
        .protocol = v[1],
        .waiter = v[2],
        .extra = v[3],
        .server = v[4],
        .context = v[5],
    };
    return tdl_transport_new(self, &spec);
}

/* The number of `file`, refused in the words of asyncio.  Returns it or -1. */
static int
number_of(struct tdl_state *st, PyObject *file)
{
    PyObject *number = Py_NewRef(file);
    if (!PyLong_Check(file)) {
        Py_SETREF(number, PyObject_CallMethodNoArgs(file, st->names.fileno));
        if (number != NULL)
            Py_SETREF(number, PyNumber_Long(number));
    }
    long fd = number == NULL ? -1 : PyLong_AsLong(number);
    Py_XDECREF(number);
    if (!PyErr_Occurred())
        return fd < 0 || fd > INT_MAX ? INT_MAX : (int)fd;
    if (PyErr_ExceptionMatches(PyExc_AttributeError) ||
        PyErr_ExceptionMatches(PyExc_TypeError) || PyErr_ExceptionMatches(PyExc_ValueError)) {
        PyErr_Clear();
        PyErr_Format(PyExc_ValueError, "Invalid file object: %R", file);
    }
    return -1;
}

/* Whether `owner`, of an io, is a transport in use: 1 or 0, or -1 with an exception. */
static int
is_used(struct tdl_state *st, PyObject *owner)
{
    if (tdl_transport_check(st, owner))
        return !((TransportObject *)owner)->closing;
    int r = PyObject_IsInstance(owner, st->objects.BaseTransport);
    if (r <= 0)
        return r;
    PyObject *closing = PyObject_CallMethodNoArgs(owner, st->names.is_closing);
    r = closing == NULL ? -1 : PyObject_Not(closing);
    Py_XDECREF(closing);
    return r;
}

/* The transports that asyncio's own classes have noted: {fd: weak reference}. */
static PyObject *
stock_transports(LoopObject *self)
{
    if (self->stock_transports == NULL) {
        PyObject *map = PyObject_GetAttrString((PyObject *)self, "_transports");
        self->stock_transports = map == NULL ? NULL : PyObject_GetAttrString(map, "data");
        Py_XDECREF(map);
    }
    return self->stock_transports;
}

int
tdl_transport_check_file(LoopObject *self, PyObject *file)
{
    int fd = number_of(self->st, file);
    if (fd < 0)
        return -1;
    PyObject *owner = Py_XNewRef(tdl_io_owner(self, fd));
    int used = owner == NULL ? 0 : is_used(self->st, owner);
    if (used > 0)
        PyErr_Format(PyExc_RuntimeError, "File descriptor %R is used by transport %R", file,
                     owner);
    Py_XDECREF(owner);
    if (used != 0)
        return -1;
    PyObject *stock = stock_transports(self);
    if (stock == NULL)
        return -1;
    if (PyDict_Size(stock) == 0)
        return 0;
    PyObject *r =
        PyObject_CallFunctionObjArgs(self->st->objects.aio_check_file, self, file, NULL);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

static PyObject *
ensure_fd_no_transport(LoopObject *self, PyObject *file)
{
    if (tdl_transport_check_file(self, file) < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyMethodDef tdl_loop_transport_methods[] = {
    {"_make_stream_transport", TDL_METHOD(make_stream_transport), METH_FASTCALL | METH_KEYWORDS,
     NULL},
    {"_ensure_fd_no_transport", (PyCFunction)ensure_fd_no_transport, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

/* ---- the type -------------------------------------------------------------------------- */

static PyMemberDef members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(TransportObject, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(TransportObject, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_methods, tdl_transport_info_methods},
    {Py_tp_getset, tdl_transport_getset},
    {Py_tp_members, members},
    {Py_tp_repr, tdl_transport_repr},
    {Py_tp_finalize, finalize},
    {Py_tp_traverse, transport_traverse},
    {Py_tp_clear, transport_clear},
    {Py_tp_dealloc, transport_dealloc},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "treadle.StreamTransport",
    .basicsize = sizeof(TransportObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};

/* Names that asyncio's loops and others look for on a transport's class. */
static int
set_constants(PyTypeObject *type, PyObject *stock)
{
    static const char *const names[] = {"_start_tls_compatible", "_sendfile_compatible",
                                        "max_size"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        PyObject *value = PyObject_GetAttrString(stock, names[i]);
        int r = value == NULL ? -1 : PyObject_SetAttrString((PyObject *)type, names[i], value);
        Py_XDECREF(value);
        if (r < 0)
            return -1;
    }
    return 0;
}

static int
make_type(PyObject *module, PyObject *base)
{
    struct tdl_objects *o = &tdl_state_of(module)->objects;
    if ((size_t)((PyTypeObject *)base)->tp_basicsize > offsetof(TransportObject, io)) {
        PyErr_SetString(PyExc_RuntimeError, "asyncio's transports have slots of unknown size");
        return -1;
    }
    o->StreamTransport = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, base);
    if (o->StreamTransport == NULL || set_constants(o->StreamTransport, o->aio_transport) < 0 ||
        tdl_state_add_methods(o->StreamTransport, tdl_transport_read_methods) < 0 ||
        tdl_state_add_methods(o->StreamTransport, tdl_transport_write_methods) < 0 ||
        tdl_state_add_methods(o->StreamTransport, tdl_transport_close_methods) < 0)
        return -1;
    return PyModule_AddType(module, o->StreamTransport);
}

int
tdl_transport_exec(PyObject *module)
{
    struct tdl_objects *o = &tdl_state_of(module)->objects;
    PyObject *base = NULL;
    const struct tdl_import transports[] = {
        {"_FlowControlMixin", &base}, {"BaseTransport", &o->BaseTransport}, {NULL, NULL}};
    const struct tdl_import protocols[] = {{"BufferedProtocol", &o->BufferedProtocol},
                                           {NULL, NULL}};
    PyObject *loop = NULL;
    const struct tdl_import selector[] = {{"_SelectorSocketTransport", &o->aio_transport},
                                          {"BaseSelectorEventLoop", &loop},
                                          {NULL, NULL}};
    const struct tdl_import trsock[] = {{"TransportSocket", &o->TransportSocket}, {NULL, NULL}};
    const struct tdl_import log[] = {{"logger", &o->aio_logger}, {NULL, NULL}};
    int r = -1;
    if (tdl_state_import("asyncio.transports", transports) == 0 &&
        tdl_state_import("asyncio.protocols", protocols) == 0 &&
        tdl_state_import("asyncio.selector_events", selector) == 0 &&
        tdl_state_import("asyncio.trsock", trsock) == 0 &&
        tdl_state_import("asyncio.log", log) == 0)
        o->aio_check_file = PyObject_GetAttrString(loop, "_ensure_fd_no_transport");
    if (o->aio_check_file != NULL)
        r = make_type(module, base);
    Py_XDECREF(loop);
    Py_XDECREF(base);
    return r;
}

#include "loop/accept.h"

#include <errno.h>
#include <unistd.h>

#include "loop/report.h"
#include "loop/socket.h"
#include "loop/transport.h"
#include "py/args.h"

typedef struct {
    PyObject_HEAD
    struct tdl_io io;
    struct tdl_state *st;
    LoopObject *loop;  /* strong */
    PyObject *sock;    /* socket.socket that listens, strong */
    PyObject *factory; /* of protocols, strong */
    PyObject *server;  /* strong, or None */
    PyObject *context; /* strong; connections run in copies of it */
    int family, proto;
    long backlog; /* connections taken at once */
} AcceptorObject;

/* ---- one connection ---------------------------------------------------------------- */

/* What went wrong in the making of a connection is for debug mode only, as in asyncio:
 * there is nobody to tell. */
static int
on_failure(AcceptorObject *self, PyObject *protocol)
{
    if (self->loop->debug || tdl_report_is_fatal())
        return tdl_report_raised(
            self->loop, "Error on transport creation for incoming connection", NULL, protocol);
    PyErr_Clear();
    return 0;
}

/* logger.debug("%r got a new connection from %r: %r", server, address, socket) */
static int
log_connection(AcceptorObject *self, TransportObject *transport)
{
    PyObject *sock = tdl_transport_sock(transport);
    PyObject *peer = sock == NULL ? NULL : tdl_endpoint_get(&transport->peername);
    PyObject *r = NULL;
    if (peer != NULL)
        r = PyObject_CallMethod(self->st->objects.aio_logger, "debug", "sOOO",
                                "%r got a new connection from %r: %r", self->server, peer,
                                sock);
    Py_XDECREF(sock);
    Py_XDECREF(peer);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

/* Make protocol and transport; `fd` is closed if that fails. */
static int
connect_protocol(AcceptorObject *self, int fd, const struct tdl_address *peer,
                 PyObject *context)
{
    PyObject *protocol = PyObject_CallNoArgs(self->factory);
    PyObject *transport = NULL;
    if (protocol != NULL) {
        struct tdl_transport_spec spec = {
            .fd = fd,
            .family = self->family,
            .proto = self->proto,
            .protocol = protocol,
            .server = self->server,
            .context = context,
            .peer = peer,
        };
        transport = tdl_transport_new(self->loop, &spec);
    }
    int r = 0;
    if (transport == NULL) {
        close(fd);
        r = on_failure(self, protocol);
    }
    else if (self->loop->debug)
        r = log_connection(self, (TransportObject *)transport);
    Py_XDECREF(transport);
    Py_XDECREF(protocol);
    return r;
}

static int
take_connection(AcceptorObject *self, int fd, const struct tdl_address *peer)
{
    PyObject *context = PyContext_Copy(self->context);
    if (context == NULL || PyContext_Enter(context) < 0) {
        Py_XDECREF(context);
        close(fd);
        return on_failure(self, NULL);
    }
    int r = tdl_transport_leave(context, connect_protocol(self, fd, peer, context));
    Py_DECREF(context);
    return r;
}

/* ---- the listener ------------------------------------------------------------------ */

/* asyncio.constants.ACCEPT_RETRY_DELAY */
static PyObject *
retry_delay(void)
{
    PyObject *constants = PyImport_ImportModule("asyncio.constants");
    PyObject *delay =
        constants == NULL ? NULL : PyObject_GetAttrString(constants, "ACCEPT_RETRY_DELAY");
    Py_XDECREF(constants);
    return delay;
}

/* loop.call_later(delay, self._resume) */
static int
resume_later(AcceptorObject *self)
{
    PyObject *delay = retry_delay();
    PyObject *resume =
        delay == NULL ? NULL : PyObject_GetAttrString((PyObject *)self, "_resume");
    PyObject *handle = NULL;
    if (resume != NULL)
        handle = PyObject_CallMethod((PyObject *)self->loop, "call_later", "OO", delay, resume);
    Py_XDECREF(delay);
    Py_XDECREF(resume);
    Py_XDECREF(handle);
    return handle == NULL ? -1 : 0;
}

/* The connection stays in the backlog and the listener ready: to try at once again
 * would be to spin. */
static int
on_no_resources(AcceptorObject *self)
{
    PyObject *exc = tdl_err_take();
    PyObject *socket = PyObject_CallOneArg(self->st->objects.TransportSocket, self->sock);
    PyObject *context = NULL;
    if (socket != NULL)
        context =
            Py_BuildValue("{s:s,s:O,s:O}", "message", "socket.accept() out of system resource",
                          "exception", exc, "socket", socket);
    PyObject *told = NULL;
    if (context != NULL)
        told = PyObject_CallMethodOneArg((PyObject *)self->loop,
                                         self->st->names.call_exception_handler, context);
    Py_XDECREF(exc);
    Py_XDECREF(socket);
    Py_XDECREF(context);
    Py_XDECREF(told);
    if (told == NULL)
        return -1;
    if (self->io.fd < 0)
        return 0; /* the handler has stopped the server */
    return tdl_io_want(self->loop, &self->io, 0) < 0 ? -1 : resume_later(self);
}

static int
on_accept_error(AcceptorObject *self, int error)
{
    if (error == EAGAIN || error == EWOULDBLOCK)
        return 0;
    errno = error;
    PyErr_SetFromErrno(PyExc_OSError);
    if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM)
        return on_no_resources(self);
    return tdl_report_raised(self->loop, "Exception in callback Acceptor()", NULL, NULL);
}

static int
on_ready(struct tdl_io *io, unsigned Py_UNUSED(events))
{
    AcceptorObject *self = (AcceptorObject *)io->owner;
    for (long i = 0; i <= self->backlog && io->fd >= 0; i++) {
        struct tdl_address peer = {.len = sizeof peer.sa};
        int fd = accept4(io->fd, (struct sockaddr *)&peer.sa, &peer.len,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == ECONNABORTED || errno == EINTR))
            continue;
        if (fd < 0)
            return on_accept_error(self, errno);
        if (take_connection(self, fd, &peer) < 0)
            return -1;
    }
    return 0;
}

/* ---- the loop's methods ------------------------------------------------------------ */

static AcceptorObject *
find(LoopObject *loop, int fd)
{
    struct tdl_io *io = fd >= 0 && fd < loop->nwatches ? loop->watches[fd].io : NULL;
    return io != NULL && io->ready == on_ready ? (AcceptorObject *)io->owner : NULL;
}

static void
stop(LoopObject *loop, int fd)
{
    AcceptorObject *acceptor = find(loop, fd);
    if (acceptor == NULL)
        return;
    Py_INCREF(acceptor);
    tdl_io_detach(loop, &acceptor->io);
    Py_DECREF(acceptor);
}

static PyObject *
new_acceptor(LoopObject *loop, PyObject *const *v, const struct tdl_socket *sock, long backlog)
{
    PyTypeObject *type = loop->st->objects.Acceptor;
    AcceptorObject *self = (AcceptorObject *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    tdl_io_init(&self->io, (PyObject *)self, on_ready);
    self->io.shares = true; /* the program may have closed the socket behind our back */
    self->st = loop->st;
    self->loop = (LoopObject *)Py_NewRef(loop);
    self->factory = Py_NewRef(v[0]);
    self->sock = Py_NewRef(v[1]);
    self->server = Py_NewRef(v[2]);
    self->family = sock->family;
    self->proto = sock->proto;
    self->backlog = backlog;
    self->context = v[4] == Py_None ? PyContext_CopyCurrent() : Py_NewRef(v[4]);
    if (self->context == NULL || tdl_io_attach(loop, &self->io, sock->fd) < 0 ||
        tdl_io_want(loop, &self->io, TDL_POLL_IN) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

/* _accept_from(protocol_factory, sock, server, backlog, context): start, if it is a
 * socket that is served natively.  Returns whether it is. */
static PyObject *
accept_from(LoopObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"protocol_factory", "sock", "server", "backlog",
                                        "context"};
    PyObject *v[5];
    struct tdl_socket sock;
    if (tdl_args_parse("_accept_from", args, nargs, kwnames, names, 5, 5, v) < 0 ||
        tdl_loop_check_closed(self) < 0)
        return NULL;
    long backlog = PyLong_AsLong(v[3]);
    if (backlog == -1 && PyErr_Occurred())
        return NULL;
    int plain = tdl_socket_look(self->st, v[1], &sock);
    if (plain < 0)
        return NULL;
    if (plain == 0 || sock.fd < 0 || sock.type != SOCK_STREAM ||
        !tdl_address_known(sock.family))
        Py_RETURN_FALSE;
    stop(self, sock.fd);
    PyObject *acceptor = new_acceptor(self, v, &sock, backlog);
    if (acceptor == NULL)
        return NULL;
    Py_DECREF(acceptor); /* the loop has it now */
    Py_RETURN_TRUE;
}

static PyObject *
stop_accepting(LoopObject *self, PyObject *number)
{
    long fd = PyLong_AsLong(number);
    if (fd == -1 && PyErr_Occurred())
        return NULL;
    stop(self, (int)fd);
    Py_RETURN_NONE;
}

PyMethodDef tdl_loop_accept_methods[] = {
    {"_accept_from", TDL_METHOD(accept_from), METH_FASTCALL | METH_KEYWORDS, NULL},
    {"_stop_accepting", (PyCFunction)stop_accepting, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

/* ---- the type ------------------------------------------------------------------------ */

/* After on_no_resources(). */
static PyObject *
acceptor_resume(AcceptorObject *self, PyObject *Py_UNUSED(ignored))
{
    if (tdl_io_want(self->loop, &self->io, TDL_POLL_IN) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static int
acceptor_traverse(PyObject *op, visitproc visit, void *arg)
{
    AcceptorObject *self = (AcceptorObject *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->loop);
    Py_VISIT(self->sock);
    Py_VISIT(self->factory);
    Py_VISIT(self->server);
    Py_VISIT(self->context);
    return 0;
}

static int
acceptor_clear(PyObject *op)
{
    AcceptorObject *self = (AcceptorObject *)op;
    if (self->loop != NULL)
        tdl_io_detach(self->loop, &self->io);
    Py_CLEAR(self->loop);
    Py_CLEAR(self->sock);
    Py_CLEAR(self->factory);
    Py_CLEAR(self->server);
    Py_CLEAR(self->context);
    return 0;
}

static void
acceptor_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    acceptor_clear(op);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyMethodDef acceptor_methods[] = {
    {"_resume", (PyCFunction)acceptor_resume, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot acceptor_slots[] = {
    {Py_tp_methods, acceptor_methods},
    {Py_tp_traverse, acceptor_traverse},
    {Py_tp_clear, acceptor_clear},
    {Py_tp_dealloc, acceptor_dealloc},
    {0, NULL},
};

static PyType_Spec acceptor_spec = {
    .name = "treadle._native.Acceptor",
    .basicsize = sizeof(AcceptorObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = acceptor_slots,
};

int
tdl_accept_exec(PyObject *module)
{
    return tdl_state_add_type(module, &acceptor_spec, &tdl_state_of(module)->objects.Acceptor);
}

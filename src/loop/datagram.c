/* The object; receiving and sending are in datagram_receive.c and datagram_send.c. */
#include "loop/datagram.h"

#include <sys/socket.h>

#include "loop/report.h"
#include "loop/socket.h"
#include "py/args.h"
#include "py/fields.h"

/* ---- readiness ---------------------------------------------------------------------- */

static int
serve(DatagramObject *self, unsigned events)
{
    unsigned broken = events & (TDL_POLL_ERR | TDL_POLL_HUP);
    if ((events & TDL_POLL_IN || broken) && self->io.events & TDL_POLL_IN &&
        tdl_datagram_receive(self) < 0)
        return -1;
    if ((events & TDL_POLL_OUT || broken) && self->io.events & TDL_POLL_OUT)
        return tdl_datagram_flush(self);
    return 0;
}

static int
on_ready(struct tdl_io *io, unsigned events)
{
    DatagramObject *self = (DatagramObject *)io->owner;
    LoopObject *loop = (LoopObject *)Py_NewRef(self->loop);
    PyObject *transport = Py_NewRef(self->transport);
    PyObject *context = Py_NewRef(self->context);
    int r = PyContext_Enter(context);
    if (r == 0) {
        r = serve(self, events);
        PyObject *raised = r < 0 ? tdl_err_take() : NULL;
        if (PyContext_Exit(context) < 0 && raised == NULL)
            r = -1;
        if (raised != NULL) {
            PyErr_Clear();
            tdl_err_put_steal(raised);
        }
    }
    if (r < 0)
        r = tdl_report_raised(loop, "Exception in callback of a datagram transport", transport,
                              self->protocol);
    Py_DECREF(context);
    Py_DECREF(transport);
    Py_DECREF(loop);
    return r;
}

/* ---- methods ------------------------------------------------------------------------ */

static PyObject *
none_if(int r)
{
    return r < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
datagram_sendto(DatagramObject *self, PyObject *const *args, Py_ssize_t nargs,
                PyObject *kwnames)
{
    static const char *const names[] = {"data", "addr"};
    PyObject *v[2] = {NULL, NULL};
    if (tdl_loop_check_thread(self->loop) < 0)
        return NULL;
    if (kwnames == NULL && nargs == 2)
        return none_if(tdl_datagram_send(self, args[0], args[1]));
    if (tdl_args_parse("sendto", args, nargs, kwnames, names, 2, 1, v) < 0)
        return NULL;
    return none_if(tdl_datagram_send(self, v[0], v[1] == NULL ? Py_None : v[1]));
}

static PyObject *
datagram_flush(DatagramObject *self, PyObject *Py_UNUSED(ignored))
{
    return none_if(self->loop == NULL ? 0 : tdl_datagram_flush(self));
}

static PyObject *
datagram_receive(DatagramObject *self, PyObject *Py_UNUSED(ignored))
{
    return none_if(self->loop == NULL || self->conn_lost > 0 ? 0 : tdl_datagram_receive(self));
}

static int
want(DatagramObject *self, unsigned events)
{
    return self->loop == NULL ? 0 : tdl_io_want(self->loop, &self->io, events);
}

static PyObject *
deliver_held(DatagramObject *self, PyObject *Py_UNUSED(ignored))
{
    return none_if(self->loop == NULL ? 0 : tdl_datagram_deliver_held(self));
}

/* start(): read from now on. */
static PyObject *
datagram_start(DatagramObject *self, PyObject *Py_UNUSED(ignored))
{
    if (want(self, self->io.events | TDL_POLL_IN) < 0)
        return NULL;
    if (self->held == NULL || self->loop == NULL)
        Py_RETURN_NONE;
    PyObject *method = PyObject_GetAttrString((PyObject *)self, "deliver_held");
    int r = method == NULL ? -1 : tdl_loop_soon(self->loop, method, NULL, 0, self->context);
    Py_XDECREF(method);
    return none_if(r);
}

/* stop(): neither read nor write; sendto() still works. */
static PyObject *
datagram_stop(DatagramObject *self, PyObject *Py_UNUSED(ignored))
{
    return none_if(want(self, 0));
}

static void
detach(DatagramObject *self)
{
    LoopObject *loop = self->loop;
    PyObject *transport = self->transport;
    if (loop != NULL)
        tdl_io_detach(loop, &self->io);
    self->loop = NULL;
    self->transport = NULL;
    Py_XDECREF(transport);
    Py_XDECREF(loop);
}

static PyObject *
datagram_close(DatagramObject *self, PyObject *Py_UNUSED(ignored))
{
    detach(self);
    Py_CLEAR(self->held);
    Py_RETURN_NONE;
}

static PyMethodDef datagram_methods[] = {
    {"sendto", TDL_METHOD(datagram_sendto), METH_FASTCALL | METH_KEYWORDS,
     "sendto($self, data, addr=None)\n--\n\n"
     "Send a datagram to addr, or to the remote address of the endpoint."},
    {"flush", (PyCFunction)datagram_flush, METH_NOARGS, NULL},
    {"receive", (PyCFunction)datagram_receive, METH_NOARGS, NULL},
    {"deliver_held", (PyCFunction)deliver_held, METH_NOARGS, NULL},
    {"start", (PyCFunction)datagram_start, METH_NOARGS, NULL},
    {"stop", (PyCFunction)datagram_stop, METH_NOARGS, NULL},
    {"close", (PyCFunction)datagram_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* ---- attributes --------------------------------------------------------------------- */

/* For all fields that are objects; `closure` is the offset. */
static int
set_object(PyObject *op, PyObject *value, void *closure)
{
    PyObject **place = (PyObject **)((char *)op + (size_t)closure);
    Py_XSETREF(*place, value == Py_None ? NULL : Py_XNewRef(value));
    return 0;
}

/* closing and paused: reading ends with them. */
static PyObject *
get_flag(PyObject *op, void *closure)
{
    return PyBool_FromLong(*((char *)op + (size_t)closure));
}

static int
set_flag(PyObject *op, PyObject *value, void *closure)
{
    DatagramObject *self = (DatagramObject *)op;
    int yes = value == NULL ? 0 : PyObject_IsTrue(value);
    if (yes < 0)
        return -1;
    /* what is sent before the end waits with the rest, if it has to */
    if (yes && tdl_datagram_send_collected(self) < 0)
        return -1;
    *((char *)op + (size_t)closure) = (char)yes;
    return yes ? want(self, self->io.events & ~(unsigned)TDL_POLL_IN) : 0;
}

#define OFFSET(field) ((void *)offsetof(DatagramObject, field))

static PyGetSetDef datagram_getset[] = {
    {"sock", tdl_field_object, set_object, NULL, OFFSET(sock)},
    {"protocol", tdl_field_object, set_object, NULL, OFFSET(protocol)},
    {"address", tdl_field_object, set_object, NULL, OFFSET(address)},
    {"buffer", tdl_field_object, set_object, NULL, OFFSET(buffer)},
    {"closing", get_flag, set_flag, NULL, OFFSET(closing)},
    {"paused", get_flag, set_flag, NULL, OFFSET(paused)},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef datagram_members[] = {
    {"buffer_size", T_PYSSIZET, offsetof(DatagramObject, buffer_size), 0, NULL},
    {"conn_lost", T_PYSSIZET, offsetof(DatagramObject, conn_lost), 0, NULL},
    {"header_size", T_PYSSIZET, offsetof(DatagramObject, header_size), 0, NULL},
    {"connected", T_BOOL, offsetof(DatagramObject, connected), 0, NULL},
    {"sends_empty", T_BOOL, offsetof(DatagramObject, sends_empty), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

/* ---- the object --------------------------------------------------------------------- */

static int
datagram_traverse(DatagramObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->loop);
    Py_VISIT(self->transport);
    Py_VISIT(self->context);
    Py_VISIT(self->sock);
    Py_VISIT(self->protocol);
    Py_VISIT(self->address);
    Py_VISIT(self->buffer);
    Py_VISIT(self->held);
    for (int i = 0; i < self->noutgoing; i++)
        Py_VISIT(self->outgoing[i].addr);
    return 0;
}

static int
datagram_clear(DatagramObject *self)
{
    detach(self);
    Py_CLEAR(self->sock);
    Py_CLEAR(self->protocol);
    Py_CLEAR(self->address);
    Py_CLEAR(self->buffer);
    Py_CLEAR(self->held);
    return 0;
}

static void
datagram_dealloc(DatagramObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    datagram_clear(self);
    Py_CLEAR(self->context);
    for (int i = 0; i < self->noutgoing; i++) {
        Py_DECREF(self->outgoing[i].data);
        Py_DECREF(self->outgoing[i].addr);
    }
    PyMem_Free(self->outgoing);
    for (int i = 0; self->peers != NULL && i < TDL_DATAGRAM_PEERS; i++)
        Py_XDECREF(self->peers[i].object);
    PyMem_Free(self->peers);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot datagram_slots[] = {
    {Py_tp_methods, datagram_methods},
    {Py_tp_getset, datagram_getset},
    {Py_tp_members, datagram_members},
    {Py_tp_traverse, datagram_traverse},
    {Py_tp_clear, datagram_clear},
    {Py_tp_dealloc, datagram_dealloc},
    {0, NULL},
};

static PyType_Spec datagram_spec = {
    .name = "treadle._native.Datagram",
    .basicsize = sizeof(DatagramObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = datagram_slots,
};

int
tdl_datagram_exec(PyObject *module)
{
    return tdl_state_add_type(module, &datagram_spec, &tdl_state_of(module)->objects.Datagram);
}

/* ---- the loop's method --------------------------------------------------------------- */

/* Whether `sock` is a datagram socket whose addresses we know: 1, 0 or -1. */
static int
is_ours(LoopObject *loop, PyObject *sock, struct tdl_socket *found)
{
    int r = tdl_socket_look(loop->st, sock, found);
    if (r <= 0)
        return r;
    return found->fd >= 0 && found->type == SOCK_DGRAM && tdl_address_known(found->family);
}

/* _open_datagram(transport, sock): the native side of `transport`, or None. */
static PyObject *
open_datagram(LoopObject *loop, PyObject *const *args, Py_ssize_t nargs)
{
    struct tdl_socket found;
    if (nargs != 2) {
        PyErr_Format(PyExc_TypeError, "expected 2 arguments, got %zd", nargs);
        return NULL;
    }
    int r = tdl_loop_check_closed(loop) < 0 ? -1 : is_ours(loop, args[1], &found);
    if (r <= 0)
        return none_if(r);
    PyTypeObject *type = loop->st->objects.Datagram;
    DatagramObject *self = (DatagramObject *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->st = loop->st;
    tdl_io_init(&self->io, (PyObject *)self, on_ready);
    self->family = found.family;
    self->context = PyContext_CopyCurrent();
    if (self->context == NULL || tdl_io_attach(loop, &self->io, found.fd) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    self->loop = (LoopObject *)Py_NewRef(loop);
    self->transport = Py_NewRef(args[0]);
    return (PyObject *)self;
}

PyMethodDef tdl_loop_datagram_methods[] = {
    {"_open_datagram", TDL_METHOD(open_datagram), METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

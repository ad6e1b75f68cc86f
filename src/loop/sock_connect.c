/* sock_connect(): the try, and what came of a connection that was on its way. */
#include <errno.h>
#include <netinet/in.h>

#include "loop/address.h"
#include "loop/sock.h"
#include "py/args.h"
#include "py/errors.h"

/* Whether `address` is what asyncio would make of it for such a socket, so that it need not
 * be looked up: that is what error messages and audit hooks get to see. */
static bool
is_resolved(const struct tdl_socket *socket, PyObject *address)
{
    if (socket->family == AF_UNIX)
        return true;
    if (socket->family == AF_INET6 &&
        (!PyTuple_CheckExact(address) || PyTuple_GET_SIZE(address) != 4))
        return false;
    return (socket->type == SOCK_STREAM || socket->type == SOCK_DGRAM) &&
           (socket->proto == 0 || socket->proto == IPPROTO_TCP || socket->proto == IPPROTO_UDP);
}

/* After connect() that failed with errno: whether the connection is being made all the
 * same.  What follows for a socket whose queue is full (EAGAIN) is asyncio's as well.
 * Returns 1, or -1 with an exception set. */
static int
is_under_way(void)
{
    switch (errno) {
    case EINPROGRESS:
    case EALREADY:
    case EAGAIN:
        return 1;
    case EINTR:
        return PyErr_CheckSignals() < 0 ? -1 : 1;
    default:
        return tdl_raise_errno(-errno);
    }
}

/* _sock_try_connect(sock, address): None if it is connected; or a future, which gets the
 * number of an error, or 0. */
static PyObject *
try_connect(LoopObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    struct tdl_try t;
    struct tdl_address to;
    int r = tdl_try_begin(&t, self, args, nargs, 2);
    if (r > 0)
        r = tdl_try_never_blocks(&t);
    if (r <= 0 || !is_resolved(&t.socket, args[1]) ||
        !tdl_address_parse(t.socket.family, args[1], NULL, &to))
        return tdl_try_not_ours(r);
    if (PySys_Audit("socket.connect", "OO", t.sock, args[1]) < 0)
        return NULL;
    if (connect(t.socket.fd, (const struct sockaddr *)&to.sa, to.len) == 0)
        Py_RETURN_NONE;
    if (is_under_way() < 0)
        return NULL;
    return tdl_sock_wait(self, t.sock, t.socket.fd, TDL_SOCK_CONNECT);
}

PyMethodDef tdl_loop_sock_connect_methods[] = {
    {"_sock_try_connect", TDL_METHOD(try_connect), METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

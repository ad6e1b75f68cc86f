/* Receiving, sending and accepting: one try each.  None blocks, even on a socket in blocking
 * mode, so the GIL is kept. */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loop/address.h"
#include "loop/sock.h"
#include "py/args.h"
#include "py/errors.h"

/* One read of a stream is at most this large: the allocator maps and unmaps larger
 * blocks each time, which costs more than reading twice. */
enum { AMPLE = 120 * 1024 };

int
tdl_try_begin(struct tdl_try *t, LoopObject *loop, PyObject *const *args, Py_ssize_t nargs,
              Py_ssize_t expected)
{
    if (nargs != expected) {
        PyErr_Format(PyExc_TypeError, "expected %zd arguments, got %zd", expected, nargs);
        return -1;
    }
    if (tdl_loop_check_thread(loop) < 0)
        return -1;
    t->loop = loop;
    t->sock = args[0];
    int r = loop->debug ? 0 : tdl_socket_look(loop->st, t->sock, &t->socket);
    if (r > 0)
        t->watch = tdl_sock_watch_of(loop, t->sock, t->socket.fd);
    return r;
}

int
tdl_try_never_blocks(struct tdl_try *t)
{
    PyObject *timeout = PyObject_CallMethodNoArgs(t->sock, t->loop->st->names.gettimeout);
    bool zero = timeout != NULL && PyFloat_Check(timeout) && PyFloat_AS_DOUBLE(timeout) == 0.0;
    Py_XDECREF(timeout);
    return timeout == NULL ? -1 : zero;
}

PyObject *
tdl_try_not_ours(int r)
{
    return r < 0 ? NULL : Py_NewRef(Py_NotImplemented);
}

PyObject *
tdl_try_failed(struct tdl_try *t, enum tdl_sock_way way)
{
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return tdl_sock_wait(t->loop, t->sock, t->socket.fd, way);
    tdl_raise_errno(-errno);
    return NULL;
}

/* A size that is an exact int and positive, else 0. */
static size_t
parse_size(PyObject *object)
{
    if (!PyLong_CheckExact(object))
        return 0;
    Py_ssize_t n = PyLong_AsSsize_t(object);
    if (n < 0)
        PyErr_Clear();
    return n > 0 ? (size_t)n : 0;
}

/* ---- receiving --------------------------------------------------------------------- */

/* recvfrom(), or recv() if `from` is NULL. */
static ssize_t
receive(struct tdl_try *t, void *buffer, size_t size, struct tdl_address *from)
{
    ssize_t got;
    do {
        if (from != NULL)
            from->len = sizeof from->sa;
        got = recvfrom(t->socket.fd, buffer, size, MSG_DONTWAIT,
                       from == NULL ? NULL : (struct sockaddr *)&from->sa,
                       from == NULL ? NULL : &from->len);
    } while (got < 0 && errno == EINTR);
    return got;
}

/* Into the result itself: for streams that have been bringing a lot. */
static PyObject *
recv_ample(struct tdl_try *t, size_t asked)
{
    PyObject *data = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)asked);
    if (data == NULL)
        return NULL;
    ssize_t got = receive(t, PyBytes_AS_STRING(data), asked, NULL);
    if (got < 0) {
        int error = errno;
        Py_DECREF(data);
        errno = error;
        return tdl_try_failed(t, TDL_SOCK_READ);
    }
    t->watch->ample = got >= TDL_LOOP_SCRATCH / 2;
    if (got > 0)
        tdl_sock_note_read(t->watch, (size_t)got, asked);
    if ((size_t)got < asked)
        _PyBytes_Resize(&data, got);
    return data;
}

static PyObject *
recv_scratch(struct tdl_try *t, size_t asked)
{
    char *scratch = tdl_loop_scratch(t->loop);
    if (scratch == NULL)
        return NULL;
    ssize_t got = receive(t, scratch, asked, NULL);
    if (got < 0)
        return tdl_try_failed(t, TDL_SOCK_READ);
    if (t->watch != NULL) {
        t->watch->ample = got == TDL_LOOP_SCRATCH;
        if (got > 0 && t->socket.type == SOCK_STREAM)
            tdl_sock_note_read(t->watch, (size_t)got, asked);
    }
    return PyBytes_FromStringAndSize(scratch, got);
}

/* _sock_try_recv(sock, n) */
static PyObject *
try_recv(LoopObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    struct tdl_try t;
    int r = tdl_try_begin(&t, self, args, nargs, 2);
    size_t n = r > 0 ? parse_size(args[1]) : 0;
    if (n == 0)
        return tdl_try_not_ours(r);
    if (t.socket.type != SOCK_STREAM) /* what does not fit is lost */
        return n > TDL_LOOP_SCRATCH ? tdl_try_not_ours(0) : recv_scratch(&t, n);
    if (tdl_sock_is_drained(t.watch))
        return tdl_sock_wait(self, t.sock, t.socket.fd, TDL_SOCK_READ);
    if (n > TDL_LOOP_SCRATCH && t.watch != NULL && t.watch->ample)
        return recv_ample(&t, n < AMPLE ? n : AMPLE);
    return recv_scratch(&t, n < TDL_LOOP_SCRATCH ? n : TDL_LOOP_SCRATCH);
}

/* A buffer to read into.  Returns whether it is one, and not empty. */
static bool
writable(PyObject *object, Py_buffer *view)
{
    if (PyObject_GetBuffer(object, view, PyBUF_WRITABLE) < 0) {
        PyErr_Clear();
        return false;
    }
    if (view->len > 0)
        return true;
    PyBuffer_Release(view);
    return false;
}

/* _sock_try_recv_into(sock, buffer) */
static PyObject *
try_recv_into(LoopObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    struct tdl_try t;
    Py_buffer view;
    int r = tdl_try_begin(&t, self, args, nargs, 2);
    if (r <= 0 || !writable(args[1], &view))
        return tdl_try_not_ours(r);
    PyObject *result;
    size_t asked = (size_t)view.len;
    if (t.socket.type == SOCK_STREAM && tdl_sock_is_drained(t.watch))
        result = tdl_sock_wait(self, t.sock, t.socket.fd, TDL_SOCK_READ);
    else {
        ssize_t got = receive(&t, view.buf, asked, NULL);
        if (got > 0 && t.socket.type == SOCK_STREAM)
            tdl_sock_note_read(t.watch, (size_t)got, asked);
        result = got < 0 ? tdl_try_failed(&t, TDL_SOCK_READ) : PyLong_FromSsize_t(got);
    }
    PyBuffer_Release(&view);
    return result;
}

/* (data, address), stealing `data`, which may be NULL. */
static PyObject *
with_address(struct tdl_try *t, PyObject *data, const struct tdl_address *from)
{
    PyObject *address = data == NULL ? NULL : tdl_address_make(from, &t->loop->peer);
    PyObject *pair = address == NULL ? NULL : PyTuple_Pack(2, data, address);
    Py_XDECREF(address);
    Py_XDECREF(data);
    return pair;
}

/* _sock_try_recvfrom(sock, n) */
static PyObject *
try_recvfrom(LoopObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    struct tdl_try t;
    int r = tdl_try_begin(&t, self, args, nargs, 2);
    size_t n = r > 0 ? parse_size(args[1]) : 0;
    if (n == 0 || n > TDL_LOOP_SCRATCH || !tdl_address_known(t.socket.family))
        return tdl_try_not_ours(r);
    struct tdl_address from;
    char *scratch = tdl_loop_scratch(self);
    if (scratch == NULL)
        return NULL;
    ssize_t got = receive(&t, scratch, n, &from);
    if (got < 0)
        return tdl_try_failed(&t, TDL_SOCK_READ);
    return with_address(&t, PyBytes_FromStringAndSize(scratch, got), &from);
}

/* _sock_try_recvfrom_into(sock, buffer, n) */
static PyObject *
try_recvfrom_into(LoopObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    struct tdl_try t;
    Py_buffer view;
    int r = tdl_try_begin(&t, self, args, nargs, 3);
    size_t n = r > 0 ? parse_size(args[2]) : 0;
    if (n == 0 || !tdl_address_known(t.socket.family) || !writable(args[1], &view))
        return tdl_try_not_ours(r);
    PyObject *result;
    if (n > (size_t)view.len)
        result = tdl_try_not_ours(0);
    else {
        struct tdl_address from;
        ssize_t got = receive(&t, view.buf, n, &from);
        result = got < 0 ? tdl_try_failed(&t, TDL_SOCK_READ)
                         : with_address(&t, PyLong_FromSsize_t(got), &from);
    }
    PyBuffer_Release(&view);
    return result;
}

/* ---- sending ----------------------------------------------------------------------- */

/* sendto(), or send() if `to` is NULL. */
static ssize_t
transmit(struct tdl_try *t, const void *data, size_t size, const struct tdl_address *to)
{
    ssize_t sent;
    do {
        sent = sendto(t->socket.fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL,
                      to == NULL ? NULL : (const struct sockaddr *)&to->sa,
                      to == NULL ? 0 : to->len);
    } while (sent < 0 && errno == EINTR);
    return sent;
}

/* What is left of `view` from `*position` on.  Returns 0 or -1. */
static int
send_rest(struct tdl_try *t, const Py_buffer *view, Py_ssize_t *position)
{
    if (*position < 0 || *position > view->len) {
        PyErr_SetString(PyExc_ValueError, "position out of range");
        return -1;
    }
    ssize_t sent =
        transmit(t, (const char *)view->buf + *position, (size_t)(view->len - *position), NULL);
    if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
        return tdl_raise_errno(-errno);
    *position += sent < 0 ? 0 : sent;
    return 0;
}

/* _sock_try_sendall(sock, data, position): None when all is sent, or else the new
 * position. */
static PyObject *
try_sendall(LoopObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    struct tdl_try t;
    Py_buffer view;
    int r = tdl_try_begin(&t, self, args, nargs, 3);
    if (r <= 0)
        return tdl_try_not_ours(r);
    Py_ssize_t position = PyLong_AsSsize_t(args[2]);
    if (position == -1 && PyErr_Occurred())
        return NULL;
    if (PyObject_GetBuffer(args[1], &view, PyBUF_SIMPLE) < 0)
        return NULL;
    PyObject *result = NULL;
    if (send_rest(&t, &view, &position) == 0)
        result = position == view.len ? Py_NewRef(Py_None) : PyLong_FromSsize_t(position);
    PyBuffer_Release(&view);
    return result;
}

/* _sock_wait_writable(sock): a future. */
static PyObject *
wait_writable(LoopObject *self, PyObject *sock)
{
    struct tdl_socket socket;
    int r = tdl_loop_check_thread(self) < 0 ? -1 : tdl_socket_look(self->st, sock, &socket);
    return r <= 0 ? tdl_try_not_ours(r) : tdl_sock_wait(self, sock, socket.fd, TDL_SOCK_WRITE);
}

/* _sock_try_sendto(sock, data, address) */
static PyObject *
try_sendto(LoopObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    struct tdl_try t;
    struct tdl_address to;
    Py_buffer view;
    int r = tdl_try_begin(&t, self, args, nargs, 3);
    if (r <= 0 || !tdl_address_parse(t.socket.family, args[2], &self->peer, &to))
        return tdl_try_not_ours(r);
    if (PySys_Audit("socket.sendto", "OO", t.sock, args[2]) < 0 ||
        PyObject_GetBuffer(args[1], &view, PyBUF_SIMPLE) < 0)
        return NULL;
    ssize_t sent = transmit(&t, view.buf, (size_t)view.len, &to);
    PyObject *result = sent < 0 ? tdl_try_failed(&t, TDL_SOCK_WRITE) : PyLong_FromSsize_t(sent);
    PyBuffer_Release(&view);
    return result;
}

/* ---- accepting --------------------------------------------------------------------- */

/* A socket object for `fd`, not blocking, which it owns. */
static PyObject *
new_socket(struct tdl_try *t, int fd)
{
    PyObject *sock =
        PyObject_CallFunction(t->loop->st->objects.socket_type, "iiii", t->socket.family,
                              t->socket.type, t->socket.proto, fd);
    if (sock == NULL) {
        close(fd);
        return NULL;
    }
    PyObject *r = PyObject_CallMethodOneArg(sock, t->loop->st->names.setblocking, Py_False);
    if (r == NULL)
        Py_CLEAR(sock);
    Py_XDECREF(r);
    return sock;
}

/* _sock_try_accept(sock) */
static PyObject *
try_accept(LoopObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    struct tdl_try t;
    struct tdl_address peer;
    int r = tdl_try_begin(&t, self, args, nargs, 1);
    if (r > 0)
        r = tdl_address_known(t.socket.family) ? tdl_try_never_blocks(&t) : 0;
    if (r <= 0)
        return tdl_try_not_ours(r);
    int fd;
    do {
        peer.len = sizeof peer.sa;
        fd = accept4(t.socket.fd, (struct sockaddr *)&peer.sa, &peer.len, SOCK_CLOEXEC);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return tdl_try_failed(&t, TDL_SOCK_READ);
    return with_address(&t, new_socket(&t, fd), &peer);
}

#define TRY(name) {"_sock_" #name, TDL_METHOD(name), METH_FASTCALL, NULL}

PyMethodDef tdl_loop_sock_methods[] = {
    TRY(try_recv),         TRY(try_recv_into),
    TRY(try_recvfrom),     TRY(try_recvfrom_into),
    TRY(try_sendall),      TRY(try_sendto),
    TRY(try_accept),       {"_sock_wait_writable", (PyCFunction)wait_writable, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

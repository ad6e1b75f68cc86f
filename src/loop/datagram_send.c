#include <errno.h>
#include <sys/socket.h>

#include "loop/datagram.h"
#include "loop/report.h"
#include "py/errors.h"

/* What became of a datagram. */
enum outcome { FAILED = -1, SENT, LOST, BLOCKED };

/* The length of an address that is left to the socket module. */
#define UNKNOWN ((socklen_t) - 1)

static const char message[] = "Fatal write error on datagram transport";

/* ---- errors ------------------------------------------------------------------------- */

int
tdl_datagram_failed(DatagramObject *self, const char *what)
{
    if (tdl_report_is_fatal())
        return -1;
    PyObject *exc = tdl_err_take();
    PyObject *r;
    if (!PyObject_TypeCheck(exc, (PyTypeObject *)PyExc_OSError))
        r = self->transport == NULL
                ? Py_NewRef(Py_None)
                : PyObject_CallMethod(self->transport, "_fatal_error", "Os", exc, what);
    else {
        PyObject *protocol = Py_NewRef(self->protocol == NULL ? Py_None : self->protocol);
        r = PyObject_CallMethodOneArg(protocol, self->st->names.error_received, exc);
        Py_DECREF(protocol);
    }
    Py_DECREF(exc);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

static bool
would_block(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

/* After a system call that failed with errno. */
static enum outcome
refused(DatagramObject *self)
{
    if (would_block(errno))
        return BLOCKED;
    tdl_raise_errno(-errno);
    return tdl_datagram_failed(self, message) < 0 ? FAILED : LOST;
}

/* ---- where to ----------------------------------------------------------------------- */

static bool
find_address(DatagramObject *self, PyObject *addr, struct tdl_address *to)
{
    if (self->connected) {
        to->len = 0;
        return true;
    }
    if (self->peers == NULL)
        return tdl_address_parse(self->family, addr, NULL, to);
    if (self->peers[self->last].object == addr)
        return tdl_address_parse(self->family, addr, &self->peers[self->last], to);
    for (int i = 0; i < TDL_DATAGRAM_PEERS; i++) {
        if (self->peers[i].object == addr)
            return tdl_address_parse(self->family, addr, &self->peers[i], to);
    }
    return tdl_address_parse(self->family, addr, NULL, to);
}

/* ---- sending one -------------------------------------------------------------------- */

/* sock.send(data) or sock.sendto(data, addr): what the socket module has to say to
 * names, mistakes, and the like. */
static enum outcome
send_by_socket(DatagramObject *self, PyObject *data, PyObject *addr)
{
    PyObject *sock = Py_NewRef(self->sock == NULL ? Py_None : self->sock);
    PyObject *r = self->connected ? PyObject_CallMethod(sock, "send", "O", data)
                                  : PyObject_CallMethod(sock, "sendto", "OO", data, addr);
    Py_DECREF(sock);
    Py_XDECREF(r);
    if (r != NULL)
        return SENT;
    if (PyErr_ExceptionMatches(PyExc_BlockingIOError) ||
        PyErr_ExceptionMatches(PyExc_InterruptedError)) {
        PyErr_Clear();
        return BLOCKED;
    }
    return tdl_datagram_failed(self, message) < 0 ? FAILED : LOST;
}

static enum outcome
send_now(DatagramObject *self, PyObject *data, const struct tdl_address *to)
{
    Py_buffer view = {.buf = NULL};
    const char *start;
    Py_ssize_t size;
    if (PyBytes_CheckExact(data)) {
        start = PyBytes_AS_STRING(data);
        size = PyBytes_GET_SIZE(data);
    }
    else {
        if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0)
            return tdl_datagram_failed(self, message) < 0 ? FAILED : LOST;
        start = view.buf;
        size = view.len;
    }
    ssize_t sent = sendto(self->io.fd, start, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL,
                          to->len == 0 ? NULL : (const struct sockaddr *)&to->sa, to->len);
    int error = errno;
    if (view.obj != NULL)
        PyBuffer_Release(&view);
    errno = error;
    return sent >= 0 ? SENT : refused(self);
}

/* ---- the queue ---------------------------------------------------------------------- */

/* transport.<method>() */
static int
tell_transport(DatagramObject *self, const char *method)
{
    if (self->transport == NULL)
        return 0;
    PyObject *transport = Py_NewRef(self->transport);
    PyObject *r = PyObject_CallMethod(transport, method, NULL);
    Py_DECREF(transport);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

/* Queue `data`, which is bytes. */
static int
append(DatagramObject *self, PyObject *data, PyObject *addr)
{
    PyObject *pair = PyTuple_Pack(2, data, addr);
    PyObject *r = pair == NULL
                      ? NULL
                      : PyObject_CallMethodOneArg(self->buffer, self->st->names.append, pair);
    Py_XDECREF(pair);
    Py_XDECREF(r);
    if (r == NULL)
        return -1;
    self->buffer_size += PyBytes_GET_SIZE(data) + self->header_size;
    return 0;
}

static int
queue(DatagramObject *self, PyObject *data, PyObject *addr)
{
    if (tdl_io_want(self->loop, &self->io, self->io.events | TDL_POLL_OUT) < 0)
        return -1;
    PyObject *copy = PyBytes_FromObject(data);
    int r = copy == NULL ? -1 : append(self, copy, addr);
    Py_XDECREF(copy);
    return r < 0 ? -1 : tell_transport(self, "_maybe_pause_protocol");
}

static Py_ssize_t
queued(DatagramObject *self)
{
    return self->buffer == NULL ? 0 : PyObject_Size(self->buffer);
}

/* ---- many at once ------------------------------------------------------------------- */

/* Returns how many were sent, or -1 with errno set if the first was not. */
#ifdef __linux__
static int
send_some(int fd, const struct tdl_outgoing *items, int n)
{
    struct mmsghdr headers[TDL_DATAGRAM_BATCH];
    struct iovec iov[TDL_DATAGRAM_BATCH];
    for (int i = 0; i < n; i++) {
        iov[i] = (struct iovec){PyBytes_AS_STRING(items[i].data),
                                (size_t)PyBytes_GET_SIZE(items[i].data)};
        headers[i].msg_hdr = (struct msghdr){
            .msg_name = items[i].to.len == 0 ? NULL : (void *)&items[i].to.sa,
            .msg_namelen = items[i].to.len,
            .msg_iov = &iov[i],
            .msg_iovlen = 1,
        };
    }
    return sendmmsg(fd, headers, (unsigned)n, MSG_DONTWAIT | MSG_NOSIGNAL);
}
#else
static int
send_some(int fd, const struct tdl_outgoing *items, int n)
{
    for (int i = 0; i < n; i++) {
        const struct tdl_address *to = &items[i].to;
        if (sendto(fd, PyBytes_AS_STRING(items[i].data),
                   (size_t)PyBytes_GET_SIZE(items[i].data), MSG_DONTWAIT | MSG_NOSIGNAL,
                   to->len == 0 ? NULL : (const struct sockaddr *)&to->sa, to->len) < 0)
            return i > 0 ? i : -1;
    }
    return n;
}
#endif

static void
release(struct tdl_outgoing *items, int n)
{
    for (int i = 0; i < n; i++) {
        Py_DECREF(items[i].data);
        Py_DECREF(items[i].addr);
    }
}

/* Send `n` datagrams, queue what the socket does not take. */
static int
send_or_queue(DatagramObject *self, const struct tdl_outgoing *items, int n)
{
    int done = 0;
    while (done < n && self->io.fd >= 0 && queued(self) == 0) {
        int sent = send_some(self->io.fd, items + done, n - done);
        enum outcome outcome = sent >= 0 ? SENT : refused(self);
        if (outcome == FAILED)
            return -1;
        if (outcome == BLOCKED)
            break;
        done += outcome == LOST ? 1 : sent;
    }
    for (; done < n && self->io.fd >= 0; done++) {
        if (queue(self, items[done].data, items[done].addr) < 0)
            return -1;
    }
    return 0;
}

int
tdl_datagram_send_collected(DatagramObject *self)
{
    int n = self->noutgoing;
    if (n == 0)
        return 0;
    /* whoever hears of an error may send something else */
    struct tdl_outgoing *items = self->outgoing;
    self->outgoing = NULL;
    self->noutgoing = 0;
    int r = send_or_queue(self, items, n);
    PyObject *raised = r < 0 ? tdl_err_take() : NULL;
    release(items, n);
    if (self->outgoing == NULL)
        self->outgoing = items;
    else
        PyMem_Free(items);
    if (raised != NULL)
        tdl_err_put_steal(raised);
    return r;
}

/* Send it with others, at the end of the batch.
 * Returns 1; 0 if it cannot be collected; -1 with an exception set. */
static int
collect(DatagramObject *self, PyObject *data, PyObject *addr, const struct tdl_address *to)
{
    if (self->noutgoing == TDL_DATAGRAM_BATCH && tdl_datagram_send_collected(self) < 0)
        return -1;
    if (self->outgoing == NULL)
        self->outgoing = PyMem_New(struct tdl_outgoing, TDL_DATAGRAM_BATCH);
    if (self->outgoing == NULL)
        return 0;
    PyObject *copy = PyBytes_FromObject(data);
    if (copy == NULL) {
        PyErr_Clear();
        return 0;
    }
    struct tdl_outgoing *item = &self->outgoing[self->noutgoing++];
    item->data = copy;
    item->addr = Py_NewRef(addr);
    item->to = *to;
    return 1;
}

/* ---- sendto() ----------------------------------------------------------------------- */

/* Nobody is sent anything any more; say so, but not for ever. */
static int
note_lost(DatagramObject *self)
{
    /* asyncio.constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES */
    if (self->conn_lost++ < 5)
        return 0;
    PyObject *log = PyImport_ImportModule("asyncio.log");
    PyObject *logger = log == NULL ? NULL : PyObject_GetAttrString(log, "logger");
    PyObject *r = logger == NULL ? NULL
                                 : PyObject_CallMethod(logger, "warning", "s",
                                                       "socket.send() raised exception.");
    Py_XDECREF(r);
    Py_XDECREF(logger);
    Py_XDECREF(log);
    return r == NULL ? -1 : 0;
}

/* An endpoint with a remote address sends nowhere else.
 * Returns 1, 0 if there is no such address, or -1 with ValueError set. */
static int
check_address(DatagramObject *self, PyObject *addr)
{
    int fixed = self->address == NULL ? 0 : PyObject_IsTrue(self->address);
    if (fixed <= 0 || addr == Py_None)
        return fixed;
    int same = PyObject_RichCompareBool(addr, self->address, Py_EQ);
    if (same == 0)
        PyErr_Format(PyExc_ValueError, "Invalid address: must be None or %S", self->address);
    return same > 0 ? 1 : -1;
}

/* Send at once, or collect. */
static enum outcome
dispatch(DatagramObject *self, PyObject *data, PyObject *addr)
{
    struct tdl_address to;
    if (self->io.fd < 0 || !find_address(self, addr, &to)) {
        if (tdl_datagram_send_collected(self) < 0)
            return FAILED;
        return send_by_socket(self, data, addr);
    }
    if (!self->connected && PySys_Audit("socket.sendto", "OO", self->sock, addr) < 0)
        return tdl_datagram_failed(self, message) < 0 ? FAILED : LOST;
    if (self->batching) {
        int r = collect(self, data, addr, &to);
        if (r != 0)
            return r < 0 ? FAILED : SENT;
        if (tdl_datagram_send_collected(self) < 0)
            return FAILED;
    }
    return send_now(self, data, &to);
}

int
tdl_datagram_send(DatagramObject *self, PyObject *data, PyObject *addr)
{
    if (!PyBytes_Check(data) && !PyByteArray_Check(data) && !PyMemoryView_Check(data)) {
        PyObject *name = PyType_GetName(Py_TYPE(data));
        if (name != NULL)
            PyErr_Format(PyExc_TypeError, "data argument must be a bytes-like object, not %R",
                         name);
        Py_XDECREF(name);
        return -1;
    }
    if (!self->sends_empty && PyObject_Size(data) == 0)
        return 0;
    int fixed = check_address(self, addr);
    if (fixed < 0)
        return -1;
    if (self->transport == NULL || (self->conn_lost > 0 && fixed))
        return note_lost(self);
    if (fixed)
        addr = self->address;
    Py_ssize_t waiting = queued(self);
    if (waiting < 0)
        return -1;
    if (waiting == 0) {
        enum outcome outcome = dispatch(self, data, addr);
        if (outcome != BLOCKED)
            return outcome == FAILED ? -1 : 0;
    }
    return queue(self, data, addr);
}

/* ---- flushing ----------------------------------------------------------------------- */

/* The first of the queue, up to a batch; as far as their addresses can be parsed.
 * Returns how many, or -1. */
static int
take_first(DatagramObject *self, struct tdl_outgoing *items, Py_ssize_t waiting)
{
    int n = 0;
    while (n < TDL_DATAGRAM_BATCH && n < waiting) {
        PyObject *pair = PySequence_GetItem(self->buffer, n);
        if (pair == NULL || !PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2 ||
            !PyBytes_Check(PyTuple_GET_ITEM(pair, 0))) {
            Py_XDECREF(pair);
            release(items, n);
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_TypeError, "the queue holds (bytes, address) pairs");
            return -1;
        }
        struct tdl_outgoing *item = &items[n++];
        item->data = Py_NewRef(PyTuple_GET_ITEM(pair, 0));
        item->addr = Py_NewRef(PyTuple_GET_ITEM(pair, 1));
        Py_DECREF(pair);
        if (!find_address(self, item->addr, &item->to)) {
            item->to.len = UNKNOWN;
            break;
        }
    }
    return n;
}

/* Take the first `n` off the queue. */
static int
drop(DatagramObject *self, const struct tdl_outgoing *items, int n)
{
    for (int i = 0; i < n; i++) {
        PyObject *pair = PyObject_CallMethod(self->buffer, "popleft", NULL);
        if (pair == NULL)
            return -1;
        Py_DECREF(pair);
        self->buffer_size -= PyBytes_GET_SIZE(items[i].data) + self->header_size;
    }
    return 0;
}

/* Send the first of the queue.  SENT: go on; LOST: an error was reported. */
static enum outcome
flush_some(DatagramObject *self, struct tdl_outgoing *items, int n)
{
    int known = n > 0 && items[n - 1].to.len == UNKNOWN ? n - 1 : n;
    if (known == 0) {
        /* off the queue first: somebody may look at it meanwhile */
        if (drop(self, items, 1) < 0)
            return FAILED;
        enum outcome outcome = send_by_socket(self, items[0].data, items[0].addr);
        if (outcome != BLOCKED)
            return outcome;
        PyObject *pair = PyTuple_Pack(2, items[0].data, items[0].addr);
        PyObject *r =
            pair == NULL ? NULL : PyObject_CallMethod(self->buffer, "appendleft", "O", pair);
        Py_XDECREF(pair);
        Py_XDECREF(r);
        self->buffer_size += PyBytes_GET_SIZE(items[0].data) + self->header_size;
        return r == NULL ? FAILED : BLOCKED;
    }
    int sent = send_some(self->io.fd, items, known);
    if (sent >= 0)
        return drop(self, items, sent) < 0 ? FAILED : SENT;
    int error = errno;
    if (!would_block(error) && drop(self, items, 1) < 0)
        return FAILED;
    errno = error;
    return refused(self);
}

int
tdl_datagram_flush(DatagramObject *self)
{
    Py_ssize_t waiting;
    while (self->io.fd >= 0 && (waiting = queued(self)) > 0) {
        struct tdl_outgoing items[TDL_DATAGRAM_BATCH];
        int n = take_first(self, items, waiting);
        if (n < 0)
            return -1;
        enum outcome outcome = flush_some(self, items, n);
        release(items, n);
        if (outcome == FAILED)
            return -1;
        if (outcome == LOST)
            return 0; /* what is left has its turn at the next event */
        if (outcome == BLOCKED)
            break;
    }
    if (tell_transport(self, "_maybe_resume_protocol") < 0)
        return -1;
    if (self->io.fd < 0 || queued(self) != 0)
        return 0;
    if (tdl_io_want(self->loop, &self->io, self->io.events & ~(unsigned)TDL_POLL_OUT) < 0)
        return -1;
    if (!self->closing || self->conn_lost > 0)
        return 0;
    self->conn_lost++;
    PyObject *transport = Py_NewRef(self->transport);
    PyObject *r = PyObject_CallMethod(transport, "_call_connection_lost", "O", Py_None);
    Py_DECREF(transport);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

/* Writing: at once if the socket takes it, the rest from a queue. */
#include <errno.h>

#include "future/settle.h"
#include "loop/lent.h"
#include "loop/report.h"
#include "loop/transport.h"
#include "py/args.h"
#include "py/errors.h"

enum {
    IOV = 64,                /* buffers handed to the system at once */
    WRITES_LOST_SILENTLY = 5 /* after the end; as asyncio's constants have it */
};

static const char *const write_failed = "Fatal write error on socket transport";

/* ---- the system calls ------------------------------------------------------------------ */

/* Send what is described by `iov`.  Returns bytes, 0 if none can be sent now, or
 * -errno. */
static ssize_t
send_list(TransportObject *self, struct iovec *iov, int count)
{
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = (size_t)count};
    ssize_t n;
    if (!tdl_transport_owns_fd(self))
        return -EBADF;
    do
        n = sendmsg(self->fd, &message, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n >= 0 ? n : errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
}

static ssize_t
send_bytes(TransportObject *self, const char *data, size_t size)
{
    ssize_t n;
    if (!tdl_transport_owns_fd(self))
        return -EBADF;
    do
        n = send(self->fd, data, size, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n >= 0 ? n : errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
}

static int
on_error(TransportObject *self, int error)
{
    errno = error;
    PyErr_SetFromErrno(PyExc_OSError);
    return tdl_transport_fatal(self, write_failed);
}

int
tdl_transport_shut(TransportObject *self)
{
    if (tdl_transport_owns_fd(self) && shutdown(self->fd, SHUT_WR) == 0)
        return 0;
    if (!tdl_transport_owns_fd(self))
        errno = EBADF;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

/* ---- the queue ------------------------------------------------------------------------- */

static int
want_writable(TransportObject *self)
{
    if (tdl_loop_check_closed(self->loop) < 0)
        return -1;
    return tdl_transport_want(self, self->io.events | TDL_POLL_OUT);
}

static int
grew(TransportObject *self)
{
    LoopObject *loop = self->loop;
    if (loop == NULL)
        return 0;
    return tdl_flow_grew(&self->flow, tdl_wqueue_size(&self->queue), loop, (PyObject *)self,
                         self->protocol);
}

static int
settle_empty_waiter(TransportObject *self, PyObject *exc)
{
    if (self->empty_waiter == NULL)
        return 0;
    PyObject *waiter = Py_NewRef(self->empty_waiter);
    int r = exc == NULL ? tdl_settle_result(self->st, waiter, Py_None)
                        : tdl_settle_exception(self->st, waiter, exc);
    Py_DECREF(waiter);
    return r < 0 ? -1 : 0;
}

/* The queue has run empty. */
static int
on_empty(TransportObject *self)
{
    if (tdl_transport_want(self, self->io.events & ~(unsigned)TDL_POLL_OUT) < 0 ||
        settle_empty_waiter(self, NULL) < 0)
        return -1;
    int r = 0;
    if (self->closing && self->conn_lost == 0) {
        self->conn_lost++;
        r = tdl_transport_lose(self, NULL);
    }
    else if (!self->closing && self->eof)
        r = tdl_transport_shut(self);
    return r;
}

static int
on_flush_error(TransportObject *self, int error)
{
    errno = error;
    PyErr_SetFromErrno(PyExc_OSError);
    PyObject *exc = tdl_err_take();
    tdl_err_put_steal(Py_NewRef(exc));
    int r = tdl_transport_fatal(self, write_failed);
    if (r == 0)
        r = settle_empty_waiter(self, exc);
    Py_DECREF(exc);
    return r;
}

int
tdl_transport_flush(TransportObject *self)
{
    struct iovec iov[IOV];
    if (self->conn_lost > 0)
        return 0;
    int count = tdl_wqueue_fill(&self->queue, iov, IOV);
    ssize_t n = count == 0 ? 0 : send_list(self, iov, count);
    if (n < 0)
        return on_flush_error(self, (int)-n);
    LoopObject *loop = self->loop;
    tdl_wqueue_consume(&self->queue, (size_t)n);
    if (tdl_flow_shrank(&self->flow, tdl_wqueue_size(&self->queue), loop, (PyObject *)self,
                        self->protocol) < 0)
        return -1;
    /* resume_writing() may have written more, or closed */
    if (self->conn_lost > 0 || tdl_wqueue_size(&self->queue) > 0 || on_empty(self) == 0)
        return 0;
    return tdl_report_raised(loop, "Exception in callback of a stream transport",
                             (PyObject *)self, self->protocol);
}

/* ---- write() ---------------------------------------------------------------------------- */

/* asyncio's own method refuses, in the words of this version. */
static void
refuse_type(TransportObject *self, PyObject *data)
{
    PyObject *r =
        PyObject_CallMethod(self->st->objects.aio_transport, "write", "OO", self, data);
    Py_XDECREF(r);
    if (r != NULL)
        PyErr_SetString(PyExc_TypeError, "data argument must be a bytes-like object");
}

static int
check_open(TransportObject *self, const char *method)
{
    if (self->eof)
        PyErr_Format(PyExc_RuntimeError, "Cannot call %s() after write_eof()", method);
    else if (self->empty_waiter != NULL)
        PyErr_Format(PyExc_RuntimeError, "unable to %s; sendfile is in progress", method);
    else
        return tdl_transport_check_thread(self);
    return -1;
}

/* A write after the end: it is counted, and after a few of them logged. */
static int
count_lost_write(TransportObject *self)
{
    PyObject *r = Py_NewRef(Py_None);
    if (self->conn_lost >= WRITES_LOST_SILENTLY)
        Py_SETREF(r, PyObject_CallMethod(self->st->objects.aio_logger, "warning", "s",
                                         "socket.send() raised exception."));
    self->conn_lost++;
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

int
tdl_transport_send_queue(TransportObject *self)
{
    struct iovec iov[IOV];
    int count = tdl_wqueue_fill(&self->queue, iov, IOV);
    ssize_t n = count == 0 ? 0 : send_list(self, iov, count);
    if (n < 0)
        return on_error(self, (int)-n);
    tdl_wqueue_consume(&self->queue, (size_t)n);
    if (tdl_wqueue_size(&self->queue) == 0)
        return 0;
    return want_writable(self) < 0 ? -1 : grew(self);
}

/* Write, or queue, `size` bytes at `data`, which are in `owner`. */
static int
write_bytes(TransportObject *self, PyObject *owner, const char *data, size_t size)
{
    if (self->conn_lost > 0)
        return count_lost_write(self);
    bool empty = tdl_wqueue_size(&self->queue) == 0;
    if (self->held || (empty && tdl_transport_may_hold(self, size)))
        return tdl_lent_push(&self->queue, owner, data, size) < 0
                   ? -1
                   : tdl_transport_held_more(self, empty);
    if (empty) {
        ssize_t n = send_bytes(self, data, size);
        if (n == (ssize_t)size)
            return 0;
        if (n < 0)
            return on_error(self, (int)-n);
        data += n;
        size -= (size_t)n;
        if (want_writable(self) < 0)
            return -1;
    }
    return tdl_lent_push(&self->queue, owner, data, size) < 0 ? -1 : grew(self);
}

/* Anything but plain bytes. */
static int
write_buffer(TransportObject *self, PyObject *data)
{
    Py_buffer view;
    int empty = PyObject_Not(data);
    if (empty != 0)
        return empty < 0 ? -1 : 0;
    if (self->conn_lost > 0)
        return count_lost_write(self);
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0)
        return tdl_transport_fatal(self, write_failed);
    int r = view.len == 0 ? 0 : write_bytes(self, NULL, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    return r;
}

PyObject *
tdl_transport_write(TransportObject *self, PyObject *data)
{
    bool plain = PyBytes_CheckExact(data);
    if (!plain && !PyBytes_Check(data) && !PyByteArray_Check(data) &&
        !PyMemoryView_Check(data)) {
        refuse_type(self, data);
        return NULL;
    }
    if (check_open(self, "write") < 0)
        return NULL;
    int r = 0;
    if (!plain)
        r = write_buffer(self, data);
    else if (PyBytes_GET_SIZE(data) > 0)
        r = write_bytes(self, data, PyBytes_AS_STRING(data), (size_t)PyBytes_GET_SIZE(data));
    if (r < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* The one argument of a method, positional or called `name`.  Borrowed, or NULL. */
static PyObject *
only_argument(const char *method, const char *name, PyObject *const *args, Py_ssize_t nargs,
              PyObject *kwnames)
{
    PyObject *value;
    if (nargs == 1 && kwnames == NULL)
        return args[0];
    return tdl_args_parse(method, args, nargs, kwnames, &name, 1, 1, &value) < 0 ? NULL : value;
}

static PyObject *
transport_write(TransportObject *self, PyObject *const *args, Py_ssize_t nargs,
                PyObject *kwnames)
{
    PyObject *data = only_argument("write", "data", args, nargs, kwnames);
    return data == NULL ? NULL : tdl_transport_write(self, data);
}

/* ---- writelines() ------------------------------------------------------------------------ */

/* Views of a list's items, empty ones left out. */
struct views {
    Py_buffer *items;
    Py_ssize_t count;
};

static void
release_views(struct views *views)
{
    for (Py_ssize_t i = 0; i < views->count; i++)
        PyBuffer_Release(&views->items[i]);
    PyMem_Free(views->items);
}

static int
add_view(struct views *views, PyObject *item)
{
    Py_buffer *view = &views->items[views->count];
    if (PyObject_GetBuffer(item, view, PyBUF_SIMPLE) < 0) {
        PyErr_Clear(); /* in the words of memoryview(item) */
        PyObject *refused = PyMemoryView_FromObject(item);
        if (refused != NULL)
            PyErr_SetString(PyExc_BufferError,
                            "memoryview: underlying buffer is not C-contiguous");
        Py_XDECREF(refused);
        return -1;
    }
    if (view->len == 0)
        PyBuffer_Release(view);
    else
        views->count++;
    return 0;
}

static int
get_views(struct views *views, PyObject *sequence)
{
    PyObject *items = PySequence_Tuple(sequence);
    if (items == NULL)
        return -1;
    int r = 0;
    Py_ssize_t n = PyTuple_GET_SIZE(items);
    views->items = PyMem_New(Py_buffer, (size_t)(n > 0 ? n : 1));
    views->count = 0;
    if (views->items == NULL) {
        PyErr_NoMemory();
        r = -1;
    }
    for (Py_ssize_t i = 0; r == 0 && i < n; i++)
        r = add_view(views, PyTuple_GET_ITEM(items, i));
    if (r < 0 && views->items != NULL)
        release_views(views);
    Py_DECREF(items);
    return r;
}

/* Queue all but the first `sent` bytes. */
static int
push_views(TransportObject *self, const struct views *views, size_t sent)
{
    for (Py_ssize_t i = 0; i < views->count; i++) {
        Py_buffer *view = &views->items[i];
        size_t size = (size_t)view->len, skip = sent < size ? sent : size;
        sent -= skip;
        if (tdl_lent_push(&self->queue, view->obj, (char *)view->buf + skip, size - skip) < 0)
            return -1;
    }
    return 0;
}

static int
write_views(TransportObject *self, const struct views *views)
{
    struct iovec iov[IOV];
    size_t total = 0;
    ssize_t n = 0;
    for (Py_ssize_t i = 0; i < views->count; i++) {
        if (i < IOV)
            iov[i] = (struct iovec){views->items[i].buf, (size_t)views->items[i].len};
        total += (size_t)views->items[i].len;
    }
    bool empty = tdl_wqueue_size(&self->queue) == 0;
    if (self->held || (empty && tdl_transport_may_hold(self, total)))
        return push_views(self, views, 0) < 0 ? -1 : tdl_transport_held_more(self, empty);
    if (empty) {
        n = send_list(self, iov, views->count < IOV ? (int)views->count : IOV);
        if (n < 0)
            return on_error(self, (int)-n);
        if ((size_t)n == total)
            return 0;
        if (want_writable(self) < 0)
            return -1;
    }
    return push_views(self, views, (size_t)n) < 0 ? -1 : grew(self);
}

/* b''.join(list) is written: what asyncio did before 3.12. */
static PyObject *
write_joined(TransportObject *self, PyObject *list)
{
    PyObject *empty = PyBytes_FromStringAndSize(NULL, 0);
    PyObject *joined = empty == NULL ? NULL : PyObject_CallMethod(empty, "join", "(O)", list);
    PyObject *r = joined == NULL ? NULL : tdl_transport_write(self, joined);
    Py_XDECREF(empty);
    Py_XDECREF(joined);
    return r;
}

static PyObject *
transport_writelines(TransportObject *self, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *kwnames)
{
    PyObject *list = only_argument("writelines", "list_of_data", args, nargs, kwnames);
    if (list == NULL)
        return NULL;
    if (!TDL_AIO_WRITES_LISTS)
        return write_joined(self, list);
    if (check_open(self, "writelines") < 0)
        return NULL;
    int any = PyObject_IsTrue(list);
    if (any < 0)
        return NULL;
    int r = 0;
    if (any && self->conn_lost > 0)
        r = count_lost_write(self);
    else if (any) {
        struct views views;
        if (get_views(&views, list) < 0)
            return NULL;
        /* making the views may have run somebody's code */
        if (views.count > 0 && self->conn_lost == 0)
            r = write_views(self, &views);
        release_views(&views);
    }
    if (r < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- the other methods -------------------------------------------------------------------- */

static PyObject *
write_eof(TransportObject *self, PyObject *Py_UNUSED(ignored))
{
    if (tdl_transport_enter(self) < 0)
        return NULL;
    if (!self->closing && !self->eof) {
        self->eof = true;
        if (tdl_wqueue_size(&self->queue) == 0 && tdl_transport_shut(self) < 0)
            return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
can_write_eof(TransportObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    Py_RETURN_TRUE;
}

static PyObject *
get_write_buffer_size(TransportObject *self, PyObject *Py_UNUSED(ignored))
{
    if (self->held && tdl_transport_enter(self) < 0)
        return NULL;
    return PyLong_FromSize_t(tdl_wqueue_size(&self->queue));
}

static PyObject *
get_write_buffer_limits(TransportObject *self, PyObject *Py_UNUSED(ignored))
{
    return tdl_flow_limits(&self->flow);
}

static PyObject *
set_write_buffer_limits(TransportObject *self, PyObject *const *args, Py_ssize_t nargs,
                        PyObject *kwnames)
{
    if (tdl_transport_enter(self) < 0 ||
        tdl_flow_set_limits(&self->flow, args, nargs, kwnames) < 0 || grew(self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* A future that is done when the queue is empty: until _reset_empty_waiter() nobody
 * else may write. */
static PyObject *
make_empty_waiter(TransportObject *self, PyObject *Py_UNUSED(ignored))
{
    if (self->empty_waiter != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Empty waiter is already set");
        return NULL;
    }
    if (tdl_transport_enter(self) < 0)
        return NULL;
    PyObject *loop = self->loop == NULL ? Py_None : (PyObject *)self->loop;
    PyObject *waiter = PyObject_CallMethodNoArgs(loop, self->st->names.create_future);
    if (waiter == NULL)
        return NULL;
    Py_XSETREF(self->empty_waiter, Py_NewRef(waiter));
    if (tdl_wqueue_size(&self->queue) == 0 && tdl_settle_result(self->st, waiter, Py_None) < 0)
        Py_CLEAR(waiter);
    return waiter;
}

static PyObject *
reset_empty_waiter(TransportObject *self, PyObject *Py_UNUSED(ignored))
{
    Py_CLEAR(self->empty_waiter);
    Py_RETURN_NONE;
}

PyMethodDef tdl_transport_write_methods[] = {
    {"write", TDL_METHOD(transport_write), METH_FASTCALL | METH_KEYWORDS,
     "write($self, data)\n--\n\nSend data, now or when the socket takes it."},
    {"writelines", TDL_METHOD(transport_writelines), METH_FASTCALL | METH_KEYWORDS,
     "writelines($self, list_of_data)\n--\n\nSend all of a list, as write() does."},
    {"write_eof", (PyCFunction)write_eof, METH_NOARGS,
     "write_eof($self, /)\n--\n\nClose the writing direction once what is queued was sent."},
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
    {"_make_empty_waiter", (PyCFunction)make_empty_waiter, METH_NOARGS, NULL},
    {"_reset_empty_waiter", (PyCFunction)reset_empty_waiter, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

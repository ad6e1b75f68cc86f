#include "loop/sock_wait.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "future/settle.h"

static const unsigned bits[TDL_SOCK_WAYS] = {TDL_POLL_IN, TDL_POLL_OUT, TDL_POLL_OUT};

/* ---- waking ------------------------------------------------------------------------ */

/* Resolve them with `value`.  Returns 1, 0 if they were all done before, or -1. */
static int
wake_all(struct tdl_state *st, PyObject *waiters, PyObject *value)
{
    if (!PyList_CheckExact(waiters))
        return tdl_settle_result(st, waiters, value);
    int r = 0;
    for (Py_ssize_t i = 0; r >= 0; i++) {
        PyObject *future = tdl_list_get(waiters, i);
        if (future == NULL)
            break;
        int woken = tdl_settle_result(st, future, value);
        Py_DECREF(future);
        r = woken < 0 ? -1 : r | woken;
    }
    return r;
}

/* How a connection went. */
static PyObject *
outcome(int fd)
{
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        error = errno;
    return PyLong_FromLong(error);
}

/* Whether somebody waits for a connection that is still being made: the event was meant for
 * another socket, which had the descriptor before. */
static bool
is_connecting(const SockWatchObject *self)
{
    struct pollfd entry = {.fd = self->io.fd, .events = POLLOUT};
    return self->waiters[TDL_SOCK_CONNECT] != NULL && poll(&entry, 1, 0) == 0;
}

/* Resolve those that wait.  Returns 1, 0 if there were none, or -1. */
static int
wake(SockWatchObject *self, enum tdl_sock_way way)
{
    PyObject *waiters = self->waiters[way];
    if (waiters == NULL)
        return 0;
    self->waiters[way] = NULL;
    PyObject *value = way == TDL_SOCK_CONNECT ? outcome(self->io.fd) : Py_NewRef(Py_None);
    int r = value == NULL ? -1 : wake_all(self->loop->st, waiters, value);
    Py_XDECREF(value);
    Py_DECREF(waiters);
    return r;
}

/* An event: ask for no more of a kind for which nobody waits.  A connection is made once. */
static int
sock_ready(struct tdl_io *io, unsigned events)
{
    SockWatchObject *self = (SockWatchObject *)io->owner;
    unsigned broken = events & (TDL_POLL_ERR | TDL_POLL_HUP);
    unsigned fired = broken != 0 ? TDL_POLL_IN | TDL_POLL_OUT : events;
    unsigned wanted = 0;
    if ((fired & TDL_POLL_OUT) != 0 && is_connecting(self))
        fired &= ~(unsigned)TDL_POLL_OUT;
    if (broken != 0)
        self->ended = true;
    if (fired & TDL_POLL_IN)
        self->drained = false;
    for (int way = TDL_SOCK_READ; way < TDL_SOCK_WAYS; way++) {
        int woken = (fired & bits[way]) != 0 ? wake(self, way) : 0;
        if (woken < 0)
            return -1;
        if (woken > 0 && way != TDL_SOCK_CONNECT)
            wanted |= bits[way];
    }
    unsigned left = io->events & (wanted | ~fired);
    return tdl_io_want(self->loop, io, left == TDL_POLL_EDGE ? 0 : left);
}

/* ---- waiting ----------------------------------------------------------------------- */

SockWatchObject *
tdl_sock_watch_of(LoopObject *loop, PyObject *sock, int fd)
{
    struct tdl_io *io = fd >= 0 && fd < loop->nwatches ? loop->watches[fd].io : NULL;
    if (io == NULL || io->ready != sock_ready)
        return NULL;
    SockWatchObject *watch = (SockWatchObject *)io->owner;
    PyObject *referent = tdl_weakref_get(watch->ref);
    Py_XDECREF(referent);
    return referent == sock ? watch : NULL;
}

/* A watch for a socket that has none. */
static SockWatchObject *
claim(LoopObject *loop, PyObject *sock, int fd)
{
    PyObject *r = PyObject_CallMethod((PyObject *)loop, "_ensure_fd_no_transport", "i", fd);
    if (r == NULL)
        return NULL;
    Py_DECREF(r);
    if (fd < 0) {
        PyErr_Format(PyExc_ValueError, "Invalid file descriptor: %d", fd);
        return NULL;
    }
    PyTypeObject *type = loop->st->objects.SockWatch;
    SockWatchObject *watch = (SockWatchObject *)type->tp_alloc(type, 0);
    if (watch == NULL)
        return NULL;
    tdl_io_init(&watch->io, (PyObject *)watch, sock_ready);
    watch->io.shares = true;
    watch->loop = loop;
    watch->ref = PyWeakref_NewRef(sock, NULL);
    if (watch->ref == NULL || tdl_loop_check_closed(loop) < 0 ||
        tdl_io_attach(loop, &watch->io, fd) < 0)
        Py_CLEAR(watch);
    return watch;
}

/* Take those that are done off the list: a program that gives up again and again
 * must not make it grow. */
static int
prune(struct tdl_state *st, PyObject *list)
{
    for (Py_ssize_t i = PyList_GET_SIZE(list); i-- > 0;) {
        PyObject *future = tdl_list_get(list, i);
        int done = future == NULL ? 0 : tdl_settle_is_done(st, future);
        Py_XDECREF(future);
        if (done < 0 || (done > 0 && PyList_SetSlice(list, i, i + 1, NULL) < 0))
            return -1;
    }
    return 0;
}

static int
add_waiter(SockWatchObject *watch, enum tdl_sock_way way, PyObject *future)
{
    struct tdl_state *st = watch->loop->st;
    PyObject **place = &watch->waiters[way];
    if (*place != NULL && PyList_CheckExact(*place))
        return prune(st, *place) < 0 ? -1 : PyList_Append(*place, future);
    int gone = *place == NULL ? 1 : tdl_settle_is_done(st, *place);
    if (gone < 0)
        return -1;
    if (gone) {
        Py_XSETREF(*place, Py_NewRef(future));
        return 0;
    }
    PyObject *list = PyList_New(2);
    if (list == NULL)
        return -1;
    PyList_SET_ITEM(list, 0, *place);
    PyList_SET_ITEM(list, 1, Py_NewRef(future));
    *place = list;
    return 0;
}

PyObject *
tdl_sock_wait(LoopObject *loop, PyObject *sock, int fd, enum tdl_sock_way way)
{
    PyObject *future = tdl_loop_create_future(loop);
    if (future == NULL)
        return NULL;
    SockWatchObject *watch = tdl_sock_watch_of(loop, sock, fd);
    watch = watch == NULL ? claim(loop, sock, fd) : (SockWatchObject *)Py_NewRef(watch);
    if (watch == NULL ||
        tdl_io_want(loop, &watch->io, watch->io.events | bits[way] | TDL_POLL_EDGE) < 0 ||
        add_waiter(watch, way, future) < 0)
        Py_CLEAR(future);
    Py_XDECREF(watch);
    return future;
}

/* ---- the object -------------------------------------------------------------------- */

static int
watch_traverse(SockWatchObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->ref);
    for (int way = TDL_SOCK_READ; way < TDL_SOCK_WAYS; way++)
        Py_VISIT(self->waiters[way]);
    return 0;
}

static int
watch_clear(SockWatchObject *self)
{
    for (int way = TDL_SOCK_READ; way < TDL_SOCK_WAYS; way++)
        Py_CLEAR(self->waiters[way]);
    return 0;
}

static void
watch_dealloc(SockWatchObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (self->io.fd >= 0)
        tdl_io_detach(self->loop, &self->io);
    watch_clear(self);
    Py_CLEAR(self->ref);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot watch_slots[] = {
    {Py_tp_traverse, watch_traverse},
    {Py_tp_clear, watch_clear},
    {Py_tp_dealloc, watch_dealloc},
    {0, NULL},
};

static PyType_Spec watch_spec = {
    .name = "treadle._native.SockWatch",
    .basicsize = sizeof(SockWatchObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = watch_slots,
};

int
tdl_sock_wait_exec(PyObject *module)
{
    return tdl_state_add_type(module, &watch_spec, &tdl_state_of(module)->objects.SockWatch);
}

/* add_reader(), add_writer() and what the transports use of them. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>

#include "core/clock.h"
#include "loop/io.h"
#include "loop/ready.h"
#include "loop/watch.h"
#include "py/args.h"
#include "py/errors.h"

static struct tdl_watch *
watch_of(LoopObject *self, int fd)
{
    return fd >= 0 && fd < self->nwatches ? &self->watches[fd] : NULL;
}

int
tdl_watch_reserve(LoopObject *self, int fd)
{
    if (fd < self->nwatches)
        return 0;
    int n = self->nwatches == 0 ? 64 : self->nwatches;
    while (n <= fd)
        n *= 2;
    /* not PyMem_Resize(), which assigns NULL to its first argument when it fails */
    struct tdl_watch *more = PyMem_Realloc(self->watches, (size_t)n * sizeof *more);
    if (more == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memset(more + self->nwatches, 0, (size_t)(n - self->nwatches) * sizeof *more);
    self->watches = more;
    self->nwatches = n;
    return 0;
}

static unsigned
handles_of(const struct tdl_watch *watch)
{
    return (watch->reader != NULL ? TDL_POLL_IN : 0) |
           (watch->writer != NULL ? TDL_POLL_OUT : 0);
}

unsigned
tdl_watch_mask(const struct tdl_watch *watch)
{
    unsigned handles = handles_of(watch);
    unsigned io = watch->io == NULL ? 0 : watch->io->events;
    /* add_reader()'s callbacks are called for as long as there is something to read */
    return handles == 0 ? io : handles | (io & ~(unsigned)TDL_POLL_EDGE);
}

/* Tell the poller what is watched now; before, it was `old`.  The descriptor may
 * have been closed and its number used again meanwhile. */
int
tdl_watch_update(LoopObject *self, int fd, unsigned old, unsigned now)
{
    void *data = (void *)(intptr_t)fd;
    int r;
    if (now == 0) {
        tdl_poller_remove(&self->poller, fd);
        return 0;
    }
    if (old == 0)
        r = tdl_poller_add(&self->poller, fd, now, data);
    else
        r = tdl_poller_modify(&self->poller, fd, now, data);
    if (r == -ENOENT)
        r = tdl_poller_add(&self->poller, fd, now, data);
    else if (r == -EEXIST)
        r = tdl_poller_modify(&self->poller, fd, now, data);
    return r < 0 ? tdl_raise_errno(r) : 0;
}

/* int(file.fileno()): a new reference, or NULL with an exception worded as selectors does. */
static PyObject *
number_of(PyObject *file)
{
    PyObject *given = PyObject_CallMethod(file, "fileno", NULL);
    PyObject *number = given == NULL ? NULL : PyNumber_Long(given);
    Py_XDECREF(given);
    if (number == NULL &&
        (PyErr_ExceptionMatches(PyExc_AttributeError) ||
         PyErr_ExceptionMatches(PyExc_TypeError) || PyErr_ExceptionMatches(PyExc_ValueError))) {
        PyErr_Clear();
        PyErr_Format(PyExc_ValueError, "Invalid file object: %R", file);
    }
    return number;
}

/* Returns the descriptor, or -1 with an exception set. */
static int
descriptor_of(PyObject *file)
{
    PyObject *number = PyLong_Check(file) ? Py_NewRef(file) : number_of(file);
    if (number == NULL)
        return -1;
    int overflow;
    long fd = PyLong_AsLongAndOverflow(number, &overflow);
    if (overflow < 0 || (overflow == 0 && fd < 0))
        PyErr_Format(PyExc_ValueError, "Invalid file descriptor: %S", number);
    else if (overflow > 0 || fd > INT_MAX)
        PyErr_SetString(PyExc_OverflowError, "Python int too large to convert to C int");
    Py_DECREF(number);
    return PyErr_Occurred() ? -1 : (int)fd;
}

/* Room for a descriptor, if it is open: then the system limits its number. */
static int
reserve_open(LoopObject *self, int fd)
{
    if (fd >= self->nwatches && fcntl(fd, F_GETFD) < 0)
        return tdl_raise_errno(-errno);
    return tdl_watch_reserve(self, fd);
}

/* A transport's descriptor is the transport's alone. */
static int
check_no_io(LoopObject *self, int fd)
{
    PyObject *owner = tdl_io_owner(self, fd);
    if (owner == NULL)
        return 0;
    PyErr_Format(PyExc_RuntimeError, "File descriptor %d is used by transport %R", fd, owner);
    return -1;
}

/* _add_reader(fd, callback, *args, context=None) and _add_writer(). */
static PyObject *
add(LoopObject *self, const char *method, PyObject *const *args, Py_ssize_t nargs,
    PyObject *kwnames, bool writer)
{
    struct tdl_request request;
    if (tdl_loop_parse_request(self->st, method, args, nargs, kwnames, "fd", &request) < 0)
        return NULL;
    int fd = tdl_loop_check_closed(self) < 0 ? -1 : descriptor_of(request.first);
    if (fd < 0 || reserve_open(self, fd) < 0 || check_no_io(self, fd) < 0)
        return NULL;
    PyObject *handle = tdl_loop_make_handle(self, TDL_HANDLE_SOON, &request, NULL);
    if (handle == NULL)
        return NULL;
    struct tdl_watch *watch = &self->watches[fd];
    unsigned old = tdl_watch_mask(watch);
    PyObject **place = writer ? &watch->writer : &watch->reader;
    PyObject *before = *place;
    *place = Py_NewRef(handle);
    if (tdl_watch_update(self, fd, old, tdl_watch_mask(watch)) < 0) {
        *place = before;
        Py_DECREF(handle);
        Py_DECREF(handle);
        return NULL;
    }
    if (before != NULL) {
        int r = tdl_handle_cancel(self->st, before);
        tdl_handle_release(self->st, before);
        if (r < 0)
            Py_CLEAR(handle);
    }
    return handle;
}

static PyObject *
remove_watch(LoopObject *self, PyObject *file, bool writer)
{
    if (self->closed)
        Py_RETURN_FALSE;
    int fd = descriptor_of(file);
    if (fd < 0 && PyErr_ExceptionMatches(PyExc_OverflowError)) {
        PyErr_Clear(); /* no descriptor has that number, so it is not watched */
        Py_RETURN_FALSE;
    }
    if (fd < 0)
        return NULL;
    struct tdl_watch *watch = watch_of(self, fd);
    PyObject *handle = watch == NULL ? NULL : writer ? watch->writer : watch->reader;
    if (handle == NULL)
        Py_RETURN_FALSE;
    unsigned old = tdl_watch_mask(watch);
    if (writer)
        watch->writer = NULL;
    else
        watch->reader = NULL;
    int r = tdl_watch_update(self, fd, old, tdl_watch_mask(watch));
    if (tdl_handle_cancel(self->st, handle) < 0)
        r = -1;
    tdl_handle_release(self->st, handle);
    if (r < 0)
        return NULL;
    Py_RETURN_TRUE;
}

static PyObject *
add_reader(LoopObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return add(self, "_add_reader", args, nargs, kwnames, false);
}

static PyObject *
add_writer(LoopObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return add(self, "_add_writer", args, nargs, kwnames, true);
}

static PyObject *
remove_reader(LoopObject *self, PyObject *file)
{
    return remove_watch(self, file, false);
}

static PyObject *
remove_writer(LoopObject *self, PyObject *file)
{
    return remove_watch(self, file, true);
}

static int
queue_watcher(LoopObject *self, PyObject *handle)
{
    return handle == NULL ? 0 : tdl_ready_push(self, handle);
}

/* Closed without being removed, and open elsewhere: it would be reported for ever. */
static int
forget(LoopObject *self, int fd)
{
    tdl_poller_remove(&self->poller, fd);
    return 0;
}

/* Call the io behind what is ready already, which is older: by _dispatch_late(). */
static int
dispatch_later(LoopObject *self, int fd, unsigned events)
{
    PyObject *method = PyObject_GetAttr((PyObject *)self, self->st->names._dispatch_late);
    PyObject *what = PyLong_FromLongLong((long long)fd * 256 + events);
    PyObject *context = PyContext_New();
    int r = -1;
    if (method != NULL && what != NULL && context != NULL)
        r = tdl_ready_push_bare(self, method, what, context);
    Py_XDECREF(method);
    Py_XDECREF(what);
    Py_XDECREF(context);
    return r;
}

/* In debug mode: io->ready(), timed. */
static int
ready_timed(LoopObject *self, struct tdl_io *io, unsigned events)
{
    int64_t start = tdl_clock_now();
    if (io->ready(io, events) < 0)
        return -1;
    double took = (double)(tdl_clock_now() - start) * 1e-9;
    PyObject *r =
        PyObject_CallMethod((PyObject *)self, "_note_duration", "Od", io->owner, took);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

static int
dispatch_io(LoopObject *self, struct tdl_io *io, unsigned events)
{
    events &= io->events | TDL_POLL_ERR | TDL_POLL_HUP;
    if (events == 0)
        return 0; /* the event is older than what is asked for now */
    PyObject *owner = Py_NewRef(io->owner);
    int r = self->debug ? ready_timed(self, io, events) : io->ready(io, events);
    Py_DECREF(owner);
    return r;
}

int
tdl_watch_dispatch(LoopObject *self, int fd, unsigned events)
{
    struct tdl_watch *watch = watch_of(self, fd);
    if (watch == NULL || tdl_watch_mask(watch) == 0)
        return forget(self, fd);
    if (watch->io != NULL && watch->io->events != 0) {
        int r = self->behind ? dispatch_later(self, fd, events)
                             : dispatch_io(self, watch->io, events);
        if (r < 0)
            return -1;
        watch = watch_of(self, fd); /* the table may have grown */
    }
    unsigned broken = events & (TDL_POLL_ERR | TDL_POLL_HUP);
    if ((events & TDL_POLL_IN || broken) && queue_watcher(self, watch->reader) < 0)
        return -1;
    if ((events & TDL_POLL_OUT || broken) && queue_watcher(self, watch->writer) < 0)
        return -1;
    return 0;
}

static int
visit_handle(LoopObject *self, PyObject *handle, visitproc visit, void *arg)
{
    return handle == NULL ? 0 : tdl_handle_visit(self->st, handle, visit, arg);
}

static void
drop_handle(LoopObject *self, PyObject **place)
{
    PyObject *handle = *place;
    *place = NULL;
    if (handle != NULL)
        tdl_handle_release(self->st, handle);
}

static PyObject *
dispatch_late(LoopObject *self, PyObject *what)
{
    long long number = PyLong_AsLongLong(what);
    if (number == -1 && PyErr_Occurred())
        return NULL;
    struct tdl_watch *watch = watch_of(self, (int)(number / 256));
    /* it may have gone, or another may have come: then the event is stale */
    if (number >= 0 && watch != NULL && watch->io != NULL && watch->io->events != 0 &&
        dispatch_io(self, watch->io, (unsigned)(number % 256)) < 0)
        return NULL;
    Py_RETURN_NONE;
}

int
tdl_watch_traverse(LoopObject *self, visitproc visit, void *arg)
{
    for (int fd = 0; fd < self->nwatches; fd++) {
        struct tdl_watch *watch = &self->watches[fd];
        int r = visit_handle(self, watch->reader, visit, arg);
        if (r == 0)
            r = visit_handle(self, watch->writer, visit, arg);
        if (r != 0)
            return r;
        if (watch->io != NULL && watch->io->events != 0)
            Py_VISIT(watch->io->owner);
    }
    return 0;
}

static void
clear_io(struct tdl_watch *watch)
{
    struct tdl_io *io = watch->io;
    watch->io = NULL;
    if (io == NULL)
        return;
    bool held = io->events != 0;
    io->fd = -1;
    io->events = 0;
    if (held)
        Py_DECREF(io->owner);
}

void
tdl_watch_clear(LoopObject *self)
{
    for (int fd = 0; fd < self->nwatches; fd++) {
        drop_handle(self, &self->watches[fd].reader);
        drop_handle(self, &self->watches[fd].writer);
        clear_io(&self->watches[fd]);
    }
}

/* [(fd, mask as in selectors, reader, writer), ...] of what is watched. */
static PyObject *
watched(LoopObject *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *list = PyList_New(0);
    for (int fd = 0; list != NULL && fd < self->nwatches; fd++) {
        struct tdl_watch *watch = &self->watches[fd];
        unsigned mask = handles_of(watch);
        if (watch->io != NULL && !watch->io->shares)
            mask |= watch->io->events & (TDL_POLL_IN | TDL_POLL_OUT);
        if (mask == 0)
            continue;
        PyObject *item =
            Py_BuildValue("(iIOO)", fd, mask, watch->reader == NULL ? Py_None : watch->reader,
                          watch->writer == NULL ? Py_None : watch->writer);
        if (item == NULL || PyList_Append(list, item) < 0)
            Py_CLEAR(list);
        Py_XDECREF(item);
    }
    return list;
}

PyMethodDef tdl_loop_watch_methods[] = {
    {"_add_reader", TDL_METHOD(add_reader), METH_FASTCALL | METH_KEYWORDS, NULL},
    {"_add_writer", TDL_METHOD(add_writer), METH_FASTCALL | METH_KEYWORDS, NULL},
    {"_remove_reader", (PyCFunction)remove_reader, METH_O, NULL},
    {"_remove_writer", (PyCFunction)remove_writer, METH_O, NULL},
    {"_dispatch_late", (PyCFunction)dispatch_late, METH_O, NULL},
    {"_watched", (PyCFunction)watched, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* The object: making, the end, the types.  The rest is in pipe_*.c. */
#include "loop/pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loop/lent.h"
#include "loop/report.h"
#include "loop/stream_hooks.h"
#include "py/args.h"

int
tdl_pipe_enter(PipeObject *self)
{
    LoopObject *loop = TDL_FREE_THREADED ? self->loop : NULL;
    if (loop == NULL || loop->thread == 0 || loop->thread == PyThread_get_thread_ident())
        return 0;
    PyErr_SetString(PyExc_RuntimeError, "Non-thread-safe operation invoked on an event loop "
                                        "other than the current one");
    return -1;
}

int
tdl_pipe_want(PipeObject *self, unsigned events)
{
    return self->loop == NULL ? 0 : tdl_io_want(self->loop, &self->io, events);
}

int
tdl_pipe_log(PipeObject *self, const char *level, const char *format)
{
    PyObject *logger = self->st->objects.aio_logger;
    PyObject *r = strchr(format, '%') == NULL
                      ? PyObject_CallMethod(logger, level, "s", format)
                      : PyObject_CallMethod(logger, level, "sO", format, self);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

int
tdl_pipe_soon(PipeObject *self, PyObject *function, PyObject *argument)
{
    return tdl_loop_soon(self->loop, function, &argument, argument != NULL, self->context);
}

/* ---- readiness ----------------------------------------------------------------------- */

static int
serve(PipeObject *self, unsigned events)
{
    if (self->lost)
        return 0;
    return self->writes ? tdl_pipe_serve_writer(self, events) : tdl_pipe_read(self);
}

static int
on_ready(struct tdl_io *io, unsigned events)
{
    PipeObject *self = (PipeObject *)io->owner;
    LoopObject *loop = (LoopObject *)Py_NewRef(self->loop);
    PyObject *context = Py_NewRef(self->context);
    int r = PyContext_Enter(context);
    if (r == 0) {
        r = serve(self, events);
        PyObject *raised = tdl_err_take();
        if (PyContext_Exit(context) < 0)
            PyErr_Clear();
        if (raised != NULL)
            tdl_err_put_steal(raised);
    }
    if (r < 0)
        r = tdl_report_raised(loop, "Exception in callback of a pipe transport", io->owner,
                              self->protocol);
    Py_DECREF(context);
    Py_DECREF(loop);
    return r;
}

/* ---- the end ------------------------------------------------------------------------- */

/* Schedule _call_connection_lost(exc). */
static int
schedule_loss(PipeObject *self, PyObject *exc)
{
    PyObject *method =
        PyObject_GetAttr((PyObject *)self, self->st->names._call_connection_lost);
    int r = method == NULL ? -1 : tdl_pipe_soon(self, method, exc == NULL ? Py_None : exc);
    Py_XDECREF(method);
    return r;
}

int
tdl_pipe_close(PipeObject *self, PyObject *exc)
{
    if (self->lost)
        return 0;
    self->closing = true;
    self->lost = true;
    /* asking for nothing takes no memory, so it cannot fail */
    if (tdl_pipe_want(self, 0) < 0 || schedule_loss(self, exc) < 0)
        return -1;
    tdl_wqueue_clear(&self->queue);
    return 0;
}

/* Whether `exc` is an OSError, and with `number` not 0 that one. */
static bool
is_os_error(PyObject *exc, int number)
{
    if (!PyErr_GivenExceptionMatches(exc, PyExc_OSError))
        return false;
    if (number == 0)
        return true;
    PyObject *value = PyObject_GetAttrString(exc, "errno");
    bool same = value != NULL && PyLong_Check(value) && PyLong_AsLong(value) == number;
    Py_XDECREF(value);
    PyErr_Clear();
    return same;
}

int
tdl_pipe_fatal(PipeObject *self, const char *message)
{
    if (tdl_report_is_fatal())
        return -1;
    int r = 0;
    PyObject *exc = tdl_err_take();
    if (self->loop == NULL) {
        /* it is over: there is nobody to tell */
    }
    else if (!is_os_error(exc, self->writes ? 0 : EIO))
        r = tdl_report_exception(self->loop, message, exc, (PyObject *)self,
                                 self->protocol == NULL ? Py_None : self->protocol);
    else if (self->loop->debug)
        r = tdl_report_debug(self->loop, message, exc, (PyObject *)self);
    if (r == 0 && self->loop != NULL)
        r = tdl_pipe_close(self, exc);
    Py_DECREF(exc);
    return r;
}

void
tdl_pipe_release(PipeObject *self)
{
    if (self->loop != NULL)
        tdl_io_detach(self->loop, &self->io);
    if (self->fd != self->number)
        close(self->fd);
    self->fd = self->number;
}

/* Give the descriptor up, and close the file.  Returns 0 or -1 with what it raised. */
static int
close_file(PipeObject *self)
{
    PyObject *pipe = self->pipe;
    if (pipe == NULL)
        return 0;
    self->pipe = NULL;
    tdl_pipe_release(self);
    PyObject *r = PyObject_CallMethodNoArgs(pipe, self->st->names.close);
    Py_DECREF(pipe);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

static int
tell_protocol(PipeObject *self, PyObject *exc)
{
    PyObject *protocol = Py_NewRef(self->protocol == NULL ? Py_None : self->protocol);
    PyObject *r = PyObject_CallMethodOneArg(protocol, self->st->names.connection_lost,
                                            exc == NULL ? Py_None : exc);
    Py_DECREF(protocol);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

int
tdl_pipe_lose(PipeObject *self, PyObject *exc)
{
    if (self->pipe == NULL)
        return 0;
    self->closing = true;
    self->lost = true;
    PyObject *raised = tell_protocol(self, exc) < 0 ? tdl_err_take() : NULL;
    if (close_file(self) < 0) {
        if (raised != NULL)
            PyErr_Clear();
        else
            raised = tdl_err_take();
    }
    tdl_wqueue_clear(&self->queue);
    Py_CLEAR(self->protocol);
    Py_CLEAR(self->loop);
    if (raised == NULL)
        return 0;
    tdl_err_put_steal(raised);
    return -1;
}

/* ---- making -------------------------------------------------------------------------- */

static const char *const not_readable = "Pipe transport is for pipes/sockets only.";
static const char *const not_writable = "Pipe transport is only for "
                                        "pipes, sockets and character devices";

static int
raise_errno(void)
{
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

/* The file's descriptor, not blocking from now on, if it is one that can be watched. */
static int
open_file(PipeObject *self, PyObject *file)
{
    struct stat status;
    PyObject *number = PyObject_CallMethodNoArgs(file, self->st->names.fileno);
    int fd = number == NULL ? -1 : PyObject_AsFileDescriptor(number);
    Py_XDECREF(number);
    if (fd < 0)
        return -1;
    if (fstat(fd, &status) < 0)
        return raise_errno();
    if (!S_ISFIFO(status.st_mode) && !S_ISSOCK(status.st_mode) && !S_ISCHR(status.st_mode)) {
        PyErr_SetString(PyExc_ValueError, self->writes ? not_writable : not_readable);
        return -1;
    }
    self->watches_end = !S_ISCHR(status.st_mode);
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || (!(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0))
        return raise_errno();
    self->fd = self->number = fd;
    return 0;
}

/* Claim the descriptor.  A terminal may be read by one transport and written by another:
 * the second gets a duplicate, since a descriptor belongs to one. */
static int
attach(PipeObject *self)
{
    if (tdl_io_owner(self->loop, self->fd) == NULL)
        return tdl_io_attach(self->loop, &self->io, self->fd);
    int fd = fcntl(self->fd, F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        return raise_errno();
    if (tdl_io_attach(self->loop, &self->io, fd) < 0) {
        close(fd);
        return -1;
    }
    self->fd = fd;
    return 0;
}

/* Schedule connection_made(), then reading, then the waiter. */
static int
schedule_start(PipeObject *self, PyObject *waiter)
{
    struct tdl_names *names = &self->st->names;
    PyObject *made = PyObject_GetAttr(self->protocol, names->connection_made);
    PyObject *start = PyObject_GetAttr((PyObject *)self, names->_start_reading);
    int r = made == NULL || start == NULL ? -1 : tdl_pipe_soon(self, made, (PyObject *)self);
    if (r == 0)
        r = tdl_pipe_soon(self, start, waiter == NULL ? Py_None : waiter);
    Py_XDECREF(made);
    Py_XDECREF(start);
    return r;
}

/* A reader of asyncio's behind the protocol becomes a native one. */
static int
adopt_stream(PipeObject *self)
{
    const struct tdl_stream_hooks *hooks = self->st->stream_hooks;
    PyObject *sink = NULL;
    int r = hooks == NULL ? 0 : hooks->adopt(self->loop, self->protocol, true, &sink);
    Py_XDECREF(sink); /* little comes through a pipe at a time: the protocol may take it */
    return r;
}

static int
set_up(PipeObject *self, PyObject *file, PyObject *protocol, PyObject *waiter, PyObject *extra)
{
    self->extra = extra == NULL || extra == Py_None ? PyDict_New() : Py_NewRef(extra);
    self->context = PyContext_CopyCurrent();
    self->protocol = Py_NewRef(protocol);
    if (self->extra == NULL || self->context == NULL ||
        PyObject_SetItem(self->extra, self->st->names.pipe, file) < 0 ||
        open_file(self, file) < 0 || attach(self) < 0)
        return -1;
    self->pipe = Py_NewRef(file);
    if (adopt_stream(self) == 0 && schedule_start(self, waiter) == 0)
        return 0;
    /* the file stays the caller's */
    Py_CLEAR(self->pipe);
    tdl_pipe_release(self);
    return -1;
}

/* _make_read_pipe_transport(pipe, protocol, waiter=None, extra=None) */
static PyObject *
make(LoopObject *loop, bool writes, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"pipe", "protocol", "waiter", "extra"};
    PyObject *v[4];
    if (tdl_args_parse(writes ? "_make_write_pipe_transport" : "_make_read_pipe_transport",
                       args, nargs, kwnames, names, 4, 2, v) < 0 ||
        tdl_loop_check_closed(loop) < 0)
        return NULL;
    struct tdl_objects *o = &loop->st->objects;
    PyTypeObject *type = writes ? o->WritePipeTransport : o->ReadPipeTransport;
    PipeObject *self = (PipeObject *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->st = loop->st;
    self->loop = (LoopObject *)Py_NewRef(loop);
    self->writes = writes;
    self->fd = self->number = -1;
    tdl_io_init(&self->io, (PyObject *)self, on_ready);
    tdl_wqueue_init(&self->queue);
    tdl_flow_init(&self->flow);
    if (set_up(self, v[0], v[1], v[2], v[3]) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static PyObject *
make_reader(LoopObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return make(self, false, args, nargs, kwnames);
}

static PyObject *
make_writer(LoopObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return make(self, true, args, nargs, kwnames);
}

PyMethodDef tdl_loop_pipe_methods[] = {
    {"_make_read_pipe_transport", TDL_METHOD(make_reader), METH_FASTCALL | METH_KEYWORDS, NULL},
    {"_make_write_pipe_transport", TDL_METHOD(make_writer), METH_FASTCALL | METH_KEYWORDS,
     NULL},
    {NULL, NULL, 0, NULL},
};

/* ---- lifetime ------------------------------------------------------------------------ */

/* __del__: the file of an abandoned transport is closed, without a word to its protocol. */
static void
finalize(PyObject *op)
{
    PipeObject *self = (PipeObject *)op;
    if (self->pipe == NULL)
        return;
    PyObject *raised = tdl_err_take();
    if (PyErr_ResourceWarning(op, 1, "unclosed transport %R", op) < 0)
        PyErr_WriteUnraisable(op);
    if (close_file(self) < 0)
        PyErr_WriteUnraisable(op);
    if (raised != NULL)
        tdl_err_put_steal(raised);
}

static int
pipe_traverse(PyObject *op, visitproc visit, void *arg)
{
    PipeObject *self = (PipeObject *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->loop);
    Py_VISIT(self->protocol);
    Py_VISIT(self->context);
    Py_VISIT(self->pipe);
    Py_VISIT(self->extra);
    Py_VISIT(self->dict);
    return tdl_lent_traverse(&self->queue, visit, arg);
}

static int
pipe_clear(PyObject *op)
{
    PipeObject *self = (PipeObject *)op;
    self->closing = true;
    self->lost = true;
    tdl_pipe_release(self);
    tdl_wqueue_clear(&self->queue);
    Py_CLEAR(self->pipe);
    Py_CLEAR(self->loop);
    Py_CLEAR(self->protocol);
    Py_CLEAR(self->extra);
    Py_CLEAR(self->dict);
    return 0;
}

static void
pipe_dealloc(PyObject *op)
{
    PipeObject *self = (PipeObject *)op;
    PyTypeObject *type = Py_TYPE(op);
    if (PyObject_CallFinalizerFromDealloc(op) < 0)
        return;
    PyObject_GC_UnTrack(op);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs(op);
    pipe_clear(op);
    Py_CLEAR(self->context);
    type->tp_free(op);
    Py_DECREF(type);
}

/* ---- the types ----------------------------------------------------------------------- */

static PyMemberDef members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(PipeObject, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(PipeObject, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

#define SLOTS(methods)                                                                       \
    {                                                                                        \
        {Py_tp_methods, methods}, {Py_tp_getset, tdl_pipe_getset}, {Py_tp_members, members}, \
            {Py_tp_repr, tdl_pipe_repr}, {Py_tp_finalize, finalize},                         \
            {Py_tp_traverse, pipe_traverse}, {Py_tp_clear, pipe_clear},                      \
            {Py_tp_dealloc, pipe_dealloc},                                                   \
        {                                                                                    \
            0, NULL                                                                          \
        }                                                                                    \
    }

static PyType_Slot reader_slots[] = SLOTS(tdl_pipe_read_methods);
static PyType_Slot writer_slots[] = SLOTS(tdl_pipe_write_methods);

enum { FLAGS = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION };

static PyType_Spec reader_spec = {
    .name = "treadle.ReadPipeTransport",
    .basicsize = sizeof(PipeObject),
    .flags = FLAGS,
    .slots = reader_slots,
};

static PyType_Spec writer_spec = {
    .name = "treadle.WritePipeTransport",
    .basicsize = sizeof(PipeObject),
    .flags = FLAGS,
    .slots = writer_slots,
};

static int
make_type(PyObject *module, PyType_Spec *spec, PyObject *base, PyTypeObject **slot)
{
    if ((size_t)((PyTypeObject *)base)->tp_basicsize > offsetof(PipeObject, io)) {
        PyErr_SetString(PyExc_RuntimeError, "asyncio's transports have slots of unknown size");
        return -1;
    }
    *slot = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, base);
    return *slot == NULL ? -1 : tdl_state_add_methods(*slot, tdl_pipe_common_methods);
}

int
tdl_pipe_exec(PyObject *module)
{
    struct tdl_objects *o = &tdl_state_of(module)->objects;
    PyObject *reader = NULL, *writer = NULL;
    const struct tdl_import bases[] = {
        {"ReadTransport", &reader}, {"_FlowControlMixin", &writer}, {NULL, NULL}};
    int r = tdl_state_import("asyncio.transports", bases);
    if (r == 0)
        r = make_type(module, &reader_spec, reader, &o->ReadPipeTransport);
    if (r == 0)
        r = make_type(module, &writer_spec, writer, &o->WritePipeTransport);
    Py_XDECREF(reader);
    Py_XDECREF(writer);
    return r;
}

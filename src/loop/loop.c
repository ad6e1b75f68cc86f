#include "loop/loop.h"

#include "core/clock.h"
#include "loop/accept.h"
#include "loop/datagram.h"
#include "loop/dns.h"
#include "loop/fork.h"
#include "loop/pipe.h"
#include "loop/ready.h"
#include "loop/sock_wait.h"
#include "loop/socket.h"
#include "loop/transport.h"
#include "loop/watch.h"
#include "loop/watchdog.h"
#include "py/args.h"
#include "py/errors.h"

/* ---- what the other files use ------------------------------------------------------ */

int
tdl_loop_raise_closed(LoopObject *self)
{
    if (self->inherited && !self->closed)
        return tdl_fork_raise();
    PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
    return -1;
}

/* Whether neither a subclass nor the instance has something else in the place of our
 * method `name`. */
static bool
has_own(LoopObject *self, const char *name)
{
    PyObject *text = PyUnicode_FromString(name);
    PyObject *ours = PyObject_GetAttrString((PyObject *)self->st->objects.LoopBase, name);
    PyObject *found = PyObject_GetAttrString((PyObject *)Py_TYPE(self), name);
    PyObject *bound = text == NULL ? NULL : PyObject_GenericGetAttr((PyObject *)self, text);
    bool own = ours != NULL && ours == found && bound != NULL && PyCFunction_Check(bound) &&
               PyCFunction_GET_SELF(bound) == (PyObject *)self;
    Py_XDECREF(text);
    Py_XDECREF(ours);
    Py_XDECREF(found);
    Py_XDECREF(bound);
    PyErr_Clear();
    return own;
}

/* Look what of the methods that native code would bypass is still native. */
static void
look_for_overrides(LoopObject *self)
{
    self->custom_time = !has_own(self, "time");
    self->plain = has_own(self, "call_soon") && has_own(self, "_timer_handle_cancelled");
    self->untouched = self->plain && has_own(self, "call_at") && has_own(self, "call_later") &&
                      has_own(self, "create_future") && has_own(self, "create_task");
}

void
tdl_loop_wake(LoopObject *self)
{
    if (self->port != NULL)
        tdl_port_wake(self->port);
}

int
tdl_loop_now(LoopObject *self, int64_t *now)
{
    if (!self->custom_time) {
        *now = tdl_clock_now();
        return 0;
    }
    PyObject *seconds = PyObject_CallMethod((PyObject *)self, "time", NULL);
    double value = seconds == NULL ? -1.0 : PyFloat_AsDouble(seconds);
    Py_XDECREF(seconds);
    if (value == -1.0 && PyErr_Occurred())
        return -1;
    *now = (int64_t)(value * 1e9);
    return 0;
}

char *
tdl_loop_scratch(LoopObject *self)
{
    if (self->scratch == NULL && (self->scratch = PyMem_Malloc(TDL_LOOP_SCRATCH)) == NULL)
        PyErr_NoMemory();
    return self->scratch;
}

/* ---- opening and closing ----------------------------------------------------------- */

static void
release_timer(struct tdl_timer *timer, void *arg)
{
    LoopObject *self = arg;
    tdl_handle_release(self->st, tdl_handle_of_timer(self->st, timer));
}

/* Drop what other threads have posted and let nobody post more. */
static void
close_descriptors(LoopObject *self)
{
    struct tdl_item *item = tdl_port_close(self->port);
    while (item != NULL) {
        struct tdl_item *next = item->next;
        if (!tdl_port_fetch(self->port, item))
            tdl_handle_release(self->st, tdl_handle_of_item(self->st, item));
        item = next;
    }
    tdl_poller_close(&self->poller);
}

/* Returns 0 or an error of the core, with nothing left open. */
static int
open_descriptors(LoopObject *self)
{
    struct tdl_port *port;
    int r = tdl_port_new(&port);
    if (r < 0)
        return r;
    r = tdl_poller_open(&self->poller, NULL);
    if (r == 0 && (r = tdl_poller_add(&self->poller, tdl_wakeup_fd(&port->wakeup), TDL_POLL_IN,
                                      TDL_LOOP_WAKEUP)) < 0)
        tdl_poller_close(&self->poller);
    if (r < 0) {
        tdl_port_unref(port);
        return r;
    }
    tdl_port_unref(self->port);
    self->port = port;
    return 0;
}

static PyObject *
loop_open(LoopObject *self, PyObject *Py_UNUSED(ignored))
{
    if (self->open) {
        PyErr_SetString(PyExc_RuntimeError, "the loop is open already");
        return NULL;
    }
    int r = open_descriptors(self);
    if (r < 0) {
        tdl_raise_errno(r);
        return NULL;
    }
    if (tdl_landing_open(&self->landing, self->port) < 0) {
        close_descriptors(self);
        return NULL;
    }
    look_for_overrides(self);
    self->open = true;
    tdl_fork_list(self);
    Py_RETURN_NONE;
}

/* Take back what a forked child was not to run. */
static void
take_inherited(LoopObject *self)
{
    self->inherited = false;
    tdl_ready_clear(self);
    tdl_ring_fini(&self->ready);
    self->ready = self->inherited_ready;
    self->more = self->inherited_more;
}

/* Close the descriptors and drop what is queued. */
static void
close_native(LoopObject *self)
{
    if (self->inherited)
        take_inherited(self);
    else if (!self->open)
        return;
    self->open = false;
    tdl_fork_unlist(self);
    tdl_watchdog_stop(self);
    tdl_watch_clear(self);
    tdl_landing_close(&self->landing, (PyObject *)self);
    close_descriptors(self);
}

static PyObject *
loop_close_native(LoopObject *self, PyObject *Py_UNUSED(ignored))
{
    close_native(self);
    Py_RETURN_NONE;
}

/* ---- time -------------------------------------------------------------------------- */

static PyObject *
loop_time(LoopObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyFloat_FromDouble((double)tdl_clock_now() * 1e-9);
}

/* A clock that is put on the instance moves the timers too, a call_soon() that is put
 * there wants handles, and the others want to be called. */
static int
loop_setattro(PyObject *op, PyObject *name, PyObject *value)
{
    static const char *const looked_at[] = {
        "time",          "call_soon",  "_timer_handle_cancelled", "call_at", "call_later",
        "create_future", "create_task"};
    int r = PyObject_GenericSetAttr(op, name, value);
    for (size_t i = 0; r == 0 && i < sizeof looked_at / sizeof looked_at[0]; i++)
        if (PyUnicode_CompareWithASCIIString(name, looked_at[i]) == 0)
            look_for_overrides((LoopObject *)op);
    return r;
}

static PyObject *
loop_get_debug(LoopObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(self->debug);
}

static PyObject *
loop_is_closed(LoopObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(self->closed);
}

static PyObject *
loop_check_closed(LoopObject *self, PyObject *Py_UNUSED(ignored))
{
    if (tdl_loop_check_closed(self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef loop_methods[] = {
    {"time", (PyCFunction)loop_time, METH_NOARGS,
     "time($self, /)\n--\n\nReturn the loop's clock in seconds; monotonic."},
    {"get_debug", (PyCFunction)loop_get_debug, METH_NOARGS,
     "get_debug($self, /)\n--\n\nReturn whether debug mode is on."},
    {"is_closed", (PyCFunction)loop_is_closed, METH_NOARGS,
     "is_closed($self, /)\n--\n\nReturn whether the loop was closed."},
    {"_check_closed", (PyCFunction)loop_check_closed, METH_NOARGS, NULL},
    {"_open", (PyCFunction)loop_open, METH_NOARGS, NULL},
    {"_close_native", (PyCFunction)loop_close_native, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* ---- the object -------------------------------------------------------------------- */

static PyObject *
loop_tp_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwds))
{
    struct tdl_state *st = tdl_state_by_type(type);
    if (st == NULL)
        return NULL;
    if (st->objects.report_callback_error == NULL) {
        PyErr_SetString(PyExc_TypeError, "use treadle.EventLoop");
        return NULL;
    }
    LoopObject *self = (LoopObject *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->st = st;
    tdl_ring_init(&self->ready);
    tdl_heap_init(&self->timers, release_timer, self);
    tdl_spin_init(&self->spin);
    return (PyObject *)self;
}

/* What other threads have posted.  The world stands still. */
static int
traverse_posted(LoopObject *self, visitproc visit, void *arg)
{
    struct tdl_item *item = self->port == NULL ? NULL : tdl_inbox_newest(&self->port->inbox);
    int r = 0;
    for (; r == 0 && item != NULL; item = item->next)
        if (item != &self->port->results)
            r = tdl_handle_visit(self->st, tdl_handle_of_item(self->st, item), visit, arg);
    return r;
}

static int
loop_traverse(LoopObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->task_factory);
    Py_VISIT(self->default_executor);
    Py_VISIT(self->loop_kwargs);
    Py_VISIT(self->stock_transports);
    int r = tdl_ready_traverse(self, visit, arg);
    for (size_t i = 0; r == 0 && i < self->timers.count; i++)
        r = tdl_handle_visit(
            self->st, tdl_handle_of_timer(self->st, self->timers.entries[i].timer), visit, arg);
    if (r == 0)
        r = traverse_posted(self, visit, arg);
    if (r == 0)
        r = tdl_landing_traverse(&self->landing, visit, arg);
    if (r == 0)
        r = tdl_context_traverse(&self->contexts, visit, arg);
    return r != 0 ? r : tdl_watch_traverse(self, visit, arg);
}

static int
loop_clear(LoopObject *self)
{
    close_native(self);
    tdl_ready_clear(self);
    tdl_heap_fini(&self->timers);
    tdl_watch_clear(self);
    tdl_context_clear(&self->contexts);
    Py_CLEAR(self->loop_kwargs);
    Py_CLEAR(self->default_executor);
    Py_CLEAR(self->task_factory);
    Py_CLEAR(self->stock_transports);
    return 0;
}

static void
loop_dealloc(LoopObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    loop_clear(self);
    tdl_ring_fini(&self->ready);
    tdl_port_unref(self->port);
    PyMem_Free(self->watches);
    PyMem_Free(self->scratch);
    tdl_spare_clear(&self->spares);
    tdl_datagram_free_intake(self->intake);
    Py_CLEAR(self->peer.object);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot loop_slots[] = {
    {Py_tp_new, loop_tp_new},        {Py_tp_setattro, loop_setattro},
    {Py_tp_methods, loop_methods},   {Py_tp_getset, tdl_loop_attributes},
    {Py_tp_traverse, loop_traverse}, {Py_tp_clear, loop_clear},
    {Py_tp_dealloc, loop_dealloc},   {0, NULL},
};

static PyType_Spec loop_spec = {
    .name = "treadle._native.LoopBase",
    .basicsize = sizeof(LoopObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = loop_slots,
};

static int
import_asyncio(struct tdl_objects *o)
{
    const struct tdl_import helpers[] = {{"extract_stack", &o->aio_extract_stack},
                                         {NULL, NULL}};
    const struct tdl_import futures[] = {{"Future", &o->aio_future}, {NULL, NULL}};
    const struct tdl_import tasks[] = {
        {"Task", &o->aio_task}, {"__dict__", &o->aio_tasks_dict}, {NULL, NULL}};
    const struct tdl_import base[] = {{"BaseEventLoop", &o->aio_base_loop}, {NULL, NULL}};
    if (tdl_state_import("asyncio.format_helpers", helpers) < 0 ||
        tdl_state_import("asyncio.futures", futures) < 0 ||
        tdl_state_import("asyncio.tasks", tasks) < 0 ||
        tdl_state_import("asyncio.base_events", base) < 0)
        return -1;
    Py_XSETREF(o->aio_create_task, PyObject_GetAttrString(o->aio_base_loop, "create_task"));
    return o->aio_create_task == NULL ? -1 : 0;
}

/* _init_loop(report_callback_error): what needs asyncio, before the first loop. */
static PyObject *
init_loop(PyObject *module, PyObject *report)
{
    struct tdl_objects *o = &tdl_state_of(module)->objects;
    if (o->report_callback_error != NULL)
        Py_RETURN_NONE;
    if (import_asyncio(o) < 0 || tdl_handle_exec(module) < 0 ||
        tdl_socket_init(tdl_state_of(module)) < 0 || tdl_transport_exec(module) < 0 ||
        tdl_pipe_exec(module) < 0)
        return NULL;
    tdl_state_of(module)->contexts_comparable = tdl_context_probe();
    o->report_callback_error = Py_NewRef(report);
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"_init_loop", init_loop, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

/* See state.h. */
static struct tdl_landing *
landing_of(struct tdl_state *st, PyObject *loop)
{
    bool ours = PyObject_TypeCheck(loop, st->objects.LoopBase);
    return ours ? &((LoopObject *)loop)->landing : NULL;
}

int
tdl_loop_exec(PyObject *module)
{
    tdl_state_of(module)->landing_of = landing_of;
    PyTypeObject **type = &tdl_state_of(module)->objects.LoopBase;
    if (tdl_state_add_type(module, &loop_spec, type) < 0 ||
        tdl_state_add_methods(*type, tdl_loop_schedule_methods) < 0 ||
        tdl_state_add_methods(*type, tdl_loop_views_methods) < 0 ||
        tdl_state_add_methods(*type, tdl_loop_create_methods) < 0 ||
        tdl_state_add_methods(*type, tdl_loop_executor_methods) < 0 ||
        tdl_state_add_methods(*type, tdl_loop_watch_methods) < 0 ||
        tdl_state_add_methods(*type, tdl_loop_run_methods) < 0 ||
        tdl_state_add_methods(*type, tdl_loop_transport_methods) < 0 ||
        tdl_state_add_methods(*type, tdl_loop_pipe_methods) < 0 ||
        tdl_state_add_methods(*type, tdl_loop_accept_methods) < 0 ||
        tdl_accept_exec(module) < 0 ||
        tdl_state_add_methods(*type, tdl_loop_stats_methods) < 0 ||
        tdl_state_add_methods(*type, tdl_loop_sock_methods) < 0 ||
        tdl_state_add_methods(*type, tdl_loop_sock_connect_methods) < 0 ||
        tdl_state_add_methods(*type, tdl_loop_sock_sendfile_methods) < 0 ||
        tdl_sock_wait_exec(module) < 0 ||
        tdl_state_add_methods(*type, tdl_loop_datagram_methods) < 0 ||
        tdl_datagram_exec(module) < 0 ||
        tdl_state_add_methods(*type, tdl_loop_watchdog_methods) < 0 ||
        tdl_watchdog_exec(module) < 0 || tdl_fork_exec(module) < 0)
        return -1;
    if (PyModule_AddFunctions(module, functions) < 0)
        return -1;
    return PyModule_AddFunctions(module, tdl_dns_functions);
}

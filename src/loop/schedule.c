/* call_soon() and its kin. */
#include <errno.h>
#include <math.h>

#include "core/clock.h"
#include "loop/ready.h"
#include "loop/task_ops.h"
#include "py/args.h"
#include "py/errors.h"

/* The checks of debug mode, as asyncio makes them. */
static int
check_debug(LoopObject *self, const struct tdl_request *request, const char *method,
            bool thread)
{
    PyObject *loop = (PyObject *)self;
    PyObject *r = Py_NewRef(Py_None);
    if (thread)
        Py_SETREF(r, PyObject_CallMethod(loop, "_check_thread", NULL));
    if (r != NULL)
        Py_SETREF(
            r, PyObject_CallMethod(loop, "_check_callback", "Os", request->callback, method));
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

PyObject *
tdl_loop_make_handle(LoopObject *self, enum tdl_handle_kind kind,
                     const struct tdl_request *request, const struct tdl_when *when)
{
    return tdl_handle_new(self->st, kind, (PyObject *)self, request, when, self->debug);
}

/* The handle, queued. */
static PyObject *
schedule_soon(LoopObject *self, const struct tdl_request *request)
{
    /* what was posted before comes first */
    if (tdl_inbox_pending(&self->port->inbox) &&
        tdl_loop_take_posted(self, TDL_INBOX_AWAKE) < 0)
        return NULL;
    PyObject *handle = tdl_loop_make_handle(self, TDL_HANDLE_SOON, request, NULL);
    if (handle != NULL && tdl_ready_push(self, handle) < 0)
        Py_CLEAR(handle);
    return handle;
}

int
tdl_loop_soon(LoopObject *self, PyObject *callback, PyObject *const *args, Py_ssize_t nargs,
              PyObject *context)
{
    struct tdl_request request = {callback, args, nargs, context};
    if (tdl_loop_check_closed(self) < 0)
        return -1;
    PyObject *handle = schedule_soon(self, &request);
    Py_XDECREF(handle);
    return handle == NULL ? -1 : 0;
}

/* Whether `type` is that of a task's step: its name has a module before it from 3.12 on. */
static bool
is_step(PyTypeObject *type)
{
    const char *dot = strrchr(type->tp_name, '.');
    return strcmp(dot == NULL ? type->tp_name : dot + 1, "TaskStepMethWrapper") == 0;
}

/* Whether `callback` is one of the two that asyncio's C code schedules itself, and
 * whose handle it therefore drops: a task's step, and what wakes a task. */
static bool
is_internal(struct tdl_state *st, PyObject *callback)
{
    if (PyCFunction_CheckExact(callback)) {
        PyMethodDef *method = ((PyCFunctionObject *)callback)->m_ml;
        if (st->aio_wakeup == NULL && strcmp(method->ml_name, "task_wakeup") == 0 &&
            PyObject_TypeCheck(PyCFunction_GET_SELF(callback),
                               (PyTypeObject *)st->objects.aio_task))
            st->aio_wakeup = method;
        return method == st->aio_wakeup;
    }
    PyTypeObject *type = Py_TYPE(callback);
    if (st->objects.aio_step == NULL && is_step(type))
        st->objects.aio_step = (PyTypeObject *)Py_NewRef(type);
    return type == st->objects.aio_step;
}

int
tdl_loop_soon_task(LoopObject *self, PyObject *task, PyObject *future)
{
    if (tdl_loop_check_closed(self) < 0 || (tdl_inbox_pending(&self->port->inbox) &&
                                            tdl_loop_take_posted(self, TDL_INBOX_AWAKE) < 0))
        return -1;
    return tdl_ready_push_task(self, task, future);
}

/* What asyncio's C code, or ours, schedules itself: without a handle.
 * Returns 1, 0 if it is not that, or -1 with an exception set. */
static int
soon_internal(LoopObject *self, const struct tdl_request *request)
{
    struct tdl_state *st = self->st;
    PyObject *argument = request->nargs == 0 ? NULL : request->args[0];
    bool known = is_internal(st, request->callback);
    PyObject *task =
        st->task_ops == NULL
            ? NULL
            : st->task_ops->task_of(st, request->callback, argument != NULL, request->context);
    if (task != NULL)
        return tdl_loop_soon_task(self, task, argument) < 0 ? -1 : 1;
    if (!known)
        return 0;
    if (tdl_inbox_pending(&self->port->inbox) &&
        tdl_loop_take_posted(self, TDL_INBOX_AWAKE) < 0)
        return -1;
    return tdl_ready_push_bare(self, request->callback, argument, request->context) < 0 ? -1
                                                                                        : 1;
}

static PyObject *
call_soon(LoopObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    struct tdl_request request;
    if (tdl_loop_parse_callback(self->st, "call_soon", args, nargs, kwnames, &request) < 0 ||
        tdl_loop_check_closed(self) < 0 ||
        (self->debug && check_debug(self, &request, "call_soon", true) < 0))
        return NULL;
    if (self->plain && !self->debug && request.context != NULL && request.nargs <= 1) {
        int r = soon_internal(self, &request);
        if (r != 0)
            return r < 0 ? NULL : Py_NewRef(Py_None);
    }
    return schedule_soon(self, &request);
}

/* Whether nobody else can run the loop now: this thread does, or with the GIL nobody. */
static bool
is_ours(LoopObject *self)
{
    unsigned long thread = self->thread;
    return thread == PyThread_get_thread_ident() || (!TDL_FREE_THREADED && thread == 0);
}

/* Queue a handle that is posted by the loop's own thread. */
static PyObject *
push_posted(LoopObject *self, PyObject *handle)
{
    if ((tdl_inbox_pending(&self->port->inbox) &&
         tdl_loop_take_posted(self, TDL_INBOX_AWAKE) < 0) ||
        tdl_ready_push(self, handle) < 0)
        Py_CLEAR(handle);
    tdl_loop_count(&self->stats.posted, 1);
    return handle;
}

static PyObject *
call_soon_threadsafe(LoopObject *self, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *kwnames)
{
    struct tdl_request request;
    if (tdl_loop_parse_callback(self->st, "call_soon_threadsafe", args, nargs, kwnames,
                                &request) < 0 ||
        tdl_loop_check_closed(self) < 0 ||
        (self->debug && check_debug(self, &request, "call_soon_threadsafe", false) < 0))
        return NULL;
    PyObject *handle = tdl_loop_make_handle(self, TDL_HANDLE_THREADSAFE, &request, NULL);
    if (handle == NULL)
        return NULL;
    if (is_ours(self))
        return push_posted(self, handle);
    Py_INCREF(handle); /* the inbox's */
    int r = tdl_inbox_post(&self->port->inbox, &tdl_handle_part(self->st, handle)->item);
    if (r < 0) {
        Py_DECREF(handle);
        Py_DECREF(handle);
        PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
        return NULL;
    }
    if (r > 0)
        tdl_loop_wake(self);
    return handle;
}

/* `seconds` of the loop's clock as a deadline: rounded up, never early. */
static int64_t
deadline_of(double seconds)
{
    double ns = ceil(seconds * 1e9);
    return ns >= 9.2e18 ? TDL_NEVER : ns <= -9.2e18 || ns != ns ? 0 : (int64_t)ns;
}

static PyObject *
schedule_at(LoopObject *self, const struct tdl_request *request, const struct tdl_when *when)
{
    int64_t deadline = deadline_of(when->seconds);
    PyObject *handle = tdl_loop_make_handle(self, TDL_HANDLE_TIMER, request, when);
    if (handle == NULL)
        return NULL;
    Py_INCREF(handle); /* the heap's */
    int r;
    TDL_CRITICAL_BEGIN(self);
    r = tdl_heap_push(&self->timers, &tdl_handle_timer_part(self->st, handle)->timer, deadline);
    TDL_CRITICAL_END();
    if (r < 0) {
        Py_DECREF(handle);
        Py_CLEAR(handle);
        tdl_raise_errno(r);
    }
    return handle;
}

/* Fill in what Python code gave.  Returns 0 or -1 with an exception set. */
static int
when_given(PyObject *given, struct tdl_when *when)
{
    when->given = given;
    when->seconds = PyFloat_AsDouble(given);
    return when->seconds == -1.0 && PyErr_Occurred() ? -1 : 0;
}

static PyObject *
at(LoopObject *self, PyObject *given, const struct tdl_request *request)
{
    struct tdl_when when;
    return when_given(given, &when) < 0 ? NULL : schedule_at(self, request, &when);
}

static PyObject *
call_at(LoopObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    struct tdl_request request;
    if (tdl_loop_parse_request(self->st, "call_at", args, nargs, kwnames, "when", &request) < 0)
        return NULL;
    if (request.first == Py_None) {
        PyErr_SetString(PyExc_TypeError, "when cannot be None");
        return NULL;
    }
    if (tdl_loop_check_closed(self) < 0 ||
        (self->debug && check_debug(self, &request, "call_at", true) < 0))
        return NULL;
    return at(self, request.first, &request);
}

PyObject *
tdl_loop_call_at(LoopObject *self, PyObject *when, const struct tdl_request *request)
{
    return tdl_loop_check_closed(self) < 0 ? NULL : at(self, when, request);
}

/* `delay` from now; whatever can be added to a float.
 * Returns 0, with a reference in `when->given` or NULL, or -1 with an exception set. */
static int
when_after(LoopObject *self, PyObject *delay, struct tdl_when *when)
{
    int64_t now;
    if (tdl_loop_now(self, &now) < 0)
        return -1;
    double base = (double)now * 1e-9;
    if (PyFloat_CheckExact(delay)) {
        *when = (struct tdl_when){base + PyFloat_AS_DOUBLE(delay), NULL};
        return 0;
    }
    PyObject *start = PyFloat_FromDouble(base);
    PyObject *sum = start == NULL ? NULL : PyNumber_Add(start, delay);
    Py_XDECREF(start);
    if (sum == NULL || when_given(sum, when) < 0) {
        Py_XDECREF(sum);
        return -1;
    }
    return 0;
}

static PyObject *
after(LoopObject *self, PyObject *delay, const struct tdl_request *request)
{
    struct tdl_when when;
    if (when_after(self, delay, &when) < 0)
        return NULL;
    PyObject *handle = schedule_at(self, request, &when);
    Py_XDECREF(when.given);
    return handle;
}

static PyObject *
call_later(LoopObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    struct tdl_request request;
    if (tdl_loop_parse_request(self->st, "call_later", args, nargs, kwnames, "delay",
                               &request) < 0)
        return NULL;
    if (request.first == Py_None) {
        PyErr_SetString(PyExc_TypeError, "delay must not be None");
        return NULL;
    }
    if (tdl_loop_check_closed(self) < 0 ||
        (self->debug && check_debug(self, &request, "call_at", true) < 0))
        return NULL;
    return after(self, request.first, &request);
}

PyObject *
tdl_loop_call_later(LoopObject *self, PyObject *delay, const struct tdl_request *request)
{
    return tdl_loop_check_closed(self) < 0 ? NULL : after(self, delay, request);
}

static void
cancel_timer(LoopObject *self, PyObject *handle)
{
    int was_queued;
    TDL_CRITICAL_BEGIN(self);
    was_queued =
        tdl_heap_cancel(&self->timers, &tdl_handle_timer_part(self->st, handle)->timer);
    TDL_CRITICAL_END();
    tdl_loop_count(&self->stats.cancelled, (uint64_t)was_queued);
}

int
tdl_loop_timer_cancelled(LoopObject *self, PyObject *handle)
{
    if (self->plain) {
        cancel_timer(self, handle);
        return 0;
    }
    PyObject *told = PyObject_CallMethodOneArg((PyObject *)self,
                                               self->st->names._timer_handle_cancelled, handle);
    Py_XDECREF(told);
    return told == NULL ? -1 : 0;
}

static PyObject *
timer_handle_cancelled(LoopObject *self, PyObject *handle)
{
    if (Py_IS_TYPE(handle, self->st->objects.TimerHandle))
        cancel_timer(self, handle);
    Py_RETURN_NONE;
}

PyMethodDef tdl_loop_schedule_methods[] = {
    {"call_soon", TDL_METHOD(call_soon), METH_FASTCALL | METH_KEYWORDS,
     "call_soon($self, callback, *args, context=None)\n--\n\n"
     "Call callback(*args) in the next turn of the loop; return its handle."},
    {"call_soon_threadsafe", TDL_METHOD(call_soon_threadsafe), METH_FASTCALL | METH_KEYWORDS,
     "call_soon_threadsafe($self, callback, *args, context=None)\n--\n\n"
     "As call_soon(), from any thread."},
    {"call_at", TDL_METHOD(call_at), METH_FASTCALL | METH_KEYWORDS,
     "call_at($self, when, callback, *args, context=None)\n--\n\n"
     "Call callback(*args) when loop.time() is when, in seconds; never early."},
    {"call_later", TDL_METHOD(call_later), METH_FASTCALL | METH_KEYWORDS,
     "call_later($self, delay, callback, *args, context=None)\n--\n\n"
     "Call callback(*args) after delay seconds; never early."},
    {"_timer_handle_cancelled", (PyCFunction)timer_handle_cancelled, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

/* Future's methods, with the names and meanings of concurrent.futures.Future. */
#include "future/callbacks.h"
#include "future/future.h"
#include "py/args.h"
#include "py/errors.h"

static const char *const timeout_names[] = {"timeout"};

/* Wait as result() and exception() do.
 * Returns 0 when finished, -1 with TimeoutError, CancelledError or another set. */
static int
wait_finished(FutureObject *self, const char *method, PyObject *const *args, Py_ssize_t nargs,
              PyObject *kwnames)
{
    PyObject *timeout = NULL;
    if ((nargs != 0 || kwnames != NULL) &&
        tdl_args_parse(method, args, nargs, kwnames, timeout_names, 1, 0, &timeout) < 0)
        return -1;
    enum tdl_future_state state = tdl_future_state(self);
    if (state == TDL_FINISHED)
        return 0;
    if (!tdl_future_is_done(state)) {
        int r = tdl_future_wait(self, timeout);
        if (r < 0)
            return -1;
        if (r == 0) {
            PyErr_SetNone(PyExc_TimeoutError);
            return -1;
        }
        if (tdl_future_state(self) == TDL_FINISHED)
            return 0;
    }
    PyErr_SetNone(self->st->objects.CancelledError);
    return -1;
}

static PyObject *
take_ref(FutureObject *self, PyObject **slot)
{
    PyObject *value;
    TDL_CRITICAL_BEGIN(self);
    value = Py_XNewRef(*slot);
    TDL_CRITICAL_END();
    return value;
}

static PyObject *
future_result(FutureObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    if (wait_finished(self, "Future.result", args, nargs, kwnames) < 0)
        return NULL;
    PyObject *exception = take_ref(self, &self->exception);
    if (exception != NULL) {
        tdl_reraise(exception);
        Py_DECREF(exception);
        return NULL;
    }
    PyObject *result = take_ref(self, &self->result);
    return result != NULL ? result : Py_NewRef(Py_None);
}

static PyObject *
future_exception(FutureObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    if (wait_finished(self, "Future.exception", args, nargs, kwnames) < 0)
        return NULL;
    PyObject *exception = take_ref(self, &self->exception);
    return exception != NULL ? exception : Py_NewRef(Py_None);
}

static PyObject *
future_cancel(FutureObject *self, PyObject *Py_UNUSED(ignored))
{
    int r = tdl_future_cancel(self);
    return r < 0 ? NULL : PyBool_FromLong(r);
}

static PyObject *
future_terminate(FutureObject *self, PyObject *Py_UNUSED(ignored))
{
    int r = tdl_future_cancel(self);
    if (r == 0 && self->source != NULL && self->source->stop != NULL &&
        !tdl_future_is_done(tdl_future_state(self)))
        r = self->source->stop(self->source, self);
    return r < 0 ? NULL : PyBool_FromLong(r);
}

static PyObject *
future_cancelled(FutureObject *self, PyObject *Py_UNUSED(ignored))
{
    enum tdl_future_state state = tdl_future_state(self);
    return PyBool_FromLong(state == TDL_CANCELLED || state == TDL_CANCELLED_AND_NOTIFIED);
}

static PyObject *
future_running(FutureObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(tdl_future_look(self) == TDL_RUNNING);
}

static PyObject *
future_done(FutureObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(tdl_future_is_done(tdl_future_state(self)));
}

static PyObject *
future_add_done_callback(FutureObject *self, PyObject *const *args, Py_ssize_t nargs,
                         PyObject *kwnames)
{
    static const char *const names[] = {"fn"};
    PyObject *fn;
    if (tdl_args_parse("Future.add_done_callback", args, nargs, kwnames, names, 1, 1, &fn) <
            0 ||
        tdl_callbacks_add(self, fn) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
future_set_running(FutureObject *self, PyObject *Py_UNUSED(ignored))
{
    int r = tdl_future_start(self);
    return r < 0 ? NULL : PyBool_FromLong(r);
}

static PyObject *
future_set_result(FutureObject *self, PyObject *const *args, Py_ssize_t nargs,
                  PyObject *kwnames)
{
    static const char *const names[] = {"result"};
    PyObject *result;
    if (tdl_args_parse("Future.set_result", args, nargs, kwnames, names, 1, 1, &result) < 0 ||
        tdl_future_finish(self, Py_NewRef(result), NULL, NULL) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
future_set_exception(FutureObject *self, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *kwnames)
{
    static const char *const names[] = {"exception"};
    PyObject *exception;
    if (tdl_args_parse("Future.set_exception", args, nargs, kwnames, names, 1, 1, &exception) <
        0)
        return NULL;
    /* set_exception(None) completes with the result None, as the standard class does */
    int none = exception == Py_None;
    if (tdl_future_finish(self, none ? Py_NewRef(Py_None) : NULL,
                          none ? NULL : Py_NewRef(exception), NULL) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
future_invoke_callbacks(FutureObject *self, PyObject *Py_UNUSED(ignored))
{
    if (tdl_callbacks_run(self, NULL) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
future_get_snapshot(FutureObject *self, PyObject *Py_UNUSED(ignored))
{
    enum tdl_future_state state = tdl_future_state(self);
    if (state != TDL_FINISHED) {
        PyObject *done = tdl_future_is_done(state) ? Py_True : Py_False;
        return PyTuple_Pack(4, done, done, Py_None, Py_None);
    }
    PyObject *result = take_ref(self, &self->result);
    PyObject *exception = take_ref(self, &self->exception);
    PyObject *snapshot = PyTuple_Pack(4, Py_True, Py_False, result == NULL ? Py_None : result,
                                      exception == NULL ? Py_None : exception);
    Py_XDECREF(result);
    Py_XDECREF(exception);
    return snapshot;
}

PyMethodDef tdl_future_methods[] = {
    {"result", TDL_METHOD(future_result), METH_FASTCALL | METH_KEYWORDS,
     "result($self, /, timeout=None)\n--\n\n"
     "Return the result of the call, waiting up to timeout seconds (None: forever).\n\n"
     "Raises CancelledError if cancelled, TimeoutError if not done in time, and\n"
     "whatever the call raised. As concurrent.futures.Future.result()."},
    {"exception", TDL_METHOD(future_exception), METH_FASTCALL | METH_KEYWORDS,
     "exception($self, /, timeout=None)\n--\n\n"
     "Return what the call raised, or None, waiting up to timeout seconds.\n\n"
     "Raises CancelledError if cancelled, TimeoutError if not done in time.\n"
     "As concurrent.futures.Future.exception()."},
    {"cancel", (PyCFunction)future_cancel, METH_NOARGS,
     "cancel($self, /)\n--\n\n"
     "Cancel the call if it has not started. Returns whether it is cancelled."},
    {"terminate", (PyCFunction)future_terminate, METH_NOARGS,
     "terminate($self, /)\n--\n\n"
     "Cancel the call, or end it though it runs, where a process runs it.\n\n"
     "The process is killed and replaced, and result() raises CancelledError. Returns\n"
     "whether the call is cancelled or being ended; a call in a thread that has started\n"
     "cannot be ended."},
    {"cancelled", (PyCFunction)future_cancelled, METH_NOARGS,
     "cancelled($self, /)\n--\n\nReturn whether the call was cancelled."},
    {"running", (PyCFunction)future_running, METH_NOARGS,
     "running($self, /)\n--\n\nReturn whether the call is being executed now."},
    {"done", (PyCFunction)future_done, METH_NOARGS,
     "done($self, /)\n--\n\nReturn whether the call was cancelled or has finished."},
    {"add_done_callback", TDL_METHOD(future_add_done_callback), METH_FASTCALL | METH_KEYWORDS,
     "add_done_callback($self, /, fn)\n--\n\n"
     "Call fn(future) once the future is done, at once if it is already.\n\n"
     "Callbacks run in the order they were added, in the thread that completes the\n"
     "future; an Exception that one raises is logged to 'concurrent.futures'."},
    {"set_running_or_notify_cancel", (PyCFunction)future_set_running, METH_NOARGS,
     "set_running_or_notify_cancel($self, /)\n--\n\n"
     "For executors: mark the call as started.\n\n"
     "Returns False if it was cancelled and must not run. Raises RuntimeError if\n"
     "called twice or after completion."},
    {"set_result", TDL_METHOD(future_set_result), METH_FASTCALL | METH_KEYWORDS,
     "set_result($self, /, result)\n--\n\n"
     "For executors: complete with a result. Raises InvalidStateError if done."},
    {"set_exception", TDL_METHOD(future_set_exception), METH_FASTCALL | METH_KEYWORDS,
     "set_exception($self, /, exception)\n--\n\n"
     "For executors: complete with an exception. Raises InvalidStateError if done."},
    {"_invoke_callbacks", (PyCFunction)future_invoke_callbacks, METH_NOARGS, NULL},
    {"_get_snapshot", (PyCFunction)future_get_snapshot, METH_NOARGS,
     "_get_snapshot($self, /)\n--\n\n"
     "Return (done, cancelled, result, exception) at one moment."},
    {"__class_getitem__", (PyCFunction)Py_GenericAlias, METH_O | METH_CLASS,
     "Future[int] and the like, for annotations."},
    {NULL, NULL, 0, NULL},
};

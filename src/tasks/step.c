/* Steps of a task: what asyncio's task_step() does, with its messages. */
#include "tasks/any.h"
#include "tasks/task.h"

/* Lent to the parts of one step: `task` stays alive throughout. */
struct step {
    struct tdl_state *st;
    PyObject *task;
};

/* ---- what the coroutine yielded ---------------------------------------------------- */

/* Have an object called in the next turn that makes the task's next step, with
 * `exception` thrown in unless it is NULL.  Returns 0 or -1. */
static int
step_by_call(struct step *s, PyObject *exception)
{
    PyObject *call = tdl_task_step_call(s->st, s->task, exception);
    if (call == NULL)
        return -1;
    struct tdl_aio_task *t = tdl_task_of(s->task);
    PyObject *context = Py_NewRef(t->context);
    int r = tdl_awaited_soon(s->st, t->loop, call, NULL, context);
    Py_DECREF(context);
    Py_DECREF(call);
    return r;
}

/* Have `type`(message) thrown into the task in the next turn, as if the coroutine had
 * been given it in place of what it yielded. */
static int
throw_soon(struct step *s, PyObject *type, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    PyObject *message = PyUnicode_FromFormatV(format, values);
    va_end(values);
    PyObject *error = message == NULL ? NULL : PyObject_CallOneArg(type, message);
    int r = error == NULL ? -1 : step_by_call(s, error);
    Py_XDECREF(message);
    Py_XDECREF(error);
    return r;
}

static int
throw_different_loop(struct step *s, PyObject *yielded)
{
    return throw_soon(s, PyExc_RuntimeError,
                      "Task %R got Future %R attached to a different loop", s->task, yielded);
}

static int
throw_yield(struct step *s, PyObject *yielded)
{
    return throw_soon(s, PyExc_RuntimeError,
                      "yield was used instead of yield from in task %R with %R", s->task,
                      yielded);
}

/* The future waits; if the task is to be cancelled, cancel that. */
static int
wait_for(struct step *s, PyObject *future)
{
    struct tdl_aio_task *t = tdl_task_of(s->task);
    Py_XSETREF(t->fut_waiter, Py_NewRef(future));
    if (!t->must_cancel)
        return 0;
    PyObject *msg = t->cancel_msg == NULL ? Py_None : t->cancel_msg;
    Py_INCREF(msg); /* the method may change it */
    PyObject *r = PyObject_CallMethodOneArg(future, s->st->names.cancel, msg);
    Py_DECREF(msg);
    int cancelled = r == NULL ? -1 : PyObject_IsTrue(r);
    Py_XDECREF(r);
    if (cancelled > 0)
        t->must_cancel = 0;
    return cancelled < 0 ? -1 : 0;
}

/* After an error, which stays set. */
static void
forget_awaiter(PyObject *future, PyObject *task)
{
    PyObject *raised = tdl_err_take();
    if (tdl_awaited_drop_awaiter(future, task) < 0)
        PyErr_Clear();
    tdl_err_put_steal(raised);
}

static int
await_known(struct step *s, PyObject *future)
{
    struct tdl_aio_future *f = tdl_awaited_of(future);
    struct tdl_aio_task *t = tdl_task_of(s->task);
    if (f->loop != t->loop)
        return throw_different_loop(s, future);
    if (!f->blocking)
        return throw_yield(s, future);
    PyObject *call = tdl_task_wake_call(s->st, s->task);
    if (call == NULL)
        return -1;
    int r = tdl_awaited_add_awaiter(future, s->task);
    f->blocking = 0;
    if (r == 0) {
        PyObject *context = Py_NewRef(t->context);
        r = tdl_awaited_add_callback(s->st, future, call, context);
        Py_DECREF(context);
        if (r < 0)
            forget_awaiter(future, s->task);
    }
    Py_DECREF(call);
    return r < 0 ? -1 : wait_for(s, future);
}

static int
add_wake_by_method(struct step *s, PyObject *future)
{
    PyObject *call = tdl_task_wake_call(s->st, s->task);
    if (call == NULL)
        return -1;
    PyObject *context = Py_NewRef(tdl_task_of(s->task)->context);
    PyObject *stack[3] = {future, call, context};
    PyObject *r = PyObject_VectorcallMethod(s->st->names.add_done_callback, stack,
                                            2 | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                            s->st->objects.context_kwnames);
    Py_DECREF(context);
    Py_DECREF(call);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

/* Something that has _asyncio_future_blocking. */
static int
await_by_methods(struct step *s, PyObject *future, int blocking)
{
    PyObject *loop = tdl_any_loop(s->st, future);
    if (loop == NULL)
        return -1;
    Py_DECREF(loop);
    if (loop != tdl_task_of(s->task)->loop)
        return throw_different_loop(s, future);
    if (!blocking)
        return throw_yield(s, future);
    bool noted = tdl_awaited_check_subclass(s->st, future);
    if (noted && tdl_awaited_add_awaiter(future, s->task) < 0)
        return -1;
    if (PyObject_SetAttr(future, s->st->names._asyncio_future_blocking, Py_False) == 0 &&
        add_wake_by_method(s, future) == 0)
        return wait_for(s, future);
    if (noted)
        forget_awaiter(future, s->task);
    return -1;
}

/* Neither None nor a future whose methods are known. */
static int
handle_other(struct step *s, PyObject *yielded)
{
    PyObject *blocking = PyObject_GetAttr(yielded, s->st->names._asyncio_future_blocking);
    if (blocking == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError))
            return -1;
        PyErr_Clear();
    }
    if (blocking != NULL && blocking != Py_None) {
        int truth = PyObject_IsTrue(blocking);
        Py_DECREF(blocking);
        return truth < 0 ? -1 : await_by_methods(s, yielded, truth);
    }
    Py_XDECREF(blocking);
    int generator = PyObject_IsInstance(yielded, (PyObject *)&PyGen_Type);
    if (generator < 0)
        return -1;
    if (generator)
        return throw_soon(s, PyExc_RuntimeError,
                          "yield was used instead of yield from for generator in task %R "
                          "with %R",
                          s->task, yielded);
    return throw_soon(s, PyExc_RuntimeError, "Task got bad yield: %R", yielded);
}

/* A bare yield: the next step in the next turn. */
static int
step_soon(struct step *s)
{
    struct tdl_aio_task *t = tdl_task_of(s->task);
    if (Py_IS_TYPE(t->loop, s->st->objects.EventLoop)) {
        LoopObject *loop = (LoopObject *)t->loop;
        if (loop->plain && !loop->debug)
            return tdl_loop_soon_task(loop, s->task, NULL);
    }
    return step_by_call(s, NULL);
}

static int
handle_yielded(struct step *s, PyObject *yielded)
{
    if (yielded == Py_None)
        return step_soon(s);
    if (yielded == s->task)
        return throw_soon(s, PyExc_RuntimeError, "Task cannot await on itself: %R", s->task);
    if (tdl_awaited_check(s->st, yielded))
        return await_known(s, yielded);
    return handle_other(s, yielded);
}

/* ---- the coroutine ended ----------------------------------------------------------- */

static int
handle_returned(struct step *s, PyObject *value)
{
    struct tdl_aio_task *t = tdl_task_of(s->task);
    if (!t->must_cancel)
        return tdl_awaited_set_result(s->st, s->task, value);
    t->must_cancel = 0;
    PyObject *msg = Py_XNewRef(t->cancel_msg);
    int r = tdl_awaited_cancel(s->st, s->task, msg);
    Py_XDECREF(msg);
    return r;
}

/* A coroutine cannot raise it, but throw() of something else may. */
static PyObject *
as_runtime_error(PyObject *stop)
{
    PyObject *error = PyObject_CallFunction(
        PyExc_RuntimeError, "s",
        "StopIteration interacts badly with generators and cannot be raised into a Future");
    if (error != NULL) {
        PyException_SetCause(error, Py_NewRef(stop));
        PyException_SetContext(error, Py_NewRef(stop));
    }
    return error;
}

static int
finish_with(struct step *s, PyObject *raised)
{
    if (!PyErr_GivenExceptionMatches(raised, PyExc_StopIteration))
        return tdl_awaited_set_exception(s->st, s->task, raised);
    PyObject *error = as_runtime_error(raised);
    if (error == NULL)
        error = tdl_err_take();
    int r = tdl_awaited_set_exception(s->st, s->task, error);
    Py_DECREF(error);
    return r;
}

static int
handle_raised(struct step *s)
{
    bool cancelled = PyErr_ExceptionMatches(s->st->objects.aio_cancelled_error);
    PyObject *raised = tdl_err_take();
    if (cancelled) {
        Py_XSETREF(tdl_task_of(s->task)->cancelled_exc, raised);
        return tdl_awaited_cancel(s->st, s->task, NULL);
    }
    if (finish_with(s, raised) < 0) {
        Py_DECREF(raised);
        return -1;
    }
    if (PyErr_GivenExceptionMatches(raised, PyExc_KeyboardInterrupt) ||
        PyErr_GivenExceptionMatches(raised, PyExc_SystemExit)) {
        tdl_err_put_steal(raised);
        return -1;
    }
    Py_DECREF(raised);
    return 0;
}

/* ---- resuming ---------------------------------------------------------------------- */

/* What an iterator that ended without a result returned: PyIter_Send() for throw(). */
static PySendResult
fetch_returned(PyObject **value)
{
    if (PyErr_Occurred() == NULL) {
        *value = Py_NewRef(Py_None);
        return PYGEN_RETURN;
    }
    if (!PyErr_ExceptionMatches(PyExc_StopIteration))
        return PYGEN_ERROR;
    PyObject *stop = tdl_err_take();
    PyObject *returned = ((PyStopIterationObject *)stop)->value;
    *value = Py_NewRef(returned == NULL ? Py_None : returned);
    Py_DECREF(stop);
    return PYGEN_RETURN;
}

static PySendResult
resume(struct step *s, PyObject *exception, PyObject **value)
{
    struct tdl_aio_task *t = tdl_task_of(s->task);
    *value = NULL;
    if (t->coro == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "uninitialized Task object");
        return PYGEN_ERROR;
    }
    PyObject *coro = Py_NewRef(t->coro); /* it may make the task forget it */
    PySendResult status;
    if (exception == NULL)
        status = PyIter_Send(coro, Py_None, value);
    else {
        *value = PyObject_CallMethodOneArg(coro, s->st->names.throw, exception);
        status = *value != NULL ? PYGEN_NEXT : fetch_returned(value);
    }
    Py_DECREF(coro);
    return status;
}

/* A new reference to what is to be thrown, where the task is to be cancelled.  Without
 * memory for that it is told of what is missing, and cancelled when it waits again. */
static PyObject *
take_cancellation(struct step *s, PyObject *exception)
{
    struct tdl_state *st = s->st;
    PyObject *cancelled;
    if (exception != NULL &&
        PyErr_GivenExceptionMatches(exception, st->objects.aio_cancelled_error))
        cancelled = Py_NewRef(exception);
    else
        cancelled = tdl_awaited_cancelled_error(st, s->task);
    if (cancelled == NULL)
        return tdl_err_take();
    tdl_task_of(s->task)->must_cancel = 0;
    return cancelled;
}

/* Resume the coroutine, and do what it asks for. */
static int
go_on(struct step *s, PyObject *exception, bool started)
{
    PyObject *value;
    PySendResult status = resume(s, exception, &value);
    int r;
    if (status == PYGEN_NEXT)
        r = handle_yielded(s, value);
    else if (status == PYGEN_RETURN)
        r = handle_returned(s, value);
    else
        r = started ? handle_raised(s) : -1;
    Py_XDECREF(value);
    return r;
}

/* Whether there was no memory for what would have woken the task. */
static bool
lost(const struct tdl_aio_task *t)
{
    return t->state == TDL_AIO_PENDING && t->fut_waiter == NULL &&
           PyErr_ExceptionMatches(PyExc_MemoryError);
}

/* End the task with what is set, which there is nobody else to tell. */
static int
end_with_error(struct tdl_state *st, PyObject *task)
{
    PyObject *raised = tdl_err_take();
    int r = tdl_awaited_set_exception(st, task, raised);
    Py_DECREF(raised);
    return r;
}

/* Nobody would wake it: it hears of the error itself, and ends if that fails too. */
static int
go_on_lost(struct step *s)
{
    PyObject *raised = tdl_err_take();
    int r = go_on(s, raised, true);
    Py_DECREF(raised);
    return r < 0 && lost(tdl_task_of(s->task)) ? end_with_error(s->st, s->task) : r;
}

static int
make_step(struct step *s, PyObject *exception)
{
    struct tdl_aio_task *t = tdl_task_of(s->task);
    if (t->state != TDL_AIO_PENDING) {
        PyErr_Format(s->st->objects.aio_invalid_state,
                     TDL_AIO_STEP_NAME "(): already done: %R %R", s->task,
                     exception == NULL ? Py_None : exception);
        return -1;
    }
    PyObject *own = NULL;
    if (t->must_cancel)
        exception = own = take_cancellation(s, exception);
    Py_CLEAR(t->fut_waiter);
    bool started = t->coro != NULL;
    int r = go_on(s, exception, started);
    Py_XDECREF(own);
    return r < 0 && started && lost(t) ? go_on_lost(s) : r;
}

/* Leave after an error: what leaving raises gets the error as its context. */
static void
leave_raised(struct step *s, PyObject *loop)
{
    PyObject *raised = tdl_err_take();
    if (tdl_task_leave(s->st, loop, s->task) == 0) {
        tdl_err_put_steal(raised);
        return;
    }
    PyObject *later = tdl_err_take();
    PyException_SetContext(later, raised);
    tdl_err_put_steal(later);
}

int
tdl_task_step(struct tdl_state *st, PyObject *task, PyObject *exception)
{
    struct step s = {st, task};
    PyObject *loop = tdl_task_of(task)->loop;
    if (loop == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Future object is not initialized.");
        return -1;
    }
    Py_INCREF(loop);
    int r = tdl_task_enter(st, loop, task);
    if (r == 0) {
        r = make_step(&s, exception);
        if (r < 0)
            leave_raised(&s, loop);
        else
            r = tdl_task_leave(st, loop, task);
    }
    else if (tdl_task_of(task)->state == TDL_AIO_PENDING &&
             PyErr_ExceptionMatches(PyExc_MemoryError))
        r = end_with_error(st, task); /* its step would never come again */
    Py_DECREF(loop);
    return r;
}

/* The exception that `future`, of whatever class, has for who awaited it. */
static int
outcome_of(struct tdl_state *st, PyObject *future, PyObject **exception)
{
    *exception = NULL;
    if (tdl_awaited_check(st, future))
        return tdl_awaited_outcome(st, future, exception);
    PyObject *result = PyObject_CallMethodNoArgs(future, st->names.result);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

int
tdl_task_wake(struct tdl_state *st, PyObject *task, PyObject *future)
{
    PyObject *exception;
    bool noted = tdl_awaited_check_subclass(st, future);
    if ((noted && tdl_awaited_drop_awaiter(future, task) < 0) ||
        outcome_of(st, future, &exception) < 0)
        exception = tdl_err_take(); /* the task hears of it: it is not woken again */
    int r = tdl_task_step(st, task, exception);
    Py_XDECREF(exception);
    return r;
}

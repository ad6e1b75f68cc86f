/* wait_for(): from 3.12 on, which await in the task itself, under a timer that cancels it. */
#include "py/args.h"
#include "tasks/any.h"
#include "tasks/coroutine.h"
#include "tasks/functions.h"
#include "tasks/task.h"

/* The values of the coroutine; its owner is asyncio's function, then the task.  `number` is
 * how often the task had been asked to cancel. */
enum { AWAITED, TIMEOUT };

/* Whether `timeout` is None or a number above 0 that takes no code of its own. */
static bool
is_plain(PyObject *timeout)
{
    int overflow = 0;
    return timeout == Py_None ||
           (PyFloat_CheckExact(timeout) && PyFloat_AS_DOUBLE(timeout) > 0) ||
           (PyLong_CheckExact(timeout) && PyLong_AsLongAndOverflow(timeout, &overflow) > 0);
}

/* Whether nobody awaits `coro` already.  Sets no exception. */
static bool
is_free(struct tdl_state *st, PyObject *coro)
{
    PyObject *awaited = PyObject_GetAttr(coro, st->names.cr_await);
    if (awaited == NULL)
        PyErr_Clear();
    Py_XDECREF(awaited);
    return awaited == Py_None;
}

/* Whether it is one that awaiting takes no code of. */
static bool
is_known(struct tdl_state *st, PyObject *awaited)
{
    return tdl_awaited_check(st, awaited) || Py_IS_TYPE(awaited, st->objects.Coroutine) ||
           (PyCoro_CheckExact(awaited) && is_free(st, awaited));
}

/* By asyncio's function, which is the owner. */
static enum tdl_go
by_stock(CoroutineObject *self)
{
    return tdl_coroutine_become(self, PyObject_Vectorcall(self->owner, self->values, 2, NULL));
}

/* _wait_for_expired(coroutine): what the timer calls. */
static PyObject *
expire(PyObject *Py_UNUSED(module), PyObject *op)
{
    CoroutineObject *self = (CoroutineObject *)op;
    if (self->owner == NULL)
        Py_RETURN_NONE;
    PyObject *task = Py_NewRef(self->owner);
    self->expired = true;
    int r = tdl_any_cancel(self->st, task, NULL);
    Py_DECREF(task);
    if (r < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- the end ------------------------------------------------------------------------- */

/* TimeoutError where `raised` was; takes the reference. */
static void
raise_timeout_steal(PyObject *raised)
{
    PyObject *error = PyObject_CallNoArgs(PyExc_TimeoutError);
    if (error == NULL) {
        Py_DECREF(raised);
        return;
    }
    PyException_SetCause(error, Py_NewRef(raised));
    PyException_SetContext(error, raised);
    tdl_err_put_steal(error);
}

/* Have a CancelledError behind `raised` say that it was the timeout's: from 3.13 on. */
static int
note_timeout(struct tdl_state *st, PyObject *raised)
{
    PyObject *note = st->objects.aio_note_timeout;
    PyObject *r = note == NULL ? NULL : PyObject_CallOneArg(note, raised);
    Py_XDECREF(r);
    if (note == NULL || r == NULL)
        return note == NULL ? 0 : -1;
    int is_group = PyObject_IsInstance(raised, st->objects.ExceptionGroup);
    PyObject *all = is_group > 0 ? PyObject_GetAttr(raised, st->names.exceptions) : NULL;
    if (is_group <= 0 || all == NULL)
        return is_group == 0 ? 0 : -1;
    Py_ssize_t count = PyTuple_Check(all) ? PyTuple_GET_SIZE(all) : 0;
    for (Py_ssize_t i = 0; r != NULL && i < count; i++) {
        r = PyObject_CallOneArg(note, PyTuple_GET_ITEM(all, i));
        Py_XDECREF(r);
    }
    Py_DECREF(all);
    return r == NULL ? -1 : 0;
}

/* Whether it is what the timeout made of the task. */
static bool
is_from_timeout(struct tdl_state *st, PyObject *raised)
{
    PyObject *cancelled = st->objects.aio_cancelled_error;
    if (st->objects.aio_note_timeout == NULL) /* before 3.13 exactly that */
        return (PyObject *)Py_TYPE(raised) == cancelled;
    return PyErr_GivenExceptionMatches(raised, cancelled);
}

/* The timer has asked the task to cancel.  `raised`: what came of it, or NULL; takes the
 * reference.  Returns 0, or -1 with an exception set. */
static int
resolve_steal(CoroutineObject *self, PyObject *raised)
{
    struct tdl_state *st = self->st;
    PyObject *left = PyObject_CallMethodNoArgs(self->owner, st->names.uncancel);
    long asked = left == NULL ? -1 : PyLong_AsLong(left);
    Py_XDECREF(left);
    if (left == NULL || (asked == -1 && PyErr_Occurred())) {
        Py_XDECREF(raised);
        return -1;
    }
    if (raised == NULL)
        return 0;
    if (asked <= self->number) {
        if (is_from_timeout(st, raised)) {
            raise_timeout_steal(raised);
            return -1;
        }
        if (note_timeout(st, raised) < 0) {
            Py_DECREF(raised);
            return -1;
        }
    }
    tdl_err_put_steal(raised);
    return -1;
}

/* `*result`, or what is set, is what awaiting came to. */
static enum tdl_go
leave(CoroutineObject *self, PyObject **result)
{
    PyObject *raised = *result == NULL ? tdl_err_take() : NULL;
    int r = self->handle == NULL ? 0 : tdl_handle_cancel(self->st, self->handle);
    if (r < 0)
        Py_XDECREF(raised);
    else if (self->expired)
        r = resolve_steal(self, raised);
    else if (raised != NULL) {
        tdl_err_put_steal(raised);
        r = -1;
    }
    if (r < 0)
        Py_CLEAR(*result);
    return r < 0 ? TDL_GO_ERROR : TDL_GO_DONE;
}

static enum tdl_go
wake(CoroutineObject *self, PyObject **result)
{
    *result = tdl_any_result(self->st, self->future);
    return leave(self, result);
}

static enum tdl_go
fail(CoroutineObject *self, PyObject **result)
{
    *result = NULL;
    return leave(self, result);
}

/* ---- the beginning ------------------------------------------------------------------- */

static int
start_timer(CoroutineObject *self, LoopObject *loop)
{
    PyObject *op = (PyObject *)self;
    struct tdl_request request = {self->st->objects.wait_for_expire, &op, 1, NULL, NULL};
    if (self->values[TIMEOUT] == Py_None)
        return 0;
    self->handle = tdl_loop_call_later(loop, self->values[TIMEOUT], &request);
    return self->handle == NULL ? -1 : 0;
}

static enum tdl_go
begin(CoroutineObject *self, LoopObject *loop, PyObject *task, PyObject **result)
{
    struct tdl_state *st = self->st;
    PyObject *awaited = self->values[AWAITED];
    self->number = tdl_task_of(task)->cancels;
    Py_SETREF(self->owner, Py_NewRef(task));
    if (start_timer(self, loop) < 0)
        return TDL_GO_ERROR;
    if (!tdl_awaited_check(st, awaited))
        return tdl_coroutine_enter(self, Py_NewRef(awaited));
    self->future = Py_NewRef(awaited);
    return tdl_any_done(st, awaited) ? wake(self, result) : TDL_GO_WAIT;
}

static enum tdl_go
start(CoroutineObject *self, PyObject **result)
{
    LoopObject *loop = NULL;
    if (TDL_AIO_AWAITS_IN_TASK && is_plain(self->values[TIMEOUT]) &&
        self->st->task_ops != NULL && is_known(self->st, self->values[AWAITED]))
        loop = tdl_coroutine_loop(self->st);
    PyObject *task = loop == NULL ? NULL : tdl_coroutine_task(self->st, (PyObject *)loop);
    enum tdl_go r = task == NULL ? by_stock(self) : begin(self, loop, task, result);
    Py_XDECREF(task);
    Py_XDECREF((PyObject *)loop);
    return r;
}

static const struct tdl_coroutine_op op = {"wait_for", "wait_for", start, wake,
                                           fail,       false,      leave};

static PyObject *
call(PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    static const char *const names[] = {"fut", "timeout"};
    PyObject *v[2];
    if (tdl_args_parse("wait_for", args, PyVectorcall_NARGS(nargsf), kwnames, names, 2, 2, v) <
        0)
        return NULL;
    return tdl_coroutine_new(tdl_coroutine_function_state(callable), &op,
                             tdl_coroutine_function_stock(callable), v[AWAITED], v[TIMEOUT]);
}

PyObject *
tdl_make_wait_for(PyObject *module, PyObject *stock)
{
    static PyMethodDef timer = {"_wait_for_expired", expire, METH_O, NULL};
    struct tdl_state *st = tdl_state_of(module);
    Py_XSETREF(st->objects.wait_for_expire, PyCFunction_New(&timer, module));
    if (st->objects.wait_for_expire == NULL)
        return NULL;
    return tdl_coroutine_function_new(st, stock, call);
}

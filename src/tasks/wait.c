/* wait(): for the first of several futures, the first that failed, or all. */
#include "py/args.h"
#include "tasks/any.h"
#include "tasks/callee.h"
#include "tasks/coroutine.h"
#include "tasks/functions.h"
#include "tasks/task.h"

/* The values of the coroutine; its owner is asyncio's function, then the callee. */
enum { FUTURES, OPTIONS };
enum { TIMEOUT, RETURN_WHEN }; /* in the tuple of options */
enum { WHEN_ALL, WHEN_FIRST, WHEN_EXCEPTION };

/* ---- a future is done ---------------------------------------------------------------- */

static int
cancel_timer(CalleeObject *callee)
{
    PyObject *timer = callee->timer;
    callee->timer = NULL;
    int r = timer == NULL ? 0 : tdl_handle_cancel(callee->st, timer);
    Py_XDECREF(timer);
    return r;
}

static int
release(CalleeObject *callee)
{
    PyObject *waiter = Py_XNewRef(callee->outer);
    int r = 0;
    if (waiter != NULL && tdl_awaited_of(waiter)->state == TDL_AIO_PENDING)
        r = tdl_awaited_set_result(callee->st, waiter, Py_None);
    Py_XDECREF(waiter);
    return r;
}

/* Whether this is the one that was waited for.  1, 0 or -1 with an exception set. */
static int
is_enough(CalleeObject *callee, PyObject *future)
{
    PyObject *exception;
    if (callee->left <= 0 || callee->mode == WHEN_FIRST)
        return 1;
    if (callee->mode == WHEN_ALL || tdl_any_cancelled(callee->st, future))
        return 0;
    if (tdl_any_outcome(callee->st, future, &exception) < 0)
        return -1;
    Py_XDECREF(exception);
    return exception != NULL;
}

static int
one_done(CalleeObject *self, PyObject *future)
{
    if (future == NULL)
        return release(self); /* the timer */
    self->left--;
    int enough = is_enough(self, future);
    if (enough < 0 || (enough && (cancel_timer(self) < 0 || release(self) < 0)))
        return -1;
    return tdl_any_drop_awaiter(self->st, future, self->task);
}

static const struct tdl_callee_kind kind = {
    .name = "_on_completion",
    .qualname = "_wait.<locals>._on_completion",
    .done = one_done,
};

/* ---- the end ------------------------------------------------------------------------- */

/* Let go of the futures.  Returns 0 or -1 with an exception set. */
static int
let_go(CoroutineObject *self)
{
    CalleeObject *callee = (CalleeObject *)self->owner;
    PyObject *all = callee->members;
    int r = cancel_timer(callee);
    for (Py_ssize_t i = 0; r == 0 && all != NULL && i < PyList_GET_SIZE(all); i++) {
        PyObject *future = PyList_GET_ITEM(all, i);
        r = tdl_any_remove_callback(self->st, future, (PyObject *)callee);
        if (r == 0)
            r = tdl_any_drop_awaiter(self->st, future, callee->task);
    }
    return r;
}

/* (done, pending) */
static PyObject *
sort_out(CoroutineObject *self)
{
    PyObject *done = PySet_New(NULL), *pending = PySet_New(NULL), *pair = NULL;
    PyObject *all = ((CalleeObject *)self->owner)->members;
    int r = done == NULL || pending == NULL || all == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; r == 0 && i < PyList_GET_SIZE(all); i++) {
        PyObject *future = PyList_GET_ITEM(all, i);
        r = PySet_Add(tdl_any_done(self->st, future) ? done : pending, future);
    }
    if (r == 0)
        pair = PyTuple_Pack(2, done, pending);
    Py_XDECREF(done);
    Py_XDECREF(pending);
    return pair;
}

static enum tdl_go
wake(CoroutineObject *self, PyObject **result)
{
    *result = let_go(self) < 0 ? NULL : sort_out(self);
    return *result == NULL ? TDL_GO_ERROR : TDL_GO_DONE;
}

static enum tdl_go
fail(CoroutineObject *self, PyObject **Py_UNUSED(result))
{
    PyObject *raised = tdl_err_take();
    if (let_go(self) == 0)
        tdl_err_put_steal(raised);
    else
        Py_DECREF(raised);
    return TDL_GO_ERROR;
}

/* ---- the beginning ------------------------------------------------------------------- */

static bool
is_plain(PyObject *timeout)
{
    return timeout == Py_None || PyFloat_CheckExact(timeout) || PyLong_CheckExact(timeout);
}

/* The mode that asyncio means by it, or -1: something else. */
static int
mode_of(PyObject *return_when)
{
    static const char *const names[] = {"ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"};
    for (int i = 0; i < 3 && PyUnicode_CheckExact(return_when); i++)
        if (PyUnicode_CompareWithASCIIString(return_when, names[i]) == 0)
            return i;
    return -1;
}

static bool
is_collection(PyObject *futures)
{
    return PyList_CheckExact(futures) || PyTuple_CheckExact(futures) ||
           PyAnySet_CheckExact(futures);
}

/* The futures, each once: a new list.  NULL with an exception set; or without one if some
 * are not known natively, or there are none. */
static PyObject *
list_of(struct tdl_state *st, PyObject *futures, LoopObject *loop)
{
    PyObject *set = PyAnySet_CheckExact(futures) ? Py_NewRef(futures) : NULL;
    PyObject *all = PySequence_List(futures);
    for (Py_ssize_t i = 0; all != NULL && i < PyList_GET_SIZE(all); i++) {
        PyObject *each = PyList_GET_ITEM(all, i);
        if (!tdl_awaited_check(st, each) || tdl_awaited_of(each)->loop != (PyObject *)loop)
            Py_CLEAR(all);
    }
    if (all != NULL && PyList_GET_SIZE(all) == 0)
        Py_CLEAR(all);
    if (all != NULL && set == NULL) {
        set = PySet_New(all);
        Py_SETREF(all, set == NULL ? NULL : PySequence_List(set));
    }
    Py_XDECREF(set);
    return all;
}

static int
watch(CoroutineObject *self, CalleeObject *callee, LoopObject *loop)
{
    struct tdl_state *st = self->st;
    PyObject *timeout = PyTuple_GET_ITEM(self->values[OPTIONS], TIMEOUT);
    struct tdl_request request = {(PyObject *)callee, NULL, 0, NULL, NULL};
    if (tdl_functions_awaiter(st, (PyObject *)loop, &callee->task) < 0 ||
        (callee->outer = tdl_loop_create_future(loop)) == NULL)
        return -1;
    if (timeout != Py_None &&
        (callee->timer = tdl_loop_call_later(loop, timeout, &request)) == NULL)
        return -1;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(callee->members); i++) {
        PyObject *each = PyList_GET_ITEM(callee->members, i);
        callee->left++;
        if (tdl_any_add_callback(st, each, (PyObject *)callee, callee->context) < 0 ||
            tdl_any_add_awaiter(st, each, callee->task) < 0)
            return -1;
    }
    return 0;
}

/* Takes the reference to `all`. */
static enum tdl_go
begin_steal(CoroutineObject *self, LoopObject *loop, PyObject *all, int mode)
{
    CalleeObject *callee = tdl_callee_new(self->st, &kind);
    if (callee == NULL) {
        Py_DECREF(all);
        return TDL_GO_ERROR;
    }
    callee->members = all;
    callee->mode = mode;
    Py_SETREF(self->owner, (PyObject *)callee);
    if (watch(self, callee, loop) < 0)
        return fail(self, NULL);
    self->future = Py_NewRef(callee->outer);
    return TDL_GO_WAIT;
}

/* By asyncio's function, which is the owner. */
static enum tdl_go
by_stock(CoroutineObject *self)
{
    PyObject *options = self->values[OPTIONS];
    PyObject *kwnames = Py_BuildValue("(ss)", "timeout", "return_when");
    PyObject *stack[3] = {self->values[FUTURES], PyTuple_GET_ITEM(options, TIMEOUT),
                          PyTuple_GET_ITEM(options, RETURN_WHEN)};
    PyObject *made =
        kwnames == NULL ? NULL : PyObject_Vectorcall(self->owner, stack, 1, kwnames);
    Py_XDECREF(kwnames);
    return tdl_coroutine_become(self, made);
}

static enum tdl_go
start(CoroutineObject *self, PyObject **Py_UNUSED(result))
{
    PyObject *options = self->values[OPTIONS], *futures = self->values[FUTURES], *all = NULL;
    int mode = mode_of(PyTuple_GET_ITEM(options, RETURN_WHEN));
    LoopObject *loop = NULL;
    if (mode >= 0 && is_collection(futures) && is_plain(PyTuple_GET_ITEM(options, TIMEOUT)))
        loop = tdl_coroutine_loop(self->st);
    if (loop != NULL)
        all = list_of(self->st, futures, loop);
    enum tdl_go r = TDL_GO_ERROR;
    if (all != NULL)
        r = begin_steal(self, loop, all, mode);
    else if (!PyErr_Occurred())
        r = by_stock(self);
    Py_XDECREF((PyObject *)loop);
    return r;
}

static const struct tdl_coroutine_op op = {"wait", "wait", start, wake, fail, false, NULL};

static PyObject *
call(PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    static const char *const names[] = {"fs", "timeout", "return_when"};
    struct tdl_state *st = tdl_coroutine_function_state(callable);
    Py_ssize_t nargs = PyVectorcall_NARGS(nargsf);
    PyObject *v[3];
    if (nargs > 1) {
        PyErr_Format(PyExc_TypeError, "wait() takes 1 positional argument but %zd were given",
                     nargs);
        return NULL;
    }
    if (tdl_args_parse("wait", args, nargs, kwnames, names, 3, 1, v) < 0)
        return NULL;
    PyObject *options = PyTuple_Pack(2, v[1] == NULL ? Py_None : v[1],
                                     v[2] == NULL ? st->objects.aio_all_completed : v[2]);
    PyObject *made = NULL;
    if (options != NULL)
        made =
            tdl_coroutine_new(st, &op, tdl_coroutine_function_stock(callable), v[0], options);
    Py_XDECREF(options);
    return made;
}

PyObject *
tdl_make_wait(PyObject *module, PyObject *stock)
{
    return tdl_coroutine_function_new(tdl_state_of(module), stock, call);
}

/* The native side of as_completed(): what tells of futures that are done, and the coroutines
 * that wait for the next one.  The queue between them is a treadle.Queue, the iterator in
 * python/treadle/_as_completed.py. */
#include "tasks/any.h"
#include "tasks/callee.h"
#include "tasks/coroutine.h"
#include "tasks/functions.h"

/* ---- a future is done ---------------------------------------------------------------- */

static int
put(CalleeObject *self, PyObject *item)
{
    PyObject *r = PyObject_CallMethodOneArg(self->outer, self->st->names.put_nowait, item);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

static int
cancel_timer(CalleeObject *self)
{
    PyObject *timer = self->timer;
    self->timer = NULL;
    int r = timer == NULL ? 0 : tdl_handle_cancel(self->st, timer);
    Py_XDECREF(timer);
    return r;
}

/* The time is over: who waits hears of it, once for each future that is not done. */
static int
give_up(CalleeObject *self)
{
    PyObject *left = PySequence_List(self->members);
    int r = left == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; r == 0 && i < PyList_GET_SIZE(left); i++) {
        PyObject *future = PyList_GET_ITEM(left, i);
        if (tdl_any_remove_callback(self->st, future, (PyObject *)self) < 0 ||
            tdl_any_drop_awaiter(self->st, future, self->task) < 0 || put(self, Py_None) < 0)
            r = -1;
    }
    Py_XDECREF(left);
    return r < 0 ? -1 : PySet_Clear(self->members);
}

/* `members` is the set of futures that are not done, `outer` the queue. */
static int
one_done(CalleeObject *self, PyObject *future)
{
    if (self->members == NULL || self->outer == NULL)
        return 0;
    if (future == NULL)
        return give_up(self);
    if (PySet_GET_SIZE(self->members) == 0)
        return 0; /* the time was over before */
    if (PySet_Discard(self->members, future) < 0 ||
        tdl_any_drop_awaiter(self->st, future, self->task) < 0 || put(self, future) < 0)
        return -1;
    return PySet_GET_SIZE(self->members) == 0 ? cancel_timer(self) : 0;
}

static const struct tdl_callee_kind kind = {
    .name = "_handle_completion",
    .qualname = "_AsCompletedIterator._handle_completion",
    .done = one_done,
};

static PyObject *
start_timer(CalleeObject *self, PyObject *loop, PyObject *timeout)
{
    PyObject *stack[3] = {loop, timeout, (PyObject *)self};
    return PyObject_VectorcallMethod(self->st->names.call_later, stack,
                                     3 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
}

static int
watch(CalleeObject *self, PyObject *loop, PyObject *timeout)
{
    struct tdl_state *st = self->st;
    PyObject *all = PySequence_List(self->members);
    int r = all == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; r == 0 && i < PyList_GET_SIZE(all); i++) {
        PyObject *future = PyList_GET_ITEM(all, i);
        if (tdl_any_add_callback(st, future, (PyObject *)self, self->context) < 0 ||
            tdl_any_add_awaiter(st, future, self->task) < 0)
            r = -1;
    }
    if (r == 0 && PyList_GET_SIZE(all) > 0 && timeout != Py_None &&
        (self->timer = start_timer(self, loop, timeout)) == NULL)
        r = -1;
    Py_XDECREF(all);
    return r;
}

/* _watch_completed(futures, queue, loop, task, timeout): put each future of a set into the
 * queue when it is done, None for each that is not after timeout seconds.  The set is not the
 * caller's any more.  `task` is who waits, or None. */
PyObject *
tdl_watch_completed(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    struct tdl_state *st = tdl_state_of(module);
    int ready = tdl_functions_ready(st);
    if (ready < 0)
        return NULL;
    if (!ready || nargs != 5 || !PySet_CheckExact(args[0])) {
        PyErr_SetString(PyExc_TypeError, "_watch_completed() is treadle's own");
        return NULL;
    }
    CalleeObject *self = tdl_callee_new(st, &kind);
    if (self == NULL)
        return NULL;
    self->members = Py_NewRef(args[0]);
    self->outer = Py_NewRef(args[1]);
    self->task = args[3] == Py_None ? NULL : Py_NewRef(args[3]);
    int r = watch(self, args[2], args[4]);
    Py_DECREF(self);
    if (r < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- waiting for the next ------------------------------------------------------------ */

/* The values: whether the future's result is wanted, or the future.  The owner is what the
 * queue's get() returned. */
static enum tdl_go
start(CoroutineObject *self, PyObject **Py_UNUSED(result))
{
    return tdl_coroutine_enter(self,
                               PyObject_CallMethodNoArgs(self->owner, self->st->names.get));
}

static enum tdl_go
leave(CoroutineObject *self, PyObject **result)
{
    PyObject *future = *result;
    if (future == NULL)
        return TDL_GO_ERROR;
    if (future == Py_None) {
        Py_CLEAR(*result);
        PyErr_SetNone(PyExc_TimeoutError);
        return TDL_GO_ERROR;
    }
    if (self->values[0] == Py_False)
        return TDL_GO_DONE;
    *result = tdl_any_result(self->st, future);
    Py_DECREF(future);
    return *result == NULL ? TDL_GO_ERROR : TDL_GO_DONE;
}

/* _next_completed(queue, resolve): a coroutine of the next future in the queue, or of its
 * result; TimeoutError where that is None. */
PyObject *
tdl_next_completed(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    static const struct tdl_coroutine_op op = {
        .name = "_wait_for_one",
        .qualname = "_AsCompletedIterator._wait_for_one",
        .start = start,
        .leave = leave,
    };
    if (nargs != 2) {
        PyErr_SetString(PyExc_TypeError, "_next_completed() takes a queue and a bool");
        return NULL;
    }
    return tdl_coroutine_new(tdl_state_of(module), &op, args[0], args[1], NULL);
}

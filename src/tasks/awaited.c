#include "tasks/awaited.h"

#include "loop/task_ops.h"
#include "tasks/task.h"

/* ---- callbacks --------------------------------------------------------------------- */

/* `loop` as one of ours whose call_soon() is the native one and would do nothing else, or NULL. */
static LoopObject *
as_plain(struct tdl_state *st, PyObject *loop)
{
    if (!Py_IS_TYPE(loop, st->objects.EventLoop))
        return NULL;
    LoopObject *ours = (LoopObject *)loop;
    return ours->plain && !ours->debug ? ours : NULL;
}

static int
soon_by_method(struct tdl_state *st, PyObject *loop, PyObject *callback, PyObject *argument,
               PyObject *context)
{
    PyObject *stack[4] = {loop, callback};
    size_t nargs = 2;
    if (argument != NULL)
        stack[nargs++] = argument;
    stack[nargs] = context;
    Py_INCREF(loop); /* looking up the method may make the future forget both */
    Py_INCREF(context);
    PyObject *r = PyObject_VectorcallMethod(st->names.call_soon, stack,
                                            nargs | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                            st->objects.context_kwnames);
    Py_DECREF(context);
    Py_DECREF(loop);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

int
tdl_awaited_soon(struct tdl_state *st, PyObject *loop, PyObject *callback, PyObject *argument,
                 PyObject *context)
{
    LoopObject *ours = as_plain(st, loop);
    if (ours == NULL)
        return soon_by_method(st, loop, callback, argument, context);
    PyObject *task = tdl_task_of_callback(st, callback, argument != NULL, context);
    if (task != NULL)
        return tdl_loop_soon_task(ours, task, argument);
    return tdl_loop_soon(ours, callback, &argument, argument != NULL, context);
}

/* Take the callbacks of a future that is done, and schedule them; a loop's call_soon()
 * may do anything to the future meanwhile. */
static int
schedule(struct tdl_state *st, PyObject *op)
{
    struct tdl_aio_future *f = tdl_awaited_of(op);
    PyObject *loop, *callback, *context, *more;
    TDL_CRITICAL_BEGIN(op);
    loop = Py_NewRef(f->loop);
    callback = f->callback0;
    context = f->context0;
    more = f->callbacks;
    f->callback0 = f->context0 = f->callbacks = NULL;
    TDL_CRITICAL_END();
    int r = callback == NULL ? 0 : tdl_awaited_soon(st, loop, callback, op, context);
    Py_XDECREF(callback);
    Py_XDECREF(context);
    for (Py_ssize_t i = 0; r == 0 && more != NULL && i < PyList_GET_SIZE(more); i++) {
        PyObject *pair = PyList_GET_ITEM(more, i);
        r = tdl_awaited_soon(st, loop, PyTuple_GET_ITEM(pair, 0), op,
                             PyTuple_GET_ITEM(pair, 1));
    }
    Py_XDECREF(more);
    Py_DECREF(loop);
    return r;
}

enum added { ADDED, DONE, CROWDED };

static enum added
add_first(PyObject *op, PyObject *callback, PyObject *context)
{
    struct tdl_aio_future *f = tdl_awaited_of(op);
    enum added r = ADDED;
    TDL_CRITICAL_BEGIN(op);
    if (f->state != TDL_AIO_PENDING)
        r = DONE;
    else if (f->callback0 != NULL || f->callbacks != NULL)
        r = CROWDED;
    else {
        f->callback0 = Py_NewRef(callback);
        f->context0 = Py_NewRef(context);
    }
    TDL_CRITICAL_END();
    return r;
}

/* Making these may collect garbage, and that change the future: they are made before it
 * is looked at.  Returns an enum added, or -1 with an exception set. */
static int
add_later(PyObject *op, PyObject *callback, PyObject *context)
{
    struct tdl_aio_future *f = tdl_awaited_of(op);
    PyObject *pair = PyTuple_Pack(2, callback, context);
    PyObject *list = pair == NULL ? NULL : PyList_New(0);
    int r = list == NULL ? -1 : ADDED;
    TDL_CRITICAL_BEGIN(op);
    if (r == ADDED && f->state != TDL_AIO_PENDING)
        r = DONE;
    if (r == ADDED) {
        if (f->callbacks == NULL)
            f->callbacks = Py_NewRef(list);
        r = PyList_Append(f->callbacks, pair) < 0 ? -1 : ADDED;
    }
    TDL_CRITICAL_END();
    Py_XDECREF(list);
    Py_XDECREF(pair);
    return r;
}

int
tdl_awaited_add_callback(struct tdl_state *st, PyObject *op, PyObject *callback,
                         PyObject *context)
{
    int r = add_first(op, callback, context);
    if (r == CROWDED)
        r = add_later(op, callback, context);
    return r == DONE ? tdl_awaited_soon(st, tdl_awaited_of(op)->loop, callback, op, context)
                     : r;
}

/* ---- finishing --------------------------------------------------------------------- */

/* Leave PENDING.  Returns false if it had been left before. */
static bool
finish(struct tdl_state *st, PyObject *op, int state, PyObject *result, PyObject *exception)
{
    struct tdl_aio_future *f = tdl_awaited_of(op);
    bool first;
    PyObject *old_result = NULL, *old_exception = NULL, *old_tb = NULL;
    PyObject *tb = exception == NULL ? NULL : PyException_GetTraceback(exception);
    TDL_CRITICAL_BEGIN(op);
    first = f->state == TDL_AIO_PENDING;
    if (first) {
        old_result = f->result;
        old_exception = f->exception;
        old_tb = f->exception_tb;
        f->result = Py_XNewRef(result);
        f->exception = Py_XNewRef(exception);
        f->exception_tb = Py_XNewRef(tb);
        f->state = state;
    }
    TDL_CRITICAL_END();
    Py_XDECREF(tb);
    Py_XDECREF(old_result);
    Py_XDECREF(old_exception);
    Py_XDECREF(old_tb);
    if (first && tdl_task_check(st, op))
        tdl_task_unregister(st, op);
    return first;
}

static int
raise_invalid_state(struct tdl_state *st)
{
    PyErr_SetString(st->objects.aio_invalid_state, "invalid state");
    return -1;
}

int
tdl_awaited_set_result(struct tdl_state *st, PyObject *op, PyObject *result)
{
    if (!finish(st, op, TDL_AIO_FINISHED, result, NULL))
        return raise_invalid_state(st);
    return schedule(st, op);
}

int
tdl_awaited_set_exception(struct tdl_state *st, PyObject *op, PyObject *exception)
{
    if (!finish(st, op, TDL_AIO_FINISHED, NULL, exception))
        return raise_invalid_state(st);
    int r = schedule(st, op);
    TDL_CRITICAL_BEGIN(op);
    if (r == 0)
        tdl_awaited_of(op)->log_tb = 1;
    TDL_CRITICAL_END();
    return r;
}

int
tdl_awaited_cancel(struct tdl_state *st, PyObject *op, PyObject *msg)
{
    struct tdl_aio_future *f = tdl_awaited_of(op);
    PyObject *old = NULL;
    Py_XINCREF(msg);
    TDL_CRITICAL_BEGIN(op);
    f->log_tb = 0;
    if (f->state == TDL_AIO_PENDING) {
        old = f->cancel_msg;
        f->cancel_msg = Py_XNewRef(msg);
    }
    TDL_CRITICAL_END();
    int r = 0;
    if (finish(st, op, TDL_AIO_CANCELLED, NULL, NULL))
        r = schedule(st, op);
    Py_XDECREF(old);
    Py_XDECREF(msg);
    return r;
}

/* ---- outcome ----------------------------------------------------------------------- */

PyObject *
tdl_awaited_cancelled_error(struct tdl_state *st, PyObject *op)
{
    struct tdl_aio_future *f = tdl_awaited_of(op);
    PyObject *error, *msg;
    TDL_CRITICAL_BEGIN(op);
    error = f->cancelled_exc;
    f->cancelled_exc = NULL;
    msg = Py_XNewRef(f->cancel_msg);
    TDL_CRITICAL_END();
    if (error == NULL)
        error = msg == NULL || msg == Py_None
                    ? PyObject_CallNoArgs(st->objects.aio_cancelled_error)
                    : PyObject_CallOneArg(st->objects.aio_cancelled_error, msg);
    Py_XDECREF(msg);
    return error;
}

int
tdl_awaited_outcome(struct tdl_state *st, PyObject *op, PyObject **exception)
{
    struct tdl_aio_future *f = tdl_awaited_of(op);
    PyObject *tb = NULL;
    int state;
    *exception = NULL;
    TDL_CRITICAL_BEGIN(op);
    state = f->state;
    if (state == TDL_AIO_FINISHED) {
        f->log_tb = 0;
        *exception = Py_XNewRef(f->exception);
        tb = f->exception_tb;
        f->exception_tb = NULL;
    }
    TDL_CRITICAL_END();
    if (state == TDL_AIO_CANCELLED) {
        *exception = tdl_awaited_cancelled_error(st, op);
        return *exception == NULL ? -1 : 0;
    }
    if (state == TDL_AIO_PENDING) {
        PyErr_SetString(st->objects.aio_invalid_state, "Result is not set.");
        return -1;
    }
    if (*exception != NULL)
        PyException_SetTraceback(*exception, tb == NULL ? Py_None : tb);
    Py_XDECREF(tb);
    return 0;
}

/* ---- who awaits it ----------------------------------------------------------------- */

#if TDL_AIO_AWAITED_BY

/* A set of `first` and `task`, in the place of `first`.  Their hashes may be anything. */
static int
make_set_locked(struct tdl_aio_future *f, PyObject *first, PyObject *task)
{
    PyObject *set = PySet_New(NULL);
    if (set == NULL)
        return -1;
    if (PySet_Add(set, task) < 0 || PySet_Add(set, first) < 0) {
        Py_DECREF(set);
        return -1;
    }
    if (f->awaited_by == first) { /* else who changed it has the last word */
        f->awaited_by_is_set = 1;
        Py_SETREF(f->awaited_by, set);
    }
    else
        Py_DECREF(set);
    return 0;
}

int
tdl_awaited_add_awaiter(PyObject *op, PyObject *task)
{
    struct tdl_aio_future *f = tdl_awaited_of(op);
    int r = 0;
    TDL_CRITICAL_BEGIN(op);
    PyObject *now = Py_XNewRef(f->awaited_by);
    if (now == NULL)
        f->awaited_by = Py_NewRef(task);
    else
        r = f->awaited_by_is_set ? PySet_Add(now, task) : make_set_locked(f, now, task);
    Py_XDECREF(now);
    TDL_CRITICAL_END();
    return r;
}

int
tdl_awaited_drop_awaiter(PyObject *op, PyObject *task)
{
    struct tdl_aio_future *f = tdl_awaited_of(op);
    int r = 0;
    PyObject *dropped = NULL;
    TDL_CRITICAL_BEGIN(op);
    if (f->awaited_by == task) {
        dropped = task;
        f->awaited_by = NULL;
    }
    else if (f->awaited_by != NULL && f->awaited_by_is_set) {
        PyObject *set = Py_NewRef(f->awaited_by);
        r = PySet_Discard(set, task);
        Py_DECREF(set);
    }
    TDL_CRITICAL_END();
    Py_XDECREF(dropped);
    return r < 0 ? -1 : 0;
}

#else

int
tdl_awaited_add_awaiter(PyObject *Py_UNUSED(op), PyObject *Py_UNUSED(task))
{
    return 0;
}

int
tdl_awaited_drop_awaiter(PyObject *Py_UNUSED(op), PyObject *Py_UNUSED(task))
{
    return 0;
}

#endif

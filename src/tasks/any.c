#include "tasks/any.h"

#include "tasks/functions.h"

int
tdl_any_is_future(struct tdl_state *st, PyObject *op)
{
    if (tdl_awaited_check(st, op))
        return 1;
    PyObject *r = PyObject_CallOneArg(st->objects.aio_isfuture, op);
    int is = r == NULL ? -1 : PyObject_IsTrue(r);
    Py_XDECREF(r);
    return is;
}

PyObject *
tdl_any_loop(struct tdl_state *st, PyObject *future)
{
    if (tdl_awaited_check(st, future) && tdl_awaited_of(future)->loop != NULL)
        return Py_NewRef(tdl_awaited_of(future)->loop);
    PyObject *method = PyObject_GetAttr(future, st->names.get_loop);
    if (method != NULL) {
        PyObject *loop = PyObject_CallNoArgs(method);
        Py_DECREF(method);
        return loop;
    }
    if (!PyErr_ExceptionMatches(PyExc_AttributeError))
        return NULL;
    PyErr_Clear();
    return PyObject_GetAttr(future, st->names._loop);
}

/* ---- what became of it ---------------------------------------------------------------- */

/* future.method() as a truth. */
static int
ask(PyObject *future, PyObject *method)
{
    PyObject *r = PyObject_CallMethodNoArgs(future, method);
    int truth = r == NULL ? -1 : PyObject_IsTrue(r);
    Py_XDECREF(r);
    return truth;
}

int
tdl_any_done(struct tdl_state *st, PyObject *future)
{
    if (tdl_awaited_check(st, future))
        return tdl_awaited_of(future)->state != TDL_AIO_PENDING;
    return ask(future, st->names.done);
}

int
tdl_any_cancelled(struct tdl_state *st, PyObject *future)
{
    if (tdl_awaited_check(st, future))
        return tdl_awaited_of(future)->state == TDL_AIO_CANCELLED;
    return ask(future, st->names.cancelled);
}

PyObject *
tdl_any_cancelled_error(struct tdl_state *st, PyObject *future)
{
    if (tdl_awaited_check(st, future))
        return tdl_awaited_cancelled_error(st, future);
    return PyObject_CallMethodNoArgs(future, st->names._make_cancelled_error);
}

int
tdl_any_outcome(struct tdl_state *st, PyObject *future, PyObject **exception)
{
    if (tdl_awaited_check(st, future))
        return tdl_awaited_outcome(st, future, exception);
    int cancelled = tdl_any_cancelled(st, future);
    *exception = cancelled < 0   ? NULL
                 : cancelled > 0 ? tdl_any_cancelled_error(st, future)
                                 : PyObject_CallMethodNoArgs(future, st->names.exception);
    if (*exception == NULL)
        return -1;
    if (*exception == Py_None)
        Py_CLEAR(*exception);
    return 0;
}

PyObject *
tdl_any_result(struct tdl_state *st, PyObject *future)
{
    PyObject *result;
    if (tdl_any_has_result(st, future, &result))
        return Py_NewRef(result);
    return PyObject_CallMethodNoArgs(future, st->names.result);
}

/* ---- finishing it ------------------------------------------------------------------------ */

static int
call(PyObject *future, PyObject *method, PyObject *argument)
{
    PyObject *r = PyObject_CallMethodOneArg(future, method, argument);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

int
tdl_any_set_result(struct tdl_state *st, PyObject *future, PyObject *result)
{
    if (tdl_awaited_check(st, future))
        return tdl_awaited_set_result(st, future, result);
    return call(future, st->names.set_result, result);
}

int
tdl_any_set_exception(struct tdl_state *st, PyObject *future, PyObject *exception)
{
    if (tdl_awaited_check(st, future) && PyExceptionInstance_Check(exception) &&
        !PyErr_GivenExceptionMatches(exception, PyExc_StopIteration))
        return tdl_awaited_set_exception(st, future, exception);
    return call(future, st->names.set_exception, exception);
}

int
tdl_any_cancel(struct tdl_state *st, PyObject *future, PyObject *msg)
{
    PyObject *stack[2] = {future, msg};
    PyObject *r =
        PyObject_VectorcallMethod(st->names.cancel, stack, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                  msg == NULL ? NULL : st->objects.msg_kwnames);
    int cancelled = r == NULL ? -1 : PyObject_IsTrue(r);
    Py_XDECREF(r);
    return cancelled;
}

/* ---- callbacks --------------------------------------------------------------------------- */

int
tdl_any_add_callback(struct tdl_state *st, PyObject *future, PyObject *callback,
                     PyObject *context)
{
    if (tdl_awaited_check(st, future) && context != NULL)
        return tdl_awaited_add_callback(st, future, callback, context);
    return call(future, st->names.add_done_callback, callback);
}

/* Whether it was the only one. */
static bool
remove_only(PyObject *op, PyObject *callback)
{
    struct tdl_aio_future *f = tdl_awaited_of(op);
    PyObject *context = NULL;
    bool only;
    TDL_CRITICAL_BEGIN(op);
    only = f->callback0 == callback && f->callbacks == NULL;
    if (only) {
        context = f->context0;
        f->callback0 = f->context0 = NULL;
    }
    TDL_CRITICAL_END();
    if (only) {
        Py_XDECREF(context);
        Py_DECREF(callback); /* the caller has one, too */
    }
    return only;
}

/* Whether it has none. */
static bool
has_none(PyObject *op)
{
    struct tdl_aio_future *f = tdl_awaited_of(op);
    bool none;
    TDL_CRITICAL_BEGIN(op);
    none = f->callback0 == NULL && f->callbacks == NULL;
    TDL_CRITICAL_END();
    return none;
}

int
tdl_any_remove_callback(struct tdl_state *st, PyObject *future, PyObject *callback)
{
    if (tdl_awaited_check(st, future) && (has_none(future) || remove_only(future, callback)))
        return 0;
    return call(future, st->names.remove_done_callback, callback);
}

/* ---- who awaits it ----------------------------------------------------------------------- */

static bool
has_layout(struct tdl_state *st, PyObject *op)
{
    return tdl_awaited_check(st, op) || tdl_awaited_check_subclass(st, op);
}

static bool
knows_awaiters(struct tdl_state *st, PyObject *future, PyObject *task)
{
    return TDL_AIO_AWAITED_BY && task != NULL && has_layout(st, future) && has_layout(st, task);
}

int
tdl_any_add_awaiter(struct tdl_state *st, PyObject *future, PyObject *task)
{
    return knows_awaiters(st, future, task) ? tdl_awaited_add_awaiter(future, task) : 0;
}

int
tdl_any_drop_awaiter(struct tdl_state *st, PyObject *future, PyObject *task)
{
    return knows_awaiters(st, future, task) ? tdl_awaited_drop_awaiter(future, task) : 0;
}

/* ---- making one -------------------------------------------------------------------------- */

static PyObject *
ensure_as_stock(struct tdl_state *st, PyObject *op, PyObject *loop)
{
    PyObject *stack[2] = {op, loop};
    return PyObject_Vectorcall(st->objects.aio_ensure_future, stack, 1,
                               loop == NULL ? NULL : st->objects.loop_kwnames);
}

/* Nobody else can await it: after RuntimeError it is closed. */
static void
close_refused(struct tdl_state *st, PyObject *coro)
{
    if (!PyErr_ExceptionMatches(PyExc_RuntimeError))
        return;
    PyObject *raised = tdl_err_take();
    PyObject *r = PyObject_CallMethodNoArgs(coro, st->names.close);
    if (r == NULL) {
        Py_DECREF(raised);
        return;
    }
    Py_DECREF(r);
    tdl_err_put_steal(raised);
}

PyObject *
tdl_any_ensure(struct tdl_state *st, PyObject *op, PyObject *loop, PyObject **create)
{
    if (tdl_awaited_check(st, op) && (loop == NULL || tdl_awaited_of(op)->loop == loop))
        return Py_NewRef(op);
    if (!PyCoro_CheckExact(op) || loop == NULL)
        return ensure_as_stock(st, op, loop);
    if (*create == NULL) {
        *create = PyObject_GetAttr(loop, st->names.create_task);
        if (*create == NULL)
            return NULL;
    }
    PyObject *stack[2] = {NULL, op};
    PyObject *task =
        PyObject_Vectorcall(*create, stack + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    if (task == NULL)
        close_refused(st, op);
    return task;
}

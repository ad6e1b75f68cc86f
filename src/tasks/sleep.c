/* sleep(). */
#include "tasks/scopes.h"

#include "py/args.h"

/* The values of the coroutine. */
enum { DELAY, RESULT };

/* Whether `delay` is one that asyncio would not wait for.  -1 with an exception set. */
static int
is_over(PyObject *delay)
{
    if (PyFloat_CheckExact(delay))
        return PyFloat_AS_DOUBLE(delay) <= 0;
    PyObject *zero = PyLong_FromLong(0);
    int r = zero == NULL ? -1 : PyObject_RichCompareBool(delay, zero, Py_LE);
    Py_XDECREF(zero);
    return r;
}

/* By asyncio's function, which is the owner. */
static enum tdl_go
by_stock(CoroutineObject *self)
{
    PyObject *args[2] = {self->values[DELAY], self->values[RESULT]};
    return tdl_coroutine_become(
        self, PyObject_Vectorcall(self->owner, args, args[1] == NULL ? 1 : 2, NULL));
}

/* A delay that is neither over nor NaN nor anything that takes code of its own. */
static bool
is_plain(PyObject *delay)
{
    return PyLong_CheckExact(delay) ||
           (PyFloat_CheckExact(delay) && PyFloat_AS_DOUBLE(delay) > 0);
}

static enum tdl_go
wait_on(CoroutineObject *self, LoopObject *loop)
{
    PyObject *future = tdl_loop_create_future(loop);
    if (future == NULL)
        return TDL_GO_ERROR;
    PyObject *args[2] = {future, self->values[RESULT] == NULL ? Py_None : self->values[RESULT]};
    struct tdl_request request = {self->st->objects.set_result_if_pending, args, 2, NULL, NULL};
    self->handle = tdl_loop_call_later(loop, self->values[DELAY], &request);
    self->future = future;
    return self->handle == NULL ? TDL_GO_ERROR : TDL_GO_WAIT;
}

static enum tdl_go
start(CoroutineObject *self, PyObject **Py_UNUSED(result))
{
    int over = is_over(self->values[DELAY]);
    if (over != 0)
        return over < 0 ? TDL_GO_ERROR : TDL_GO_TURN;
    LoopObject *loop = is_plain(self->values[DELAY]) ? tdl_coroutine_loop(self->st) : NULL;
    if (loop == NULL)
        return by_stock(self);
    enum tdl_go r = wait_on(self, loop);
    Py_DECREF(loop);
    return r;
}

static enum tdl_go
wake(CoroutineObject *self, PyObject **result)
{
    PyObject *value = self->values[RESULT];
    if (self->future != NULL) {
        value = tdl_awaited_of(self->future)->result;
        if (tdl_handle_cancel(self->st, self->handle) < 0)
            return TDL_GO_ERROR;
    }
    *result = Py_NewRef(value == NULL ? Py_None : value);
    return TDL_GO_DONE;
}

static enum tdl_go
fail(CoroutineObject *self, PyObject **Py_UNUSED(result))
{
    PyObject *raised = tdl_err_take();
    if (self->handle != NULL && tdl_handle_cancel(self->st, self->handle) < 0)
        PyErr_Clear();
    tdl_err_put_steal(raised);
    return TDL_GO_ERROR;
}

static const struct tdl_coroutine_op op = {"sleep", "sleep", start, wake, fail, false};

static PyObject *
call(PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    static const char *const names[] = {"delay", "result"};
    Py_ssize_t nargs = PyVectorcall_NARGS(nargsf);
    PyObject *v[2] = {nargs > 0 ? args[0] : NULL, NULL};
    if ((nargs != 1 || kwnames != NULL) &&
        tdl_args_parse("sleep", args, nargs, kwnames, names, 2, 1, v) < 0)
        return NULL;
    return tdl_coroutine_new(tdl_coroutine_function_state(callable), &op,
                             tdl_coroutine_function_stock(callable), v[DELAY], v[RESULT]);
}

/* _set_result_unless_cancelled(future, result): what the timer calls. */
static PyObject *
set_result_if_pending(PyObject *module, PyObject *const *args, Py_ssize_t Py_UNUSED(nargs))
{
    if (tdl_awaited_of(args[0])->state == TDL_AIO_PENDING &&
        tdl_awaited_set_result(tdl_state_of(module), args[0], args[1]) < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyObject *
tdl_make_sleep(PyObject *module, PyObject *stock)
{
    static PyMethodDef setter = {"_set_result_unless_cancelled",
                                 TDL_METHOD(set_result_if_pending), METH_FASTCALL, NULL};
    struct tdl_state *st = tdl_state_of(module);
    Py_XSETREF(st->objects.set_result_if_pending, PyCFunction_New(&setter, module));
    if (st->objects.set_result_if_pending == NULL)
        return NULL;
    return tdl_coroutine_function_new(st, stock, call);
}

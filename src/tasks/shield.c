/* shield(): a future that may be cancelled without what it stands for. */
#include "tasks/any.h"
#include "tasks/callee.h"
#include "tasks/functions.h"
#include "tasks/task.h"

/* ---- the inner future is done ------------------------------------------------------------ */

/* Its exception counts as retrieved. */
static int
forget(struct tdl_state *st, PyObject *inner)
{
    PyObject *exception;
    int cancelled = tdl_any_cancelled(st, inner);
    if (cancelled != 0)
        return cancelled < 0 ? -1 : 0;
    if (tdl_any_outcome(st, inner, &exception) < 0)
        return -1;
    Py_XDECREF(exception);
    return 0;
}

static int
pass_on(struct tdl_state *st, PyObject *inner, PyObject *outer)
{
    PyObject *exception;
    int cancelled = tdl_any_cancelled(st, inner);
    if (cancelled != 0)
        return cancelled < 0 || tdl_any_cancel(st, outer, NULL) < 0 ? -1 : 0;
    if (tdl_any_outcome(st, inner, &exception) < 0)
        return -1;
    if (exception != NULL) {
        int r = tdl_any_set_exception(st, outer, exception);
        Py_DECREF(exception);
        return r;
    }
    PyObject *result = tdl_any_result(st, inner);
    int r = result == NULL ? -1 : tdl_any_set_result(st, outer, result);
    Py_XDECREF(result);
    return r;
}

/* Where asyncio reports exceptions of what was cancelled from outside, they are not retrieved
 * here. */
static int
inner_done(CalleeObject *self, PyObject *inner)
{
    struct tdl_state *st = self->st;
    if (inner == NULL || self->outer == NULL)
        return 0;
    if (tdl_any_drop_awaiter(st, inner, self->task) < 0)
        return -1;
    PyObject *outer = Py_NewRef(self->outer);
    int r = tdl_any_cancelled(st, outer);
    if (r > 0)
        r = st->objects.aio_log_on_exception == NULL ? forget(st, inner) : 0;
    else if (r == 0)
        r = pass_on(st, inner, outer);
    Py_DECREF(outer);
    return r;
}

static const struct tdl_callee_kind inner_kind = {
    .name = "_inner_done_callback",
    .qualname = "shield.<locals>._inner_done_callback",
    .done = inner_done,
};

/* ---- the outer one is -------------------------------------------------------------------- */

static int
have_it_reported(struct tdl_state *st, PyObject *inner)
{
    PyObject *report = st->objects.aio_log_on_exception;
    if (report == NULL)
        return 0;
    return tdl_any_remove_callback(st, inner, report) < 0
               ? -1
               : tdl_any_add_callback(st, inner, report, NULL);
}

/* `outer` of the callee is here the inner future, `members` its callback. */
static int
outer_done(CalleeObject *self, PyObject *outer)
{
    struct tdl_state *st = self->st;
    if (outer == NULL || self->outer == NULL || self->members == NULL)
        return 0;
    PyObject *inner = Py_NewRef(self->outer), *callback = Py_NewRef(self->members);
    int r = tdl_any_done(st, inner);
    if (r == 0)
        r = tdl_any_remove_callback(st, inner, callback) < 0 ||
                    have_it_reported(st, inner) < 0 ||
                    tdl_any_drop_awaiter(st, inner, self->task) < 0
                ? -1
                : 0;
    Py_DECREF(callback);
    Py_DECREF(inner);
    return r < 0 ? -1 : 0;
}

static const struct tdl_callee_kind outer_kind = {
    .name = "_outer_done_callback",
    .qualname = "shield.<locals>._outer_done_callback",
    .done = outer_done,
};

/* ---- shielding ----------------------------------------------------------------------------- */

static PyObject *
make_outer(struct tdl_state *st, PyObject *loop)
{
    if (Py_IS_TYPE(loop, st->objects.EventLoop) && ((LoopObject *)loop)->untouched)
        return tdl_loop_create_future((LoopObject *)loop);
    return PyObject_CallMethodNoArgs(loop, st->names.create_future);
}

static int
join(struct tdl_state *st, PyObject *inner, PyObject *outer, PyObject *task)
{
    CalleeObject *first = tdl_callee_new(st, &inner_kind);
    CalleeObject *second = first == NULL ? NULL : tdl_callee_new(st, &outer_kind);
    int r = -1;
    if (second != NULL) {
        first->outer = Py_NewRef(outer);
        first->task = Py_XNewRef(task);
        second->outer = Py_NewRef(inner);
        second->members = Py_NewRef((PyObject *)first);
        second->task = Py_XNewRef(task);
        if (tdl_any_add_awaiter(st, inner, task) == 0 &&
            tdl_any_add_callback(st, inner, (PyObject *)first, first->context) == 0)
            r = tdl_any_add_callback(st, outer, (PyObject *)second, second->context);
    }
    Py_XDECREF((PyObject *)first);
    Py_XDECREF((PyObject *)second);
    return r;
}

static PyObject *
shield(struct tdl_state *st, PyObject *inner)
{
    int done = tdl_any_done(st, inner);
    if (done != 0)
        return done < 0 ? NULL : Py_NewRef(inner);
    PyObject *task = NULL, *loop = tdl_any_loop(st, inner);
    PyObject *outer = loop == NULL ? NULL : make_outer(st, loop);
    if (outer == NULL || tdl_functions_awaiter(st, loop, &task) < 0 ||
        join(st, inner, outer, task) < 0)
        Py_CLEAR(outer);
    Py_XDECREF(task);
    Py_XDECREF(loop);
    return outer;
}

/* ensure_future(arg), where coroutines go to the loop that runs. */
static PyObject *
ensure(struct tdl_state *st, PyObject *arg)
{
    PyObject *create = NULL, *loop = NULL;
    if (PyCoro_CheckExact(arg) && (loop = tdl_functions_running_loop(st)) == NULL &&
        PyErr_Occurred())
        return NULL;
    PyObject *inner = tdl_any_ensure(st, arg, loop, &create);
    Py_XDECREF(create);
    Py_XDECREF(loop);
    return inner;
}

PyObject *
tdl_shield(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"arg"};
    struct tdl_state *st = tdl_state_of(module);
    PyObject *arg;
    int ready = tdl_functions_ready(st);
    if (ready < 0 || tdl_args_parse("shield", args, nargs, kwnames, names, 1, 1, &arg) < 0)
        return NULL;
    if (!ready)
        return PyObject_CallOneArg(st->objects.aio_shield, arg);
    PyObject *inner = ensure(st, arg);
    PyObject *outer = inner == NULL ? NULL : shield(st, inner);
    Py_XDECREF(inner);
    return outer;
}

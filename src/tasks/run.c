/* Entries of the ready queue that are steps of tasks, or calls of callees. */
#include "tasks/awaited.h"
#include "tasks/callee.h"
#include "tasks/task.h"

/* As tdl_task_step_call() or tdl_task_wake_call(), and where it runs. */
static PyObject *
callback_of(struct tdl_state *st, PyObject *task, bool future, PyObject **context)
{
    if (tdl_callee_check(st, task)) {
        *context = ((CalleeObject *)task)->context;
        return Py_NewRef(task);
    }
    *context = tdl_task_of(task)->context;
    return future ? tdl_task_wake_call(st, task) : tdl_task_step_call(st, task, NULL);
}

static PyObject *
make_handle(LoopObject *loop, PyObject *task, PyObject *future, PyObject *context)
{
    PyObject *ignored;
    PyObject *callback = callback_of(loop->st, task, future != NULL, &ignored);
    if (callback == NULL)
        return NULL;
    struct tdl_request request = {callback, &future, future != NULL, context};
    PyObject *handle = tdl_loop_make_handle(loop, TDL_HANDLE_SOON, &request, NULL);
    Py_DECREF(callback);
    return handle;
}

static int
report(LoopObject *loop, PyObject *task, PyObject *future, PyObject *context)
{
    if (PyErr_ExceptionMatches(PyExc_SystemExit) ||
        PyErr_ExceptionMatches(PyExc_KeyboardInterrupt))
        return -1;
    PyObject *raised = tdl_err_take();
    PyObject *handle = make_handle(loop, task, future, context);
    tdl_err_put_steal(raised);
    if (handle == NULL) { /* no memory to say it properly */
        PyErr_WriteUnraisable(task);
        return 0;
    }
    int r = tdl_handle_report(loop->st, handle);
    Py_DECREF(handle);
    return r;
}

static int
run(LoopObject *loop, PyObject *task, PyObject *future)
{
    struct tdl_state *st = loop->st;
    if (tdl_callee_check(st, task))
        return tdl_callee_run(loop, task, future);
    PyObject *context = Py_NewRef(tdl_task_of(task)->context);
    int r = PyContext_Enter(context);
    if (r == 0) {
        r = future == NULL ? tdl_task_step(st, task, NULL) : tdl_task_wake(st, task, future);
        PyObject *value = r < 0 ? NULL : Py_NewRef(Py_None);
        r = tdl_handle_exit_context(context, value);
    }
    if (r < 0)
        r = report(loop, task, future, context);
    Py_DECREF(context);
    return r;
}

static bool
is_done(PyObject *future)
{
    return tdl_awaited_of(future)->state != TDL_AIO_PENDING;
}

static bool
is_cancelled(PyObject *future)
{
    return tdl_awaited_of(future)->state == TDL_AIO_CANCELLED;
}

static void
set_blocking(PyObject *future)
{
    TDL_CRITICAL_BEGIN(future);
    tdl_awaited_of(future)->blocking = 1;
    TDL_CRITICAL_END();
}

const struct tdl_task_ops tdl_task_ops = {
    .run = run,
    .task_of = tdl_task_of_callback,
    .callback_of = callback_of,
    .create = tdl_task_create,
    .create_by_call = tdl_task_create_by_call,
    .create_future = tdl_task_create_future,
    .is_done = is_done,
    .is_cancelled = is_cancelled,
    .set_blocking = set_blocking,
    .set_result = tdl_awaited_set_result,
};

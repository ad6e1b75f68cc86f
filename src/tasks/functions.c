#include "tasks/functions.h"

#include "tasks/callee.h"

/* What only newer versions have; how they behave shows by it. */
static int
import_new(struct tdl_state *st)
{
    struct tdl_objects *o = &st->objects;
    const struct tdl_import groups[] = {{"ExceptionGroup", &o->ExceptionGroup}, {NULL, NULL}};
    if (tdl_state_import("builtins", groups) < 0)
        return -1;
    PyObject *tasks = PyImport_ImportModule("asyncio.tasks");
    PyObject *timeouts = tasks == NULL ? NULL : PyImport_ImportModule("asyncio.timeouts");
    PyObject *timeout = timeouts == NULL ? NULL : PyObject_GetAttrString(timeouts, "Timeout");
    if (timeout != NULL) {
        st->gather_forgets = PyObject_HasAttrString(tasks, "_discard_awaited_by");
        Py_XSETREF(o->aio_log_on_exception, PyObject_GetAttrString(tasks, "_log_on_exception"));
        PyErr_Clear();
        Py_XSETREF(o->aio_note_timeout,
                   PyObject_GetAttrString(timeout, "_insert_timeout_error"));
        PyErr_Clear();
    }
    Py_XDECREF(tasks);
    Py_XDECREF(timeouts);
    Py_XDECREF(timeout);
    return timeout == NULL ? -1 : 0;
}

static int
import(struct tdl_state *st)
{
    struct tdl_objects *o = &st->objects;
    const struct tdl_import tasks[] = {
        {"gather", &o->aio_gather},
        {"shield", &o->aio_shield},
        {"ALL_COMPLETED", &o->aio_all_completed},
        {"ensure_future", &o->aio_ensure_future},
        {"current_task", &o->aio_current_task},
        {NULL, NULL},
    };
    const struct tdl_import futures[] = {{"isfuture", &o->aio_isfuture}, {NULL, NULL}};
    const struct tdl_import events[] = {{"_get_running_loop", &o->aio_get_running_loop},
                                        {NULL, NULL}};
    if (tdl_state_import("asyncio.tasks", tasks) < 0 ||
        tdl_state_import("asyncio.futures", futures) < 0 ||
        tdl_state_import("asyncio.events", events) < 0)
        return -1;
    if (import_new(st) < 0)
        return -1;
    Py_XSETREF(o->msg_kwnames, Py_BuildValue("(s)", "msg"));
    Py_XSETREF(o->loop_kwnames, Py_BuildValue("(s)", "loop"));
    return o->msg_kwnames == NULL || o->loop_kwnames == NULL ? -1 : 0;
}

int
tdl_functions_ready(struct tdl_state *st)
{
    if (st->objects.aio_gather != NULL)
        return st->task_ops != NULL;
    PyErr_SetString(PyExc_RuntimeError, "import this from treadle");
    return -1;
}

PyObject *
tdl_functions_running_loop(struct tdl_state *st)
{
    PyObject *loop = PyObject_CallNoArgs(st->objects.aio_get_running_loop);
    if (loop == Py_None)
        Py_CLEAR(loop);
    return loop;
}

int
tdl_functions_awaiter(struct tdl_state *st, PyObject *loop, PyObject **task)
{
    *task = NULL;
    if (!TDL_AIO_AWAITED_BY)
        return 0;
    *task = PyObject_CallOneArg(st->objects.aio_current_task, loop);
    if (*task == NULL)
        return -1;
    if (*task == Py_None)
        Py_CLEAR(*task);
    return 0;
}

int
tdl_functions_types_exec(PyObject *module)
{
    static int (*const parts[])(PyObject *) = {tdl_callee_exec, tdl_gather_exec};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (parts[i](module) < 0)
            return -1;
    return 0;
}

/* _init_functions(): find asyncio's, before anybody puts ours in their place. */
static PyObject *
init_functions(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    if (import(tdl_state_of(module)) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* One a line: name, function, how it is called, documentation. */
static PyMethodDef functions[] = {
    {"_init_functions", init_functions, METH_NOARGS, NULL},
    {"gather", TDL_METHOD(tdl_gather), METH_FASTCALL | METH_KEYWORDS,
     "gather($module, /, *coros_or_futures, return_exceptions=False)\n--\n\n"
     "Run awaitables at the same time; return a future of the list of their results.\n\n"
     "As asyncio.gather(): coroutines are made tasks of. The first exception goes to the\n"
     "future, or with return_exceptions all of them into the list. Cancelling the future\n"
     "cancels what is not done yet."},
    {"shield", TDL_METHOD(tdl_shield), METH_FASTCALL | METH_KEYWORDS,
     "shield($module, /, arg)\n--\n\n"
     "Return a future of what arg, an awaitable, comes to: as asyncio.shield().\n\n"
     "Cancelling that future, or who awaits it, does not cancel arg."},
    {"_watch_completed", TDL_METHOD(tdl_watch_completed), METH_FASTCALL, NULL},
    {"_next_completed", TDL_METHOD(tdl_next_completed), METH_FASTCALL, NULL},
    {"_make_wait", tdl_make_wait, METH_O, NULL},
    {"_make_wait_for", tdl_make_wait_for, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

int
tdl_functions_exec(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}

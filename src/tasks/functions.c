#include "tasks/functions.h"

#include "tasks/callee.h"

static int
import(struct tdl_state *st)
{
    struct tdl_objects *o = &st->objects;
    const struct tdl_import tasks[] = {
        {"gather", &o->aio_gather},
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
    PyObject *module = PyImport_ImportModule("asyncio.tasks");
    if (module == NULL)
        return -1;
    st->gather_forgets = PyObject_HasAttrString(module, "_discard_awaited_by");
    Py_DECREF(module);
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
tdl_functions_awaiter(struct tdl_state *st, PyObject **task)
{
    *task = NULL;
    if (!TDL_AIO_AWAITED_BY)
        return 0;
    *task = PyObject_CallNoArgs(st->objects.aio_current_task);
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
    {NULL, NULL, 0, NULL},
};

int
tdl_functions_exec(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}

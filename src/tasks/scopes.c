#include "tasks/scopes.h"

#include "tasks/task.h"

PyObject *
tdl_scope_get(PyObject *op, void *offset)
{
    PyObject *value;
    TDL_CRITICAL_BEGIN(op);
    value = *(PyObject **)((char *)op + (size_t)offset);
    value = Py_NewRef(value == NULL ? Py_None : value);
    TDL_CRITICAL_END();
    return value;
}

int
tdl_scope_set(PyObject *op, PyObject *value, void *offset)
{
    PyObject **place = (PyObject **)((char *)op + (size_t)offset);
    PyObject *before;
    TDL_CRITICAL_BEGIN(op);
    before = *place;
    *place = value == NULL || value == Py_None ? NULL : Py_NewRef(value);
    TDL_CRITICAL_END();
    Py_XDECREF(before);
    return 0;
}

/* _init_scopes(): what stand-ins need of asyncio.  The loop's module has been imported. */
static PyObject *
init_scopes(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    struct tdl_objects *o = &tdl_state_of(module)->objects;
    const struct tdl_import events[] = {{"_get_running_loop", &o->sync_running_loop},
                                        {"get_running_loop", &o->aio_running_loop_or_raise},
                                        {NULL, NULL}};
    const struct tdl_import tasks[] = {{"current_task", &o->sync_current_task}, {NULL, NULL}};
    const struct tdl_import errors[] = {{"CancelledError", &o->aio_cancelled_error},
                                        {"InvalidStateError", &o->aio_invalid_state},
                                        {NULL, NULL}};
    if (tdl_state_import("asyncio.events", events) < 0 ||
        tdl_state_import("asyncio.exceptions", errors) < 0 ||
        tdl_state_import("asyncio.tasks", tasks) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"_init_scopes", init_scopes, METH_NOARGS, NULL},
    /* one a line */
    {"_make_sleep", tdl_make_sleep, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

int
tdl_scopes_exec(PyObject *module)
{
    static int (*const parts[])(PyObject *) = {tdl_coroutine_exec, tdl_coroutine_function_exec,
                                               tdl_timeout_exec, tdl_group_exec};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (parts[i](module) < 0)
            return -1;
    return PyModule_AddFunctions(module, functions);
}

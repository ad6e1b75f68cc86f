#include "tasks/scopes.h"

#include "tasks/task.h"

/* _init_scopes(): what stand-ins need of asyncio.  The loop's module has been imported. */
static PyObject *
init_scopes(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    struct tdl_objects *o = &tdl_state_of(module)->objects;
    const struct tdl_import events[] = {{"_get_running_loop", &o->sync_running_loop},
                                        {NULL, NULL}};
    const struct tdl_import errors[] = {{"CancelledError", &o->aio_cancelled_error},
                                        {"InvalidStateError", &o->aio_invalid_state},
                                        {NULL, NULL}};
    if (tdl_state_import("asyncio.events", events) < 0 ||
        tdl_state_import("asyncio.exceptions", errors) < 0)
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
    if (tdl_coroutine_exec(module) < 0 || tdl_coroutine_function_exec(module) < 0)
        return -1;
    return PyModule_AddFunctions(module, functions);
}

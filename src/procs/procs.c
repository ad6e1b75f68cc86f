#include "procs/procs.h"

#include "procs/codec_object.h"
#include "procs/map.h"

/* _init_procs(with_cause): find what the process pool needs of the standard library,
 * which programs without one do not pay for.  with_cause(exception) gives it the text of
 * its traceback as its cause, and returns it. */
static PyObject *
init_procs(PyObject *module, PyObject *with_cause)
{
    struct tdl_objects *o = &tdl_state_of(module)->objects;
    const struct tdl_import process[] = {{"BrokenProcessPool", &o->BrokenProcessPool},
                                         {NULL, NULL}};
    if (tdl_state_import("concurrent.futures.process", process) < 0)
        return NULL;
    Py_XSETREF(o->with_cause, Py_NewRef(with_cause));
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"_init_procs", init_procs, METH_O, NULL},
    {"_work", tdl_procs_work, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

int
tdl_procs_exec(PyObject *module)
{
    if (tdl_codec_exec(module) < 0 || tdl_procs_pool_exec(module) < 0 ||
        tdl_procs_batch_exec(module) < 0 || tdl_procs_map_exec(module) < 0 ||
        tdl_procs_executor_exec(module) < 0)
        return -1;
    return PyModule_AddFunctions(module, functions);
}

#include "threads/threads.h"

#include "core/futex.h"
#include "threads/executor.h"
#include "threads/map.h"
#include "threads/native.h"

/* treadle_api.submit() */
static PyObject *
api_submit(PyObject *executor, const treadle_job *kind, void *arg)
{
    PyObject *module = PyType_GetModuleByDef(Py_TYPE(executor), &tdl_module_def);
    WorkQueueObject *queue = NULL;
    if (module != NULL)
        queue = tdl_executor_queue(tdl_state_of(module), executor);
    else
        PyErr_Format(PyExc_TypeError, "a treadle.ThreadPoolExecutor is required, not '%.200s'",
                     Py_TYPE(executor)->tp_name);
    if (queue == NULL) {
        if (kind->release != NULL)
            kind->release(arg);
        return NULL;
    }
    int spawn = 0;
    PyObject *future = tdl_native_submit(queue, kind, arg, &spawn);
    if (future != NULL && tdl_executor_spawn(executor, queue, spawn) < 0)
        Py_CLEAR(future);
    return future;
}

static const treadle_api api = {
    .version = TREADLE_API_VERSION,
    .size = sizeof(treadle_api),
    .submit = api_submit,
};

static int
add_api(PyObject *module)
{
    PyObject *capsule = PyCapsule_New((void *)&api, TREADLE_API_CAPSULE, NULL);
    int r = capsule == NULL ? -1 : PyModule_AddObjectRef(module, "_C_API", capsule);
    Py_XDECREF(capsule);
    return r;
}

/* ---- process-wide events ---------------------------------------------------------- */

static PyObject *
after_fork_in_child(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    tdl_state_of(module)->generation++;
    tdl_futex_after_fork_child();
    Py_RETURN_NONE;
}

static PyObject *
begin_exit(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    atomic_store_explicit(&tdl_state_of(module)->exiting, true, memory_order_seq_cst);
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"_after_fork_in_child", after_fork_in_child, METH_NOARGS, NULL},
    {"_begin_exit", begin_exit, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

int
tdl_threads_exec(PyObject *module)
{
    if (tdl_pool_exec(module) < 0 || tdl_map_batch_exec(module) < 0 ||
        tdl_map_iterator_exec(module) < 0 || tdl_executor_exec(module) < 0 ||
        add_api(module) < 0)
        return -1;
    return PyModule_AddFunctions(module, functions);
}

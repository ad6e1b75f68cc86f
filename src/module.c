/* The extension module treadle._native: one state for each interpreter. */
#include "future/as_completed.h"
#include "future/bridge.h"
#include "future/condition.h"
#include "future/future.h"
#include "future/wait.h"
#include "future/wait_proxy.h"
#include "loop/loop.h"
#include "procs/procs.h"
#include "py/pause.h"
#include "py/state.h"
#include "streams/streams.h"
#include "sync/sync.h"
#include "tasks/task.h"
#include "threads/threads.h"

static int
module_exec(PyObject *module)
{
    static int (*const parts[])(PyObject *) = {
        /* one a line */
        /* clang-format off */
        tdl_condition_exec,
        tdl_future_exec,
        tdl_wait_proxy_exec,
        tdl_wait_exec,
        tdl_as_completed_exec,
        tdl_bridge_exec,
        tdl_threads_exec,
        tdl_procs_exec,
        tdl_loop_exec,
        tdl_streams_exec,
        tdl_sync_exec,
        tdl_tasks_exec,
        /* clang-format on */
    };
    struct tdl_state *st = tdl_state_of(module);
    if (tdl_state_init(st) < 0 || tdl_pause_init(st) < 0)
        return -1;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (parts[i](module) < 0)
            return -1;
    return 0;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    return tdl_state_traverse(tdl_state_of(module), visit, arg);
}

static int
module_clear(PyObject *module)
{
    tdl_state_clear(tdl_state_of(module));
    return 0;
}

static void
module_free(void *module)
{
    module_clear(module);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    TDL_GIL_SLOT TDL_INTERPRETERS_SLOT{0, NULL},
};

struct PyModuleDef tdl_module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "treadle._native",
    .m_doc = "The native side of treadle.",
    .m_size = sizeof(struct tdl_state),
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__native(void);

PyMODINIT_FUNC
PyInit__native(void)
{
    return PyModuleDef_Init(&tdl_module_def);
}

#include "sync/sync.h"

#include "sync/await.h"

/* _init_sync(queue_shut_down): what needs asyncio, before the first object is made. */
static PyObject *
init_sync(PyObject *module, PyObject *queue_shut_down)
{
    struct tdl_objects *o = &tdl_state_of(module)->objects;
    const struct tdl_import events[] = {{"_get_running_loop", &o->sync_running_loop},
                                        {NULL, NULL}};
    const struct tdl_import tasks[] = {{"current_task", &o->sync_current_task}, {NULL, NULL}};
    const struct tdl_import futures[] = {{"Future", &o->aio_future}, {NULL, NULL}};
    const struct tdl_import exceptions[] = {{"CancelledError", &o->sync_cancelled},
                                            {"BrokenBarrierError", &o->BrokenBarrierError},
                                            {NULL, NULL}};
    const struct tdl_import queues[] = {
        {"QueueEmpty", &o->QueueEmpty}, {"QueueFull", &o->QueueFull}, {NULL, NULL}};
    const struct tdl_import heaps[] = {
        {"heappush", &o->heappush}, {"heappop", &o->heappop}, {NULL, NULL}};
    /* asyncio before its parts: see look_at_asyncio() */
    PyObject *asyncio = PyImport_ImportModule("asyncio");
    if (asyncio == NULL)
        return NULL;
    Py_DECREF(asyncio);
    if (o->sync_blocking == NULL)
        o->sync_blocking = PyUnicode_InternFromString("_asyncio_future_blocking");
    if (o->sync_blocking == NULL)
        return NULL;
    if ((o->aio_future == NULL && tdl_state_import("asyncio.futures", futures) < 0) ||
        tdl_state_import("asyncio.exceptions", exceptions) < 0 ||
        tdl_state_import("asyncio.queues", queues) < 0 ||
        tdl_state_import("heapq", heaps) < 0 || tdl_state_import("asyncio.tasks", tasks) < 0 ||
        tdl_state_import("asyncio.events", events) < 0)
        return NULL;
    Py_XSETREF(o->QueueShutDown, Py_NewRef(queue_shut_down));
    Py_RETURN_NONE;
}

/* _set_lock_class(class): what a Condition makes when it is given no lock. */
static PyObject *
set_lock_class(PyObject *module, PyObject *lock_class)
{
    Py_XSETREF(tdl_state_of(module)->objects.lock_class, Py_NewRef(lock_class));
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"_init_sync", init_sync, METH_O, NULL},
    {"_set_lock_class", set_lock_class, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

int
tdl_sync_exec(PyObject *module)
{
    static int (*const parts[])(PyObject *) = {
        tdl_party_exec,           tdl_await_exec, tdl_lock_exec,
        tdl_semaphore_exec,       tdl_event_exec, tdl_queue_exec,
        tdl_async_condition_exec, tdl_rlock_exec, tdl_barrier_exec,
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (parts[i](module) < 0)
            return -1;
    return PyModule_AddFunctions(module, functions);
}

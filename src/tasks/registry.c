/* The current task, and the list of all tasks, where asyncio has them. */
#include "tasks/task.h"

/* ---- the current task --------------------------------------------------------------- */

/* Have asyncio's function say what is wrong. */
static int
complain(PyObject *function, PyObject *loop, PyObject *task)
{
    PyObject *r = PyObject_CallFunctionObjArgs(function, loop, task, NULL);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

/* A thread's running loop, and behind it its current task. */
static PyObject **
running(struct tdl_state *st)
{
    return (PyObject **)((char *)PyThreadState_Get() + st->aio.running_loop);
}

int
tdl_task_enter(struct tdl_state *st, PyObject *loop, PyObject *task)
{
    struct tdl_objects *o = &st->objects;
    if (st->aio.running_loop == 0) {
        int r = tdl_dict_add(o->aio_current_tasks, loop, task);
        return r > 0 ? complain(o->aio_enter_task, loop, task) : r;
    }
    PyObject **now = running(st);
    if (now[0] != loop || now[1] != NULL)
        return complain(o->aio_enter_task, loop, task);
    now[1] = Py_NewRef(task);
    return 0;
}

int
tdl_task_leave(struct tdl_state *st, PyObject *loop, PyObject *task)
{
    struct tdl_objects *o = &st->objects;
    if (st->aio.running_loop == 0) {
        PyObject *current = tdl_dict_get(o->aio_current_tasks, loop);
        Py_XDECREF(current);
        if (current != task)
            return PyErr_Occurred() ? -1 : complain(o->aio_leave_task, loop, task);
        return PyDict_DelItem(o->aio_current_tasks, loop);
    }
    PyObject **now = running(st);
    if (now[0] != loop || now[1] != task)
        return complain(o->aio_leave_task, loop, task);
    now[1] = NULL;
    Py_DECREF(task);
    return 0;
}

PyObject *
tdl_task_current(struct tdl_state *st, PyObject *loop)
{
    if (st->aio.running_loop != 0) {
        PyObject **now = running(st);
        return now[0] == loop ? Py_XNewRef(now[1]) : NULL;
    }
    if (st->objects.aio_current_tasks != NULL)
        return tdl_dict_get(st->objects.aio_current_tasks, loop);
    PyObject *task = PyObject_CallOneArg(st->objects.sync_current_task, loop);
    if (task == Py_None)
        Py_CLEAR(task);
    return task;
}

/* ---- all tasks ----------------------------------------------------------------------- */

static int
register_by_call(struct tdl_state *st, PyObject *task)
{
    PyObject *r = PyObject_CallOneArg(st->objects.aio_register_task, task);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

#if TDL_AIO_TASK_LINKS

int
tdl_task_register(struct tdl_state *st, PyObject *task)
{
    if (st->aio.tasks_head == 0)
        return register_by_call(st, task);
    struct tdl_aio_links *links = &tdl_task_of(task)->links;
    if (links->next != NULL)
        return 0;
    struct tdl_aio_links *head =
        (struct tdl_aio_links *)((char *)PyThreadState_Get() + st->aio.tasks_head);
    links->prev = head->prev;
    links->next = head;
    head->prev->next = links;
    head->prev = links;
    return 0;
}

/* Without a GIL the list is another thread's perhaps: asyncio's own code does it. */
void
tdl_task_unregister(struct tdl_state *st, PyObject *task)
{
    struct tdl_aio_links *links = &tdl_task_of(task)->links;
    if (st->aio.tasks_head == 0 || links->next == NULL)
        return;
    links->prev->next = links->next;
    links->next->prev = links->prev;
    links->next = links->prev = NULL;
}

#else

int
tdl_task_register(struct tdl_state *st, PyObject *task)
{
    return register_by_call(st, task);
}

void
tdl_task_unregister(struct tdl_state *Py_UNUSED(st), PyObject *Py_UNUSED(task))
{
}

#endif

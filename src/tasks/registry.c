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

void
tdl_task_find_all(PyObject *Py_UNUSED(module))
{
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

/* Until 3.13 all tasks are in a WeakSet, whose add() and whose removal of the dead are
 * Python functions.  Natively the same is done to what it is made of: a set of weak
 * references, those that are to be removed later, and those who iterate meanwhile. */

/* What the reference to a dead task is given to: as WeakSet's own function. */
static PyObject *
task_gone(PyObject *module, PyObject *reference)
{
    struct tdl_objects *o = &tdl_state_of(module)->objects;
    int r = 0;
    if (o->tasks_data == NULL)
        Py_RETURN_NONE; /* the interpreter ends */
    if (PySet_GET_SIZE(o->tasks_iterating) > 0)
        r = PyList_Append(o->tasks_pending, reference);
    else
        r = PySet_Discard(o->tasks_data, reference);
    if (r < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef task_gone_def = {"task_gone", task_gone, METH_O, NULL};

/* The set itself: a new reference or NULL. */
static PyObject *
find_all_tasks(void)
{
    PyObject *native = PyImport_ImportModule("_asyncio");
    PyObject *sets = PyImport_ImportModule("_weakrefset");
    PyObject *type = sets == NULL ? NULL : PyObject_GetAttrString(sets, "WeakSet");
    PyObject *all = native == NULL ? NULL : PyObject_GetAttrString(native, "_scheduled_tasks");
    if (all == NULL && native != NULL) {
        PyErr_Clear();
        all = PyObject_GetAttrString(native, "_all_tasks"); /* its name before 3.12 */
    }
    if (all != NULL && (PyObject *)Py_TYPE(all) != type)
        Py_CLEAR(all);
    Py_XDECREF(type);
    Py_XDECREF(sets);
    Py_XDECREF(native);
    return all;
}

void
tdl_task_find_all(PyObject *module)
{
    struct tdl_objects *o = &tdl_state_of(module)->objects;
    PyObject *all = TDL_FREE_THREADED ? NULL : find_all_tasks();
    PyObject *data = all == NULL ? NULL : PyObject_GetAttrString(all, "data");
    PyObject *pending = data == NULL ? NULL : PyObject_GetAttrString(all, "_pending_removals");
    PyObject *iterating = pending == NULL ? NULL : PyObject_GetAttrString(all, "_iterating");
    PyObject *gone = iterating == NULL ? NULL : PyCFunction_New(&task_gone_def, module);
    if (gone != NULL && PySet_CheckExact(data) && PyList_CheckExact(pending) &&
        PySet_CheckExact(iterating)) {
        Py_XSETREF(o->tasks_data, Py_NewRef(data));
        Py_XSETREF(o->tasks_pending, Py_NewRef(pending));
        Py_XSETREF(o->tasks_iterating, Py_NewRef(iterating));
        Py_XSETREF(o->task_gone, Py_NewRef(gone));
    }
    PyErr_Clear();
    Py_XDECREF(all);
    Py_XDECREF(data);
    Py_XDECREF(pending);
    Py_XDECREF(iterating);
    Py_XDECREF(gone);
}

int
tdl_task_register(struct tdl_state *st, PyObject *task)
{
    struct tdl_objects *o = &st->objects;
    if (o->task_gone == NULL || PyList_GET_SIZE(o->tasks_pending) > 0 ||
        !Py_IS_TYPE(task, o->Task))
        return register_by_call(st, task);
    PyObject *reference = PyWeakref_NewRef(task, o->task_gone);
    int r = reference == NULL ? -1 : PySet_Add(o->tasks_data, reference);
    Py_XDECREF(reference);
    return r;
}

/* It is done, which nobody asks all_tasks() for.  While somebody iterates the reference
 * stays where it is until the task dies. */
void
tdl_task_unregister(struct tdl_state *st, PyObject *task)
{
    struct tdl_objects *o = &st->objects;
    if (o->task_gone == NULL || !Py_IS_TYPE(task, o->Task) ||
        PySet_GET_SIZE(o->tasks_iterating) > 0)
        return;
    PyObject *reference = *tdl_task_word(task, st->aio.weakrefs);
    while (reference != NULL && ((PyWeakReference *)reference)->wr_callback != o->task_gone)
        reference = (PyObject *)((PyWeakReference *)reference)->wr_next;
    if (reference == NULL)
        return;
    Py_INCREF(reference);
    if (PySet_Discard(o->tasks_data, reference) < 0)
        PyErr_WriteUnraisable(task);
    Py_DECREF(reference);
}

#endif

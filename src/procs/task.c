#include "procs/task.h"

#include "core/alloc.h"
#include "core/clock.h"

struct tdl_task *
tdl_task_new(const struct tdl_task_ops *ops, uint16_t kind, PyObject *target,
             PyObject *callable)
{
    struct tdl_task *task = tdl_malloc(sizeof *task);
    if (task == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    *task = (struct tdl_task){.ops = ops, .kind = kind, .worker = -1};
    atomic_init(&task->references, 1);
    task->target = Py_NewRef(target);
    task->callable = Py_NewRef(callable);
    task->submitted = tdl_clock_now();
    return task;
}

void
tdl_task_unref(struct tdl_task *task)
{
    if (atomic_fetch_sub_explicit(&task->references, 1, memory_order_acq_rel) != 1)
        return;
    Py_DECREF(task->target);
    Py_DECREF(task->callable);
    Py_XDECREF(task->failure);
    tdl_bytes_fini(&task->call);
    tdl_bytes_fini(&task->answer);
    tdl_free(task);
}

bool
tdl_tasks_remove(struct tdl_tasks *tasks, struct tdl_task *task)
{
    for (struct tdl_task **link = &tasks->first; *link != NULL; link = &(*link)->next)
        if (*link == task) {
            *link = task->next;
            if (tasks->last == &task->next)
                tasks->last = link;
            tasks->count--;
            return true;
        }
    return false;
}

void
tdl_tasks_move(struct tdl_tasks *to, struct tdl_tasks *from)
{
    if (from->first == NULL)
        return;
    *to->last = from->first;
    to->last = from->last;
    to->count += from->count;
    tdl_tasks_init(from);
}

/* Native tasks: treadle.Task, and the steps of asyncio's own on our loop.
 *
 * A task is stepped straight from the ready queue; what it awaits gets a small callable
 * that wakes it (a TaskCall), which the loop's call_soon() takes apart again.  Loops that
 * are not ours, or that somebody has changed, get real callbacks. */
#ifndef TDL_TASKS_TASK_H
#define TDL_TASKS_TASK_H

#include "loop/task_ops.h"
#include "tasks/layout.h"

/* Make a step: send None, or throw `exception` unless that is NULL.
 * Returns 0 or -1 with an exception set. */
int tdl_task_step(struct tdl_state *st, PyObject *task, PyObject *exception);

/* The same because `future` is done. */
int tdl_task_wake(struct tdl_state *st, PyObject *task, PyObject *future);

/* Make `task` the current one of `loop` in this thread, or no longer.
 * Returns 0 or -1 with RuntimeError set. */
int tdl_task_enter(struct tdl_state *st, PyObject *loop, PyObject *task);
int tdl_task_leave(struct tdl_state *st, PyObject *loop, PyObject *task);

/* The current task of `loop`, the running one of this thread: a new reference, or NULL with or
 * without an exception. */
PyObject *tdl_task_current(struct tdl_state *st, PyObject *loop);

/* Put `task` on the list of all tasks, or take it off.  Returns 0 or -1. */
int tdl_task_register(struct tdl_state *st, PyObject *task);
void tdl_task_unregister(struct tdl_state *st, PyObject *task);

/* Find out where asyncio has that list, as far as it is not part of tasks and threads. */
void tdl_task_find_all(PyObject *module);

/* A word of an object's memory: see struct tdl_aio. */
static inline PyObject **
tdl_task_word(PyObject *op, Py_ssize_t offset)
{
    return (PyObject **)((char *)op + offset);
}

/* A callable that steps `task`, throwing `exception` unless that is NULL, or one that
 * wakes it and takes the future that is done.  A new reference or NULL. */
PyObject *tdl_task_step_call(struct tdl_state *st, PyObject *task, PyObject *exception);
PyObject *tdl_task_wake_call(struct tdl_state *st, PyObject *task);

/* future_iter.c: an iterator that awaits a native future or task: a new reference or NULL.
 * `st` may be NULL, with an exception set. */
PyObject *tdl_task_iterate(struct tdl_state *st, PyObject *future);

/* run.c: what the loop gets. */
extern const struct tdl_task_ops tdl_task_ops;

/* See struct tdl_task_ops. */
PyObject *tdl_task_of_callback(struct tdl_state *st, PyObject *callback, bool argument,
                               PyObject *context);
PyObject *tdl_task_create(LoopObject *loop, PyObject *coro, PyObject *name, PyObject *context);
PyObject *tdl_task_create_by_call(LoopObject *loop, PyObject *const *args, PyObject *kwnames);
PyObject *tdl_task_create_future(LoopObject *loop);

/* life.c: a zeroed object of `type`, out of `list` or new; untracked, or NULL. */
PyObject *tdl_task_allocate(PyTypeObject *type, struct tdl_freelist *list);

/* Whether `op`, which is dead and needs no finalizer, may be kept for the next of its
 * type: it has no weak references and no dictionary. */
bool tdl_task_may_keep(struct tdl_state *st, PyObject *op);

/* Drop what it refers to, and keep its memory in `list`. */
void tdl_task_keep(struct tdl_state *st, PyObject *op, struct tdl_freelist *list);

/* asyncio's class below the native one whose tp_traverse is `mine`; `self` is of that one or
 * of a subclass, whose slots are Python's. */
PyTypeObject *tdl_task_stock_type(PyObject *self, traverseproc mine);

/* tp_dealloc and tp_traverse by way of `base`, asyncio's class. */
void tdl_task_dealloc_as(PyObject *op, PyTypeObject *base);
int tdl_task_traverse_as(PyObject *op, PyTypeObject *base, visitproc visit, void *arg);

/* tp_traverse of a treadle.Task that is of no subclass: what the collector does most. */
int tdl_task_traverse_exact(PyObject *op, visitproc visit, void *arg);

/* Make a subclass of `base` from `spec`, keep it in `*slot` and add it to `module` as
 * `name`.  Returns 0 or -1 with an exception set. */
int tdl_task_add_type(PyObject *module, const char *name, PyType_Spec *spec, PyObject *base,
                      PyTypeObject **slot);

/* The types.  Each returns 0 or -1 with an exception set. */
int tdl_task_call_exec(PyObject *module);
int tdl_task_future_iter_exec(PyObject *module);
int tdl_task_type_exec(PyObject *module);
int tdl_task_future_exec(PyObject *module);

/* Module exec: add _init_tasks() and what it needs. */
int tdl_tasks_exec(PyObject *module);

#endif

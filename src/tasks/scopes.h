/* Native stand-ins for functions and classes of asyncio that are about tasks.
 *
 * Each does on its own what is usual on a loop of ours, and leaves everything else, other
 * loops included, to asyncio's own code, which it was given when it was made. */
#ifndef TDL_TASKS_SCOPES_H
#define TDL_TASKS_SCOPES_H

#include "tasks/coroutine.h"

/* _make_sleep(stock): sleep(), of asyncio's. */
PyObject *tdl_make_sleep(PyObject *module, PyObject *stock);

/* Getter and setter of an object that others may look at in another thread; the closure is
 * its offset.  None stands for NULL. */
PyObject *tdl_scope_get(PyObject *op, void *offset);
int tdl_scope_set(PyObject *op, PyObject *value, void *offset);

/* Module exec, one a file, and all of them.  Each returns 0 or -1 with an exception set. */
int tdl_timeout_exec(PyObject *module);
int tdl_group_exec(PyObject *module);
int tdl_scopes_exec(PyObject *module);

#endif

/* Native stand-ins for functions and classes of asyncio that are about tasks.
 *
 * Each does on its own what is usual on a loop of ours, and leaves everything else, other
 * loops included, to asyncio's own code, which it was given when it was made. */
#ifndef TDL_TASKS_SCOPES_H
#define TDL_TASKS_SCOPES_H

#include "tasks/coroutine.h"

/* What makes a stand-in: _make_<name>(stock).  One file each. */
PyObject *tdl_make_sleep(PyObject *module, PyObject *stock);

/* The names from 'asyncio.tasks' and 'asyncio.futures' that stand-ins need, and the table
 * of what makes them.  Module exec: returns 0 or -1 with an exception set. */
int tdl_scopes_exec(PyObject *module);

#endif

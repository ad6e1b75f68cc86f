/* asyncio's functions of tasks, natively: gather() and its kin.
 *
 * Each does what asyncio's of the running version of Python does, for any loop and any
 * futures.  Where native tasks are not switched on (tasks/probe.c) asyncio's function is
 * called. */
#ifndef TDL_TASKS_FUNCTIONS_H
#define TDL_TASKS_FUNCTIONS_H

#include "loop/loop.h"
#include "py/args.h"

/* Whether the native ones can be used.  1, 0: asyncio's is to be called, or -1 with an
 * exception set. */
int tdl_functions_ready(struct tdl_state *st);

/* The running loop, or NULL without an exception if none is, or with one. */
PyObject *tdl_functions_running_loop(struct tdl_state *st);

/* The current task of `loop` where futures know who awaits them: from 3.14 on.  `*task` gets a new
 * reference or NULL.  Returns 0 or -1. */
int tdl_functions_awaiter(struct tdl_state *st, PyObject *loop, PyObject **task);

/* The functions; METH_FASTCALL | METH_KEYWORDS. */
PyObject *tdl_gather(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *kwnames);
PyObject *tdl_shield(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *kwnames);

/* _make_wait(stock), _make_wait_for(stock): wait() and wait_for() of asyncio's. */
PyObject *tdl_make_wait(PyObject *module, PyObject *stock);
PyObject *tdl_make_wait_for(PyObject *module, PyObject *stock);

/* See tasks/as_completed.c; METH_FASTCALL. */
PyObject *tdl_watch_completed(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
PyObject *tdl_next_completed(PyObject *module, PyObject *const *args, Py_ssize_t nargs);

/* The types; made when native tasks are switched on.  Each returns 0 or -1. */
int tdl_gather_exec(PyObject *module);
int tdl_functions_types_exec(PyObject *module);

/* Module exec: add the functions. */
int tdl_functions_exec(PyObject *module);

#endif

/* The process pool's part of the module. */
#ifndef TDL_PROCS_PROCS_H
#define TDL_PROCS_PROCS_H

#include "py/state.h"

/* Module exec: add types and functions.  Returns 0 or -1 with an exception set. */
int tdl_procs_exec(PyObject *module);

/* _native._work(): see worker.c. */
PyObject *tdl_procs_work(PyObject *module, PyObject *args);

#endif

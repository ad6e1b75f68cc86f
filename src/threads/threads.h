/* The thread pool's types, for module.c. */
#ifndef TDL_THREADS_THREADS_H
#define TDL_THREADS_THREADS_H

#include "py/state.h"

/* Module exec: add all types and functions.  Returns 0 or -1 with an exception. */
int tdl_threads_exec(PyObject *module);

#endif

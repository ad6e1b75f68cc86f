/* treadle.wait(): concurrent.futures.wait() on our futures and standard ones. */
#ifndef TDL_FUTURE_WAIT_H
#define TDL_FUTURE_WAIT_H

#include "py/state.h"

/* Module exec: add the function.  Returns 0 or -1 with an exception set. */
int tdl_wait_exec(PyObject *module);

#endif

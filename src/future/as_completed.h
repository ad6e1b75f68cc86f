/* treadle.as_completed(): concurrent.futures.as_completed() on all futures. */
#ifndef TDL_FUTURE_AS_COMPLETED_H
#define TDL_FUTURE_AS_COMPLETED_H

#include "py/state.h"

/* Module exec: add the type and the function.  Returns 0 or -1 with an exception. */
int tdl_as_completed_exec(PyObject *module);

#endif

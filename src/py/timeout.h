/* Timeouts given in Python as deadlines of core/clock.h. */
#ifndef TDL_PY_TIMEOUT_H
#define TDL_PY_TIMEOUT_H

#include "py/compat.h"

/* Turn `timeout` (NULL or None: forever; else a number of seconds, where zero,
 * less and NaN mean at once) into a deadline.  Rounds up: never early.
 * Returns 0, or -1 with TypeError or OverflowError set. */
int tdl_timeout_deadline(PyObject *timeout, int64_t *deadline);

#endif

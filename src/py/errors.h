/* Errors of the C side as Python exceptions, and exceptions as log records.
 * Every function needs an attached thread state. */
#ifndef TDL_PY_ERRORS_H
#define TDL_PY_ERRORS_H

#include "py/state.h"

/* Raise what core's `error` (-errno) means: MemoryError for -ENOMEM, else the
 * OSError of that number.  Always returns -1. */
int tdl_raise_errno(int error);

/* Take the raised exception and log it: concurrent.futures' logger, level
 * ERROR, `format` with `subject` as its argument.  Never fails: what goes
 * wrong meanwhile is reported as unraisable. */
void tdl_log_exception(struct tdl_state *st, const char *format, PyObject *subject);

/* The same at level CRITICAL, without an argument. */
void tdl_log_critical(struct tdl_state *st, const char *message);

/* Raise `exc` as the statement `raise exc` would: its traceback is kept, its
 * context is the exception being handled.  Returns NULL. */
PyObject *tdl_reraise(PyObject *exc);

#endif

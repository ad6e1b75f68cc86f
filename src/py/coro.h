/* What native coroutines, which have no frame, say to the interpreter: StopIteration,
 * and the arguments of throw().  With the GIL or attached. */
#ifndef TDL_PY_CORO_H
#define TDL_PY_CORO_H

#include "py/state.h"

/* Raise StopIteration(value).  The exception is always set, be it MemoryError. */
void tdl_coro_stop(PyObject *value);

/* The same for the interpreter, which only takes the value out: as a rule without making
 * an exception. */
void tdl_coro_stop_quietly(struct tdl_state *st, PyObject *value);

/* The same of a value that may live until the next StopIteration is raised, or until
 * tdl_coro_forget(). */
void tdl_coro_stop_lent(struct tdl_state *st, PyObject *value);

/* Drop `value` if tdl_coro_stop_lent() has kept it. */
void tdl_coro_forget(struct tdl_state *st, PyObject *value);

/* Take the value out of a StopIteration that is set.  Returns a new reference, or NULL
 * if another exception is set, which stays. */
PyObject *tdl_coro_take_stopped(void);

/* Set what throw(type, value, traceback) was called with; the last two may be NULL.
 * Returns 0, or -1 with TypeError set. */
int tdl_coro_set_thrown(PyObject *type, PyObject *value, PyObject *traceback);

#endif

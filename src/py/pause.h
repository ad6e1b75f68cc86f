/* Letting other threads have the GIL from a loop in C.
 *
 * A loop that calls builtins passes no point where the interpreter lets go of
 * the GIL, or stops for the collector. Releasing the GIL and taking it again is
 * not enough: the thread that waits for it is woken, loses the race, and starts
 * its switch interval anew. A call of a Python function passes such a point, and
 * hands the GIL over if somebody has waited for it long enough. */
#ifndef TDL_PY_PAUSE_H
#define TDL_PY_PAUSE_H

#include "core/clock.h"
#include "py/state.h"

/* Loops pause this often, in ns: seldom enough to cost nothing, often enough for
 * any switch interval. */
#define TDL_PAUSE_EVERY TDL_NS_PER_MS

/* Make the function.  Returns 0 or -1 with an exception set. */
int tdl_pause_init(struct tdl_state *st);

/* Let others have the GIL if they asked for it.
 * Returns 0, or -1 with what a signal handler or another thread raised here. */
static inline int
tdl_pause(struct tdl_state *st)
{
    PyObject *r = PyObject_CallNoArgs(st->objects.pause);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

#endif

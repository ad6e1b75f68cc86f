/* What one thread at a time may do, others being refused rather than kept waiting: as with
 * a generator, whose next() is refused while it runs.  No Python call in between is a
 * danger to it. */
#ifndef TDL_PY_EXCLUSIVE_H
#define TDL_PY_EXCLUSIVE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "py/compat.h"

/* Come in, unless somebody is in.  Needs the thread state.
 * Returns 0, or -1 with ValueError(`message`) set. */
static inline int
tdl_exclusive_enter(_Atomic bool *busy, const char *message)
{
    if (!atomic_exchange_explicit(busy, true, memory_order_acquire))
        return 0;
    PyErr_SetString(PyExc_ValueError, message);
    return -1;
}

static inline void
tdl_exclusive_leave(_Atomic bool *busy)
{
    atomic_store_explicit(busy, false, memory_order_release);
}

#endif

/* A histogram as Python sees it. */
#ifndef TDL_PY_HISTOGRAM_H
#define TDL_PY_HISTOGRAM_H

#include "core/histogram.h"
#include "py/compat.h"

/* {'count': n, 'sum': seconds, 'buckets': [(below this many seconds, n), ...]},
 * buckets at the end that are empty left out but for (inf, n).
 * Thread state: attached.  Returns a new reference or NULL. */
PyObject *tdl_histogram_dict(const struct tdl_histogram *h);

#endif

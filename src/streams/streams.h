/* Native streams on treadle's loop; see docs/streams.md.  Attached thread state. */
#ifndef TDL_STREAMS_STREAMS_H
#define TDL_STREAMS_STREAMS_H

#include "py/state.h"

/* Module exec: add _init_streams().  Returns 0 or -1 with an exception set. */
int tdl_streams_exec(PyObject *module);

#endif

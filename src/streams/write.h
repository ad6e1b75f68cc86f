/* The methods of a native stream writer.  The loop's thread. */
#ifndef TDL_STREAMS_WRITE_H
#define TDL_STREAMS_WRITE_H

#include "py/state.h"

/* Module exec for what needs asyncio.  Returns 0 or -1 with an exception set. */
int tdl_write_exec(PyObject *module);

#endif

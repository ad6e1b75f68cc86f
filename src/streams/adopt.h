/* Which protocols of transports get native streams: those that are exactly asyncio's
 * StreamReaderProtocol, with a reader that is exactly a StreamReader, if nobody has
 * patched these classes.  The loop's thread. */
#ifndef TDL_STREAMS_ADOPT_H
#define TDL_STREAMS_ADOPT_H

#include "py/state.h"

/* _adopt_stream(stream): make a StreamReader or StreamWriter one of ours, if it is
 * exactly asyncio's.  Returns whether it is one now. */
PyObject *tdl_adopt_stream(PyObject *module, PyObject *stream);

/* Module exec for what needs asyncio: from now on transports hand streams to us.
 * Returns 0 or -1 with an exception set. */
int tdl_adopt_exec(PyObject *module);

#endif

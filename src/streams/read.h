/* The methods of a native stream reader.  The loop's thread. */
#ifndef TDL_STREAMS_READ_H
#define TDL_STREAMS_READ_H

#include "py/state.h"

extern PyMethodDef tdl_read_methods[];

#endif

/* A codec as a Python object, treadle._native.Codec: two of them in one process are
 * what tests put messages through. */
#ifndef TDL_PROCS_CODEC_OBJECT_H
#define TDL_PROCS_CODEC_OBJECT_H

#include "py/state.h"

/* Make this type and all others that messages need. */
int tdl_codec_exec(PyObject *module);

#endif

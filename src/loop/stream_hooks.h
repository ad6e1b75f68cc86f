/* What the stream layer, above this one, does for stream transports.
 *
 * It fills in the table when it is set up; until then, and for protocols that it does
 * not know, a transport calls its protocol's methods.  The loop's thread; attached
 * thread state. */
#ifndef TDL_LOOP_STREAM_HOOKS_H
#define TDL_LOOP_STREAM_HOOKS_H

#include "loop/loop.h"

struct tdl_stream_hooks {
    /* `protocol` is a transport's from now on; `first`: it is told of the connection
     * next.
     * Returns 0 and a new reference in `*sink`, where data is to go, or NULL there:
     * to the protocol.  -1 with an exception set. */
    int (*adopt)(LoopObject *loop, PyObject *protocol, bool first, PyObject **sink);

    /* loop.create_future() was called while `loop->writers_expected`.
     * Returns 0 or -1 with an exception set. */
    int (*on_create_future)(LoopObject *loop);

    /* Take `data`, exactly bytes, instead of protocol.data_received().
     * Returns 1; 0 if it must go to the protocol after all; -1 with an exception set. */
    int (*feed)(struct tdl_state *st, PyObject *sink, PyObject *protocol, PyObject *data);
};

#endif

/* Acceptor: a listening socket that the loop takes connections from.
 *
 * It stands behind asyncio's Server: the loop makes one in _start_serving() for each
 * plain TCP or UNIX listener without TLS, and drops it in _stop_serving(). Each
 * connection becomes a StreamTransport, without a task or a socket object.
 *
 * The loop's thread only. */
#ifndef TDL_LOOP_ACCEPT_H
#define TDL_LOOP_ACCEPT_H

#include "py/state.h"

/* The loop's methods. */
extern PyMethodDef tdl_loop_accept_methods[];

/* Module exec: add the type.  Returns 0 or -1 with an exception set. */
int tdl_accept_exec(PyObject *module);

#endif

/* sock_*(): one try each.  The coroutines are Python's (python/treadle/_sock.py); what a
 * try hands back is
 *
 *     the result
 *     a future       the socket is not ready: wait for it, and try again
 *     NotImplemented nothing was done; asyncio's own coroutine knows what to do with
 *                    other classes of sockets, odd arguments, debug mode
 *
 * The loop's thread; attached thread state. */
#ifndef TDL_LOOP_SOCK_H
#define TDL_LOOP_SOCK_H

#include "loop/sock_wait.h"
#include "loop/socket.h"

/* What a method was called with, and what is known of the socket, its first argument. */
struct tdl_try {
    LoopObject *loop;
    PyObject *sock; /* borrowed */
    struct tdl_socket socket;
    SockWatchObject *watch; /* borrowed, or NULL */
};

/* Look at the arguments, of which there must be `expected`.
 * Returns 1; 0 if this is not for native code; -1 with an exception set. */
int tdl_try_begin(struct tdl_try *t, LoopObject *loop, PyObject *const *args, Py_ssize_t nargs,
                  Py_ssize_t expected);

/* Whether the descriptor itself is in non-blocking mode, as far as its object knows.
 * Returns 1, 0, or -1 with an exception set. */
int tdl_try_never_blocks(struct tdl_try *t);

/* The result of a method for whose try `r`, 0 or -1, was returned. */
PyObject *tdl_try_not_ours(int r);

/* After a system call that failed with errno: a future if it would have blocked, or NULL with
 * the OSError set. */
PyObject *tdl_try_failed(struct tdl_try *t, enum tdl_sock_way way);

#endif

/* fork() and the loops that the child inherits.
 *
 * The child's copy of an epoll descriptor is the parent's epoll: whatever the child
 * changed there, the parent would miss.  So every open loop is in a list, and in a
 * child each of them lets go of its descriptors and is of no more use: everything but
 * close() raises RuntimeError.
 *
 * The list is the interpreter's (tdl_state.loops), under its lock. */
#ifndef TDL_LOOP_FORK_H
#define TDL_LOOP_FORK_H

#include "loop/loop.h"

/* List `loop`, which has been opened. */
void tdl_fork_list(LoopObject *loop);

/* Take it off, if it is on.  Also right in a child. */
void tdl_fork_unlist(LoopObject *loop);

/* Set the RuntimeError for a loop that the process has inherited.  Returns -1. */
int tdl_fork_raise(void);

/* Module exec: add the function that is to run in a child.  Returns 0 or -1. */
int tdl_fork_exec(PyObject *module);

#endif

/* The watchdog: notices that a loop is stuck in one callback, while it is stuck.
 *
 * A Python thread of its own sits in Watchdog.wait(), without the GIL, and looks
 * every quarter of the limit whether the loop has got on (tdl_loop_stats_beat()).
 * When it has not, wait() returns and Python code logs the stack.  Should somebody
 * keep the GIL meanwhile, so that this cannot be, another thread that needs no GIL
 * writes what it can to standard error.
 *
 * The loop and the watchdog know each other; stop() ends that from the loop's side.
 * Lock: `lock`, for the pointer to the loop. */
#ifndef TDL_LOOP_WATCHDOG_H
#define TDL_LOOP_WATCHDOG_H

#include "loop/loop.h"

/* Let go of the loop's watchdog, if it has one: its thread ends.  Never blocks.  In a
 * forked child, which has not got the thread, the object is only dropped. */
void tdl_watchdog_stop(LoopObject *loop);

/* The methods of LoopBase. */
extern PyMethodDef tdl_loop_watchdog_methods[];

/* Module exec: add the type.  Returns 0 or -1 with an exception. */
int tdl_watchdog_exec(PyObject *module);

#endif

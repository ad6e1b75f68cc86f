/* Finished futures on their way to one asyncio loop, of whatever class.
 *
 * The first delivery that is posted asks the loop, by call_soon_threadsafe(), to
 * call the inbox; those posted until it does travel with it.  Any thread. */
#ifndef TDL_FUTURE_LOOP_INBOX_H
#define TDL_FUTURE_LOOP_INBOX_H

#include "future/deliver.h"
#include "future/waiter.h"
#include "py/state.h"

/* Post: when `loop` gets to it, the destination (an asyncio future of that loop) takes
 * over the outcome of the source (ours, done).  A closed loop swallows it, as asyncio
 * does.  A stock loop that has to be woken is left to `fire` if that is not NULL.
 * Owns: takes a `delivery` without a keeper, whatever the outcome.
 * Returns 1 if posted, 0 if this loop cannot be served (the caller takes the
 * ordinary way), -1 with an exception set. */
int tdl_loop_inbox_post(struct tdl_state *st, PyObject *loop, struct tdl_delivery *delivery,
                        PyObject *keeper, struct tdl_fire *fire);

/* Module exec: add the type.  Returns 0 or -1 with an exception set. */
int tdl_loop_inbox_exec(PyObject *module);

#endif

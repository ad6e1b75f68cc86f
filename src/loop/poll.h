/* Asking the poller: what is ready, or sleep until something is.
 *
 * The loop's thread only. */
#ifndef TDL_LOOP_POLL_H
#define TDL_LOOP_POLL_H

#include "loop/loop.h"

/* Turns without asking the poller while callbacks keep coming: asking costs more
 * than most callbacks, and ready descriptors wait no longer than this. */
enum { TDL_LOOP_UNPOLLED = 61 };

/* Sleep until a descriptor is ready, a timer is due, or something is posted, unless
 * something is ready to run, and for `limit` ns at most unless that is negative; deal with ready descriptors, queue what was posted.
 * Lets the GIL go while it sleeps.  Returns 0 or -1 with an exception set. */
int tdl_loop_poll(LoopObject *loop, int64_t limit);

#endif

/* What is watched on each descriptor: add_reader()'s handles, or an io.
 *
 * The loop's thread only. */
#ifndef TDL_LOOP_WATCH_H
#define TDL_LOOP_WATCH_H

#include "loop/loop.h"

/* Make sure loop->watches[fd] exists.  Returns 0 or -1 with MemoryError set. */
int tdl_watch_reserve(LoopObject *loop, int fd);

/* What the poller is to report of a descriptor: TDL_POLL_ bits. */
unsigned tdl_watch_mask(const struct tdl_watch *watch);

/* Tell the poller that `now` (TDL_POLL_ bits) is watched on `fd`, after `old`.
 * Returns 0 or -1 with OSError set. */
int tdl_watch_update(LoopObject *loop, int fd, unsigned old, unsigned now);

/* Visit what the watches keep alive. */
int tdl_watch_traverse(LoopObject *loop, visitproc visit, void *arg);

/* Forget all watches. */
void tdl_watch_clear(LoopObject *loop);

/* Queue the handles that `events` concern, or call the io.
 * Returns 0 or -1 with an exception set. */
int tdl_watch_dispatch(LoopObject *loop, int fd, unsigned events);

#endif

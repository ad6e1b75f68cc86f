/* A descriptor that any thread can make readable: how a poller is woken.
 *
 * Signals coalesce: any number of them before a drain are one.  An eventfd where
 * the system has it, a pipe elsewhere.  Open, close, drain: the owner thread;
 * signal: any thread and any signal handler, as long as the wakeup is open.  No
 * locks, no Python thread state. */
#ifndef TDL_CORE_WAKEUP_H
#define TDL_CORE_WAKEUP_H

enum tdl_wakeup_kind {
    TDL_WAKEUP_BEST, /* an eventfd, or a pipe where that cannot be had */
    TDL_WAKEUP_EVENTFD,
    TDL_WAKEUP_PIPE
};

struct tdl_wakeup {
    int read_fd;  /* fixed while open; -1 when closed */
    int write_fd; /* fixed while open; the same as read_fd for an eventfd */
};

/* Open the descriptors: non-blocking, closed on exec.
 * Returns 0; -EINVAL for an unknown kind, -ENOSYS for an eventfd on a system
 * without, or what the system said (-EMFILE, ...), with nothing left open and
 * the wakeup in the closed state. */
int tdl_wakeup_open(struct tdl_wakeup *wakeup, enum tdl_wakeup_kind kind);

/* Close the descriptors.  Calling again is harmless. */
void tdl_wakeup_close(struct tdl_wakeup *wakeup);

/* Make the descriptor readable until the next drain.  Leaves errno as it was.
 * What the caller did before is visible to the thread whose drain returns 1 for
 * this signal.  Blocks: never.
 * Returns 0 (also if a signal was pending), or -EBADF when closed. */
int tdl_wakeup_signal(const struct tdl_wakeup *wakeup);

/* Forget all signals so far.  Blocks: never.
 * Returns 1 if there were any, 0 if not, or -EBADF when closed. */
int tdl_wakeup_drain(const struct tdl_wakeup *wakeup);

/* The descriptor to poll for reading; it is the wakeup's, not to be closed. */
static inline int
tdl_wakeup_fd(const struct tdl_wakeup *wakeup)
{
    return wakeup->read_fd;
}

#endif

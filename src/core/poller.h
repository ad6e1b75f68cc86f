/* Which descriptors are ready: one interface, and behind it a table of
 * operations for each way the system has to tell.
 *
 * Owner thread only, all of it; no locks, no Python thread state (callers give
 * up theirs around a wait that blocks).  Level-triggered unless TDL_POLL_EDGE says
 * otherwise: a descriptor is reported by every wait for as long as it is ready.
 *
 * A descriptor must be removed before it is closed; of one that was not, back
 * ends may forget or report the registration, and may refuse its number.  The
 * events of one wait are a snapshot: removing a descriptor does not take back an
 * event that was already returned, so what `data` points to has to stay until
 * the caller is done with the batch. */
#ifndef TDL_CORE_POLLER_H
#define TDL_CORE_POLLER_H

#include <stdbool.h>
#include <stdint.h>

/* Bits of an event. */
enum {
    TDL_POLL_IN = 1,
    TDL_POLL_OUT = 2,
    TDL_POLL_ERR = 4, /* reported whether asked for or not */
    TDL_POLL_HUP = 8, /* reported whether asked for or not */
    /* Asked for beside IN or OUT: report changes, not for as long as it is ready, so
     * that what is forgotten costs one event; and HUP when the peer will send no more.
     * Being registered and having the events replaced count as changes.  Back ends
     * that cannot leave it out of account. */
    TDL_POLL_EDGE = 16
};

struct tdl_event {
    void *data;      /* as registered with the descriptor */
    unsigned events; /* TDL_POLL_ bits, at least one */
};

struct tdl_poller;

/* A back end.  Each operation has the contract of the function below that has
 * its name. */
struct tdl_poller_ops {
    const char *name; /* as in TREADLE_POLLER */
    int (*open)(struct tdl_poller *poller);
    void (*close)(struct tdl_poller *poller);
    int (*add)(struct tdl_poller *poller, int fd, unsigned events, void *data);
    int (*modify)(struct tdl_poller *poller, int fd, unsigned events, void *data);
    int (*remove)(struct tdl_poller *poller, int fd);
    int (*wait)(struct tdl_poller *poller, struct tdl_event *events, int max, int64_t timeout);
};

struct tdl_poller {
    const struct tdl_poller_ops *ops; /* fixed while open; NULL when closed */
    void *state;                      /* owner; the back end's */
    bool coarse; /* owner; timeouts are rounded up to ms: the back end sets it where
                    the system cannot do better */
};

/* Open with the back end called `name`: "epoll" or "poll".  NULL: what the
 * environment variable TREADLE_POLLER says; unset or empty: the system's best.
 * Returns 0; -EINVAL if there is no such back end; -ENOMEM; or what the system
 * said (-EMFILE, ...); failures leave `poller` closed. */
int tdl_poller_open(struct tdl_poller *poller, const char *name);

/* Close and free everything; descriptors stay open.  Calling again is harmless. */
void tdl_poller_close(struct tdl_poller *poller);

/* In a forked child: let go of what the parent goes on using, without a change to it.
 * Allocates nothing.  Until it is closed the poller knows no descriptor and takes none:
 * remove returns -ENOENT, all else -ECHILD. */
void tdl_poller_abandon(struct tdl_poller *poller);

/* Report `events` (IN, OUT and EDGE bits, maybe none) of `fd` from now on, with `data`.
 * Returns 0; -EEXIST if `fd` is registered; -EBADF if it is not open; -EPERM for a
 * regular file or a directory; -EINVAL for other bits; -ENOMEM; or -ENOSPC;
 * failures change nothing. */
int tdl_poller_add(struct tdl_poller *poller, int fd, unsigned events, void *data);

/* Replace the events and the data of `fd`.
 * Returns 0; -ENOENT if `fd` is not registered, -EBADF or -EPERM as for add, -EINVAL
 * for other bits; failures change nothing. */
int tdl_poller_modify(struct tdl_poller *poller, int fd, unsigned events, void *data);

/* Report `fd` no more.
 * Returns 0, -ENOENT if `fd` is not registered, or -EBADF or -EPERM as for add. */
int tdl_poller_remove(struct tdl_poller *poller, int fd);

/* Wait until something is ready and describe up to `max` ready descriptors, each
 * once, in `events`.  Those that did not fit have their turn in the next waits.
 * Blocks: up to `timeout` ns; 0: never; negative: without limit.
 * Returns how many events there are.  0: the timeout is over, never early by the
 * monotonic clock; or a signal handler ran; or a timeout of more than 24 days
 * was cut short; so the caller looks at its clock and at its signals.
 * -EINVAL if `max` is not positive; or what the system said. */
int tdl_poller_wait(struct tdl_poller *poller, struct tdl_event *events, int max,
                    int64_t timeout);

/* For back ends: `timeout` ns in ms, rounded up, as epoll_wait() and poll() want
 * it; -1 for a negative one. */
int tdl_poller_ms(int64_t timeout);

#endif

/* Waiting until a socket that the program reads and writes itself is ready.
 *
 * A socket stays registered with the poller between two operations, edge-triggered,
 * as long as each event finds somebody waiting; so a loop of sock_recv() does not
 * call the kernel to be told what it knows.  A socket that is closed meanwhile
 * leaves nothing that matters: its watch knows the object, not only the number.
 *
 * The loop's thread; attached thread state. */
#ifndef TDL_LOOP_SOCK_WAIT_H
#define TDL_LOOP_SOCK_WAIT_H

#include "loop/io.h"

/* What is waited for.  Who waits for a connection is not told to try again but how it went,
 * as it was when the event came. */
enum tdl_sock_way { TDL_SOCK_READ, TDL_SOCK_WRITE, TDL_SOCK_CONNECT, TDL_SOCK_WAYS };

/* A socket's watch.  Its waiters are futures, whose owners may have cancelled them. */
typedef struct {
    PyObject_HEAD
    struct tdl_io io;
    LoopObject *loop;                 /* borrowed; valid while io is attached */
    PyObject *ref;                    /* weak reference to the socket object */
    PyObject *waiters[TDL_SOCK_WAYS]; /* each NULL, a future, or a list of futures */
    bool drained; /* the last read got less than it asked for, and no event since */
    bool ended;   /* the peer sends no more, or the socket has failed */
    bool ample;   /* the last read got a lot */
} SockWatchObject;

/* The watch of `sock`, whose descriptor is `fd`; borrowed, or NULL if it has none. */
SockWatchObject *tdl_sock_watch_of(LoopObject *loop, PyObject *sock, int fd);

/* A future that gets None when it is worth trying again or, for TDL_SOCK_CONNECT, the errno
 * of the connection, 0 if it is made; new, or NULL. */
PyObject *tdl_sock_wait(LoopObject *loop, PyObject *sock, int fd, enum tdl_sock_way way);

/* Whether a read would find nothing, as far as the watch knows, and an event will
 * come when that changes. */
static inline bool
tdl_sock_is_drained(const SockWatchObject *watch)
{
    return watch != NULL && watch->drained && (watch->io.events & TDL_POLL_IN) != 0;
}

/* A stream was read: `got` bytes, not 0, of `asked`. */
static inline void
tdl_sock_note_read(SockWatchObject *watch, size_t got, size_t asked)
{
    /* whether the stream has ended too may have been told with the data, once */
    if (watch != NULL)
        watch->drained = got < asked && !watch->ended;
}

/* Module exec for the type.  Returns 0 or -1 with an exception set. */
int tdl_sock_wait_exec(PyObject *module);

#endif

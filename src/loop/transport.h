/* StreamTransport: a connected stream socket, TCP or UNIX, as an asyncio.Transport.
 *
 * A subclass of asyncio's _FlowControlMixin (a Transport), whose slots stay empty:
 * what they would hold is answered from the native part.
 *
 * The transport owns its descriptor, by way of a socket object if there is one:
 * accepted connections get theirs when somebody asks.  It is closed once, in
 * tdl_transport_lose() or, with a ResourceWarning, by the finalizer.
 *
 * The loop's thread only.  Without a GIL a call from another thread, while the loop
 * runs, is refused with RuntimeError; with one it is as unsafe as in asyncio.
 *
 *     loop == NULL  after the connection was lost
 *     conn_lost > 0 means that connection_lost() was called or is scheduled: no more
 *                   is read or written, and the queue is empty
 *     closing       conn_lost > 0, or it will be once the queue is written
 *     io.events     IN: being read; OUT: the queue is not empty, unless `held`
 *     held          the queue is written at the end of the turn, or before anything
 *                   else is done to the transport
 */
#ifndef TDL_LOOP_TRANSPORT_H
#define TDL_LOOP_TRANSPORT_H

#include "core/wqueue.h"
#include "loop/endpoint.h"
#include "loop/flow.h"
#include "loop/io.h"

/* Room for the slots of the base class: _extra, _loop, _protocol_paused, ... */
enum { TDL_TRANSPORT_BASE_SLOTS = 5 };

typedef struct tdl_transport {
    PyObject_HEAD
    PyObject *base_slots[TDL_TRANSPORT_BASE_SLOTS]; /* the base class's; not used */
    struct tdl_io io;
    struct tdl_state *st;
    LoopObject *loop;   /* strong */
    PyObject *protocol; /* strong; NULL: None */
    PyObject *sink;     /* strong; NULL: data goes to the protocol; see stream_hooks.h */
    PyObject *context;  /* strong; what callbacks run in */
    struct tdl_wqueue queue;
    struct tdl_flow flow;
    int fd; /* -1 once closed */
    unsigned conn_lost;
    bool closing;
    bool eof;               /* write_eof() was called */
    bool paused;            /* pause_reading() was called */
    bool buffered;          /* the protocol is a BufferedProtocol */
    signed char size_class; /* of the spare to receive into, or TDL_SPARE_NONE */
    bool keeps;             /* the protocol kept what it was given last */
    bool connected;         /* a protocol was set: it hears of the end */
    bool extra_filled;      /* `extra` is complete */
    bool held;
    bool listed;     /* in loop->held; until the end of the turn */
    uint8_t holding; /* turns for which writes are held back */
    bool made;       /* fully made: the finalizer has something to close */
    short family;
    int proto;
    int number;             /* fd, kept after it was closed */
    PyObject *sock;         /* socket.socket, strong; or NULL */
    PyObject *server;       /* strong, or NULL */
    PyObject *empty_waiter; /* future, strong, or NULL; see _make_empty_waiter() */
    PyObject *extra;        /* dict, strong; NULL, or as given, until asked for */
    uint64_t written_in;    /* the turn of the last write to an empty queue */
    struct tdl_transport *held_next;
    struct tdl_endpoint sockname, peername;
    PyObject *dict, *weakrefs;
} TransportObject;

/* What a transport is made of; borrowed references. */
struct tdl_transport_spec {
    int fd;            /* not blocking */
    PyObject *sock;    /* socket.socket of fd, or NULL */
    int family, proto; /* of the socket */
    PyObject *protocol;
    PyObject *waiter;  /* future to resolve after connection_made(), or NULL */
    PyObject *extra;   /* dict, or NULL */
    PyObject *server;  /* asyncio's Server, or NULL */
    PyObject *context; /* contextvars.Context, or NULL: a copy of the current one */
    const struct tdl_address *peer; /* or NULL: ask */
};

/* Make a transport: connection_made() is scheduled, then reading, then the waiter.
 * Owns: takes over the descriptor (and closes `sock`, in the end) on success only.
 * Returns a new reference, or NULL with an exception set. */
PyObject *tdl_transport_new(LoopObject *loop, const struct tdl_transport_spec *spec);

/* _ensure_fd_no_transport(): `file` is a number or has a fileno().
 * Returns 0; -1 with RuntimeError if a transport that is not closing uses it, or
 * ValueError. */
int tdl_transport_check_file(LoopObject *loop, PyObject *file);

static inline bool
tdl_transport_check(struct tdl_state *st, PyObject *op)
{
    return Py_IS_TYPE(op, st->objects.StreamTransport);
}

/* Raise RuntimeError if the calling thread must not use the transport now.
 * Returns 0 or -1. */
static inline int
tdl_transport_check_thread(TransportObject *self)
{
    return tdl_loop_check_thread(self->loop);
}

/* transport_hold.c */

/* Whether `size` bytes, written to an empty queue, may wait for the end of the turn. */
bool tdl_transport_may_hold(TransportObject *self, size_t size);

/* Bytes were queued to be held; `first`: the queue was empty before.
 * Returns 0 or -1 with an exception set. */
int tdl_transport_held_more(TransportObject *self, bool first);

/* Write what is held.  Returns 0 or -1 with an exception set. */
int tdl_transport_send_held(TransportObject *self);

/* Write what all transports of `loop` hold, after a turn that returned `r`.
 * Returns `r`, or -1 with an exception set. */
int tdl_transport_end_turn(LoopObject *loop, int r);

/* The beginning of every method but write(): the right thread, and nothing held.
 * Returns 0 or -1 with an exception set. */
static inline int
tdl_transport_enter(TransportObject *self)
{
    if (tdl_transport_check_thread(self) < 0)
        return -1;
    return self->held ? tdl_transport_send_held(self) : 0;
}

/* What is asked of the poller: IN unless paused, closing or at the end; OUT while
 * bytes wait. */
static inline int
tdl_transport_want(TransportObject *self, unsigned events)
{
    return tdl_io_want(self->loop, &self->io, events);
}

/* server._detach(), once; without a server nothing.  Returns 0 or -1. */
int tdl_transport_leave_server(TransportObject *self);

/* Leave `context`, which is the current one, keeping an exception that is set.
 * Returns `r`, or -1 with an exception set. */
int tdl_transport_leave(PyObject *context, int r);

/* transport_info.c */

PyObject *tdl_transport_repr(PyObject *self);

/* _sock: the socket object, made if necessary; None if closed.  New, or NULL. */
PyObject *tdl_transport_sock(TransportObject *self);

/* Whether the socket object still has the descriptor: a program that closes it behind
 * the transport's back must not make it write to whoever gets the number next. */
bool tdl_transport_sock_is_open(TransportObject *self);

static inline bool
tdl_transport_owns_fd(TransportObject *self)
{
    return self->sock == NULL || tdl_transport_sock_is_open(self);
}

/* _extra: what get_extra_info() looks at.  Borrowed, or NULL. */
PyObject *tdl_transport_extra(TransportObject *self);

/* Close the descriptor, by way of the socket object if there is one; calling again is
 * harmless.  Returns 0 or -1 with what the socket raised. */
int tdl_transport_close_fd(TransportObject *self);

/* transport_read.c */

/* Read once and hand it to the protocol.
 * Returns 0, or -1 with SystemExit, KeyboardInterrupt or an error of the loop. */
int tdl_transport_read(TransportObject *self);

/* Set the protocol; `first`: its connection_made() comes next.
 * Returns 0 or -1 with an exception set. */
int tdl_transport_set_protocol(TransportObject *self, PyObject *protocol, bool first);

/* transport_write.c */

/* write(data).  Returns None, new, or NULL with an exception set. */
PyObject *tdl_transport_write(TransportObject *self, PyObject *data);

/* Write what is queued, as far as the socket takes it.  Returns as read. */
int tdl_transport_flush(TransportObject *self);

/* Try to write the queue now, which nobody has tried yet; what is left waits for the
 * socket.  Returns 0 or -1 with an exception set. */
int tdl_transport_send_queue(TransportObject *self);

/* shutdown(SHUT_WR).  Returns 0 or -1 with OSError set. */
int tdl_transport_shut(TransportObject *self);

/* transport_close.c */

/* close().  Returns 0 or -1 with an exception set. */
int tdl_transport_close(TransportObject *self);

/* Drop what is queued and schedule connection_lost(exc).
 * Returns 0 or -1 with an exception set. */
int tdl_transport_force_close(TransportObject *self, PyObject *exc);

/* _fatal_error() with the raised exception: report it, and close by force.
 * Returns 0 with it cleared; -1 with SystemExit, KeyboardInterrupt or what the
 * exception handler raised. */
int tdl_transport_fatal(TransportObject *self, const char *message);

/* connection_lost(exc) to the protocol, then close everything.
 * Returns 0, or -1 with what the protocol raised. */
int tdl_transport_lose(TransportObject *self, PyObject *exc);

extern PyMethodDef tdl_transport_read_methods[];
extern PyMethodDef tdl_transport_write_methods[];
extern PyMethodDef tdl_transport_close_methods[];
extern PyMethodDef tdl_transport_info_methods[];
extern PyGetSetDef tdl_transport_getset[];

/* The loop's methods that make and look for transports. */
extern PyMethodDef tdl_loop_transport_methods[];

/* Module exec for what needs asyncio.  Returns 0 or -1 with an exception set. */
int tdl_transport_exec(PyObject *module);

#endif

/* ReadPipeTransport and WritePipeTransport: one end of a pipe, a socket or a
 * character device, as asyncio's transports of connect_read_pipe() and
 * connect_write_pipe().
 *
 * Subclasses of asyncio.ReadTransport and, as asyncio's own, of _FlowControlMixin,
 * whose slots stay empty: what they would hold is answered from the native part.
 *
 * A transport owns its file object, `pipe`, and closes it once: when the connection
 * is lost or, with a ResourceWarning, in the finalizer.
 *
 * The loop's thread only.  Without a GIL a call from another thread, while the loop
 * runs, is refused with RuntimeError; with one it is as unsafe as in asyncio.
 *
 *     pipe == NULL  after the connection was lost: so are loop and protocol
 *     lost          connection_lost() was called or is scheduled: nothing is read or
 *                   written any more, and the queue is empty
 *     closing       lost, or it will be once the queue is written
 *     io.events     reading: IN, unless paused; writing: IN tells that the other end
 *                   was closed, OUT that the queue is not empty
 */
#ifndef TDL_LOOP_PIPE_H
#define TDL_LOOP_PIPE_H

#include "core/wqueue.h"
#include "loop/flow.h"
#include "loop/io.h"

/* Room for the slots of the base classes: _extra, _loop, _protocol_paused, ... */
enum { TDL_PIPE_BASE_SLOTS = 5 };

typedef struct tdl_pipe {
    PyObject_HEAD
    PyObject *base_slots[TDL_PIPE_BASE_SLOTS]; /* not used */
    struct tdl_io io;
    struct tdl_state *st;
    LoopObject *loop;        /* strong */
    PyObject *protocol;      /* strong; NULL: None */
    PyObject *context;       /* strong; what callbacks run in */
    PyObject *pipe;          /* strong: the file object */
    PyObject *extra;         /* strong: dict of get_extra_info() */
    struct tdl_wqueue queue; /* what is to be written */
    struct tdl_flow flow;
    int fd;             /* what is read or written: `number`, or a duplicate of it */
    int number;         /* pipe.fileno() */
    unsigned conn_lost; /* writes that failed or came too late */
    bool writes;        /* which of the two it is; fixed */
    bool watches_end;   /* the system tells the writer when the other end is closed */
    bool closing;
    bool lost;
    bool paused; /* pause_reading() was called */
    PyObject *dict, *weakrefs;
} PipeObject;

/* ---- pipe.c */

/* Raise RuntimeError if the calling thread must not use the transport now.
 * Returns 0 or -1. */
int tdl_pipe_enter(PipeObject *self);

/* Ask for `events` from now on.  Returns 0 or -1 with an exception set. */
int tdl_pipe_want(PipeObject *self, unsigned events);

/* Whether somebody is to be told what happens. */
static inline bool
tdl_pipe_debug(const PipeObject *self)
{
    return self->loop != NULL && self->loop->debug;
}

/* logger.<level>(format, self) of asyncio's logger; without self if `format` does not
 * ask for it.
 * Returns 0 or -1 with an exception set. */
int tdl_pipe_log(PipeObject *self, const char *level, const char *format);

/* call_soon(function, argument), in the transport's context; NULL: no argument.
 * Returns 0 or -1 with an exception set. */
int tdl_pipe_soon(PipeObject *self, PyObject *function, PyObject *argument);

/* Drop what is queued and schedule connection_lost(exc), once; NULL: None.
 * Returns 0 or -1 with an exception set. */
int tdl_pipe_close(PipeObject *self, PyObject *exc);

/* What the raised exception of a system call means: report it, and close.  An OSError
 * of a write is only worth a word in debug mode, one of a read only if it is EIO.
 * Returns 0 with it cleared; -1 with SystemExit, KeyboardInterrupt or what the
 * exception handler raised. */
int tdl_pipe_fatal(PipeObject *self, const char *message);

/* Give the descriptor up; the file stays open. */
void tdl_pipe_release(PipeObject *self);

/* connection_lost(exc) to the protocol, then close the file; calling again is
 * harmless.  Returns 0, or -1 with what the protocol or the file raised. */
int tdl_pipe_lose(PipeObject *self, PyObject *exc);

/* ---- pipe_read.c */

/* Read once and hand it to the protocol.
 * Returns 0, or -1 with SystemExit, KeyboardInterrupt or an error of the loop. */
int tdl_pipe_read(PipeObject *self);

extern PyMethodDef tdl_pipe_read_methods[];

/* ---- pipe_write.c */

/* The other end may be closed, or the queue may be written.  Returns as read. */
int tdl_pipe_serve_writer(PipeObject *self, unsigned events);

extern PyMethodDef tdl_pipe_write_methods[];

/* ---- pipe_info.c */

PyObject *tdl_pipe_repr(PyObject *self);

extern PyGetSetDef tdl_pipe_getset[];

/* What both have: close() and the like. */
extern PyMethodDef tdl_pipe_common_methods[];

/* The loop's methods that make them. */
extern PyMethodDef tdl_loop_pipe_methods[];

/* Module exec for what needs asyncio.  Returns 0 or -1 with an exception set. */
int tdl_pipe_exec(PyObject *module);

#endif

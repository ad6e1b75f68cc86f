/* Descriptors that native code looks after: a C function is called when one is
 * ready, with no handle in between.
 *
 * An io is embedded in a Python object, its owner.  The loop's thread only.
 * While events are asked for, the loop keeps a strong reference to the owner;
 * the owner calls tdl_io_detach() before it closes the descriptor.
 *
 *     attached = loop->watches[fd].io is this one
 *     events is 0 unless attached
 *
 * A descriptor has one io at most.  Beside one that shares there may be readers and
 * writers, and it gives way to any other; it learns of that from its fd. */
#ifndef TDL_LOOP_IO_H
#define TDL_LOOP_IO_H

#include "loop/loop.h"

/* What the descriptor is ready for, TDL_POLL_ bits: those asked for, and ERR and
 * HUP.  It may be stale: the function must bear EAGAIN.  Called with a thread
 * state, from the loop's turn; may detach and close.
 * Returns 0, or -1 with an exception set, which ends run_forever(): SystemExit,
 * KeyboardInterrupt, or an error of the loop itself. */
typedef int (*tdl_io_ready)(struct tdl_io *io, unsigned events);

struct tdl_io {
    tdl_io_ready ready; /* fixed after init */
    PyObject *owner;    /* borrowed: the object that contains this; fixed after init */
    int fd;             /* fixed while attached; -1 before and after */
    unsigned events;    /* TDL_POLL_IN, OUT and EDGE: what is asked for */
    bool shares;        /* see above; fixed while attached */
};

/* Before anything else. */
static inline void
tdl_io_init(struct tdl_io *io, PyObject *owner, tdl_io_ready ready)
{
    *io = (struct tdl_io){.ready = ready, .owner = owner, .fd = -1};
}

/* Claim `fd` for `io`; no events are asked for yet.
 * Returns 0; -1 with RuntimeError if another io has it, or MemoryError. */
int tdl_io_attach(LoopObject *loop, struct tdl_io *io, int fd);

/* Ask for `events` (IN, OUT and EDGE bits, maybe none) from now on.  An io that is not
 * attached stays as it is, and that is no error: its owner is being closed.
 * Returns 0 or -1 with an exception set, and the events as they were. */
int tdl_io_want(LoopObject *loop, struct tdl_io *io, unsigned events);

/* Give the descriptor up; it stays open.  The owner's reference is dropped last,
 * so the caller must hold one of its own.  Calling again is harmless. */
void tdl_io_detach(LoopObject *loop, struct tdl_io *io);

/* The owner of the io that has `fd` to itself, borrowed, or NULL. */
PyObject *tdl_io_owner(LoopObject *loop, int fd);

#endif

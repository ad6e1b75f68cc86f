/* Flow control of writing: a transport tells its protocol when more is queued than
 * its high water mark, and again when no more is than its low one.
 *
 * Embedded in the transport, which says how much is queued whenever that has
 * changed.  The loop's thread; attached thread state. */
#ifndef TDL_LOOP_FLOW_H
#define TDL_LOOP_FLOW_H

#include "loop/loop.h"

enum { TDL_FLOW_HIGH = 64 * 1024, TDL_FLOW_LOW = TDL_FLOW_HIGH / 4 };

struct tdl_flow {
    size_t high, low; /* bytes; high >= low */
    bool paused;      /* the protocol was told to pause, and not yet to resume */
};

static inline void
tdl_flow_init(struct tdl_flow *flow)
{
    *flow = (struct tdl_flow){.high = TDL_FLOW_HIGH, .low = TDL_FLOW_LOW};
}

/* What set_write_buffer_limits(high=None, low=None) of asyncio's transports was called
 * with; None: what follows from the other.  The caller says afterwards that the queue grew.
 * Returns 0, or -1 with ValueError or TypeError set and the marks as they were. */
int tdl_flow_set_limits(struct tdl_flow *flow, PyObject *const *args, Py_ssize_t nargs,
                        PyObject *kwnames);

/* (low, high), new, or NULL. */
PyObject *tdl_flow_limits(const struct tdl_flow *flow);

/* Call protocol.pause_writing(), or resume_writing(); what it raises goes to the
 * loop's exception handler.  `protocol` NULL stands for None.  The protocol may do
 * anything, such as write to the transport or close it.
 * Returns 0, or -1 with SystemExit or KeyboardInterrupt set. */
int tdl_flow_pause(struct tdl_flow *flow, LoopObject *loop, PyObject *transport,
                   PyObject *protocol);
int tdl_flow_resume(struct tdl_flow *flow, LoopObject *loop, PyObject *transport,
                    PyObject *protocol);

/* The queue has grown to `size` bytes.  Returns as tdl_flow_pause(). */
static inline int
tdl_flow_grew(struct tdl_flow *flow, size_t size, LoopObject *loop, PyObject *transport,
              PyObject *protocol)
{
    if (size <= flow->high || flow->paused)
        return 0;
    return tdl_flow_pause(flow, loop, transport, protocol);
}

/* The queue has shrunk to `size` bytes.  Returns as tdl_flow_resume(). */
static inline int
tdl_flow_shrank(struct tdl_flow *flow, size_t size, LoopObject *loop, PyObject *transport,
                PyObject *protocol)
{
    if (!flow->paused || size > flow->low)
        return 0;
    return tdl_flow_resume(flow, loop, transport, protocol);
}

#endif

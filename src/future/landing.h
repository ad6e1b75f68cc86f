/* Where one of our own loops takes in the results of pool jobs.
 *
 * A landing is part of the loop object. Workers put deliveries into its list and
 * announce them through the loop's port once they have let the GIL go; the loop
 * fetches all there are. All fields: the loop's critical section. */
#ifndef TDL_FUTURE_LANDING_H
#define TDL_FUTURE_LANDING_H

#include "future/deliver.h"
#include "future/future.h"
#include "future/loop_wake.h"

struct tdl_landing {
    struct tdl_loop_wake *wake; /* one reference; NULL: not open */
    struct tdl_deliveries arrived;
    PyObject *owner;           /* keeps `source` alive, or NULL */
    struct tdl_source *source; /* where the last job came from, or NULL */
    Py_ssize_t in_flight;      /* results that are still to come; a hint */
};

/* Returns 0, or -1 with MemoryError set. */
int tdl_landing_open(struct tdl_landing *landing, struct tdl_port *port);

/* Drop everything; what is posted from here on is dropped too. */
void tdl_landing_close(struct tdl_landing *landing, PyObject *loop);

int tdl_landing_traverse(struct tdl_landing *landing, visitproc visit, void *arg);

/* The landing of `loop`, or NULL if that is not one of our loops. */
static inline struct tdl_landing *
tdl_landing_of(struct tdl_state *st, PyObject *loop)
{
    return st->landing_of == NULL ? NULL : st->landing_of(st, loop);
}

/* A result of `source` will be posted. */
void tdl_landing_expect(struct tdl_landing *landing, PyObject *loop, FutureObject *source);

/* Where the last job came from, or NULL; `*owner`, a new reference or NULL, keeps it. */
struct tdl_source *tdl_landing_source(struct tdl_landing *landing, PyObject *loop,
                                      PyObject **owner);

/* Hand over `delivery`, with its `keeper`, from any thread; a landing that is closed or
 * had it before does not take it. Waking `loop` is left to `fire` if that is not NULL.
 * Allocates nothing and cannot fail. Returns whether it was taken. */
int tdl_landing_post(struct tdl_landing *landing, PyObject *loop, struct tdl_delivery *delivery,
                     PyObject *keeper, struct tdl_fire *fire);

/* Announce again what has not been delivered yet. The loop's thread. */
void tdl_landing_announce(struct tdl_landing *landing);

/* Deliver what was posted, on the loop's thread.
 * Returns 0 or -1 with an exception set that is for the loop. */
int tdl_landing_deliver(struct tdl_state *st, struct tdl_landing *landing, PyObject *loop);

#endif

/* Where one of our own loops takes in the results of pool jobs.
 *
 * A landing is part of the loop object. Workers put pairs of futures into its list
 * and announce them through the loop's port once they have let the GIL go; the loop
 * fetches all there are. All fields: the loop's critical section. */
#ifndef TDL_FUTURE_LANDING_H
#define TDL_FUTURE_LANDING_H

#include "future/future.h"
#include "future/loop_wake.h"

struct tdl_landing {
    struct tdl_loop_wake *wake; /* one reference; NULL: not open */
    PyObject *pairs;            /* list: destination, source, ...; or NULL */
    PyObject *owner;            /* keeps `source` alive, or NULL */
    struct tdl_source *source;  /* where the last job came from, or NULL */
    Py_ssize_t in_flight;       /* results that are still to come; a hint */
};

/* Returns 0, or -1 with MemoryError set. */
int tdl_landing_open(struct tdl_landing *landing, struct tdl_port *port);

/* Drop everything; what is posted from here on is dropped too. */
void tdl_landing_close(struct tdl_landing *landing);

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

/* Hand the outcome of `source` to `destination`, from any thread.  Waking `loop` is
 * left to `fire` if that is not NULL.  Returns 0 or -1 with an exception set. */
int tdl_landing_post(struct tdl_landing *landing, PyObject *loop, PyObject *destination,
                     PyObject *source, struct tdl_fire *fire);

/* Deliver what was posted, on the loop's thread.
 * Returns 0 or -1 with an exception set that is for the loop. */
int tdl_landing_deliver(struct tdl_state *st, struct tdl_landing *landing, PyObject *loop);

#endif

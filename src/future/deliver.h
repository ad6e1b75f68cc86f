/* The outcomes of our futures on their way to asyncio's, and their copying on the loop's
 * thread.
 *
 * A delivery is one pair of futures. That of a treadle.wrap_future() is part of its link,
 * so that a finished job is announced without an allocation: a result cannot get lost for
 * lack of memory. A list belongs to a loop or an inbox, whose lock protects it and the
 * deliveries in it. */
#ifndef TDL_FUTURE_DELIVER_H
#define TDL_FUTURE_DELIVER_H

#include "py/state.h"

struct tdl_delivery {
    struct tdl_delivery *next;
    PyObject *destination; /* the asyncio future */
    PyObject *source;      /* ours */
    PyObject *keeper;      /* the object that this is part of, a reference while in a list;
                            * NULL: a block of its own, which has the references above */
    int posted;            /* was put into a list once; it is not put into another */
};

struct tdl_deliveries {
    struct tdl_delivery *first, *last;
    Py_ssize_t count;
};

/* A delivery of its own for two futures; or NULL with MemoryError set. */
struct tdl_delivery *tdl_delivery_new(PyObject *destination, PyObject *source);

/* Free one that was made by tdl_delivery_new() and is in no list. NULL is fine. */
void tdl_delivery_free(struct tdl_delivery *delivery);

/* Put `delivery` at the end; `keeper` as in the struct. Runs no Python code.
 * Returns whether the list took it: one that was posted before is not taken. */
int tdl_deliveries_push(struct tdl_deliveries *list, struct tdl_delivery *delivery,
                        PyObject *keeper);

/* Take all out of `list`. */
struct tdl_deliveries tdl_deliveries_take(struct tdl_deliveries *list);

/* Drop what is in a list that was taken. May run any Python code. */
void tdl_deliveries_drop(struct tdl_deliveries *taken);

int tdl_deliveries_traverse(const struct tdl_deliveries *list, visitproc visit, void *arg);

/* Copy each outcome in `taken`, and drop it, unless the destination is done. What goes
 * wrong with one is told to `loop`'s exception handler.
 * Returns 0, or -1 with an exception set that is for the loop: the rest has been
 * delivered all the same. */
int tdl_deliver_all(struct tdl_state *st, struct tdl_deliveries *taken, PyObject *loop);

#endif

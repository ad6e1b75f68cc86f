/* Queue, LifoQueue and PriorityQueue.
 *
 * What is in a queue lies in a deque or a list, as with asyncio's, so that subclasses and
 * programs that look at `_queue` work.  Exact ones of asyncio's own order are dealt with
 * natively, inside the object's critical section; where Python code decides (a subclass's
 * _put(), the comparisons of a heap) one thread at a time does so, under `guard`.
 *
 * As long as one thread uses a queue it behaves exactly as asyncio's: what was put for a
 * waiter may be taken by somebody else before the waiter runs.  From the first use by
 * another thread on, its sides are fair (core/waitq.h). */
#ifndef TDL_SYNC_QUEUE_H
#define TDL_SYNC_QUEUE_H

#include "loop/handle.h"
#include "sync/await.h"

enum tdl_queue_kind { TDL_QUEUE_FIFO, TDL_QUEUE_LIFO, TDL_QUEUE_PRIORITY };

typedef struct {
    SyncObject head;
    PyObject *items;         /* `_queue`: strong, or NULL before _init() */
    PyObject *maxsize;       /* as given, strong */
    Py_ssize_t limit;        /* the same as a number; 0: none.  Fixed after init */
    struct tdl_side getters; /* critical section, as all below */
    struct tdl_side putters;
    struct tdl_waitq joiners;
    int64_t unfinished;
    bool is_shut;
    unsigned long home;        /* ident of the first thread that used it, 0: none yet */
    enum tdl_queue_kind kind;  /* fixed */
    bool native;               /* `items` and what is done with it are as at first */
    bool own_methods;          /* nobody has replaced _put() or the like; fixed */
    bool plain_put, plain_get; /* nobody has replaced put_nowait(), get_nowait(); fixed */
    struct tdl_handle_guard guard;
} QueueObject;

/* What comes of an attempt. */
enum tdl_queue_outcome {
    TDL_QUEUE_ERROR = -1, /* an exception is set, QueueShutDown perhaps */
    TDL_QUEUE_BUSY,       /* full, or empty; the party was put on the list if there is one */
    TDL_QUEUE_FINE,
};

/* Who attempts. */
struct tdl_queue_visit {
    struct tdl_party *party; /* who is to wait if need be, or NULL: nobody */
    bool returns;            /* it has waited before */
};

/* queue_items.c: put `item`, which stays the caller's. */
enum tdl_queue_outcome tdl_queue_put(QueueObject *self, PyObject *item,
                                     const struct tdl_queue_visit *visit);

/* Take an item: a new reference in `*item`. */
enum tdl_queue_outcome tdl_queue_get(QueueObject *self, PyObject **item,
                                     const struct tdl_queue_visit *visit);

/* One that was granted on `side` is there. */
void tdl_queue_come(QueueObject *self, struct tdl_side *side, struct tdl_party *party);

/* How many items there are; -1 with an exception set. */
Py_ssize_t tdl_queue_size(QueueObject *self);

/* Look again at what `items` is. */
void tdl_queue_classify(QueueObject *self);

/* The three steps that a subclass may replace, as this kind of queue does them. */
int tdl_queue_make(QueueObject *self);
int tdl_queue_push(QueueObject *self, PyObject *item);
PyObject *tdl_queue_pop(QueueObject *self);

/* Let all on a list go on.  Returns 0 or -1 with an exception set. */
int tdl_queue_wake_joiners(QueueObject *self);
int tdl_queue_wake_side(QueueObject *self, struct tdl_side *side);

/* Parties' `leave`, for each list. */
bool tdl_queue_leave_getters(struct tdl_party *party);
bool tdl_queue_leave_putters(struct tdl_party *party);
bool tdl_queue_leave_joiners(struct tdl_party *party);

/* queue_wait.c: the methods that wait. */
extern PyMethodDef tdl_queue_wait_methods[];

/* Raise one of asyncio's exceptions: without arguments. */
static inline enum tdl_queue_outcome
tdl_queue_raise(PyObject *type)
{
    PyErr_SetNone(type);
    return TDL_QUEUE_ERROR;
}

#endif

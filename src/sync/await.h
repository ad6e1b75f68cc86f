/* What acquire(), wait(), get() and the like return: a coroutine in all that asyncio
 * asks of one, without a frame.
 *
 * It does nothing before it is awaited.  What can be had at once ends the await without
 * a future; else it yields a future of the running loop, and goes on when that is done.
 * One that is dropped while it waits gives up as a coroutine would: GeneratorExit. */
#ifndef TDL_SYNC_AWAIT_H
#define TDL_SYNC_AWAIT_H

#include "sync/party.h"

typedef struct AwaitObject AwaitObject;

/* What comes of a step. */
enum tdl_step {
    TDL_STEP_ERROR = -1, /* an exception is set */
    TDL_STEP_WAIT,       /* for the party's future */
    TDL_STEP_DONE,       /* `*result` is a new reference */
    TDL_STEP_INNER,      /* go on when the coroutine `inner` has ended */
};

/* How an operation goes on.  Each has the await's reference to the owner. */
struct tdl_await_op {
    const char *name, *qualname;
    /* It is awaited for the first time. */
    enum tdl_step (*start)(AwaitObject *self, PyObject **result);
    /* Its future is done, or `inner` has ended with `value` (borrowed). */
    enum tdl_step (*wake)(AwaitObject *self, PyObject *value, PyObject **result);
    /* An exception is set: it was thrown in, or `inner` raised it.  It must be off every
     * list if it returns TDL_STEP_ERROR. */
    enum tdl_step (*fail)(AwaitObject *self, PyObject **result);
    bool (*leave)(struct tdl_party *party);
};

struct AwaitObject {
    PyObject_HEAD
    struct tdl_state *st;
    const struct tdl_await_op *op;
    SyncObject *owner; /* strong; NULL once ended */
    PyObject *value;   /* what the operation is about, strong, or NULL */
    PyObject *inner;   /* a coroutine that runs in its place, strong, or NULL */
    PyObject *raised;  /* what to raise in the end, strong, or NULL */
    struct tdl_party party;
    uint8_t stage; /* see await.c */
    uint8_t step;  /* the operation's own */
};

/* A new one, with references of its own; `value` may be NULL. */
PyObject *tdl_await_new(SyncObject *owner, const struct tdl_await_op *op, PyObject *value);

/* Get a future of the running loop to wait for; the party is on no list.
 * Returns 0 or -1 with an exception set. */
int tdl_await_prepare(AwaitObject *self);

/* Do without it: the party is on no list. */
static inline void
tdl_await_unprepare(AwaitObject *self)
{
    tdl_party_clear(&self->party);
}

/* Go on when self.owner.method() has ended: what a step returns then. */
enum tdl_step tdl_await_method(AwaitObject *self, PyObject *method);

/* Module exec: add the type.  Returns 0 or -1 with an exception set. */
int tdl_await_exec(PyObject *module);

#endif

/* The awaitable that a native stream method returns: a coroutine in all but its type.
 *
 * Nothing happens before it is awaited.  Then its kind attempts what is wanted: it is
 * done at once, or it waits for the reader's future, once more each time it is woken;
 * or it becomes a wrapper of the coroutine that asyncio's own method returns, which
 * serves whatever is out of the ordinary, and every refusal and error.
 *
 * Like a coroutine it runs in one place at a time, is awaited once, warns if it never
 * was, and has no Python frame. */
#ifndef TDL_STREAMS_OPERATION_H
#define TDL_STREAMS_OPERATION_H

#include <stdatomic.h>

#include "streams/reader.h"

enum tdl_attempt {
    TDL_ATTEMPT_DONE,     /* with a result */
    TDL_ATTEMPT_WAIT,     /* for data */
    TDL_ATTEMPT_DELEGATE, /* to asyncio's method */
    TDL_ATTEMPT_FAILED,   /* with an exception set */
};

typedef struct tdl_operation {
    PyObject_HEAD
    struct tdl_state *st;
    const struct tdl_operation_kind *kind;
    PyObject *owner;    /* reader or writer, strong; NULL when over */
    ReaderState *state; /* of the reader, strong; or NULL */
    PyObject *argument; /* as given, strong; NULL: none */
    PyObject *inner;    /* the future's iterator or asyncio's coroutine; strong, or NULL */
    Py_ssize_t count;   /* the argument, if it is a number */
    Py_ssize_t offset;  /* what of the bytes need not be searched again */
    bool woken;         /* it has waited */
    _Atomic uint8_t phase;
} OperationObject;

struct tdl_operation_kind {
    const char *name, *qualname; /* "read", "StreamReader.read" */

    /* Do what can be done now, and put the result into `*result`: a new reference. */
    enum tdl_attempt (*attempt)(OperationObject *self, PyObject **result);

    /* asyncio's function behind the method; borrowed. */
    PyObject *(*stock)(struct tdl_state *st);
};

/* Make an operation.  `state` may be NULL; then, and whenever a reader is not plain, the
 * operation is asyncio's.  Returns a new reference or NULL. */
PyObject *tdl_operation_new(struct tdl_state *st, const struct tdl_operation_kind *kind,
                            PyObject *owner, ReaderState *state, PyObject *argument,
                            Py_ssize_t count);

/* Module exec.  Returns 0 or -1 with an exception set. */
int tdl_operation_exec(PyObject *module);

#endif

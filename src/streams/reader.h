/* The state of a native stream reader: what asyncio keeps in its attributes.
 *
 * A reader that a transport of ours feeds is an asyncio.StreamReader whose class was
 * set to a subclass of ours, and whose attributes (_buffer, _limit, _eof, ...) were
 * moved out of its dictionary into this object, which the dictionary holds under one
 * name.  Descriptors of the subclass answer for them, so asyncio's own methods, which
 * serve all that is rare, and whoever looks find them where they were.
 *
 *     plain   every attribute has the type that asyncio gives it: native code may go on
 *     chunk   what came last and has not been put into _buffer, which is then empty and
 *             nobody else's; NULL: all there is, is in _buffer
 *
 * The loop's thread.  Without a GIL, what reads or changes the fields is inside a
 * critical section of the object, so that misuse does no harm to memory. */
#ifndef TDL_STREAMS_READER_H
#define TDL_STREAMS_READER_H

#include "loop/loop.h"

enum tdl_reader_field {
    TDL_READER_BUFFER,
    TDL_READER_LIMIT,
    TDL_READER_LOOP,
    TDL_READER_EOF,
    TDL_READER_WAITER,
    TDL_READER_EXCEPTION,
    TDL_READER_TRANSPORT,
    TDL_READER_PAUSED,
    TDL_READER_FIELDS
};

typedef struct {
    PyObject_HEAD
    struct tdl_state *st;
    PyObject *fields[TDL_READER_FIELDS]; /* strong; NULL: the attribute is not set */
    PyObject *chunk;                     /* bytes, strong; or NULL */
    Py_ssize_t start;                    /* what of it was taken; less than its size */
    Py_ssize_t limit;                    /* _limit, if plain */
    bool plain;
    bool native_futures; /* _loop is one of ours with its own create_future() */
} ReaderState;

/* The state of `reader`, an instance of our class; made if it has none and `make`.
 * Returns a new reference; NULL without an exception if there is none, or with one. */
ReaderState *tdl_reader_state(struct tdl_state *st, PyObject *reader, bool make);

/* Make `reader`, exactly an asyncio.StreamReader, one of ours.
 * Returns 1; 0 if it is not as asyncio makes them; -1 with an exception set. */
int tdl_reader_adopt(struct tdl_state *st, PyObject *reader);

/* Set a field, as an assignment to the attribute does; NULL deletes it. */
void tdl_reader_set(ReaderState *self, enum tdl_reader_field field, PyObject *value);

/* Whether a field is None, or True. */
static inline bool
tdl_reader_has(ReaderState *self, enum tdl_reader_field field, PyObject *constant)
{
    return self->fields[field] == constant;
}

/* A new reference to a field; to None if it is not set. */
static inline PyObject *
tdl_reader_get(ReaderState *self, enum tdl_reader_field field)
{
    PyObject *value;
    TDL_CRITICAL_BEGIN(self);
    value = self->fields[field] == NULL ? Py_NewRef(Py_None) : Py_NewRef(self->fields[field]);
    TDL_CRITICAL_END();
    return value;
}

/* ---- the bytes; only if plain ---- */

static inline Py_ssize_t
tdl_reader_size(ReaderState *self)
{
    return self->chunk != NULL ? PyBytes_GET_SIZE(self->chunk) - self->start
                               : PyByteArray_GET_SIZE(self->fields[TDL_READER_BUFFER]);
}

static inline const char *
tdl_reader_bytes(ReaderState *self)
{
    return self->chunk != NULL ? PyBytes_AS_STRING(self->chunk) + self->start
                               : PyByteArray_AS_STRING(self->fields[TDL_READER_BUFFER]);
}

/* Put all there is into _buffer.  Returns 0 or -1 with an exception set. */
int tdl_reader_settle(ReaderState *self);

/* Add `data`, exactly bytes and not empty.  Returns 0 or -1 with an exception set. */
int tdl_reader_append(ReaderState *self, PyObject *data);

/* Take the first `n` bytes, of which there are as many.
 * Returns new bytes, or NULL with an exception set. */
PyObject *tdl_reader_take(ReaderState *self, Py_ssize_t n);

/* ---- the steps of asyncio's methods; attached, and they may run any code ---- */

/* feed_data(data).  Returns 1; 0 if asyncio's method must do it; -1 with an exception
 * set. */
int tdl_reader_feed(ReaderState *self, PyObject *data);

/* _maybe_resume_transport().  Returns 0 or -1 with an exception set. */
int tdl_reader_maybe_resume(ReaderState *self);

/* Begin to wait for data.  Returns the iterator of a future, new, which is the _waiter
 * now; NULL with an exception set. */
PyObject *tdl_reader_wait(ReaderState *self);

/* Module exec for what needs asyncio.  Returns 0 or -1 with an exception set. */
int tdl_reader_exec(PyObject *module);

#endif

/* How calls, results and exceptions become bytes, and bytes become them again.
 *
 * A codec is one side's view of one pool: the parent has one for the pool, each
 * worker has one.  Everything that needs no Python object may be called without
 * a thread state and from any thread, which the comments say; the rest needs an
 * attached thread state, and the codec does its own locking.
 *
 * A function is pickled once for the pool and named by a number.  The transport
 * sees to it that a worker knows a number before it gets a call that uses it:
 * it asks tdl_codec_function() for the bytes and has the worker's codec take
 * them by tdl_codec_define().  The same encoded call may thus go to any worker,
 * also a second time after the first worker died.
 *
 * Large buffers leave the message: the codec puts them into blocks and writes
 * where they are into the bytes.  Such bytes own their blocks.  They are given
 * back by decoding the message, or by tdl_codec_drop() if nobody ever will. */
#ifndef TDL_PROCS_CODEC_H
#define TDL_PROCS_CODEC_H

#include "core/bytes.h"
#include "py/state.h"

struct tdl_codec;

/* What a call is once decoded: new references, `kwargs` may be NULL. */
struct tdl_call {
    PyObject *callable;
    PyObject *args;   /* tuple */
    PyObject *kwargs; /* dict or NULL */
};

/* A codec.  `pickler`: NULL, or what to pickle with (see the executor's option).
 * Returns NULL with an exception set. */
struct tdl_codec *tdl_codec_new(struct tdl_state *st, PyObject *pickler);

/* Free; what was handed out by tdl_codec_function() is gone. NULL is fine. */
void tdl_codec_free(struct tdl_codec *codec);

/* Visit the Python objects that the codec keeps. */
int tdl_codec_traverse(struct tdl_codec *codec, visitproc visit, void *arg);

/* Append the call args[0](*args[1:nargs], keywords as in vectorcall).
 * `*function`: the number of the function, 0 if it travels in the bytes.
 * Returns 0, or -1 with what pickling raised set and the bytes as they were. */
int tdl_codec_put_call(struct tdl_codec *codec, struct tdl_bytes *out, uint32_t *function,
                       PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);

/* Decode what tdl_codec_put_call() appended, with the `function` that it gave.
 * The bytes are in shared memory: they are read once, checked, and not kept.
 * Returns 0, or -1 with an exception set. */
int tdl_codec_get_call(struct tdl_codec *codec, uint32_t function, const uint8_t *data,
                       size_t size, struct tdl_call *call);

/* Append one value.  Returns 0, or -1 with an exception set and the bytes as they were. */
int tdl_codec_put_value(struct tdl_codec *codec, struct tdl_bytes *out, PyObject *value);

/* Decode one value: a new reference, or NULL with an exception set. */
PyObject *tdl_codec_get_value(struct tdl_codec *codec, const uint8_t *data, size_t size);

/* Append an exception with the text of its traceback.  One that cannot be pickled is
 * replaced by what pickling it raised.  Returns 0, or -1 with an exception set. */
int tdl_codec_put_exception(struct tdl_codec *codec, struct tdl_bytes *out,
                            PyObject *exception);

/* Decode an exception, its cause a _RemoteTraceback.  A new reference to an exception,
 * or NULL with an exception set if it does not unpickle. */
PyObject *tdl_codec_get_exception(struct tdl_codec *codec, const uint8_t *data, size_t size);

/* Give back what an encoded call, value or exception owns besides its bytes.
 * Any thread; thread state: not needed. */
void tdl_codec_drop(struct tdl_codec *codec, const uint8_t *data, size_t size);

/* What tdl_codec_define() needs for `function`, valid as long as the codec.
 * Any thread; thread state: not needed.  Returns 0, or -ENOENT. */
int tdl_codec_function(struct tdl_codec *codec, uint32_t function, const uint8_t **data,
                       size_t *size);

/* In a worker: `function` is from here on what `data` says; unpickled on first use.
 * Returns 0, or -1 with an exception set. */
int tdl_codec_define(struct tdl_codec *codec, uint32_t function, const uint8_t *data,
                     size_t size);

#endif

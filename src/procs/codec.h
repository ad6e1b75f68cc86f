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
 * back by decoding the message, or by tdl_codec_drop() if nobody ever will.
 *
 * Blocks are in stores (core/blocks.h): one of the pool for calls, which the parent
 * writes, and one of each worker for its results.  The parent makes them all, and a
 * worker gets their descriptors when it is started.  A codec without stores
 * works as well; its messages are just as long as what is in them. */
#ifndef TDL_PROCS_CODEC_H
#define TDL_PROCS_CODEC_H

#include <stdbool.h>

#include "core/blocks.h"
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

/* In the parent, once: make the store for calls.  Returns 0 or -errno (there are no
 * stores then).  Thread state: not needed, nor for the next four. */
int tdl_codec_open(struct tdl_codec *codec);

/* The descriptor of the store for calls, the codec's, to be handed to each worker; -1
 * if there is none. */
int tdl_codec_calls_fd(struct tdl_codec *codec);

/* In the parent: make the store for the results of `worker`, a number other than 0 that
 * no other worker of the pool has or had.  Returns a descriptor to hand to the worker,
 * the caller's to close afterwards, or -errno. */
int tdl_codec_add_worker(struct tdl_codec *codec, uint32_t worker);

/* In a worker, once, before anything is encoded or decoded: use the stores behind
 * the descriptors, which may be closed afterwards.  Returns 0 or -errno. */
int tdl_codec_join(struct tdl_codec *codec, int calls_fd, int results_fd);

/* In the parent: `worker` is dead and its ring of results is empty.  What it held comes
 * back; its own store goes when the last result that was noted by
 * tdl_codec_received() has been decoded and the last array that is in it is gone. */
void tdl_codec_lost_worker(struct tdl_codec *codec, uint32_t worker);

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

/* Give back what an encoded call, value or exception owns besides its bytes.  Harmless
 * after it has been decoded.  Any thread; thread state: not needed. */
void tdl_codec_drop(struct tdl_codec *codec, const uint8_t *data, size_t size);

/* Whether a message refers to blocks: without, the next three have nothing to do. */
static inline bool
tdl_codec_has_blocks(const uint8_t *data, size_t size)
{
    return size > 0 && (data[0] & 1) != 0;
}

/* In the parent: a call is about to become visible to `worker`, which holds its blocks from
 * here on.  May be said again for another worker, or for 0: it was taken back.  Any thread; thread state: not needed. */
void tdl_codec_sent(struct tdl_codec *codec, const uint8_t *data, size_t size, uint32_t worker);

/* In the parent: a message of a worker has been taken out of its ring and will be
 * decoded or dropped later, perhaps after the worker is gone; to be said once for each.
 * Any thread; thread state: not needed. */
void tdl_codec_received(struct tdl_codec *codec, const uint8_t *data, size_t size);

/* Whether that has been said of a message. */
static inline bool
tdl_codec_is_kept(const uint8_t *data, size_t size)
{
    return size > 0 && (data[0] & 16) != 0;
}

/* Have the blocks of an encoded call copied by who decodes it, and stay the message's
 * until tdl_codec_drop(): so it can be sent again even after it has been decoded. */
void tdl_codec_keep(uint8_t *data, size_t size);

/* Give memory back to the system that has been idle since the last call but one; to be
 * called when nothing has happened for a second or so.  Thread state: not needed.
 * Returns whether there is, or will be, more for another time. */
bool tdl_codec_trim(struct tdl_codec *codec);

/* What the store that the codec writes to holds, in bytes; zeros without one. */
void tdl_codec_stats(struct tdl_codec *codec, struct tdl_blocks_stats *stats);

/* What tdl_codec_define() needs for `function`, valid as long as the codec.
 * Any thread; thread state: not needed.  Returns 0, or -ENOENT. */
int tdl_codec_function(struct tdl_codec *codec, uint32_t function, const uint8_t **data,
                       size_t *size);

/* In a worker: `function` is from here on what `data` says; unpickled on first use.
 * Returns 0, or -1 with an exception set. */
int tdl_codec_define(struct tdl_codec *codec, uint32_t function, const uint8_t *data,
                     size_t size);

#endif

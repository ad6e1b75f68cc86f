/* The compact form of simple values: None, bool, int of 64 bits, float, str,
 * bytes, bytearray, and small tuples, lists and dicts of them.
 *
 * Exact types only, so that what comes out is what pickle would give, including
 * which of the containers, strings and bytes are the same object: each has a
 * number by its place, and where it comes again the number is written.  What
 * this cannot say exactly (subclasses, a tuple that contains itself, too many or
 * too deep) is left to pickle.  No Python code runs in either direction.
 *
 * Every function needs an attached thread state. */
#ifndef TDL_PROCS_COMPACT_H
#define TDL_PROCS_COMPACT_H

#include <stddef.h>

#include "procs/sink.h"
#include "py/state.h"

enum {
    TDL_COMPACT_DEPTH = 32,   /* containers within containers */
    TDL_COMPACT_NODES = 4096, /* values of one message */
    TDL_COMPACT_KNOWN = 192,  /* objects that might come again */
};

/* A part as the receiver has it. */
struct tdl_piece {
    const uint8_t *data;
    size_t size;
};

/* What is to be decoded: bytes that may hold anything at all, and the parts. */
struct tdl_incoming {
    const uint8_t *data;
    size_t size;
    const struct tdl_piece *pieces;
    size_t npieces;
};

/* Append `object` to `sink`; bytes of sink->part_min or more become parts.
 * Returns 1, 0 with the sink as it was if the object must be left to pickle, or -1
 * with MemoryError. */
int tdl_compact_encode(struct tdl_sink *sink, PyObject *object);

/* Append arguments as a vectorcall has them, without the callable: the values of
 * `kwnames` (may be NULL) come after the `nargs` positional ones.  Returns the same. */
int tdl_compact_encode_call(struct tdl_sink *sink, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *kwnames);

/* Read one value, which must be all there is.  Parts are copied.
 * Returns a new reference, or NULL with UnpicklingError or MemoryError. */
PyObject *tdl_compact_decode(struct tdl_state *st, const struct tdl_incoming *in);

/* Read what tdl_compact_encode_call() wrote: a new tuple, and a new dict or NULL for
 * no keywords.  The keys of the dict may be anything.
 * Returns 0, or -1 with UnpicklingError or MemoryError and both NULL. */
int tdl_compact_decode_call(struct tdl_state *st, const struct tdl_incoming *in,
                            PyObject **args, PyObject **kwargs);

/* Raise UnpicklingError: what was received is no message of ours.  Returns NULL. */
PyObject *tdl_compact_malformed(struct tdl_state *st, const char *what);

#endif

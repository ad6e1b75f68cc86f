/* Large parts of messages: where the sender puts them, what the receiver reads.
 *
 * A part goes into a block of the sender's store (core/blocks.h), copied once and
 * without the GIL.  The receiver unpickles with objects that export the memory of
 * the block in place; the block is released when the last of what holds such an
 * object, an array say, is gone.  In a process that was forked from the receiver
 * they can be read, and release nothing. */
#ifndef TDL_PROCS_BUFFERS_H
#define TDL_PROCS_BUFFERS_H

#include "core/blocks.h"
#include "core/lock.h"
#include "procs/compact.h"
#include "procs/envelope.h"
#include "procs/sink.h"

enum { TDL_BODY_MOST = 32 * 1024 }; /* a longer body goes into a block if there is one */

/* A shared buffer that is on its way, and the block that is released on arrival. */
struct tdl_pin {
    PyObject *object;
    struct tdl_block block;
};

/* The sender's side of a process. */
struct tdl_outbound {
    struct tdl_state *st;
    struct tdl_blocks *blocks; /* fixed once set; NULL: everything travels in the messages */
    uint32_t store;            /* how the receiver knows them; fixed once set */
    struct tdl_lock lock;      /* protects the rest */
    struct tdl_pin *pins;
    size_t npins;
    size_t pins_capacity;
    size_t next_pin; /* where to look next for one that has arrived */
};

/* An outbound side without a store. */
void tdl_outbound_init(struct tdl_outbound *out, struct tdl_state *st);

/* Let go of everything, the store included.  May run any code. */
void tdl_outbound_fini(struct tdl_outbound *out);

/* Let go of shared buffers that have arrived, looking at `most` at most.
 * May run any code. */
void tdl_outbound_sweep(struct tdl_outbound *out, size_t most);

/* Put the envelope around the body that begins behind the byte at `start` of sink->out,
 * after copying the sink's parts to where they go.  `flags` as in the envelope.
 * Thread state: attached; let go while much is copied.
 * Returns 0, or -1 with an exception set and no block taken. */
int tdl_buffers_send(struct tdl_outbound *out, struct tdl_sink *sink, size_t start,
                     unsigned flags);

/* A message as the receiver has it; of use between tdl_buffers_open() and
 * tdl_buffers_close(). */
struct tdl_arrival {
    struct tdl_state *st;
    struct tdl_envelope envelope;
    struct tdl_blocks_view *view; /* a reference, or NULL */
    const uint8_t *body;
    size_t body_size;
    uint32_t nparts;
    bool taken; /* the parts' blocks belong to objects by now */
};

/* Take `data` apart.  `arrival->envelope` is filled in first, by the caller;
 * `view` is the store that it names, whose reference is taken in every case, or NULL.
 * Returns 0, or -1 with UnpicklingError; tdl_buffers_close() is due either way. */
int tdl_buffers_open(struct tdl_state *st, struct tdl_arrival *arrival,
                     struct tdl_blocks_view *view);

/* A list with an object for each part, for the unpickler; each owns its block from here
 * on, if the message did.  NULL with an exception set. */
PyObject *tdl_buffers_objects(struct tdl_arrival *arrival);

/* Where the parts are, for what copies them: room for arrival->nparts pieces.
 * Returns 0, or -1 with UnpicklingError. */
int tdl_buffers_pieces(struct tdl_arrival *arrival, struct tdl_piece *pieces);

/* Release the blocks that nobody has taken, unless the message keeps them. */
void tdl_buffers_close(struct tdl_arrival *arrival);

/* Make the types. */
int tdl_buffers_exec(PyObject *module);

#endif

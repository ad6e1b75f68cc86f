/* Datagram: the fast side of a datagram transport (python/treadle/_datagram.py): receiving
 * in batches, sending, the queue of what could not be sent yet.  What happens seldom
 * (closing, errors, flow control) is done by asyncio's own class, from which the
 * transport inherits and whose attributes lie here.
 *
 * The loop's thread only; attached thread state.
 *
 *     attached = open() was called, close() was not; then loop and transport are set
 *     io.events  IN: being read; OUT: the queue is not empty
 *     buffer_size = the sum over the queue of len(data) + header_size
 */
#ifndef TDL_LOOP_DATAGRAM_H
#define TDL_LOOP_DATAGRAM_H

#include "loop/address.h"
#include "loop/io.h"

/* Datagrams that one system call moves, at most; and so many are read for an event. */
enum { TDL_DATAGRAM_BATCH = 32, TDL_DATAGRAM_PEERS = 64 };

/* What is to be sent, ready for the system. */
struct tdl_outgoing {
    PyObject *data; /* bytes, strong */
    PyObject *addr; /* as given, strong */
    struct tdl_address to;
};

typedef struct {
    PyObject_HEAD
    struct tdl_io io;
    struct tdl_state *st;
    LoopObject *loop;    /* strong; NULL unless attached */
    PyObject *transport; /* strong; NULL unless attached */
    PyObject *context;   /* strong: what the protocol is called in */
    /* asyncio's attributes; strong, NULL stands for None */
    PyObject *sock;
    PyObject *protocol;
    PyObject *address;
    PyObject *buffer; /* a deque of (data, address) */
    Py_ssize_t buffer_size;
    Py_ssize_t conn_lost;
    char closing, paused;
    /* fixed after open() */
    char connected; /* the socket has a peer: addresses are not passed on */
    char sends_empty;
    Py_ssize_t header_size;
    int family;
    /* ours */
    bool batching; /* the protocol is being given a batch: what it sends is collected */
    int noutgoing;
    int last;                        /* of the peers: whose datagram was delivered last */
    struct tdl_outgoing *outgoing;   /* TDL_DATAGRAM_BATCH, or NULL */
    struct tdl_address_cache *peers; /* by a hash of the address; or NULL */
    PyObject *held; /* list of (data, address) that came before a pause, or NULL */
} DatagramObject;

/* datagram_receive.c */

/* Read a batch and give it to the protocol.
 * Returns 0 or -1 with what must not be swallowed, or an error of the loop. */
int tdl_datagram_receive(DatagramObject *self);

/* Give the protocol what was held back.  Returns as receive. */
int tdl_datagram_deliver_held(DatagramObject *self);

/* Free what the loop has for receiving. */
void tdl_datagram_free_intake(struct tdl_intake *intake);

/* datagram_send.c */

/* sendto(data, addr); addr may be Py_None.  Returns 0 or -1 with an exception set. */
int tdl_datagram_send(DatagramObject *self, PyObject *data, PyObject *addr);

/* Send what was collected during a batch.  Returns 0 or -1 with an exception set. */
int tdl_datagram_send_collected(DatagramObject *self);

/* Send what is queued, as far as the socket takes it.  Returns the same. */
int tdl_datagram_flush(DatagramObject *self);

/* protocol.error_received(exc) with the raised OSError; transport._fatal_error() with
 * `message` for other exceptions.
 * Returns 0; -1 with SystemExit, KeyboardInterrupt, or what was raised meanwhile. */
int tdl_datagram_failed(DatagramObject *self, const char *message);

/* Module exec for the type.  Returns 0 or -1 with an exception set. */
int tdl_datagram_exec(PyObject *module);

#endif

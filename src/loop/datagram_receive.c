#include <errno.h>
#include <sys/socket.h>

#include "loop/datagram.h"
#include "loop/report.h"
#include "py/errors.h"

/* Room for a batch: 32 datagrams of the internet family, whose largest are 64 KiB, or 8
 * of what others have.  Pages that are not written to take no memory.  Slots are a
 * little larger than that, lest all of them fall on the same lines of the cache. */
enum {
    SLOT_INET = 64 * 1024 + 1088,
    SLOT = 256 * 1024,
    SLOTS = 8,
    ROOM = TDL_DATAGRAM_BATCH * SLOT_INET
};
_Static_assert(SLOTS *SLOT <= ROOM, "the room holds either kind of slots");

/* One for each loop: nobody's between two calls into Python. */
struct tdl_intake {
    bool busy;
    char *room;
    struct tdl_address from[TDL_DATAGRAM_BATCH];
    size_t sizes[TDL_DATAGRAM_BATCH];
#ifdef __linux__
    size_t slot; /* what headers and iov were made for; 0: not yet */
    struct mmsghdr headers[TDL_DATAGRAM_BATCH];
    struct iovec iov[TDL_DATAGRAM_BATCH];
#endif
};

struct received {
    PyObject *data, *addr; /* strong */
    int peer;
};

static struct tdl_intake *
intake_of(LoopObject *loop)
{
    if (loop->intake != NULL)
        return loop->intake;
    struct tdl_intake *intake = PyMem_Calloc(1, sizeof *intake);
    if (intake != NULL && (intake->room = PyMem_RawMalloc(ROOM)) == NULL) {
        PyMem_Free(intake);
        intake = NULL;
    }
    if (intake == NULL)
        PyErr_NoMemory();
    loop->intake = intake;
    return intake;
}

void
tdl_datagram_free_intake(struct tdl_intake *intake)
{
    if (intake != NULL)
        PyMem_RawFree(intake->room);
    PyMem_Free(intake);
}

#ifdef __linux__
static void
lay_out(struct tdl_intake *in, size_t slot, int max)
{
    in->slot = slot;
    for (int i = 0; i < max; i++) {
        in->iov[i] = (struct iovec){in->room + (size_t)i * slot, slot};
        in->headers[i].msg_hdr = (struct msghdr){
            .msg_name = &in->from[i].sa,
            .msg_namelen = sizeof in->from[i].sa,
            .msg_iov = &in->iov[i],
            .msg_iovlen = 1,
        };
    }
}

static int
receive_some(int fd, struct tdl_intake *in, size_t slot, int max)
{
    if (in->slot != slot)
        lay_out(in, slot, max);
    int n = recvmmsg(fd, in->headers, (unsigned)max, MSG_DONTWAIT, NULL);
    for (int i = 0; i < n; i++) {
        struct msghdr *header = &in->headers[i].msg_hdr;
        in->from[i].len = header->msg_namelen;
        in->sizes[i] = in->headers[i].msg_len;
        header->msg_namelen = sizeof in->from[i].sa;
    }
    return n;
}
#else
static int
receive_some(int fd, struct tdl_intake *in, size_t slot, int max)
{
    int n = 0;
    while (n < max) {
        in->from[n].len = sizeof in->from[n].sa;
        ssize_t got = recvfrom(fd, in->room + (size_t)n * slot, slot, MSG_DONTWAIT,
                               (struct sockaddr *)&in->from[n].sa, &in->from[n].len);
        if (got < 0)
            return n > 0 ? n : -1;
        in->sizes[n++] = (size_t)got;
    }
    return n;
}
#endif

/* ---- addresses ---------------------------------------------------------------------- */

static unsigned
hash_of(const struct tdl_address *address)
{
    uint32_t hash = 0;
    const unsigned char *bytes = (const unsigned char *)&address->sa;
    for (socklen_t i = 0; i + 4 <= address->len && i < 28; i += 4) {
        uint32_t word;
        memcpy(&word, bytes + i, 4);
        hash = (hash ^ word) * 0x9e3779b1u;
    }
    return hash >> 26; /* 6 bits: below TDL_DATAGRAM_PEERS */
}

static PyObject *
address_of(DatagramObject *self, const struct tdl_address *from, int *peer)
{
    if (self->peers == NULL)
        self->peers = PyMem_Calloc(TDL_DATAGRAM_PEERS, sizeof *self->peers);
    if (self->peers == NULL)
        return PyErr_NoMemory();
    /* its place, or the one beside, where who had that was moved to */
    *peer = (int)hash_of(from);
    if (tdl_address_cached(&self->peers[*peer], from))
        return Py_NewRef(self->peers[*peer].object);
    int beside = *peer ^ 1;
    if (tdl_address_cached(&self->peers[beside], from)) {
        *peer = beside;
        return Py_NewRef(self->peers[beside].object);
    }
    struct tdl_address_cache moved = self->peers[beside];
    self->peers[beside] = self->peers[*peer];
    self->peers[*peer] = moved;
    return tdl_address_make(from, &self->peers[*peer]);
}

/* ---- delivering --------------------------------------------------------------------- */

/* protocol.datagram_received(data, addr).  Whatever it raises has no consequences
 * for the transport. */
static int
give(DatagramObject *self, const struct received *item)
{
    PyObject *protocol = Py_NewRef(self->protocol == NULL ? Py_None : self->protocol);
    PyObject *args[3] = {protocol, item->data, item->addr};
    self->last = item->peer;
    PyObject *r = PyObject_VectorcallMethod(self->st->names.datagram_received, args,
                                            3 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    int done = 0;
    if (r == NULL)
        done = tdl_report_raised(self->loop, "Exception in callback datagram_received()",
                                 self->transport, protocol);
    Py_XDECREF(r);
    Py_DECREF(protocol);
    return done;
}

/* The protocol has paused: keep it until reading is resumed. */
static int
hold(DatagramObject *self, const struct received *item)
{
    if (self->held == NULL && (self->held = PyList_New(0)) == NULL)
        return -1;
    PyObject *pair = PyTuple_Pack(2, item->data, item->addr);
    int r = pair == NULL ? -1 : PyList_Append(self->held, pair);
    Py_XDECREF(pair);
    return r;
}

/* Give the protocol `n` datagrams; releases them. */
static int
deliver(DatagramObject *self, struct received *items, int n)
{
    int r = 0;
    bool outermost = n > 1 && !self->batching;
    self->batching |= outermost;
    for (int i = 0; i < n; i++) {
        if (r == 0 && !self->closing && self->transport != NULL)
            r = self->paused ? hold(self, &items[i]) : give(self, &items[i]);
        Py_DECREF(items[i].data);
        Py_DECREF(items[i].addr);
    }
    if (!outermost)
        return r;
    self->batching = false;
    PyObject *raised = r < 0 ? tdl_err_take() : NULL;
    r = tdl_datagram_send_collected(self);
    if (raised == NULL)
        return r;
    PyErr_Clear();
    tdl_err_put_steal(raised);
    return -1;
}

/* Make objects of what was received.  Returns how many, or -1. */
static int
unpack(DatagramObject *self, struct tdl_intake *in, size_t slot, struct received *items, int n)
{
    for (int i = 0; i < n; i++) {
        struct received *item = &items[i];
        item->data =
            PyBytes_FromStringAndSize(in->room + (size_t)i * slot, (Py_ssize_t)in->sizes[i]);
        item->addr = item->data == NULL ? NULL : address_of(self, &in->from[i], &item->peer);
        if (item->addr == NULL) {
            Py_XDECREF(item->data);
            while (i-- > 0) {
                Py_DECREF(items[i].data);
                Py_DECREF(items[i].addr);
            }
            return -1;
        }
    }
    return n;
}

int
tdl_datagram_receive(DatagramObject *self)
{
    struct received items[TDL_DATAGRAM_BATCH];
    if (self->held != NULL && tdl_datagram_deliver_held(self) < 0)
        return -1;
    if (self->loop == NULL || (self->io.events & TDL_POLL_IN) == 0)
        return 0;
    bool inet = self->family == AF_INET || self->family == AF_INET6;
    size_t slot = inet ? SLOT_INET : SLOT;
    struct tdl_intake *in = intake_of(self->loop);
    if (in == NULL)
        return -1;
    if (in->busy)
        return 0; /* a finalizer runs the loop while objects are made: not now */
    in->busy = true;
    int n = receive_some(self->io.fd, in, slot, inet ? TDL_DATAGRAM_BATCH : SLOTS);
    int error = errno;
    if (n > 0)
        n = unpack(self, in, slot, items, n);
    else if (n < 0 && (error == EAGAIN || error == EWOULDBLOCK || error == EINTR))
        n = 0;
    else if (n < 0) {
        tdl_raise_errno(-error);
        in->busy = false;
        return tdl_datagram_failed(self, "Fatal read error on datagram transport");
    }
    in->busy = false;
    return n <= 0 ? n : deliver(self, items, n);
}

int
tdl_datagram_deliver_held(DatagramObject *self)
{
    PyObject *held = self->held;
    self->held = NULL;
    int r = 0;
    for (Py_ssize_t i = 0; held != NULL && r == 0 && i < PyList_GET_SIZE(held); i++) {
        PyObject *pair = PyList_GET_ITEM(held, i);
        struct received item = {Py_NewRef(PyTuple_GET_ITEM(pair, 0)),
                                Py_NewRef(PyTuple_GET_ITEM(pair, 1)), 0};
        r = deliver(self, &item, 1);
    }
    Py_XDECREF(held);
    return r;
}

/* Holding small writes back until the end of the turn, where a protocol makes several
 * in one: a header, then a body. They leave in one system call and one packet. */
#include "loop/transport.h"
#include "py/errors.h"

enum {
    HELD_MAX = 64 * 1024, /* bytes: more is worth a system call of its own */
    TURNS_REMEMBERED = 8  /* turns with one write after which holding stops */
};

static uint64_t
this_turn(LoopObject *loop)
{
    return atomic_load_explicit(&loop->stats.turns, memory_order_relaxed);
}

bool
tdl_transport_may_hold(TransportObject *self, size_t size)
{
    LoopObject *loop = self->loop;
    if (!loop->holds)
        return false; /* nobody would write it at the end of the turn */
    uint64_t turn = this_turn(loop);
    bool again = self->written_in == turn;
    self->written_in = turn;
    if (again)
        self->holding = TURNS_REMEMBERED;
    return (loop->busy || self->holding > 0) && size <= HELD_MAX;
}

int
tdl_transport_held_more(TransportObject *self, bool first)
{
    LoopObject *loop = self->loop;
    if (first)
        self->held = true;
    else
        self->holding = TURNS_REMEMBERED;
    if (!self->listed) {
        self->listed = true;
        self->held_next = loop->held;
        loop->held = (struct tdl_transport *)Py_NewRef((PyObject *)self);
    }
    if (tdl_wqueue_size(&self->queue) > HELD_MAX)
        return tdl_transport_send_held(self);
    return 0;
}

int
tdl_transport_send_held(TransportObject *self)
{
    if (!self->held)
        return 0;
    self->held = false;
    return self->conn_lost > 0 ? 0 : tdl_transport_send_queue(self);
}

/* Keep what was raised first of all. */
static void
keep_first(PyObject **first)
{
    PyObject *exc = tdl_err_take();
    if (*first == NULL)
        *first = exc;
    else
        Py_DECREF(exc);
}

int
tdl_transport_end_turn(LoopObject *loop, int r)
{
    PyObject *first = r < 0 ? tdl_err_take() : NULL;
    while (loop->held != NULL) {
        TransportObject *self = loop->held;
        loop->held = self->held_next;
        self->held_next = NULL;
        self->listed = false;
        if (self->held) {
            self->holding -= self->holding > 0;
            if (tdl_transport_send_held(self) < 0)
                keep_first(&first);
        }
        Py_DECREF(self);
    }
    if (first == NULL)
        return 0;
    tdl_err_put_steal(first);
    return -1;
}

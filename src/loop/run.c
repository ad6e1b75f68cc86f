/* Turning: poll, collect what is due, run what is ready. */
#include <math.h>

#include "core/clock.h"
#include "loop/fork.h"
#include "loop/poll.h"
#include "loop/ready.h"
#include "loop/transport.h"

/* Post what there is no room for once more, in order. */
static void
put_back(LoopObject *self, struct tdl_item *item)
{
    while (item != NULL) {
        struct tdl_item *next = item->next;
        tdl_port_post(self->port, item);
        item = next;
    }
}

/* Take over the posted handle behind `item`.  Returns 0, or -1 with MemoryError set: then
 * it is the caller's still. */
static int
take_handle(LoopObject *self, struct tdl_item *item)
{
    if (tdl_ready_reserve(self, 1) < 0)
        return -1;
    tdl_loop_count(&self->stats.posted, 1);
    return tdl_ready_push_steal(self, tdl_handle_of_item(self->st, item));
}

int
tdl_loop_take_posted(LoopObject *self, enum tdl_inbox_mark mark)
{
    struct tdl_item *item = tdl_inbox_drain(&self->port->inbox, mark);
    int r = 0;
    bool results = false;
    while (item != NULL) {
        struct tdl_item *next = item->next;
        if (tdl_port_fetch(self->port, item))
            results = true;
        else if ((r = take_handle(self, item)) < 0) {
            item->next = next;
            put_back(self, item);
            break;
        }
        item = next;
    }
    /* last: this runs code of others, with nothing left in our hands */
    if (r == 0 && results)
        r = tdl_landing_deliver(self->st, &self->landing, (PyObject *)self);
    else if (results)
        tdl_landing_announce(&self->landing); /* the loop may go on after the error */
    return r;
}

static struct tdl_timer *
pop_due(LoopObject *self, int64_t now)
{
    struct tdl_timer *timer;
    TDL_CRITICAL_BEGIN(self);
    timer = tdl_heap_pop(&self->timers, now);
    TDL_CRITICAL_END();
    return timer;
}

static int
collect_due(LoopObject *self)
{
    int64_t now;
    if (self->timers.count == 0)
        return 0;
    if (tdl_loop_now(self, &now) < 0)
        return -1;
    struct tdl_timer *timer;
    int r = 0;
    /* a place first: what has left the heap must not get lost */
    while (r == 0 && (r = tdl_ready_reserve(self, 1)) == 0 &&
           (timer = pop_due(self, now)) != NULL) {
        tdl_loop_count(&self->stats.fired, 1);
        r = tdl_ready_push_steal(self, tdl_handle_of_timer(self->st, timer));
    }
    return r;
}

/* Run what is ready now, not what becomes ready meanwhile. */
static int
run_ready(LoopObject *self)
{
    size_t todo = tdl_ring_count(&self->ready);
    int r = 0;
    struct tdl_ready entry;
    tdl_loop_count_ready(&self->stats, tdl_ready_count(self));
    /* somebody may empty the queue, or run the loop from inside */
    while (r == 0 && todo > 0 && tdl_ready_pop(self, &entry)) {
        todo -= entry.places < todo ? entry.places : todo;
        tdl_loop_count(&self->stats.callbacks, 1);
        r = tdl_ready_run(self, &entry);
    }
    return r;
}

static int
turn_once(LoopObject *self, bool poll)
{
    tdl_loop_count(&self->stats.turns, 1);
    if (poll || tdl_ring_count(&self->ready) == 0 || ++self->unpolled >= TDL_LOOP_UNPOLLED) {
        if (tdl_loop_poll(self, -1) < 0)
            return -1;
    }
    else if (!tdl_inbox_marked(&self->port->inbox, TDL_INBOX_AWAKE) &&
             tdl_loop_take_posted(self, TDL_INBOX_AWAKE) < 0)
        return -1;
    if (self->timers.count > 0 && collect_due(self) < 0)
        return -1;
    return run_ready(self);
}

static int
turn(LoopObject *self, bool poll)
{
    bool outer = !self->holds;
    self->holds = true;
    int r = turn_once(self, poll);
    if (self->held != NULL)
        r = tdl_transport_end_turn(self, r);
    if (outer)
        self->holds = false;
    return r;
}

/* Note who runs it.  Returns what `thread` was: the loop may be run from inside. */
static unsigned long
enter(LoopObject *self)
{
    unsigned long before = self->thread;
    self->tstate = PyThreadState_Get();
    self->thread = PyThread_get_thread_ident();
    return before;
}

static PyObject *
run_once(LoopObject *self, PyObject *Py_UNUSED(ignored))
{
    if (tdl_loop_check_closed(self) < 0)
        return NULL;
    unsigned long before = enter(self);
    int r = turn(self, true);
    self->thread = before;
    if (r < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* _poll(seconds): what comes before the handles of a turn, for turns made in Python. */
static PyObject *
poll_for(LoopObject *self, PyObject *seconds)
{
    double limit = seconds == Py_None ? -1.0 : PyFloat_AsDouble(seconds);
    if ((limit == -1.0 && PyErr_Occurred()) || tdl_loop_check_closed(self) < 0)
        return NULL;
    if (seconds != Py_None && !(limit > 0.0))
        limit = 0.0; /* as select() takes it */
    int64_t ns = limit < 0.0 || limit > 9e9 ? -1 : (int64_t)ceil(limit * 1e9);
    unsigned long before = enter(self); /* who posts meanwhile has to wake it */
    int r = tdl_loop_poll(self, ns);
    self->thread = before;
    if (r < 0 || collect_due(self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
collect(LoopObject *self, PyObject *Py_UNUSED(ignored))
{
    if (collect_due(self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Turn until stop(); once at least. */
static PyObject *
run_until_stopped(LoopObject *self, PyObject *Py_UNUSED(ignored))
{
    if (tdl_loop_check_closed(self) < 0)
        return NULL;
    unsigned long before = enter(self);
    bool poll = true;
    int r;
    do {
        r = turn(self, poll || self->stopping);
        poll = false;
    } while (r == 0 && !self->stopping);
    self->thread = before;
    if (r == 0 && self->inherited)
        r = tdl_fork_raise();
    if (r < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyMethodDef tdl_loop_run_methods[] = {
    {"_poll", (PyCFunction)poll_for, METH_O, NULL},
    {"_collect_due", (PyCFunction)collect, METH_NOARGS, NULL},
    {"_run_once", (PyCFunction)run_once, METH_NOARGS, NULL},
    {"_run_until_stopped", (PyCFunction)run_until_stopped, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

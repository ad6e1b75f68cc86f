#include "loop/fork.h"

void
tdl_fork_list(LoopObject *loop)
{
    struct tdl_state *st = loop->st;
    tdl_lock_acquire(&st->loops_lock);
    loop->listed_next = st->loops;
    loop->listed_prev = (LoopObject **)&st->loops;
    if (loop->listed_next != NULL)
        loop->listed_next->listed_prev = &loop->listed_next;
    st->loops = loop;
    tdl_lock_release(&st->loops_lock);
}

void
tdl_fork_unlist(LoopObject *loop)
{
    struct tdl_state *st = loop->st;
    tdl_lock_acquire(&st->loops_lock);
    if (loop->listed_prev != NULL) {
        *loop->listed_prev = loop->listed_next;
        if (loop->listed_next != NULL)
            loop->listed_next->listed_prev = loop->listed_prev;
        loop->listed_prev = NULL;
    }
    tdl_lock_release(&st->loops_lock);
}

int
tdl_fork_raise(void)
{
    PyErr_SetString(PyExc_RuntimeError, "this event loop is the parent process's; a forked "
                                        "child has to make one of its own");
    return -1;
}

/* Calls nothing that could run Python code: what is queued stays until close(). */
static void
disown(LoopObject *loop)
{
    loop->listed_prev = NULL;
    loop->open = false;
    loop->inherited = true;
    loop->inherited_ready = loop->ready;
    loop->inherited_more = loop->more;
    tdl_ring_init(&loop->ready);
    loop->more = 0;
    loop->stopping = true; /* the fork may have been in a callback of it */
    tdl_poller_abandon(&loop->poller);
    tdl_port_disown(loop->port);
}

static PyObject *
after_fork_in_child(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    struct tdl_state *st = tdl_state_of(module);
    tdl_lock_init(&st->loops_lock); /* nobody is left who could hold it */
    LoopObject *loop = st->loops;
    st->loops = NULL;
    for (; loop != NULL; loop = loop->listed_next)
        disown(loop);
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"_disown_loops", after_fork_in_child, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

int
tdl_fork_exec(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}

#include "future/landing.h"

#include "future/deliver.h"
#include "future/waiter.h"

int
tdl_landing_open(struct tdl_landing *landing, struct tdl_port *port)
{
    landing->wake = tdl_loop_wake_of_port(port);
    if (landing->wake != NULL)
        return 0;
    PyErr_NoMemory();
    return -1;
}

void
tdl_landing_close(struct tdl_landing *landing)
{
    struct tdl_loop_wake *wake = landing->wake;
    landing->wake = NULL;
    tdl_loop_wake_unref(wake);
    Py_CLEAR(landing->pairs);
    landing->source = NULL;
    Py_CLEAR(landing->owner);
    landing->in_flight = 0;
}

int
tdl_landing_traverse(struct tdl_landing *landing, visitproc visit, void *arg)
{
    Py_VISIT(landing->pairs);
    Py_VISIT(landing->owner);
    return 0;
}

void
tdl_landing_expect(struct tdl_landing *landing, FutureObject *source)
{
    landing->in_flight++;
    if (landing->owner == source->owner)
        return;
    landing->source = NULL;
    Py_XSETREF(landing->owner, Py_XNewRef(source->owner));
    landing->source = source->source;
}

/* Returns 0 or -1 with an exception set, and then neither is in the list. */
static int
append_pair(PyObject *pairs, PyObject *destination, PyObject *source)
{
    if (PyList_Append(pairs, destination) < 0)
        return -1;
    if (PyList_Append(pairs, source) == 0)
        return 0;
    Py_ssize_t n = PyList_GET_SIZE(pairs);
    PyList_SetSlice(pairs, n - 1, n, NULL);
    return -1;
}

int
tdl_landing_post(struct tdl_landing *landing, PyObject *loop, PyObject *destination,
                 PyObject *source, struct tdl_fire *fire)
{
    int r = 0;
    struct tdl_loop_wake *wake = NULL;
    PyObject *fresh = landing->pairs == NULL ? PyList_New(0) : NULL;
    TDL_CRITICAL_BEGIN(loop);
    if (landing->wake != NULL) {
        if (landing->pairs == NULL) {
            landing->pairs = fresh;
            fresh = NULL;
        }
        r = landing->pairs == NULL ? -1 : append_pair(landing->pairs, destination, source);
        if (r == 0)
            wake = tdl_loop_wake_ref(landing->wake);
    }
    TDL_CRITICAL_END();
    Py_XDECREF(fresh);
    if (wake != NULL && fire != NULL)
        tdl_fire_add_loop(fire, wake);
    else if (wake != NULL)
        tdl_loop_wake_signal(wake);
    tdl_loop_wake_unref(wake);
    return r;
}

int
tdl_landing_deliver(struct tdl_state *st, struct tdl_landing *landing, PyObject *loop)
{
    PyObject *pairs;
    TDL_CRITICAL_BEGIN(loop);
    pairs = landing->pairs;
    landing->pairs = NULL;
    TDL_CRITICAL_END();
    if (pairs == NULL)
        return 0;
    Py_ssize_t came = PyList_GET_SIZE(pairs) / 2;
    landing->in_flight -= came < landing->in_flight ? came : landing->in_flight;
    int r = tdl_deliver_all(st, pairs, loop);
    Py_DECREF(pairs);
    return r;
}

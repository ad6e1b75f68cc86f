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
    landing->source = NULL;
    landing->in_flight = 0;
    Py_CLEAR(landing->pairs);
    Py_CLEAR(landing->owner);
}

int
tdl_landing_traverse(struct tdl_landing *landing, visitproc visit, void *arg)
{
    Py_VISIT(landing->pairs);
    Py_VISIT(landing->owner);
    return 0;
}

void
tdl_landing_expect(struct tdl_landing *landing, PyObject *loop, FutureObject *source)
{
    PyObject *before = NULL;
    TDL_CRITICAL_BEGIN(loop);
    landing->in_flight++;
    if (landing->owner != source->owner) {
        before = landing->owner;
        landing->owner = Py_XNewRef(source->owner);
        landing->source = source->source;
    }
    TDL_CRITICAL_END();
    Py_XDECREF(before);
}

struct tdl_source *
tdl_landing_source(struct tdl_landing *landing, PyObject *loop, PyObject **owner)
{
    struct tdl_source *source;
    TDL_CRITICAL_BEGIN(loop);
    source = landing->source;
    *owner = Py_XNewRef(landing->owner);
    TDL_CRITICAL_END();
    return source;
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

/* Put a pair into the list, which is `*fresh` if there is none, and say whom to wake.
 * Returns 1; 0 if a list is needed first; or -1 with an exception set. */
static int
add_pair(struct tdl_landing *landing, PyObject *destination, PyObject *source, PyObject **fresh,
         struct tdl_loop_wake **wake)
{
    if (landing->wake == NULL)
        return 1; /* closed: nobody wants it */
    if (landing->pairs == NULL) {
        if (*fresh == NULL)
            return 0;
        landing->pairs = *fresh;
        *fresh = NULL;
    }
    if (append_pair(landing->pairs, destination, source) < 0)
        return -1;
    *wake = tdl_loop_wake_ref(landing->wake);
    return 1;
}

int
tdl_landing_post(struct tdl_landing *landing, PyObject *loop, PyObject *destination,
                 PyObject *source, struct tdl_fire *fire)
{
    struct tdl_loop_wake *wake = NULL;
    PyObject *fresh = NULL;
    int r;
    for (;;) {
        TDL_CRITICAL_BEGIN(loop);
        r = add_pair(landing, destination, source, &fresh, &wake);
        TDL_CRITICAL_END();
        if (r != 0)
            break;
        /* not inside: making a list may run the collector and anybody's code */
        if ((fresh = PyList_New(0)) == NULL) {
            r = -1;
            break;
        }
    }
    Py_XDECREF(fresh);
    if (wake != NULL && fire != NULL)
        tdl_fire_add_loop(fire, wake);
    else if (wake != NULL)
        tdl_loop_wake_signal(wake);
    tdl_loop_wake_unref(wake);
    return r < 0 ? -1 : 0;
}

int
tdl_landing_deliver(struct tdl_state *st, struct tdl_landing *landing, PyObject *loop)
{
    PyObject *pairs;
    TDL_CRITICAL_BEGIN(loop);
    pairs = landing->pairs;
    landing->pairs = NULL;
    if (pairs != NULL) {
        Py_ssize_t came = PyList_GET_SIZE(pairs) / 2;
        landing->in_flight -= came < landing->in_flight ? came : landing->in_flight;
    }
    TDL_CRITICAL_END();
    if (pairs == NULL)
        return 0;
    int r = tdl_deliver_all(st, pairs, loop);
    Py_DECREF(pairs);
    return r;
}

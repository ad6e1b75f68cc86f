#include "future/landing.h"

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
tdl_landing_close(struct tdl_landing *landing, PyObject *loop)
{
    struct tdl_loop_wake *wake;
    struct tdl_deliveries taken;
    PyObject *owner;
    TDL_CRITICAL_BEGIN(loop);
    wake = landing->wake;
    owner = landing->owner;
    taken = tdl_deliveries_take(&landing->arrived);
    landing->wake = NULL;
    landing->owner = NULL;
    landing->source = NULL;
    landing->in_flight = 0;
    TDL_CRITICAL_END();
    tdl_loop_wake_unref(wake);
    tdl_deliveries_drop(&taken);
    Py_XDECREF(owner);
}

int
tdl_landing_traverse(struct tdl_landing *landing, visitproc visit, void *arg)
{
    Py_VISIT(landing->owner);
    return tdl_deliveries_traverse(&landing->arrived, visit, arg);
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

int
tdl_landing_post(struct tdl_landing *landing, PyObject *loop, struct tdl_delivery *delivery,
                 PyObject *keeper, struct tdl_fire *fire)
{
    struct tdl_loop_wake *wake = NULL;
    TDL_CRITICAL_BEGIN(loop);
    if (landing->wake != NULL && tdl_deliveries_push(&landing->arrived, delivery, keeper))
        wake = tdl_loop_wake_ref(landing->wake);
    TDL_CRITICAL_END();
    if (wake != NULL && fire != NULL)
        tdl_fire_add_loop(fire, wake);
    else if (wake != NULL)
        tdl_loop_wake_signal(wake);
    tdl_loop_wake_unref(wake);
    return wake != NULL;
}

void
tdl_landing_announce(struct tdl_landing *landing)
{
    if (landing->wake != NULL && landing->arrived.first != NULL)
        tdl_loop_wake_signal(landing->wake);
}

int
tdl_landing_deliver(struct tdl_state *st, struct tdl_landing *landing, PyObject *loop)
{
    struct tdl_deliveries taken;
    TDL_CRITICAL_BEGIN(loop);
    taken = tdl_deliveries_take(&landing->arrived);
    landing->in_flight -= taken.count < landing->in_flight ? taken.count : landing->in_flight;
    TDL_CRITICAL_END();
    return taken.count == 0 ? 0 : tdl_deliver_all(st, &taken, loop);
}

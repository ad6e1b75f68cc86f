#include "core/port.h"

#include <errno.h>

#include "core/alloc.h"
#include "core/clock.h"

int
tdl_port_new(struct tdl_port **place)
{
    *place = NULL;
    struct tdl_port *port = tdl_malloc(sizeof *port);
    if (port == NULL)
        return -ENOMEM;
    int r = tdl_wakeup_open(&port->wakeup, TDL_WAKEUP_BEST);
    if (r < 0) {
        tdl_free(port);
        return r;
    }
    atomic_init(&port->references, 1);
    tdl_lock_init(&port->lock);
    tdl_inbox_init(&port->inbox);
    port->results.next = NULL;
    atomic_init(&port->announced, 0);
    atomic_init(&port->cpu, -1);
    *place = port;
    return 0;
}

struct tdl_port *
tdl_port_ref(struct tdl_port *port)
{
    atomic_fetch_add_explicit(&port->references, 1, memory_order_relaxed);
    return port;
}

void
tdl_port_unref(struct tdl_port *port)
{
    if (port == NULL ||
        atomic_fetch_sub_explicit(&port->references, 1, memory_order_acq_rel) != 1)
        return;
    tdl_wakeup_close(&port->wakeup);
    tdl_free(port);
}

struct tdl_item *
tdl_port_close(struct tdl_port *port)
{
    struct tdl_item *left = tdl_inbox_close(&port->inbox);
    tdl_lock_acquire(&port->lock);
    tdl_wakeup_close(&port->wakeup);
    tdl_lock_release(&port->lock);
    return left;
}

void
tdl_port_disown(struct tdl_port *port)
{
    tdl_lock_init(&port->lock);
    tdl_wakeup_close(&port->wakeup);
}

void
tdl_port_wake(struct tdl_port *port)
{
    tdl_lock_acquire(&port->lock);
    tdl_wakeup_signal(&port->wakeup);
    tdl_lock_release(&port->lock);
}

int
tdl_port_post(struct tdl_port *port, struct tdl_item *item)
{
    int r = tdl_inbox_post(&port->inbox, item);
    if (r > 0)
        tdl_port_wake(port);
    return r < 0 ? r : 0;
}

void
tdl_port_announce(struct tdl_port *port)
{
    atomic_store_explicit(&port->cpu, tdl_cpu_current(), memory_order_relaxed);
    if (atomic_exchange_explicit(&port->announced, 1, memory_order_acq_rel) == 0)
        tdl_port_post(port, &port->results);
}

bool
tdl_port_fetch(struct tdl_port *port, struct tdl_item *item)
{
    if (item != &port->results)
        return false;
    atomic_store_explicit(&port->announced, 0, memory_order_seq_cst);
    return true;
}

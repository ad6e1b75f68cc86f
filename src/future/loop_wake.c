#include "future/loop_wake.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/alloc.h"

struct tdl_loop_wake *
tdl_loop_wake_new(int fd)
{
    struct tdl_loop_wake *wake = tdl_malloc(sizeof *wake);
    if (wake == NULL)
        return NULL;
    atomic_init(&wake->references, 1);
    wake->port = NULL;
    wake->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (wake->fd < 0) {
        tdl_free(wake);
        return NULL;
    }
    return wake;
}

struct tdl_loop_wake *
tdl_loop_wake_of_port(struct tdl_port *port)
{
    struct tdl_loop_wake *wake = tdl_malloc(sizeof *wake);
    if (wake == NULL)
        return NULL;
    atomic_init(&wake->references, 1);
    wake->fd = -1;
    wake->port = tdl_port_ref(port);
    return wake;
}

struct tdl_loop_wake *
tdl_loop_wake_ref(struct tdl_loop_wake *wake)
{
    atomic_fetch_add_explicit(&wake->references, 1, memory_order_relaxed);
    return wake;
}

void
tdl_loop_wake_unref(struct tdl_loop_wake *wake)
{
    if (wake == NULL ||
        atomic_fetch_sub_explicit(&wake->references, 1, memory_order_acq_rel) != 1)
        return;
    if (wake->fd >= 0)
        close(wake->fd);
    tdl_port_unref(wake->port);
    tdl_free(wake);
}

void
tdl_loop_wake_signal(struct tdl_loop_wake *wake)
{
    if (wake->port != NULL) {
        tdl_port_announce(wake->port);
        return;
    }
    while (send(wake->fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EINTR)
        continue;
}

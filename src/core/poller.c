#define _GNU_SOURCE 1
#include "core/poller.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/poller_epoll.h"
#include "core/poller_poll.h"

/* The first one is the default. */
static const struct tdl_poller_ops *const table[] = {
#ifdef __linux__
    &tdl_poller_epoll,
#endif
    &tdl_poller_poll,
};

static const struct tdl_poller_ops *
find(const char *name)
{
    if (name == NULL)
        name = getenv("TREADLE_POLLER");
    if (name == NULL || name[0] == '\0')
        return table[0];
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (strcmp(table[i]->name, name) == 0)
            return table[i];
    }
    return NULL;
}

static bool
wrong(unsigned events)
{
    return (events & ~(unsigned)(TDL_POLL_IN | TDL_POLL_OUT | TDL_POLL_EDGE)) != 0;
}

int
tdl_poller_open(struct tdl_poller *poller, const char *name)
{
    *poller = (struct tdl_poller){0};
    const struct tdl_poller_ops *ops = find(name);
    if (ops == NULL)
        return -EINVAL;
    int r = ops->open(poller);
    if (r == 0)
        poller->ops = ops;
    return r;
}

void
tdl_poller_close(struct tdl_poller *poller)
{
    if (poller->ops != NULL)
        poller->ops->close(poller);
    *poller = (struct tdl_poller){0};
}

/* ---- one that was abandoned ---------------------------------------------------------- */

static void
close_abandoned(struct tdl_poller *poller)
{
    (void)poller;
}

static int
refuse(struct tdl_poller *poller, int fd, unsigned events, void *data)
{
    (void)poller, (void)fd, (void)events, (void)data;
    return -ECHILD;
}

static int
remove_abandoned(struct tdl_poller *poller, int fd)
{
    (void)poller, (void)fd;
    return -ENOENT;
}

static int
refuse_wait(struct tdl_poller *poller, struct tdl_event *events, int max, int64_t timeout)
{
    (void)poller, (void)events, (void)max, (void)timeout;
    return -ECHILD;
}

static const struct tdl_poller_ops abandoned = {
    .name = "abandoned",
    .close = close_abandoned,
    .add = refuse,
    .modify = refuse,
    .remove = remove_abandoned,
    .wait = refuse_wait,
};

void
tdl_poller_abandon(struct tdl_poller *poller)
{
    if (poller->ops == NULL)
        return;
    /* closes the child's descriptor; the epoll behind it stays as it is */
    poller->ops->close(poller);
    *poller = (struct tdl_poller){.ops = &abandoned};
}

/* ---- the operations -------------------------------------------------------------------- */

int
tdl_poller_add(struct tdl_poller *poller, int fd, unsigned events, void *data)
{
    return wrong(events) ? -EINVAL : poller->ops->add(poller, fd, events, data);
}

int
tdl_poller_modify(struct tdl_poller *poller, int fd, unsigned events, void *data)
{
    return wrong(events) ? -EINVAL : poller->ops->modify(poller, fd, events, data);
}

int
tdl_poller_remove(struct tdl_poller *poller, int fd)
{
    return poller->ops->remove(poller, fd);
}

int
tdl_poller_wait(struct tdl_poller *poller, struct tdl_event *events, int max, int64_t timeout)
{
    return max <= 0 ? -EINVAL : poller->ops->wait(poller, events, max, timeout);
}

int
tdl_poller_ms(int64_t timeout)
{
    if (timeout < 0)
        return -1;
    int64_t ms = timeout / TDL_NS_PER_MS + (timeout % TDL_NS_PER_MS != 0);
    return ms < INT_MAX ? (int)ms : INT_MAX;
}

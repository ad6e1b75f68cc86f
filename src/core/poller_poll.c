#define _GNU_SOURCE 1
#include "core/poller_poll.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "core/alloc.h"
#include "core/clock.h"

enum { CAPACITY_MIN = 16 };

/*     places[fds[i].fd] == i + 1,  0 <= i < count;  all other places are 0 */
struct state {
    struct pollfd *fds; /* as poll(2) wants them, in no particular order */
    void **data;        /* beside fds */
    size_t count;
    size_t capacity;
    int *places; /* by descriptor */
    size_t place_count;
    size_t cursor; /* where the next wait starts to look, so that all have their turn */
};

static int
open_poll(struct tdl_poller *poller)
{
    poller->state = tdl_calloc(1, sizeof(struct state));
#if !defined(__linux__) && !defined(__FreeBSD__)
    poller->coarse = true;
#endif
    return poller->state == NULL ? -ENOMEM : 0;
}

static void
close_poll(struct tdl_poller *poller)
{
    struct state *state = poller->state;
    tdl_free(state->fds);
    tdl_free(state->data);
    tdl_free(state->places);
    tdl_free(state);
}

/* What the kernel's own set would have refused. */
static int
check_pollable(int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    return S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) ? -EPERM : 0;
}

static short
bits_of(unsigned events)
{
    int in = events & TDL_POLL_IN ? POLLIN : 0;
    int out = events & TDL_POLL_OUT ? POLLOUT : 0;
    return (short)(in | out);
}

static unsigned
events_of(short bits)
{
    return (bits & POLLIN ? TDL_POLL_IN : 0u) | (bits & POLLOUT ? TDL_POLL_OUT : 0u) |
           (bits & POLLERR ? TDL_POLL_ERR : 0u) | (bits & POLLHUP ? TDL_POLL_HUP : 0u);
}

/* Returns the place of an open descriptor, counted from 1, 0 if it has none, or an
 * error. */
static int
find(const struct state *state, int fd)
{
    int r = check_pollable(fd);
    if (r < 0)
        return r;
    return (size_t)fd < state->place_count ? state->places[fd] : 0;
}

static int
grow_places(struct state *state, size_t least)
{
    size_t count = state->place_count == 0 ? CAPACITY_MIN : state->place_count;
    while (count < least)
        count *= 2;
    if (count == state->place_count)
        return 0;
    int *places = tdl_realloc(state->places, count * sizeof *places);
    if (places == NULL)
        return -ENOMEM;
    memset(places + state->place_count, 0, (count - state->place_count) * sizeof *places);
    state->places = places;
    state->place_count = count;
    return 0;
}

static int
grow_set(struct state *state)
{
    if (state->count < state->capacity)
        return 0;
    size_t capacity = state->capacity == 0 ? CAPACITY_MIN : state->capacity * 2;
    struct pollfd *fds = tdl_realloc(state->fds, capacity * sizeof *fds);
    if (fds == NULL)
        return -ENOMEM;
    state->fds = fds;
    void **data = tdl_realloc(state->data, capacity * sizeof *data);
    if (data == NULL)
        return -ENOMEM;
    state->data = data;
    state->capacity = capacity;
    return 0;
}

static int
add(struct tdl_poller *poller, int fd, unsigned events, void *data)
{
    struct state *state = poller->state;
    int r = find(state, fd);
    if (r != 0)
        return r < 0 ? r : -EEXIST;
    r = grow_places(state, (size_t)fd + 1);
    if (r == 0)
        r = grow_set(state);
    if (r < 0)
        return r;
    state->fds[state->count] = (struct pollfd){.fd = fd, .events = bits_of(events)};
    state->data[state->count] = data;
    state->places[fd] = (int)++state->count;
    return 0;
}

static int
modify(struct tdl_poller *poller, int fd, unsigned events, void *data)
{
    struct state *state = poller->state;
    int place = find(state, fd);
    if (place <= 0)
        return place < 0 ? place : -ENOENT;
    state->fds[place - 1].events = bits_of(events);
    state->data[place - 1] = data;
    return 0;
}

/* The last one takes the free place. */
static void
drop(struct state *state, size_t i)
{
    size_t last = --state->count;
    state->places[state->fds[i].fd] = 0;
    if (i == last)
        return;
    state->fds[i] = state->fds[last];
    state->data[i] = state->data[last];
    state->places[state->fds[i].fd] = (int)i + 1;
}

static int
remove_fd(struct tdl_poller *poller, int fd)
{
    struct state *state = poller->state;
    int place = find(state, fd);
    if (place <= 0)
        return place < 0 ? place : -ENOENT;
    drop(state, (size_t)place - 1);
    return 0;
}

/* Forget descriptors that were closed without being removed, as the kernel's own
 * set does; they would end every wait at once. */
static void
drop_closed(struct state *state)
{
    for (size_t i = state->count; i-- > 0;) {
        if (state->fds[i].revents & POLLNVAL)
            drop(state, i);
    }
}

static int
poll_ns(struct tdl_poller *poller, int64_t timeout)
{
    struct state *state = poller->state;
    nfds_t count = (nfds_t)state->count;
#if defined(__linux__) || defined(__FreeBSD__)
    if (!poller->coarse) {
        struct timespec ts = {
            .tv_sec = (time_t)(timeout / TDL_NS_PER_S),
            .tv_nsec = (long)(timeout % TDL_NS_PER_S),
        };
        return ppoll(state->fds, count, timeout < 0 ? NULL : &ts, NULL);
    }
#endif
    return poll(state->fds, count, tdl_poller_ms(timeout));
}

static int
wait_poll(struct tdl_poller *poller, struct tdl_event *events, int max, int64_t timeout)
{
    struct state *state = poller->state;
    int ready = poll_ns(poller, timeout);
    if (ready < 0)
        return errno == EINTR ? 0 : -errno;
    int n = 0;
    bool closed = false;
    size_t i = state->cursor < state->count ? state->cursor : 0;
    while (ready > 0 && n < max) {
        short bits = state->fds[i].revents;
        ready -= bits != 0;
        if (bits & POLLNVAL)
            closed = true;
        else if (events_of(bits) != 0)
            events[n++] = (struct tdl_event){state->data[i], events_of(bits)};
        i = i + 1 < state->count ? i + 1 : 0;
    }
    state->cursor = i;
    if (closed)
        drop_closed(state);
    return n;
}

const struct tdl_poller_ops tdl_poller_poll = {
    .name = "poll",
    .open = open_poll,
    .close = close_poll,
    .add = add,
    .modify = modify,
    .remove = remove_fd,
    .wait = wait_poll,
};

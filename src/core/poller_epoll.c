#define _GNU_SOURCE 1
#include "core/poller_epoll.h"

#ifdef __linux__

#include <errno.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/clock.h"

/* Older C libraries and kernel headers do not know the call that waits with
 * nanoseconds; the running kernel, asked by number, may. */
#if !defined(SYS_epoll_pwait2) && defined(__LP64__) && \
    (defined(__x86_64__) || defined(__aarch64__))
#define SYS_epoll_pwait2 441
#endif

enum { BATCH = 256 };

struct state {
    int epfd;
    struct epoll_event ready[BATCH]; /* filled by the kernel in each wait */
};

struct kernel_timespec {
    int64_t tv_sec;
    int64_t tv_nsec;
};

static int
wait_ns(struct state *state, int max, int64_t timeout)
{
#ifdef SYS_epoll_pwait2
    struct kernel_timespec ts = {timeout / TDL_NS_PER_S, timeout % TDL_NS_PER_S};
    return (int)syscall(SYS_epoll_pwait2, state->epfd, state->ready, max,
                        timeout < 0 ? NULL : &ts, NULL, 0);
#else
    (void)state, (void)max, (void)timeout;
    errno = ENOSYS;
    return -1;
#endif
}

static int
open_epoll(struct tdl_poller *poller)
{
    struct state *state = tdl_malloc(sizeof *state);
    if (state == NULL)
        return -ENOMEM;
    state->epfd = epoll_create1(EPOLL_CLOEXEC);
    if (state->epfd < 0) {
        int r = -errno;
        tdl_free(state);
        return r;
    }
    poller->state = state;
    /* an old kernel says ENOSYS, some containers say EPERM */
    poller->coarse = wait_ns(state, 1, 0) < 0;
    return 0;
}

static void
close_epoll(struct tdl_poller *poller)
{
    struct state *state = poller->state;
    close(state->epfd);
    tdl_free(state);
}

static uint32_t
bits_of(unsigned events)
{
    return (events & TDL_POLL_IN ? EPOLLIN : 0u) | (events & TDL_POLL_OUT ? EPOLLOUT : 0u) |
           (events & TDL_POLL_EDGE ? EPOLLET | EPOLLRDHUP : 0u);
}

static unsigned
events_of(uint32_t bits)
{
    return (bits & EPOLLIN ? TDL_POLL_IN : 0u) | (bits & EPOLLOUT ? TDL_POLL_OUT : 0u) |
           (bits & EPOLLERR ? TDL_POLL_ERR : 0u) |
           (bits & (EPOLLHUP | EPOLLRDHUP) ? TDL_POLL_HUP : 0u);
}

static int
control(struct tdl_poller *poller, int op, int fd, unsigned events, void *data)
{
    struct state *state = poller->state;
    struct epoll_event event = {
        .events = bits_of(events),
        .data.ptr = data,
    };
    return epoll_ctl(state->epfd, op, fd, &event) < 0 ? -errno : 0;
}

static int
add(struct tdl_poller *poller, int fd, unsigned events, void *data)
{
    return control(poller, EPOLL_CTL_ADD, fd, events, data);
}

static int
modify(struct tdl_poller *poller, int fd, unsigned events, void *data)
{
    return control(poller, EPOLL_CTL_MOD, fd, events, data);
}

static int
remove_fd(struct tdl_poller *poller, int fd)
{
    return control(poller, EPOLL_CTL_DEL, fd, 0, NULL);
}

static int
wait_epoll(struct tdl_poller *poller, struct tdl_event *events, int max, int64_t timeout)
{
    struct state *state = poller->state;
    int room = max < BATCH ? max : BATCH;
    int n = poller->coarse ? epoll_wait(state->epfd, state->ready, room, tdl_poller_ms(timeout))
                           : wait_ns(state, room, timeout);
    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    for (int i = 0; i < n; i++) {
        events[i].data = state->ready[i].data.ptr;
        events[i].events = events_of(state->ready[i].events);
    }
    return n;
}

const struct tdl_poller_ops tdl_poller_epoll = {
    .name = "epoll",
    .open = open_epoll,
    .close = close_epoll,
    .add = add,
    .modify = modify,
    .remove = remove_fd,
    .wait = wait_epoll,
};

#else

/* A file without a declaration is no C. */
extern const int tdl_poller_epoll_absent;
const int tdl_poller_epoll_absent = 1;

#endif

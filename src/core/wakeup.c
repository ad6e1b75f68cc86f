#define _GNU_SOURCE 1
#include "core/wakeup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

/* -DTDL_NO_EVENTFD builds what other systems get, for tests. */
#if defined(__linux__) && !defined(TDL_NO_EVENTFD)
#include <sys/eventfd.h>
#define HAVE_EVENTFD 1
#else
#define HAVE_EVENTFD 0
#endif

static int
open_eventfd(struct tdl_wakeup *wakeup)
{
#if HAVE_EVENTFD
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return -errno;
    wakeup->read_fd = wakeup->write_fd = fd;
    return 0;
#else
    (void)wakeup;
    return -ENOSYS;
#endif
}

static int
new_pipe(int fds[2])
{
#if HAVE_EVENTFD /* then there is pipe2(), too */
    return pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0 ? -errno : 0;
#else
    if (pipe(fds) < 0)
        return -errno;
    for (int i = 0; i < 2; i++) {
        int flags = fcntl(fds[i], F_GETFL);
        if (flags < 0 || fcntl(fds[i], F_SETFL, flags | O_NONBLOCK) < 0 ||
            fcntl(fds[i], F_SETFD, FD_CLOEXEC) < 0) {
            int r = -errno;
            close(fds[0]);
            close(fds[1]);
            return r;
        }
    }
    return 0;
#endif
}

static int
open_pipe(struct tdl_wakeup *wakeup)
{
    int fds[2];
    int r = new_pipe(fds);
    if (r < 0)
        return r;
    wakeup->read_fd = fds[0];
    wakeup->write_fd = fds[1];
    return 0;
}

int
tdl_wakeup_open(struct tdl_wakeup *wakeup, enum tdl_wakeup_kind kind)
{
    wakeup->read_fd = wakeup->write_fd = -1;
    switch (kind) {
    case TDL_WAKEUP_BEST: {
        int r = open_eventfd(wakeup);
        /* out of descriptors: a pipe needs even more of them */
        return r == 0 || r == -EMFILE || r == -ENFILE ? r : open_pipe(wakeup);
    }
    case TDL_WAKEUP_EVENTFD:
        return open_eventfd(wakeup);
    case TDL_WAKEUP_PIPE:
        return open_pipe(wakeup);
    }
    return -EINVAL;
}

void
tdl_wakeup_close(struct tdl_wakeup *wakeup)
{
    if (wakeup->read_fd >= 0)
        close(wakeup->read_fd);
    if (wakeup->write_fd >= 0 && wakeup->write_fd != wakeup->read_fd)
        close(wakeup->write_fd);
    wakeup->read_fd = wakeup->write_fd = -1;
}

int
tdl_wakeup_signal(const struct tdl_wakeup *wakeup)
{
    /* an eventfd adds this up, a pipe carries eight bytes that nobody reads */
    static const uint64_t one = 1;
    int before = errno;
    ssize_t n;
    do {
        n = write(wakeup->write_fd, &one, sizeof one);
    } while (n < 0 && errno == EINTR);
    /* full means that a drain is overdue, so the descriptor is readable */
    int r = n >= 0 || errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
    errno = before;
    return r;
}

int
tdl_wakeup_drain(const struct tdl_wakeup *wakeup)
{
    /* one read empties an eventfd; a pipe may take several */
    uint64_t sink[128];
    size_t want = wakeup->read_fd == wakeup->write_fd ? sizeof sink[0] : sizeof sink;
    int any = 0;
    for (;;) {
        ssize_t n = read(wakeup->read_fd, sink, want);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
            return -errno;
        if (n > 0)
            any = 1;
        if (n < (ssize_t)sizeof sink)
            return any;
    }
}

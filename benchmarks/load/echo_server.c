/* Echo servers in plain C: what a server must cost at least.
 *
 *     echo_server tcp|unix|udp ADDRESS
 *
 * Prints its port, or its path, and serves until its input is closed.  One
 * thread, level-triggered epoll; what is read is written at once, and only what
 * the socket does not take is kept. */
#include "net.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, SCRATCH = 1 << 18, DATAGRAMS = 64 };

struct peer {
    int fd;
    char *kept; /* what could not be written; while there is any, nothing is read */
    size_t begin, end;
};

static char scratch[SCRATCH];
static int poller;

static void
watch(int operation, int fd, unsigned events, void *data)
{
    struct epoll_event event = {.events = events, .data.ptr = data};
    if (epoll_ctl(poller, operation, fd, &event) < 0)
        net_die("epoll_ctl", errno);
}

static void
drop(struct peer *peer)
{
    close(peer->fd);
    free(peer->kept);
    free(peer);
}

/* How much of it the socket took; -1 if the peer has gone. */
static ssize_t
write_some(struct peer *peer, const char *bytes, size_t size)
{
    ssize_t sent = send(peer->fd, bytes, size, MSG_NOSIGNAL);
    if (sent < 0 && errno == EAGAIN)
        return 0;
    return sent;
}

static void
keep(struct peer *peer, const char *bytes, size_t size)
{
    peer->kept = malloc(size);
    if (!peer->kept)
        net_die("malloc", ENOMEM);
    memcpy(peer->kept, bytes, size);
    peer->begin = 0;
    peer->end = size;
    watch(EPOLL_CTL_MOD, peer->fd, EPOLLOUT, peer);
}

static void
readable(struct peer *peer)
{
    ssize_t size = recv(peer->fd, scratch, sizeof scratch, 0);
    if (size < 0 && errno == EAGAIN)
        return;
    ssize_t sent = size > 0 ? write_some(peer, scratch, (size_t)size) : -1;
    if (sent < 0)
        drop(peer);
    else if (sent < size)
        keep(peer, scratch + sent, (size_t)(size - sent));
}

static void
writable(struct peer *peer)
{
    ssize_t sent = write_some(peer, peer->kept + peer->begin, peer->end - peer->begin);
    if (sent < 0) {
        drop(peer);
        return;
    }
    peer->begin += (size_t)sent;
    if (peer->begin < peer->end)
        return;
    free(peer->kept);
    peer->kept = NULL;
    watch(EPOLL_CTL_MOD, peer->fd, EPOLLIN, peer);
}

static void
accept_all(enum net_kind kind, int listener)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EAGAIN || errno == ECONNABORTED))
            return;
        if (fd < 0)
            net_die("accept", errno);
        struct peer *peer = calloc(1, sizeof *peer);
        if (!peer)
            net_die("calloc", ENOMEM);
        peer->fd = fd;
        net_no_delay(kind, fd);
        watch(EPOLL_CTL_ADD, fd, EPOLLIN, peer);
    }
}

static void
echo_datagrams(int fd)
{
    for (int i = 0; i < DATAGRAMS; i++) {
        struct sockaddr_storage from;
        socklen_t length = sizeof from;
        ssize_t size =
            recvfrom(fd, scratch, sizeof scratch, 0, (struct sockaddr *)&from, &length);
        if (size < 0 && errno == EAGAIN)
            return;
        if (size < 0)
            net_die("recvfrom", errno);
        if (sendto(fd, scratch, (size_t)size, 0, (struct sockaddr *)&from, length) < 0 &&
            errno != EAGAIN)
            net_die("sendto", errno);
    }
}

static void
serve(enum net_kind kind, int bound)
{
    static int input; /* its address tells that descriptor from the others */
    poller = epoll_create1(EPOLL_CLOEXEC);
    watch(EPOLL_CTL_ADD, 0, EPOLLIN, &input);
    watch(EPOLL_CTL_ADD, bound, EPOLLIN, NULL);
    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(poller, events, EVENTS, -1);
        if (count < 0 && errno != EINTR)
            net_die("epoll_wait", errno);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == &input)
                return;
            if (events[i].data.ptr == NULL)
                kind == NET_UDP ? echo_datagrams(bound) : accept_all(kind, bound);
            else if (((struct peer *)events[i].data.ptr)->kept)
                writable(events[i].data.ptr);
            else
                readable(events[i].data.ptr);
        }
    }
}

int
main(int count, char **words)
{
    if (count != 3)
        net_die("usage: echo_server tcp|unix|udp ADDRESS", 0);
    enum net_kind kind = net_kind_of(words[1]);
    net_allow_descriptors();
    int bound = net_listen(kind, words[2]);
    if (kind == NET_UNIX)
        printf("%s\n", words[2]);
    else
        printf("%u\n", net_port(bound));
    fflush(stdout);
    serve(kind, bound);
    close(bound);
    return 0;
}

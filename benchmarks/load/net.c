#include "net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

enum { BACKLOG = 4096 };

union address {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_un un;
};

_Noreturn void
net_die(const char *what, int reason)
{
    if (reason)
        fprintf(stderr, "%s: %s\n", what, strerror(reason));
    else
        fprintf(stderr, "%s\n", what);
    exit(1);
}

enum net_kind
net_kind_of(const char *name)
{
    if (!strcmp(name, "tcp") || !strcmp(name, "http"))
        return NET_TCP;
    if (!strcmp(name, "unix"))
        return NET_UNIX;
    if (!strcmp(name, "udp"))
        return NET_UDP;
    net_die("no such kind of socket", 0);
}

static socklen_t
parse_address(enum net_kind kind, const char *text, union address *address)
{
    memset(address, 0, sizeof *address);
    if (kind == NET_UNIX) {
        if (strlen(text) >= sizeof address->un.sun_path)
            net_die("the path is too long", 0);
        address->un.sun_family = AF_UNIX;
        strcpy(address->un.sun_path, text);
        return sizeof address->un;
    }
    address->in.sin_family = AF_INET;
    address->in.sin_port = htons((uint16_t)strtoul(text, NULL, 10));
    address->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return sizeof address->in;
}

static int
new_socket(enum net_kind kind)
{
    int domain = kind == NET_UNIX ? AF_UNIX : AF_INET;
    int type = kind == NET_UDP ? SOCK_DGRAM : SOCK_STREAM;
    int fd = socket(domain, type | SOCK_CLOEXEC, 0);
    if (fd < 0)
        net_die("socket", errno);
    return fd;
}

static void
set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        net_die("fcntl", errno);
}

int
net_listen(enum net_kind kind, const char *text)
{
    union address address;
    socklen_t size = parse_address(kind, text, &address);
    int fd = new_socket(kind);
    if (bind(fd, &address.any, size) < 0)
        net_die("bind", errno);
    if (kind != NET_UDP && listen(fd, BACKLOG) < 0)
        net_die("listen", errno);
    set_nonblocking(fd);
    return fd;
}

unsigned
net_port(int fd)
{
    union address address;
    socklen_t size = sizeof address;
    if (getsockname(fd, &address.any, &size) < 0)
        net_die("getsockname", errno);
    return ntohs(address.in.sin_port);
}

int
net_connect(enum net_kind kind, const char *text)
{
    union address address;
    socklen_t size = parse_address(kind, text, &address);
    int fd = new_socket(kind);
    if (connect(fd, &address.any, size) < 0)
        net_die("connect", errno);
    net_no_delay(kind, fd);
    set_nonblocking(fd);
    return fd;
}

void
net_no_delay(enum net_kind kind, int fd)
{
    int on = 1;
    if (kind == NET_TCP && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0)
        net_die("setsockopt", errno);
}

void
net_allow_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        net_die("getrlimit", errno);
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        net_die("setrlimit", errno);
}

int64_t
net_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

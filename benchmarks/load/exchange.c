#include "exchange.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SCRATCH = 1 << 18, MAX_HEAD = 4096 };

static const char GET[] = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
static char scratch[SCRATCH];

static void *
allocate(size_t size)
{
    void *memory = malloc(size);
    if (!memory)
        net_die("malloc", ENOMEM);
    return memory;
}

/* Bytes that repeat in no short period, other ones for each number. */
static void
fill(char *bytes, size_t size, unsigned number)
{
    uint32_t state = number * 2654435761u + 1;
    for (size_t i = 0; i < size; i++) {
        state = state * 1664525u + 1013904223u;
        bytes[i] = (char)(state >> 24);
    }
}

void
exchange_open(struct exchange *exchange, enum exchange_form form, enum net_kind kind,
              const char *address, size_t size, unsigned number)
{
    *exchange = (struct exchange){.form = form, .answer_size = size};
    if (form == EXCHANGE_HTTP) {
        exchange->request_size = sizeof GET - 1;
        exchange->request = allocate(sizeof GET);
        memcpy(exchange->request, GET, sizeof GET);
        exchange->answer = allocate(MAX_HEAD + size + 1);
    }
    else {
        exchange->request_size = size;
        exchange->request = allocate(size);
        fill(exchange->request, size, number);
    }
    exchange->sent = exchange->request_size; /* nothing is to go out before the first turn */
    exchange->fd = net_connect(kind, address);
}

void
exchange_begin(struct exchange *exchange)
{
    exchange->sent = exchange->received = 0;
    exchange->turn++;
    if (exchange->form != EXCHANGE_HTTP) {
        size_t stamp = sizeof exchange->turn;
        if (stamp > exchange->request_size)
            stamp = exchange->request_size;
        memcpy(exchange->request, &exchange->turn, stamp);
    }
    exchange->started = net_now();
    exchange_write(exchange);
}

void
exchange_write(struct exchange *exchange)
{
    while (exchange_writing(exchange)) {
        ssize_t sent = send(exchange->fd, exchange->request + exchange->sent,
                            exchange->request_size - exchange->sent, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN)
            return;
        if (sent < 0)
            net_die("send", errno);
        exchange->sent += (size_t)sent;
    }
}

bool
exchange_writing(const struct exchange *exchange)
{
    return exchange->sent < exchange->request_size;
}

static bool
take_echo(struct exchange *exchange, const char *bytes, size_t size)
{
    if (exchange->form == EXCHANGE_DATAGRAM && size != exchange->request_size)
        net_die("a datagram came back with another size", 0);
    if (size > exchange->sent - exchange->received)
        net_die("more came back than was sent", 0);
    if (memcmp(bytes, exchange->request + exchange->received, size) != 0)
        net_die("what came back is not what was sent", 0);
    exchange->received += size;
    return exchange->received == exchange->request_size;
}

/* The body's size as the head says; ends the process if it does not. */
static size_t
content_length(const char *head)
{
    static const char name[] = "\r\ncontent-length:";
    for (const char *at = head; *at; at++)
        if (!strncasecmp(at, name, sizeof name - 1))
            return strtoul(at + sizeof name - 1, NULL, 10);
    net_die("an answer without Content-Length", 0);
}

/* The first body that came: all others must be the same. */
static void
check_body(const char *body, size_t size)
{
    static char *first;
    if (!first) {
        first = allocate(size + 1);
        memcpy(first, body, size);
    }
    if (memcmp(first, body, size) != 0)
        net_die("two bodies differ", 0);
}

static bool
take_http(struct exchange *exchange, const char *bytes, size_t size)
{
    static const char ok[] = "HTTP/1.1 200 ";
    if (size > MAX_HEAD + exchange->answer_size - exchange->received)
        net_die("the answer is too long", 0);
    memcpy(exchange->answer + exchange->received, bytes, size);
    exchange->received += size;
    exchange->answer[exchange->received] = 0;
    char *end = strstr(exchange->answer, "\r\n\r\n");
    if (!end)
        return false;
    size_t head = (size_t)(end - exchange->answer) + 4;
    if (strncmp(exchange->answer, ok, sizeof ok - 1) != 0)
        net_die("the status is not 200", 0);
    if (content_length(exchange->answer) != exchange->answer_size)
        net_die("the body has not the size agreed on", 0);
    if (exchange->received < head + exchange->answer_size)
        return false;
    if (exchange->received > head + exchange->answer_size)
        net_die("bytes after the answer", 0);
    check_body(exchange->answer + head, exchange->answer_size);
    return true;
}

bool
exchange_read(struct exchange *exchange)
{
    ssize_t size = recv(exchange->fd, scratch, sizeof scratch, 0);
    if (size < 0 && errno == EAGAIN)
        return false;
    if (size < 0)
        net_die("recv", errno);
    if (size == 0)
        net_die("the server closed a connection", 0);
    if (exchange->form == EXCHANGE_HTTP)
        return take_http(exchange, scratch, (size_t)size);
    return take_echo(exchange, scratch, (size_t)size);
}

void
exchange_close(struct exchange *exchange)
{
    close(exchange->fd);
    free(exchange->request);
    free(exchange->answer);
}

/* One connection of the load generator: send a request, take the answer, check
 * every byte of it.
 *
 * An echo must be what was sent; the bytes differ from connection to connection
 * and from turn to turn.  An HTTP answer must have status 200 and a body of the
 * agreed size, the same every time.  An answer that is wrong ends the process. */
#ifndef LOAD_EXCHANGE_H
#define LOAD_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net.h"

enum exchange_form { EXCHANGE_STREAM, EXCHANGE_DATAGRAM, EXCHANGE_HTTP };

struct exchange {
    int fd;
    enum exchange_form form;
    uint64_t turn;
    char *request;
    size_t request_size, sent;
    char *answer;       /* HTTP: what came of this answer; NULL for echoes */
    size_t answer_size; /* echo: that of the request; HTTP: of the body */
    size_t received;    /* bytes of this answer so far */
    int64_t started;    /* when the request began to go out, net_now() */
};

/* Connect.  `size` is that of a message, or of an HTTP body.  `number` tells connections
 * apart. */
void exchange_open(struct exchange *exchange, enum exchange_form form, enum net_kind kind,
                   const char *address, size_t size, unsigned number);

/* Begin the next turn, and send what can be sent. */
void exchange_begin(struct exchange *exchange);

/* Send more of the request. */
void exchange_write(struct exchange *exchange);

/* Whether part of the request has yet to be sent. */
bool exchange_writing(const struct exchange *exchange);

/* Take what has come; returns whether the answer is complete. */
bool exchange_read(struct exchange *exchange);

/* Close and free. */
void exchange_close(struct exchange *exchange);

#endif

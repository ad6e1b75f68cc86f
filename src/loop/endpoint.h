/* Where one end of a connection is: kept as the system said it, made into the socket
 * module's object when somebody asks, which for most connections is never.
 *
 * Attached thread state. */
#ifndef TDL_LOOP_ENDPOINT_H
#define TDL_LOOP_ENDPOINT_H

#include <netinet/in.h>

#include "loop/address.h"

struct tdl_endpoint {
    PyObject *object; /* strong; NULL: not made yet, or unknown */
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } raw; /* any.sa_family is AF_UNSPEC if nothing is kept here */
};

/* All zeros is an unknown address. */
static inline void
tdl_endpoint_init(struct tdl_endpoint *self)
{
    *self = (struct tdl_endpoint){.raw.any.sa_family = AF_UNSPEC};
}

/* Keep `address`, as getpeername() and the like gave it.
 * Returns 1; 0 if the family is not one of the above; -1 with an exception set. */
int tdl_endpoint_set(struct tdl_endpoint *self, const struct tdl_address *address);

/* Ask getsockname() or getpeername().  Returns as tdl_endpoint_set(); also 0 if the
 * system has no answer. */
int tdl_endpoint_ask(struct tdl_endpoint *self, int fd,
                     int (*ask)(int, struct sockaddr *, socklen_t *));

/* The Python object, None if the address is unknown.
 * Returns a new reference or NULL. */
PyObject *tdl_endpoint_get(struct tdl_endpoint *self);

#endif

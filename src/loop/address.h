/* Socket addresses: between the system's form and the socket module's objects, for
 * IPv4, IPv6 and UNIX; what else there is stays with the socket module.
 *
 * Attached thread state. */
#ifndef TDL_LOOP_ADDRESS_H
#define TDL_LOOP_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

#include "py/compat.h"

struct tdl_address {
    struct sockaddr_storage sa;
    socklen_t len;
};

/* The last address that was made: who is answered is often who has just asked.
 * The owner's thread only; zeroed before the first use. */
struct tdl_address_cache {
    struct tdl_address address;
    PyObject *object; /* strong, or NULL: nothing is cached */
};

/* Whether addresses of `family` can be made and parsed. */
bool tdl_address_known(int family);

/* Whether `cache`, which may be NULL, has the object of `address`. */
bool tdl_address_cached(const struct tdl_address_cache *cache,
                        const struct tdl_address *address);

/* The object that the socket module makes of `address`, whose family is known, or
 * which is empty.  `cache` may be NULL.  Returns a new reference or NULL. */
PyObject *tdl_address_make(const struct tdl_address *address, struct tdl_address_cache *cache);

/* What `object` says, for a socket of `family`.  `cache` may be NULL.
 * Returns true; false, without an exception, if it has to be left to the socket
 * module: names to be looked up, mistakes, other families. */
bool tdl_address_parse(int family, PyObject *object, const struct tdl_address_cache *cache,
                       struct tdl_address *address);

#endif

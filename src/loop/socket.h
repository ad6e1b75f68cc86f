/* What native code needs to know of a socket object.
 *
 * Any thread; attached thread state. */
#ifndef TDL_LOOP_SOCKET_H
#define TDL_LOOP_SOCKET_H

#include <stdbool.h>

#include "py/state.h"

struct tdl_socket {
    int fd; /* -1: closed */
    int family;
    int type; /* SOCK_STREAM and so on, without flags */
    int proto;
};

/* Look at `sock`.
 * Returns 1; 0 if it is not exactly a socket.socket, whose methods may be anything;
 * -1 with an exception set. */
int tdl_socket_look(struct tdl_state *st, PyObject *sock, struct tdl_socket *found);

/* Find socket.socket.  Returns 0 or -1 with an exception set. */
int tdl_socket_init(struct tdl_state *st);

#endif

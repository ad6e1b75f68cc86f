/* Sockets of the load generator and of the plain C servers.
 *
 * An address is a port of 127.0.0.1 in digits, or a path for UNIX sockets.  All
 * sockets are non-blocking.  These are programs for measuring: whatever goes
 * wrong ends the process with a line on stderr. */
#ifndef LOAD_NET_H
#define LOAD_NET_H

#include <stdbool.h>
#include <stdint.h>

enum net_kind { NET_TCP, NET_UNIX, NET_UDP };

/* Print `what`, and the system's reason if `reason` is an errno and not 0; exit with 1. */
_Noreturn void net_die(const char *what, int reason);

/* The kind called "tcp", "unix" or "udp"; "http" is TCP. */
enum net_kind net_kind_of(const char *name);

/* A socket bound to `address` (port 0: any), listening unless it is UDP. */
int net_listen(enum net_kind kind, const char *address);

/* The port of a bound socket. */
unsigned net_port(int fd);

/* A socket connected to `address`. */
int net_connect(enum net_kind kind, const char *address);

/* Let small messages go out at once; does nothing but for TCP. */
void net_no_delay(enum net_kind kind, int fd);

/* Raise the limit of open descriptors as far as the system lets us. */
void net_allow_descriptors(void);

/* Nanoseconds on the monotonic clock. */
int64_t net_now(void);

#endif

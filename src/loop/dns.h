/* Which names need no looking up.
 *
 * Any thread; attached thread state; blocks never. */
#ifndef TDL_LOOP_DNS_H
#define TDL_LOOP_DNS_H

#include "py/state.h"

/* _is_numeric_address(host, port): whether getaddrinfo() answers by itself, asking
 * neither a server nor a file: the host is None or an address, maybe with a scope,
 * and the port is None, an int or decimal digits. */
extern PyMethodDef tdl_dns_functions[];

#endif

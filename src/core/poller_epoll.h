/* The poller's back end for Linux; see core/poller.h.  The kernel keeps the set,
 * so that a wait costs what is ready, not what is registered. */
#ifndef TDL_CORE_POLLER_EPOLL_H
#define TDL_CORE_POLLER_EPOLL_H

#include "core/poller.h"

#ifdef __linux__
extern const struct tdl_poller_ops tdl_poller_epoll;
#endif

#endif

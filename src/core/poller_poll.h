/* The portable back end of the poller, by poll(2); see core/poller.h.  A wait
 * costs what is registered.  Devices that cannot say when they are ready, such as
 * /dev/null, count as always ready here; epoll refuses them with -EPERM. */
#ifndef TDL_CORE_POLLER_POLL_H
#define TDL_CORE_POLLER_POLL_H

#include "core/poller.h"

extern const struct tdl_poller_ops tdl_poller_poll;

#endif

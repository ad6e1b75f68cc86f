/* The way into a loop from other threads: its inbox and its wakeup, in an object
 * of its own, so that whoever still means to post may outlive the loop.
 *
 * Any thread posts; one thread, the owner, drains.  Reference counted.  No locks, no
 * Python thread state.
 *
 * Finished jobs are not posted one by one: the first one raises a flag and posts the
 * port's own item, and the owner fetches all there are. */
#ifndef TDL_CORE_PORT_H
#define TDL_CORE_PORT_H

#include <stdbool.h>

#include "core/inbox.h"
#include "core/lock.h"
#include "core/wakeup.h"

struct tdl_port {
    _Atomic unsigned references;
    struct tdl_inbox inbox;
    struct tdl_lock lock;       /* of the wakeup against being closed meanwhile */
    struct tdl_wakeup wakeup;   /* `lock`; drained by the owner without */
    struct tdl_item results;    /* says that there are results to fetch */
    _Atomic uint32_t announced; /* `results` is posted, or about to be */
    _Atomic int cpu;            /* that the last announcer ran on, or -1; a hint */
};

/* A port with one reference, its inbox armed.
 * Returns 0, -ENOMEM, or what opening the wakeup said; failures leave `*port` NULL. */
int tdl_port_new(struct tdl_port **port);

struct tdl_port *tdl_port_ref(struct tdl_port *port);

/* Drop a reference; NULL is fine.  The last one closes what is open. */
void tdl_port_unref(struct tdl_port *port);

/* Let every later post fail and close the descriptors.  Owner only; calling again is
 * harmless.  Returns what was posted and not yet drained, as tdl_inbox_drain() does. */
struct tdl_item *tdl_port_close(struct tdl_port *port);

/* In a forked child: close the descriptors, whoever held the lock in the parent. */
void tdl_port_disown(struct tdl_port *port);

/* Wake the owner.  After closing: nothing. */
void tdl_port_wake(struct tdl_port *port);

/* Post `item` and wake the owner if need be.
 * Returns 0, or -ESHUTDOWN after the inbox was closed: `item` stays the caller's. */
int tdl_port_post(struct tdl_port *port, struct tdl_item *item);

/* Say that there are results to fetch, once until the owner calls tdl_port_fetch(). */
void tdl_port_announce(struct tdl_port *port);

/* Whether `item`, out of the inbox, is the announcement.  If so, results that come
 * from here on are announced again, so the caller fetches after this. */
bool tdl_port_fetch(struct tdl_port *port, struct tdl_item *item);

#endif

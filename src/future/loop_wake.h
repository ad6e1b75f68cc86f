/* Waking a loop without Python, so that it can be done after the GIL was released.
 *
 * A stock selector loop is woken by a byte on its socket pair. A wake owns a
 * duplicate of the sending end: writing stays safe whatever the loop does with its
 * own. To one of ours, whose port the wake shares, the results are announced.
 * Reference counted, any thread, no thread state needed. */
#ifndef TDL_FUTURE_LOOP_WAKE_H
#define TDL_FUTURE_LOOP_WAKE_H

#include <stdatomic.h>

#include "core/port.h"

struct tdl_loop_wake {
    _Atomic unsigned references;
    int fd;                /* owned, or -1; fixed after init */
    struct tdl_port *port; /* one reference, or NULL; fixed after init */
};

/* A wake that writes to a duplicate of `fd`, with one reference, or NULL. */
struct tdl_loop_wake *tdl_loop_wake_new(int fd);

/* A wake for the loop behind `port`, with one reference, or NULL. */
struct tdl_loop_wake *tdl_loop_wake_of_port(struct tdl_port *port);

struct tdl_loop_wake *tdl_loop_wake_ref(struct tdl_loop_wake *wake);

/* Drop a reference; NULL is fine.  The last one closes the duplicate. */
void tdl_loop_wake_unref(struct tdl_loop_wake *wake);

/* Wake the loop.  Blocks: never.  A full pipe has woken it already, a closed
 * one has nobody to wake. */
void tdl_loop_wake_signal(struct tdl_loop_wake *wake);

#endif

/* Waiting for a standard future: what goes into its `_waiters` for our waiter.
 *
 * A proxy is to a standard future what a tdl_wait_node is to ours: the standard
 * future calls add_result(), add_exception() or add_cancelled() on it. */
#ifndef TDL_FUTURE_WAIT_PROXY_H
#define TDL_FUTURE_WAIT_PROXY_H

#include "future/waiter.h"

/* Link `node` (waiter set) to the standard future `future`, unless that is
 * complete.  `*proxy` gets a new reference, or NULL if it is complete.
 * Returns 1 if linked, 0 if already complete, -1 with an exception set. */
int tdl_wait_proxy_link(struct tdl_state *st, PyObject *future, struct tdl_wait_node *node,
                        PyObject **proxy);

/* Take the proxy off `future`; the node is not touched any more when it returns.
 * Releases the reference to `proxy`.  Keeps an exception that is set, else an
 * exception is reported as unraisable. */
void tdl_wait_proxy_unlink(struct tdl_state *st, PyObject *future, PyObject *proxy);

/* Whether the future has reported to the proxy. */
int tdl_wait_proxy_noted(PyObject *proxy);

/* Whether a standard future is complete as wait() sees it: finished, or
 * cancelled and notified.  `*raised`: finished with an exception.
 * Returns 1, 0, or -1 with an exception set. */
int tdl_std_future_complete(struct tdl_state *st, PyObject *future, int *raised);

/* Module exec: add the type.  Returns 0 or -1 with an exception set. */
int tdl_wait_proxy_exec(PyObject *module);

#endif

/* One future, ours or a standard one, that a waiter is linked to. */
#ifndef TDL_FUTURE_WAIT_ENTRY_H
#define TDL_FUTURE_WAIT_ENTRY_H

#include "future/future.h"
#include "future/wait_proxy.h"

struct tdl_wait_entry {
    struct tdl_wait_node node;   /* first: a node is cast back to its entry */
    struct tdl_wait_entry *next; /* for the waiter's own list */
    PyObject *future;            /* strong, or NULL */
    PyObject *proxy;             /* of a standard future while linked, else NULL */
    bool native;
    bool linked; /* was linked: has to be taken off or has been noted */
};

/* Make an entry for `future`, to be waited for by `waiter`; not linked yet. */
static inline void
tdl_wait_entry_init(struct tdl_wait_entry *entry, struct tdl_state *st, PyObject *future,
                    struct tdl_waiter *waiter)
{
    *entry = (struct tdl_wait_entry){.future = Py_NewRef(future)};
    entry->native = tdl_future_check(st, future);
    entry->node.waiter = waiter;
    entry->node.future = entry->native ? (FutureObject *)future : NULL;
}

/* Whether the future is complete: 1, 0, or -1 with an exception set.
 * `*raised`: complete with an exception. */
int tdl_wait_entry_complete(struct tdl_state *st, struct tdl_wait_entry *entry, int *raised);

/* Link.  Returns 1 if linked, 0 if already complete, -1 with an exception set. */
int tdl_wait_entry_link(struct tdl_state *st, struct tdl_wait_entry *entry);

/* Take off if linked.  Returns whether the future had reported by then. */
bool tdl_wait_entry_unlink(struct tdl_state *st, struct tdl_wait_entry *entry);

/* Where the entry's result comes from, as far as that is known; else NULL. */
static inline struct tdl_source *
tdl_wait_entry_source(const struct tdl_wait_entry *entry)
{
    return entry->native ? entry->node.future->source : NULL;
}

/* Let this thread run the entry's job if it may: a worker that waits must not
 * wait for what only it could run.  Returns 1 if it ran, 0 if not, -1 with an
 * exception set. */
int tdl_wait_entry_help(struct tdl_wait_entry *entry);

#endif

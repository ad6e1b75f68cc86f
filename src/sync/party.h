/* Those who wait for a lock, an event or a queue: parked threads and coroutines of any
 * loop, in one list, and how each is told that it may go on.
 *
 * What a synchronisation object consists of changes under its critical section (with a
 * GIL: while nobody lets go of it), and no Python code runs there.  A grant is made in
 * three moves: tdl_tell_prepare() and tdl_tell_add() inside, tdl_tell_send() after.
 *
 * A coroutine is told by its future: at once if its loop is this thread's, else by a
 * Grant posted to its loop.  A Grant that is dropped before it was delivered, since the
 * loop was closed, is passed on. */
#ifndef TDL_SYNC_PARTY_H
#define TDL_SYNC_PARTY_H

#include "core/waitq.h"
#include "future/waiter.h"
#include "py/state.h"

/* The head of every object that somebody can wait for. */
typedef struct {
    PyObject_HEAD
    struct tdl_state *st;
    PyObject *bound; /* the only loop that may use it, or NULL: any; see tdl_sync_bound */
} SyncObject;

typedef struct GrantObject GrantObject;

struct tdl_party {
    struct tdl_wait wait; /* owner's critical section */
    SyncObject *owner;    /* borrowed; fixed while it waits */
    /* It gives up, granted or not: the grant passes on.  An exception that is set stays,
     * others are reported as unraisable.  Returns whether it was granted.  Fixed. */
    bool (*leave)(struct tdl_party *party);
    struct tdl_waiter *parked; /* a thread, or NULL: a coroutine */
    PyObject *loop;            /* of the coroutine, strong */
    PyObject *future;          /* it waits for this, strong */
    GrantObject *grant;        /* under way to the loop, borrowed; owner's critical section */
};

static inline struct tdl_party *
tdl_party_of(struct tdl_wait *wait)
{
    return (struct tdl_party *)wait;
}

/* Whom to tell, and what that takes. */
struct tdl_tell {
    GrantObject *spare; /* strong, or NULL */
    bool here;          /* the one prepared for is a coroutine of this thread's loop */
    /* one of: */
    struct tdl_waiter *parked;
    PyObject *future; /* strong */
    PyObject *loop;   /* strong; NULL: the future's loop runs in this thread */
};

static inline void
tdl_tell_init(struct tdl_tell *tell)
{
    *tell = (struct tdl_tell){0};
}

/* Inside: pass over coroutines that are known to have been cancelled, forget those whose
 * loop was closed, and say whether all is there to tell the next of `q`.  If not, call tdl_tell_provide() outside and
 * try again; nothing may have been changed. */
bool tdl_tell_prepare(struct tdl_tell *tell, struct tdl_waitq *q);

/* Outside: get what was missing.  Returns 0, or -1 with MemoryError set. */
int tdl_tell_provide(struct tdl_tell *tell, SyncObject *owner);

/* Inside: `w`, the one that was prepared for, has been granted.  NULL: nobody. */
void tdl_tell_add(struct tdl_tell *tell, struct tdl_wait *w);

/* Outside: tell it, and let go of everything.
 * Returns 1 if somebody was told, 0 if there was nobody, -1 with what its loop raised. */
int tdl_tell_send(struct tdl_tell *tell, struct tdl_state *st);

/* Grant once, safely: prepare, then `change` inside, which returns who was granted or
 * NULL, then tell.  `q` is the list that `change` grants from.
 * Returns as tdl_tell_send(), or -1 with MemoryError set, and nothing changed. */
int tdl_sync_grant(SyncObject *owner, struct tdl_waitq *q,
                   struct tdl_wait *(*change)(SyncObject *owner, void *argument),
                   void *argument);

/* For the `leave` of parties: as tdl_sync_grant(), again and again while somebody is
 * told if `all`.  An exception that is set stays, others are reported. */
void tdl_sync_pass_on(SyncObject *owner, struct tdl_waitq *q,
                      struct tdl_wait *(*change)(SyncObject *owner, void *argument), bool all);

/* Inside: the party is off its list and nobody's any more. */
void tdl_party_detach(struct tdl_party *party);

/* Take it off the list `q`.  Returns whether it was granted. */
bool tdl_party_remove(struct tdl_party *party, struct tdl_waitq *q);

/* Outside and detached: let go of the future and the loop. */
void tdl_party_clear(struct tdl_party *party);

/* Inside: whether all of `q` are coroutines that have been cancelled, as far as that can be
 * known here, or whose loop was closed. */
bool tdl_party_all_cancelled(struct tdl_waitq *q);

/* A new list of the futures that are waited for on `q`, or NULL. */
PyObject *tdl_party_list(SyncObject *owner, struct tdl_waitq *q);

/* ---- a thread that waits --------------------------------------------------------- */

struct tdl_parked {
    struct tdl_party party;
    struct tdl_waiter waiter;
};

void tdl_parked_init(struct tdl_parked *parked, SyncObject *owner,
                     bool (*leave)(struct tdl_party *));

/* Sleep until granted or `deadline`; the party is on a list.
 * Returns 1 when granted; the caller takes it inside.  0 at the deadline and -1 if a
 * signal handler raised: the party has left. */
int tdl_parked_wait(struct tdl_parked *parked, int64_t deadline);

/* Module exec: add the type of grants.  Returns 0 or -1 with an exception set. */
int tdl_party_exec(PyObject *module);

#endif

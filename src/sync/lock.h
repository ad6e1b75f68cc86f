/* Lock: also what Condition and RLock are made of. */
#ifndef TDL_SYNC_LOCK_H
#define TDL_SYNC_LOCK_H

#include "sync/await.h"

typedef struct {
    SyncObject head;
    struct tdl_mutex mutex; /* the object's critical section */
    bool plain;             /* nobody has replaced acquire() or release() */
} LockObject;

/* Lock it if that is possible at once. */
bool tdl_lock_try(LockObject *self);

/* Unlock it and tell the next.  Returns 1, 0 if it was not locked, or -1 with an
 * exception set. */
int tdl_lock_unlock(LockObject *self);

/* The start of a coroutine that locks it, up to the result. */
enum tdl_step tdl_lock_start(AwaitObject *self);

/* Its continuation when it has been granted the lock. */
void tdl_lock_take(LockObject *self, struct tdl_party *party);

/* The `leave` of those who wait for it. */
bool tdl_lock_leave(struct tdl_party *party);

/* Lock it in a thread.  Returns 1, 0 at the deadline, or -1 with an exception set. */
int tdl_lock_block(LockObject *self, int64_t deadline);

#endif

/* The lock of a ThreadSafeHandle. */
#include "loop/handle.h"

void
tdl_handle_lock_guard(struct tdl_handle_guard *guard)
{
    unsigned long me = PyThread_get_thread_ident();
    if (atomic_load_explicit(&guard->owner, memory_order_relaxed) == me) {
        guard->depth++;
        return;
    }
    if (!tdl_lock_try_acquire(&guard->lock)) {
        Py_BEGIN_ALLOW_THREADS
        tdl_lock_acquire(&guard->lock);
        Py_END_ALLOW_THREADS
    }
    atomic_store_explicit(&guard->owner, me, memory_order_relaxed);
    guard->depth = 1;
}

void
tdl_handle_unlock_guard(struct tdl_handle_guard *guard)
{
    if (--guard->depth > 0)
        return;
    atomic_store_explicit(&guard->owner, 0, memory_order_relaxed);
    tdl_lock_release(&guard->lock);
}

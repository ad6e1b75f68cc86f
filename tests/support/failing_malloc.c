/* LD_PRELOAD library for tests/threads/test_faults.py: makes one allocation of one shared object fail.
 *
 * An allocation counts when it is made by code inside [low, high), the mapping of the extension under test; all others
 * are passed on. Any thread; no locks. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t size);

static atomic_uintptr_t low, high;
static atomic_long seen, fail_at;

/* Watch allocations made by code in [from, to). */
void
failing_malloc_watch(uintptr_t from, uintptr_t to)
{
    atomic_store(&low, from);
    atomic_store(&high, to);
}

/* Count from 0 again, and let the nth allocation from now fail (1: the next one; 0: none). */
void
failing_malloc_arm(long nth)
{
    atomic_store(&fail_at, nth);
    atomic_store(&seen, 0);
}

/* How many allocations were seen since failing_malloc_arm(). */
long
failing_malloc_seen(void)
{
    return atomic_load(&seen);
}

static int
must_fail(void *caller)
{
    uintptr_t address = (uintptr_t)caller;
    if (address < atomic_load(&low) || address >= atomic_load(&high))
        return 0;
    if (atomic_fetch_add(&seen, 1) + 1 != atomic_load(&fail_at))
        return 0;
    errno = ENOMEM;
    return 1;
}

void *
malloc(size_t size)
{
    return must_fail(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *
calloc(size_t count, size_t size)
{
    return must_fail(__builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}

void *
realloc(void *block, size_t size)
{
    return must_fail(__builtin_return_address(0)) ? NULL : __libc_realloc(block, size);
}

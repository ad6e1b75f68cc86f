/* fork() under ASan, with the locks of its run-time library held meanwhile.
 *
 * The library of GCC up to 14 does not see to that itself: a child that is forked while
 * another thread allocates, starts or ends may find one of them taken for ever, and
 * then hangs in its first malloc().  tools/test_asan.sh preloads this behind libasan. The
 * functions are not exported: it defines their distances from __asan_init. */
#include <pthread.h>

extern void __asan_init(void);

static void
call(long distance)
{
    ((void (*)(void))((char *)__asan_init + distance))();
}

static void
hold(void)
{
    call(LOCK_THREADS);
    call(LOCK_ALLOCATOR);
    call(LOCK_STACKS);
}

static void
release(void)
{
    call(UNLOCK_STACKS);
    call(UNLOCK_ALLOCATOR);
    call(UNLOCK_THREADS);
}

__attribute__((constructor)) static void
install(void)
{
    pthread_atfork(hold, release, release);
}

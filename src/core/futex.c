#include "core/futex.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <time.h>

#include "core/clock.h"

#if defined(__linux__) && !defined(TDL_NO_FUTEX)

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

static int
wait_on(_Atomic uint32_t *word, uint32_t expected, int64_t deadline, int flags)
{
    /* the kernel refuses a time before 0, a time long past like any other */
    int64_t time = deadline > 0 ? deadline : 0;
    struct timespec until = {
        .tv_sec = time / TDL_NS_PER_S,
        .tv_nsec = time % TDL_NS_PER_S,
    };
    /* WAIT_BITSET takes an absolute CLOCK_MONOTONIC deadline: no re-arming
     * arithmetic after an interruption */
    long r = syscall(SYS_futex, word, FUTEX_WAIT_BITSET | flags, expected,
                     deadline == TDL_NEVER ? NULL : &until, NULL, FUTEX_BITSET_MATCH_ANY);
    return r == 0 ? 0 : -errno;
}

int
tdl_futex_wait(_Atomic uint32_t *word, uint32_t expected, int64_t deadline)
{
    return wait_on(word, expected, deadline, FUTEX_PRIVATE_FLAG);
}

int
tdl_futex_wait_shared(_Atomic uint32_t *word, uint32_t expected, int64_t deadline)
{
    return wait_on(word, expected, deadline, 0);
}

/* The kernel's struct futex_waitv and call, which the headers may be too old for. */
struct waitv {
    uint64_t value, address;
    uint32_t flags, reserved;
};
enum { CALL_WAITV = 449, WAITV_32 = 2 };

int
tdl_futex_wait_either(_Atomic uint32_t *word, uint32_t expected, _Atomic uint32_t *shared,
                      uint32_t shared_expected, int64_t deadline)
{
    int64_t time = deadline > 0 ? deadline : 0;
    /* 64 bits of seconds on all machines: the call is younger than they are */
    int64_t until[2] = {time / TDL_NS_PER_S, time % TDL_NS_PER_S};
    struct waitv words[2] = {
        {expected, (uintptr_t)word, WAITV_32 | FUTEX_PRIVATE_FLAG, 0},
        {shared_expected, (uintptr_t)shared, WAITV_32, 0},
    };
    long r =
        syscall(CALL_WAITV, words, 2, 0, deadline == TDL_NEVER ? NULL : until, CLOCK_MONOTONIC);
    if (r >= 0)
        return 0;
    return errno == EPERM || errno == EINVAL ? -ENOSYS : -errno;
}

void
tdl_futex_wake_shared(_Atomic uint32_t *word, int count)
{
    syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
}

void
tdl_futex_wake(_Atomic uint32_t *word, int count)
{
    syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, count, NULL, NULL, 0);
}

void
tdl_futex_after_fork_child(void)
{
}

#else

#include <pthread.h>

/* A wake takes the bucket's lock, so it cannot fall between a sleeper's check
 * of the word and its wait.  All sleepers of a bucket are woken and look at
 * their words again: buckets are shared, wakes are rare. */
struct bucket {
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

enum { BUCKETS = 64 };
static struct bucket table[BUCKETS];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void
table_init(void)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    for (int i = 0; i < BUCKETS; i++) {
        pthread_mutex_init(&table[i].lock, NULL);
        pthread_cond_init(&table[i].changed, &attr);
    }
    pthread_condattr_destroy(&attr);
}

static struct bucket *
bucket_of(_Atomic uint32_t *word)
{
    pthread_once(&table_once, table_init);
    uintptr_t bits = (uintptr_t)word >> 4;
    return &table[(bits ^ (bits >> 8)) % BUCKETS];
}

int
tdl_futex_wait(_Atomic uint32_t *word, uint32_t expected, int64_t deadline)
{
    struct bucket *b = bucket_of(word);
    int r = 0;
    /* a condition variable is not interrupted by signals: sleep in slices so
     * that the caller gets to look for them */
    int64_t slice = tdl_clock_add(tdl_clock_now(), 50 * TDL_NS_PER_MS);
    int64_t until = deadline < slice ? deadline : slice;
    int64_t time = until > 0 ? until : 0; /* a time before 0 would be refused */
    struct timespec ts = {.tv_sec = time / TDL_NS_PER_S, .tv_nsec = time % TDL_NS_PER_S};
    pthread_mutex_lock(&b->lock);
    if (atomic_load_explicit(word, memory_order_relaxed) != expected)
        r = -EAGAIN;
    else
        r = -pthread_cond_timedwait(&b->changed, &b->lock, &ts);
    pthread_mutex_unlock(&b->lock);
    if (r == -ETIMEDOUT && until != deadline)
        return -EINTR;
    return r;
}

void
tdl_futex_wake(_Atomic uint32_t *word, int count)
{
    (void)count;
    struct bucket *b = bucket_of(word);
    pthread_mutex_lock(&b->lock);
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

void
tdl_futex_after_fork_child(void)
{
    table_init();
}

int
tdl_futex_wait_shared(_Atomic uint32_t *word, uint32_t expected, int64_t deadline)
{
    (void)word, (void)expected, (void)deadline;
    return -ENOSYS;
}

int
tdl_futex_wait_either(_Atomic uint32_t *word, uint32_t expected, _Atomic uint32_t *shared,
                      uint32_t shared_expected, int64_t deadline)
{
    (void)word, (void)expected, (void)shared, (void)shared_expected, (void)deadline;
    return -ENOSYS;
}

void
tdl_futex_wake_shared(_Atomic uint32_t *word, int count)
{
    (void)word, (void)count;
}

#endif

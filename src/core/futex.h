/* Sleep until a 32-bit word changes: the one blocking primitive that locks and
 * parkers are made of.
 *
 * On Linux these are the futex system calls; elsewhere, or when built with
 * -DTDL_NO_FUTEX, a fixed table of mutexes and condition variables stands in
 * with the same contract.  Any thread; no Python thread state needed. */
#ifndef TDL_CORE_FUTEX_H
#define TDL_CORE_FUTEX_H

#include <stdatomic.h>
#include <stdint.h>

/* Sleep while *word == expected, until woken or `deadline` (tdl_clock_now() time).
 * Returns 0 when woken (perhaps spuriously), -EAGAIN if the word differed at
 * once, -ETIMEDOUT, or -EINTR when a signal handler ran. */
int tdl_futex_wait(_Atomic uint32_t *word, uint32_t expected, int64_t deadline);

/* Wake up to `count` threads that sleep on `word`.
 * The word's memory is not read, so it may have been freed or reused already:
 * at worst somebody else sees a spurious wake. */
void tdl_futex_wake(_Atomic uint32_t *word, int count);

/* The same two for a word in memory that processes share. Only where the kernel keeps
 * the queues: elsewhere the wait returns -ENOSYS and the wake does nothing. */
int tdl_futex_wait_shared(_Atomic uint32_t *word, uint32_t expected, int64_t deadline);
void tdl_futex_wake_shared(_Atomic uint32_t *word, int count);

/* Sleep while *word == expected and *shared == shared_expected, a word in memory that
 * processes share.  Either may be woken.  Returns as tdl_futex_wait(), or -ENOSYS where the
 * kernel has no such call: Linux before 5.16, or a filter that does not know it. */
int tdl_futex_wait_either(_Atomic uint32_t *word, uint32_t expected, _Atomic uint32_t *shared,
                          uint32_t shared_expected, int64_t deadline);

/* In a forked child, before any other use: forget who held the portable
 * table's locks.  Nothing to do where the kernel keeps the queues. */
void tdl_futex_after_fork_child(void);

#endif

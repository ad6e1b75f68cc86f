/* Monotonic time and the current CPU.
 *
 * All of core counts time in signed 64-bit nanoseconds of CLOCK_MONOTONIC;
 * TDL_NEVER is the deadline that never comes.  Any thread, no locks. */
#ifndef TDL_CORE_CLOCK_H
#define TDL_CORE_CLOCK_H

#include <sched.h>
#include <stdint.h>
#include <time.h>

#define TDL_NEVER INT64_MAX
#define TDL_NS_PER_S INT64_C(1000000000)
#define TDL_NS_PER_MS INT64_C(1000000)
#define TDL_NS_PER_US INT64_C(1000)

/* Now, in nanoseconds of CLOCK_MONOTONIC.  Never fails. */
static inline int64_t
tdl_clock_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * TDL_NS_PER_S + now.tv_nsec;
}

/* `base` + `delta`, saturated at TDL_NEVER (a deadline that overflows never comes). */
static inline int64_t
tdl_clock_add(int64_t base, int64_t delta)
{
    int64_t sum;
    return __builtin_add_overflow(base, delta, &sum) ? TDL_NEVER : sum;
}

/* The CPU this thread runs on right now, or -1 where the system does not say.
 * Only a hint: the thread may have moved by the time the caller looks. */
static inline int
tdl_cpu_current(void)
{
#ifdef __linux__
    return sched_getcpu();
#else
    return -1;
#endif
}

#endif

#include "core/alloc.h"

#include <stdlib.h>

#ifdef TDL_FAULTS

#include <stdatomic.h>
#include <stdbool.h>

static _Atomic long fail_in; /* allocations until one fails; 0: none will */
static _Atomic long live;

static bool
refused(void)
{
    long left = atomic_load(&fail_in);
    while (left > 0) {
        if (atomic_compare_exchange_weak(&fail_in, &left, left - 1))
            return left == 1;
    }
    return false;
}

static void *
counted(void *block)
{
    if (block != NULL)
        atomic_fetch_add(&live, 1);
    return block;
}

long
tdl_alloc_fail(long nth)
{
    return atomic_exchange(&fail_in, nth);
}

long
tdl_alloc_live(void)
{
    return atomic_load(&live);
}

void *
tdl_malloc(size_t size)
{
    return refused() ? NULL : counted(malloc(size));
}

void *
tdl_calloc(size_t count, size_t size)
{
    return refused() ? NULL : counted(calloc(count, size));
}

void *
tdl_realloc(void *block, size_t size)
{
    if (refused())
        return NULL;
    return block == NULL ? counted(malloc(size)) : realloc(block, size);
}

void
tdl_free(void *block)
{
    if (block != NULL)
        atomic_fetch_sub(&live, 1);
    free(block);
}

#else

void *
tdl_malloc(size_t size)
{
    return malloc(size);
}

void *
tdl_calloc(size_t count, size_t size)
{
    return calloc(count, size);
}

void *
tdl_realloc(void *block, size_t size)
{
    return realloc(block, size);
}

void
tdl_free(void *block)
{
    free(block);
}

#endif

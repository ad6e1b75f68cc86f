/* Memory for all of core: libc's allocator behind four names, so that a test
 * build can make any one allocation fail.
 *
 * Any thread, no locks, no Python thread state.  A build with -DTDL_FAULTS
 * counts the live blocks and can refuse the n-th allocation from now; an
 * ordinary build has neither the counters nor the functions that read them. */
#ifndef TDL_CORE_ALLOC_H
#define TDL_CORE_ALLOC_H

#include <stddef.h>

/* `size` bytes, more than 0, of undefined content.
 * Returns a block that the caller owns until tdl_free(), or NULL. */
void *tdl_malloc(size_t size);

/* Room for `count` times `size` bytes, both more than 0, filled with zeros.
 * Returns a block that the caller owns until tdl_free(), or NULL. */
void *tdl_calloc(size_t count, size_t size);

/* Make `block` (may be NULL) `size` bytes long, more than 0; it may move.
 * Owns: takes `block` on success; the caller keeps it, unchanged, on NULL. */
void *tdl_realloc(void *block, size_t size);

/* Give `block` (may be NULL) back. */
void tdl_free(void *block);

#ifdef TDL_FAULTS
/* Let the `nth` allocation from now fail (1: the very next one), once; 0: none.
 * Returns what was left of the count set before: 0 if that fault was used up. */
long tdl_alloc_fail(long nth);

/* Blocks allocated and not freed yet. */
long tdl_alloc_live(void);
#endif

#endif

/* How much memory this process has.  Any thread, no locks. */
#ifndef TDL_CORE_MEMORY_H
#define TDL_CORE_MEMORY_H

#include <stdint.h>

/* Bytes of this process that are in memory now, shared ones included (RSS).
 * Opens a file each time, about 3 us.  Returns the number, -ENOTSUP where the system
 * does not say, or -errno. */
int64_t tdl_memory_resident(void);

#endif

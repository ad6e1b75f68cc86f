/* What transports queue to be written: bytes objects are lent to the queue, what may
 * change is copied.
 *
 * The loop's thread only. */
#ifndef TDL_LOOP_LENT_H
#define TDL_LOOP_LENT_H

#include "core/wqueue.h"
#include "py/compat.h"

/* Queue `size` bytes at `data`: lent, if `owner` is a bytes object, which they are in;
 * copied otherwise, and if it is NULL.  Returns 0 or -1 with MemoryError set. */
int tdl_lent_push(struct tdl_wqueue *queue, PyObject *owner, const char *data, size_t size);

/* Visit the objects that were lent: for traversals. */
int tdl_lent_traverse(const struct tdl_wqueue *queue, visitproc visit, void *arg);

#endif

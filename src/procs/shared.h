/* Shared memory without a name: treadle.SharedBuffer.
 *
 * A memory file that is mapped by each process that has the object.  What travels
 * between processes is where the sender has it open; the receiver opens the same
 * file through /proc, which works without a helper, a socket or a name that
 * could stay behind.  The kernel frees the memory when the last process that has it
 * is gone, however it ended.
 *
 * Every function needs an attached thread state. */
#ifndef TDL_PROCS_SHARED_H
#define TDL_PROCS_SHARED_H

#include "procs/envelope.h"
#include "py/state.h"

/* Whether [memory, memory + size) is inside a shared buffer of this process. */
bool tdl_shared_contains(struct tdl_state *st, const void *memory, size_t size);

/* Where that is: as tdl_shared_contains(), and `*ref` and `*offset` say how another process gets
 * there.  The object is a new reference, to be kept until the receiver has opened it; NULL if there is none. */
PyObject *tdl_shared_find(struct tdl_state *st, const void *memory, size_t size,
                          struct tdl_shared_ref *ref, uint64_t *offset);

/* The shared buffer of another process: the one that this process has already, or a new one.
 * Returns a new reference, or NULL with an exception set. */
PyObject *tdl_shared_open(struct tdl_state *st, const struct tdl_shared_ref *ref);

/* Make the type. */
int tdl_shared_exec(PyObject *module);

#endif

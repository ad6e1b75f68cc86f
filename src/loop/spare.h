/* Bytes objects to receive into, used again when nobody kept them.
 *
 * Data of some kilobytes and more is received straight into the object that the
 * protocol gets, without a copy; and where the protocol keeps no reference, as most
 * do not, the object serves for the next read, without an allocation.  There is one
 * for each power of two, for a whole loop.
 *
 * An object is used again only if the loop has the only reference to it, so nobody
 * sees it change; without a GIL that cannot be known, and none is.  The loop's thread
 * only; attached thread state. */
#ifndef TDL_LOOP_SPARE_H
#define TDL_LOOP_SPARE_H

#include <stdbool.h>
#include <stddef.h>

#include "py/compat.h"

enum {
    TDL_SPARE_NONE = -1,
    TDL_SPARE_CLASSES = 6, /* 8 KiB, 16, 32, 64, 128, 256 KiB */
    TDL_SPARE_LEAST = 8 * 1024,
    TDL_SPARE_MOST = TDL_SPARE_LEAST << (TDL_SPARE_CLASSES - 1),
    TDL_SPARE_COPIES = 16 /* objects of tdl_spare_copy() that may serve again */
};

/* A copy that was handed out; it can be filled again once nobody else has it. */
struct tdl_spare_copy {
    PyObject *bytes; /* strong, or NULL */
    size_t capacity;
};

struct tdl_spares {
    PyObject *bytes[TDL_SPARE_CLASSES]; /* strong, or NULL; the only reference */
    struct tdl_spare_copy copies[TDL_SPARE_COPIES];
    unsigned next_copy; /* of them, round and round */
};

static inline size_t
tdl_spare_capacity(int size_class)
{
    return (size_t)TDL_SPARE_LEAST << size_class;
}

/* The class to receive into after a read of `size` bytes: one with room for more, or
 * TDL_SPARE_NONE if so little is better copied. */
int tdl_spare_class(size_t size);

/* A bytes object of the class's capacity, its contents arbitrary.  New, or NULL with
 * MemoryError set. */
PyObject *tdl_spare_take(struct tdl_spares *spares, int size_class);

/* Make the object, which nobody else has seen yet, one of `size` bytes.  `shrink`: give
 * up the rest of its memory, since it will be kept.  Returns it, or NULL with
 * MemoryError set.  Takes the reference. */
PyObject *tdl_spare_fit_steal(PyObject *bytes, size_t size, bool shrink);

/* Give back an object that has been shown to others.  Takes the reference.
 * Returns whether somebody has kept one. */
bool tdl_spare_give_back_steal(struct tdl_spares *spares, int size_class, PyObject *bytes,
                               bool shrunk);

/* A bytes object with these contents: one of the last few that were made here, if it is
 * large enough and nobody else has it any longer.  For sizes at which the allocator is
 * slow; all others are simply made.  New, or NULL with MemoryError set. */
PyObject *tdl_spare_copy(struct tdl_spares *spares, const char *bytes, size_t size);

void tdl_spare_clear(struct tdl_spares *spares);

#endif

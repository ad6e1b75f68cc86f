/* Memory that processes share by a descriptor, without a name.
 *
 * A segment is a sealed memory file (memfd) of fixed size and its mapping: it is
 * gone when the last process has closed and unmapped it, however that ended.  No
 * locks, no Python thread state; a segment belongs to whoever opened it. */
#ifndef TDL_CORE_SEGMENT_H
#define TDL_CORE_SEGMENT_H

#include <stddef.h>
#include <stdint.h>

struct tdl_segment {
    int fd;       /* owned; -1 when closed */
    void *memory; /* NULL when closed */
    size_t size;  /* bytes, whole pages */
};

/* A new memory file of exactly `size` bytes, all zero, sealed as a segment is.
 * Returns a descriptor that the caller owns, or -errno. */
int tdl_segment_file(const char *name, size_t size);

/* Fix the size of a memory file that allows it, for good.  Returns 0 or -errno. */
int tdl_segment_seal(int fd);

/* Make a segment of at least `size` bytes, all zero, and map it. Neither side can
 * change its size, so a mapping never faults.
 * Returns 0, or -errno with the segment in the closed state. */
int tdl_segment_create(struct tdl_segment *segment, const char *name, size_t size);

/* Map the segment behind `fd`, which must be sealed against shrinking.
 * Owns: takes `fd` on success.  Returns 0, -EPERM if it is not sealed, or -errno. */
int tdl_segment_attach(struct tdl_segment *segment, int fd);

/* Unmap and close.  Calling again is harmless. */
void tdl_segment_close(struct tdl_segment *segment);

/* Map `size` bytes from `offset` on (whole pages) twice, one behind the other, so that
 * what reaches over the end goes on at the start.
 * Returns the address, to be given back by tdl_segment_unmap_ring(), or NULL. */
void *tdl_segment_map_ring(const struct tdl_segment *segment, size_t offset, size_t size);
void tdl_segment_unmap_ring(void *ring, size_t size);

/* `size` rounded up to whole pages. */
size_t tdl_segment_round(size_t size);

#endif

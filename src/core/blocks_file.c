#include "core/blocks_file.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/segment.h"

enum { LEAST = 1 << 26 }; /* a store smaller than this is not worth having */

static size_t
default_capacity(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    if (pages <= 0 || page <= 0)
        return (size_t)1 << 30;
    return (size_t)pages / 4 * 3 * (size_t)page;
}

/* A mapping of the whole file is tried at once: an address space that is limited
 * (ulimit -v) may not have the room. */
static int
try_size(int fd, size_t capacity, uint32_t number)
{
    if (ftruncate(fd, (off_t)capacity) < 0)
        return -errno;
    void *base =
        mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (base == MAP_FAILED)
        return -errno;
    struct tdl_blocks_file *file = base;
    file->capacity = capacity;
    file->number = number;
    file->magic = TDL_BLOCKS_MAGIC;
    munmap(base, capacity);
    return 0;
}

int
tdl_blocks_create(size_t capacity, uint32_t number)
{
#ifdef __linux__
    bool chosen = capacity != 0;
    if (!chosen)
        capacity = default_capacity();
    capacity = (capacity + TDL_BLOCKS_FIRST + TDL_BLOCKS_PAGE - 1) & -(size_t)TDL_BLOCKS_PAGE;
    int fd = memfd_create("treadle-blocks", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    int r = try_size(fd, capacity, number);
    while (r < 0 && !chosen && capacity / 2 >= LEAST) {
        capacity = capacity / 2 & -(size_t)TDL_BLOCKS_PAGE;
        r = try_size(fd, capacity, number);
    }
    /* Nobody can make it shorter under the others' feet. */
    if (r == 0)
        r = tdl_segment_seal(fd);
    if (r < 0) {
        close(fd);
        return r;
    }
    return fd;
#else
    (void)capacity, (void)number;
    return -ENOSYS;
#endif
}

int
tdl_blocks_file_map(int fd, struct tdl_blocks_file **file)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return -errno;
    size_t size = (size_t)status.st_size;
    if (!S_ISREG(status.st_mode) || status.st_size < TDL_BLOCKS_FIRST)
        return -EINVAL;
    void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (base == MAP_FAILED)
        return -errno;
    *file = base;
    if ((*file)->magic == TDL_BLOCKS_MAGIC && (*file)->capacity == size)
        return 0;
    munmap(base, size);
    return -EINVAL;
}

void
tdl_blocks_file_unmap(struct tdl_blocks_file *file, size_t capacity)
{
    munmap(file, capacity);
}

#include "core/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

size_t
tdl_segment_round(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (size + page - 1) & ~(page - 1);
}

static int
map_whole(struct tdl_segment *segment, int fd, size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return -errno;
    *segment = (struct tdl_segment){.fd = fd, .memory = memory, .size = size};
    return 0;
}

int
tdl_segment_seal(int fd)
{
#ifdef __linux__
    return fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0 ? -errno : 0;
#else
    (void)fd;
    return -ENOSYS;
#endif
}

int
tdl_segment_file(const char *name, size_t size)
{
#ifdef __linux__
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    int r = ftruncate(fd, (off_t)size) < 0 ? -errno : tdl_segment_seal(fd);
    if (r < 0) {
        close(fd);
        return r;
    }
    return fd;
#else
    (void)name, (void)size;
    return -ENOSYS;
#endif
}

int
tdl_segment_create(struct tdl_segment *segment, const char *name, size_t size)
{
    *segment = (struct tdl_segment){.fd = -1};
    size = tdl_segment_round(size);
    int fd = tdl_segment_file(name, size);
    if (fd < 0)
        return fd;
    int r = map_whole(segment, fd, size);
    if (r < 0)
        close(fd);
    return r;
}

int
tdl_segment_attach(struct tdl_segment *segment, int fd)
{
    struct stat info;
    *segment = (struct tdl_segment){.fd = -1};
#ifdef __linux__
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || fstat(fd, &info) < 0)
        return -errno;
    if ((seals & F_SEAL_SHRINK) == 0 || info.st_size <= 0)
        return -EPERM;
    return map_whole(segment, fd, (size_t)info.st_size);
#else
    (void)fd, (void)info;
    return -ENOSYS;
#endif
}

void
tdl_segment_close(struct tdl_segment *segment)
{
    if (segment->memory != NULL)
        munmap(segment->memory, segment->size);
    if (segment->fd >= 0)
        close(segment->fd);
    *segment = (struct tdl_segment){.fd = -1};
}

void *
tdl_segment_map_ring(const struct tdl_segment *segment, size_t offset, size_t size)
{
    /* reserve the room, then put both halves over it */
    uint8_t *ring = mmap(NULL, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (ring == MAP_FAILED)
        return NULL;
    for (size_t half = 0; half < 2; half++)
        if (mmap(ring + half * size, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
                 segment->fd, (off_t)offset) == MAP_FAILED) {
            munmap(ring, 2 * size);
            return NULL;
        }
    return ring;
}

void
tdl_segment_unmap_ring(void *ring, size_t size)
{
    if (ring != NULL)
        munmap(ring, 2 * size);
}

#include "core/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#ifdef __linux__

/* "total resident shared ...", in pages */
static int64_t
parse(const char *text)
{
    char *rest;
    strtoll(text, &rest, 10);
    if (rest == text || *rest != ' ')
        return -ENOTSUP;
    const char *field = rest;
    long long pages = strtoll(field, &rest, 10);
    return rest == field ? -ENOTSUP : (int64_t)pages * sysconf(_SC_PAGESIZE);
}

int64_t
tdl_memory_resident(void)
{
    char text[128];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t size = read(fd, text, sizeof text - 1);
    int error = errno;
    close(fd);
    if (size < 0)
        return -error;
    text[size] = '\0';
    return parse(text);
}

#else

int64_t
tdl_memory_resident(void)
{
    return -ENOTSUP;
}

#endif

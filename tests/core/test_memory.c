#include "core/memory.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "check.h"

enum { MANY = 64 << 20 };

static void
test_counts_what_was_touched(void)
{
    int64_t before = tdl_memory_resident();
    CHECK_INT(before, >, 100 << 10);
    char *memory = mmap(NULL, MANY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    CHECK_INT(tdl_memory_resident(), <, before + MANY / 2); /* only reserved */
    for (size_t i = 0; i < MANY; i += 1024)
        memory[i] = 1;
    CHECK_INT(tdl_memory_resident(), >, before + MANY / 2);
    munmap(memory, MANY);
    CHECK_INT(tdl_memory_resident(), <, before + MANY / 2);
}

static void
test_without_descriptors_it_is_an_error(void)
{
    struct rlimit before, none;
    CHECK_INT(getrlimit(RLIMIT_NOFILE, &before), ==, 0);
    none = before;
    none.rlim_cur = 0;
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &none), ==, 0);
    int64_t r = tdl_memory_resident();
    setrlimit(RLIMIT_NOFILE, &before);
    CHECK_INT(r, ==, -EMFILE);
}

CHECK_MAIN(TEST(test_counts_what_was_touched), TEST(test_without_descriptors_it_is_an_error))

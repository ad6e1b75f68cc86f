#include "core/blocks.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "core/blocks_file.h"

struct store {
    int fd;
    struct tdl_blocks *blocks;
    struct tdl_blocks_view *view;
};

static struct store
open_store(size_t capacity)
{
    struct store s = {.fd = tdl_blocks_create(capacity, 9)};
    CHECK_INT(s.fd, >=, 0);
    CHECK_INT(tdl_blocks_own(s.fd, &s.blocks), ==, 0);
    CHECK_INT(tdl_blocks_number(s.blocks), ==, 9);
    CHECK_INT(tdl_blocks_view(s.fd, &s.view), ==, 0);
    return s;
}

static void
close_store(struct store *s)
{
    tdl_blocks_view_unref(s->view);
    tdl_blocks_free(s->blocks);
    close(s->fd);
}

static struct tdl_block
fill(struct store *s, size_t size, int byte)
{
    struct tdl_block block;
    void *memory;
    CHECK_INT(tdl_blocks_alloc(s->blocks, size, &block, &memory), ==, 0);
    memset(memory, byte, size);
    return block;
}

static size_t
in_use(struct store *s)
{
    struct tdl_blocks_stats stats;
    tdl_blocks_stats(s->blocks, &stats);
    CHECK((stats.blocks == 0) == (stats.used == 0));
    return stats.blocks;
}

static size_t
resident(struct store *s)
{
    struct stat status;
    CHECK_INT(fstat(s->fd, &status), ==, 0);
    return (size_t)status.st_blocks * 512;
}

static void
test_written_once_and_read_in_place(void)
{
    struct store s = open_store(1 << 20);
    struct tdl_block block = fill(&s, 100000, 'x');
    char *there = tdl_blocks_at(s.view, &block);
    CHECK(there != NULL);
    CHECK_INT(there[0], ==, 'x');
    CHECK_INT(there[99999], ==, 'x');
    CHECK_INT(in_use(&s), ==, 1);
    tdl_blocks_release(s.view, &block);
    CHECK(tdl_blocks_at(s.view, &block) == NULL);
    CHECK_INT(in_use(&s), ==, 0);
    struct tdl_block again = fill(&s, 100000, 'y');
    CHECK_INT(again.offset, ==, block.offset);
    CHECK(tdl_blocks_at(s.view, &block) == NULL);
    close_store(&s);
}

static void
test_released_twice(void)
{
    struct store s = open_store(1 << 20);
    struct tdl_block a = fill(&s, 5000, 'a');
    tdl_blocks_release(s.view, &a);
    tdl_blocks_release(s.view, &a);
    tdl_blocks_drop(s.blocks, &a);
    struct tdl_block b = fill(&s, 5000, 'b');
    tdl_blocks_release(s.view, &a); /* another turn of the same slot */
    tdl_blocks_drop(s.blocks, &a);
    CHECK_INT(b.slot, ==, a.slot);
    CHECK_INT(in_use(&s), ==, 1);
    tdl_blocks_drop(s.blocks, &b);
    tdl_blocks_release(s.view, &b);
    CHECK_INT(in_use(&s), ==, 0);
    close_store(&s);
}

static void
test_full(void)
{
    struct store s = open_store(1 << 20);
    struct tdl_block big = fill(&s, 1 << 20, 'x'), none;
    void *memory;
    CHECK_INT(tdl_blocks_alloc(s.blocks, 1, &none, &memory), ==, -ENOSPC);
    tdl_blocks_release(s.view, &big);
    CHECK_INT(tdl_blocks_alloc(s.blocks, (1 << 20) + 1, &none, &memory), ==, -ENOSPC);
    struct tdl_block small = fill(&s, 1, 'x');
    tdl_blocks_drop(s.blocks, &small);
    close_store(&s);
}

static void
test_all_slots(void)
{
    struct store s = open_store((size_t)TDL_BLOCKS_SLOTS * TDL_BLOCKS_PAGE * 2);
    struct tdl_block block, first;
    void *memory;
    for (int i = 0; i < TDL_BLOCKS_SLOTS; i++) {
        CHECK_INT(tdl_blocks_alloc(s.blocks, 1, &block, &memory), ==, 0);
        if (i == 0)
            first = block;
    }
    CHECK_INT(tdl_blocks_alloc(s.blocks, 1, &block, &memory), ==, -ENOSPC);
    tdl_blocks_release(s.view, &first);
    CHECK_INT(tdl_blocks_alloc(s.blocks, 1, &block, &memory), ==, 0);
    close_store(&s);
}

static void
test_the_dead_hold_nothing(void)
{
    struct store s = open_store(1 << 22);
    struct tdl_block mine = fill(&s, 4096, 1), theirs[10];
    for (int i = 0; i < 10; i++) {
        theirs[i] = fill(&s, 8192, i);
        tdl_blocks_hand(s.blocks, &theirs[i], i % 2 ? 7 : 8);
    }
    tdl_blocks_release(s.view, &theirs[1]);
    /* dead between the two steps of a release */
    CHECK(tdl_blocks_file_end(
        (struct tdl_blocks_file *)((char *)tdl_blocks_at(s.view, &mine) - mine.offset),
        &theirs[3]));
    CHECK_INT(in_use(&s), ==, 10);
    CHECK_INT(tdl_blocks_reclaim(s.blocks, 7), ==, 4);
    CHECK_INT(in_use(&s), ==, 6);
    CHECK_INT(tdl_blocks_reclaim(s.blocks, 7), ==, 0);
    for (int i = 1; i < 10; i += 2)
        CHECK(tdl_blocks_at(s.view, &theirs[i]) == NULL);
    CHECK_INT(tdl_blocks_reclaim(s.blocks, 8), ==, 5);
    CHECK(tdl_blocks_at(s.view, &mine) != NULL);
    close_store(&s);
}

static void
test_one_owner(void)
{
    struct store s = open_store(1 << 20);
    struct tdl_blocks *other;
    CHECK_INT(tdl_blocks_own(s.fd, &other), ==, -EBUSY);
    tdl_blocks_disown(s.blocks);
    struct tdl_block block = {0};
    void *memory;
    CHECK_INT(tdl_blocks_alloc(s.blocks, 10, &block, &memory), ==, -ENOSPC);
    CHECK_INT(tdl_blocks_trim(s.blocks, 0), ==, 0);
    CHECK_INT(tdl_blocks_reclaim(s.blocks, 0), ==, 0);
    close_store(&s);
}

static void
test_files_that_are_no_store(void)
{
    struct tdl_blocks_view *view;
    struct tdl_blocks *blocks;
    int fds[2];
    CHECK_INT(pipe(fds), ==, 0);
    int memory = memfd_create("test", MFD_CLOEXEC);
    CHECK_INT(tdl_blocks_view(fds[0], &view), ==, -EINVAL);
    CHECK_INT(tdl_blocks_view(memory, &view), ==, -EINVAL);
    CHECK_INT(ftruncate(memory, 1 << 22), ==, 0);
    CHECK_INT(tdl_blocks_view(memory, &view), ==, -EINVAL);
    CHECK_INT(tdl_blocks_own(memory, &blocks), ==, -EINVAL);
    CHECK_INT(tdl_blocks_view(-1, &view), ==, -EBADF);
    close(memory);
    close(fds[0]);
    close(fds[1]);
}

static void
test_store_keeps_its_length(void)
{
    struct store s = open_store(1 << 20);
    CHECK_INT(ftruncate(s.fd, 0), ==, -1);
    CHECK_INT(ftruncate(s.fd, 1 << 30), ==, -1);
    close_store(&s);
}

static void
test_blocks_that_cannot_be(void)
{
    struct store s = open_store(1 << 20);
    struct tdl_block good = fill(&s, 5000, 'x');
    uint64_t random = 3;
    for (int i = 0; i < 100000; i++) {
        struct tdl_block bad = good;
        switch (check_below(&random, 5)) {
        case 0:
            bad.slot = (uint32_t)check_random(&random);
            break;
        case 1:
            bad.turn = (uint32_t)check_random(&random);
            break;
        case 2:
            bad.offset = check_random(&random) >> check_below(&random, 64);
            break;
        case 3:
            bad.size = check_random(&random) >> check_below(&random, 64);
            break;
        default:
            bad.turn ^= 1;
        }
        CHECK((tdl_blocks_at(s.view, &bad) == NULL) == (memcmp(&bad, &good, sizeof bad) != 0));
        if (bad.slot != good.slot || bad.turn != good.turn) {
            tdl_blocks_release(s.view, &bad);
            tdl_blocks_drop(s.blocks, &bad);
            tdl_blocks_hand(s.blocks, &bad, 5);
        }
    }
    CHECK_INT(in_use(&s), ==, 1);
    close_store(&s);
}

/* Whatever a reader writes where slots are told of, the owner goes on. */
static void
test_reader_that_writes_anything(void)
{
    struct store s = open_store(1 << 24);
    uint64_t random = 5;
    struct tdl_block block = fill(&s, 100, 0);
    struct tdl_blocks_file *file =
        (struct tdl_blocks_file *)((char *)tdl_blocks_at(s.view, &block) - block.offset);
    for (int i = 0; i < 20000; i++) {
        void *memory;
        uint32_t slot = (uint32_t)check_below(&random, 40);
        if (tdl_blocks_alloc(s.blocks, 1 + check_below(&random, 9000), &block, &memory) == 0)
            *(char *)memory = 1;
        switch (check_below(&random, 3)) {
        case 0:
            atomic_store(&file->freed, (uint32_t)check_below(&random, 50));
            break;
        case 1:
            atomic_store(&file->slots[slot].next,
                         (uint32_t)(check_random(&random) >> check_below(&random, 32)));
            break;
        default:
            atomic_store(&file->slots[slot].turn, (uint32_t)check_random(&random));
        }
    }
    close_store(&s);
}

static void
test_trim(void)
{
    struct store s = open_store(64 << 20);
    enum { MB = 1 << 20 };
    struct tdl_block blocks[16];
    for (int i = 0; i < 16; i++)
        blocks[i] = fill(&s, MB, i + 1);
    CHECK_INT(resident(&s), >=, 16 * MB);
    for (int i = 0; i < 16; i++)
        if (i != 5)
            tdl_blocks_release(s.view, &blocks[i]);
    CHECK_INT(tdl_blocks_trim(s.blocks, 0), ==, 0); /* as much was used since */
    CHECK_INT(tdl_blocks_trim(s.blocks, 0), ==, 15 * MB);
    CHECK_INT(resident(&s), <=, 2 * MB);
    struct tdl_blocks_stats stats;
    tdl_blocks_stats(s.blocks, &stats);
    CHECK_INT(stats.idle, ==, 0);
    CHECK_INT(stats.used, ==, MB);
    char *there = tdl_blocks_at(s.view, &blocks[5]);
    CHECK_INT(there[0] + there[MB - 1], ==, 12);
    /* and what is cold is used again rather than going further */
    struct tdl_block again = fill(&s, MB, 'x');
    CHECK_INT(again.offset, <, blocks[5].offset + 15 * (uint64_t)MB);
    tdl_blocks_release(s.view, &again);
    tdl_blocks_trim(s.blocks, 0);
    CHECK_INT(tdl_blocks_trim(s.blocks, 4 * MB), ==, 0);
    close_store(&s);
}

/* A reader in another process is killed at any moment; nothing is lost. */
static void
test_reader_killed(void)
{
    struct store s = open_store(64 << 20);
    uint64_t random = 9;
    for (uint32_t round = 1; round <= 30; round++) {
        int fds[2];
        CHECK_INT(pipe(fds), ==, 0);
        pid_t child = fork();
        if (child == 0) {
            struct tdl_block block;
            while (read(fds[0], &block, sizeof block) == sizeof block)
                tdl_blocks_release(s.view, &block);
            _exit(0);
        }
        close(fds[0]);
        size_t count = 50 + check_below(&random, 300);
        for (size_t i = 0; i < count; i++) {
            struct tdl_block block = fill(&s, 1 + check_below(&random, 20000), 1);
            tdl_blocks_hand(s.blocks, &block, round);
            CHECK_INT(write(fds[1], &block, sizeof block), ==, sizeof block);
        }
        kill(child, SIGKILL);
        CHECK_INT(waitpid(child, NULL, 0), ==, child);
        close(fds[1]);
        tdl_blocks_reclaim(s.blocks, round);
        CHECK_INT(in_use(&s), ==, 0);
    }
    CHECK_INT(tdl_blocks_at(s.view, &(struct tdl_block){.turn = 1, .size = 1}) == NULL, ==, 1);
    close_store(&s);
}

static void
test_view_outlives_owner(void)
{
    struct store s = open_store(1 << 20);
    struct tdl_block block = fill(&s, 5000, 'x');
    tdl_blocks_view_ref(s.view);
    tdl_blocks_free(s.blocks);
    close(s.fd);
    CHECK_INT(*(char *)tdl_blocks_at(s.view, &block), ==, 'x');
    tdl_blocks_view_unref(s.view);
    tdl_blocks_release(s.view, &block);
    tdl_blocks_view_unref(s.view);
}

/* ---- threads --------------------------------------------------------------------------- */

enum { THREADS = 4, ROUNDS = 3000 };

/* The order that a release makes goes through two mappings of one file, which
 * ThreadSanitizer takes for different memory: it has to be told. */
#ifdef __SANITIZE_THREAD__
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#else
#define __tsan_acquire(address) ((void)(address))
#define __tsan_release(address) ((void)(address))
#endif

struct worker {
    struct store *store;
    unsigned char byte;
};

static void *
use_blocks(void *arg)
{
    struct worker *w = arg;
    uint64_t random = w->byte;
    for (int i = 0; i < ROUNDS; i++) {
        struct tdl_block block;
        void *memory;
        size_t size = 1 + check_below(&random, 30000);
        if (tdl_blocks_alloc(w->store->blocks, size, &block, &memory) < 0)
            continue;
        __tsan_acquire(w->store->view);
        memset(memory, w->byte, size);
        unsigned char *there = tdl_blocks_at(w->store->view, &block);
        CHECK(there != NULL && there[0] == w->byte && there[size - 1] == w->byte);
        __tsan_release(w->store->view);
        if (i % 3 == 0)
            tdl_blocks_drop(w->store->blocks, &block);
        else
            tdl_blocks_release(w->store->view, &block);
        if (i % 500 == 0)
            tdl_blocks_trim(w->store->blocks, 0);
    }
    return NULL;
}

static void
test_many_threads(void)
{
    struct store s = open_store(1 << 22);
    struct worker workers[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        workers[i] = (struct worker){.store = &s, .byte = (unsigned char)(i + 1)};
    check_start(threads, THREADS, use_blocks, workers, sizeof workers[0]);
    check_join(threads, THREADS);
    CHECK_INT(in_use(&s), ==, 0);
    close_store(&s);
}

static void
test_no_memory(void)
{
    int fd = tdl_blocks_create(1 << 22, 9);
    struct tdl_blocks *blocks;
    struct tdl_blocks_view *view;
    tdl_alloc_fail(1);
    CHECK_INT(tdl_blocks_own(fd, &blocks), ==, -ENOMEM);
    tdl_alloc_fail(1);
    CHECK_INT(tdl_blocks_view(fd, &view), ==, -ENOMEM);
    CHECK_INT(tdl_blocks_own(fd, &blocks), ==, 0);
    for (long nth = 1; nth <= 2; nth++) {
        struct tdl_block block;
        void *memory;
        tdl_alloc_fail(nth);
        CHECK_INT(tdl_blocks_alloc(blocks, 1, &block, &memory), ==, -ENOSPC);
        CHECK_INT(tdl_alloc_fail(0), ==, 0);
        CHECK_INT(tdl_blocks_alloc(blocks, 1, &block, &memory), ==, 0);
        tdl_blocks_drop(blocks, &block);
        tdl_blocks_free(blocks);
        close(fd);
        fd = tdl_blocks_create(1 << 22, 9);
        CHECK_INT(tdl_blocks_own(fd, &blocks), ==, 0);
    }
    tdl_blocks_free(blocks);
    close(fd);
}

CHECK_MAIN(TEST(test_written_once_and_read_in_place), TEST(test_released_twice),
           TEST(test_full), TEST(test_all_slots), TEST(test_the_dead_hold_nothing),
           TEST(test_one_owner), TEST(test_files_that_are_no_store),
           TEST(test_store_keeps_its_length), TEST(test_blocks_that_cannot_be),
           TEST(test_reader_that_writes_anything), TEST(test_trim), TEST(test_reader_killed),
           TEST(test_view_outlives_owner), TEST(test_many_threads), TEST(test_no_memory))

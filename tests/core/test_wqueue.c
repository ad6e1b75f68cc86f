#include "core/wqueue.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"

/* A lent buffer. */
struct owner {
    char *data;
    size_t size;
    int released;
    int turn; /* at which release of all it was released */
};

static int releases;

static void
release_owner(void *arg)
{
    struct owner *owner = arg;
    owner->released++;
    owner->turn = ++releases;
    /* from now on nobody may read it: a sanitizer would see it */
    tdl_free(owner->data);
    owner->data = NULL;
}

static struct owner
new_owner(size_t size, int first)
{
    struct owner owner = {.data = tdl_malloc(size + 1), .size = size};
    for (size_t i = 0; i < size; i++)
        owner.data[i] = (char)(first + (int)i);
    return owner;
}

static int
lend(struct tdl_wqueue *queue, struct owner *owner)
{
    return tdl_wqueue_push_steal(queue, owner->data, owner->size, owner, release_owner);
}

/* The queued bytes, in one piece, as writev() would see them. */
static size_t
gather(const struct tdl_wqueue *queue, char *to, size_t room)
{
    struct iovec iov[4096];
    int n = tdl_wqueue_fill(queue, iov, 4096);
    size_t size = 0;
    for (int i = 0; i < n; i++) {
        CHECK_INT(iov[i].iov_len, >, 0);
        CHECK_INT(size + iov[i].iov_len, <=, room);
        memcpy(to + size, iov[i].iov_base, iov[i].iov_len);
        size += iov[i].iov_len;
    }
    return size;
}

static void
check_content(const struct tdl_wqueue *queue, const char *bytes, size_t size)
{
    static char content[1 << 20];
    CHECK_INT(tdl_wqueue_size(queue), ==, size);
    CHECK_INT(gather(queue, content, sizeof content), ==, size);
    CHECK_INT(memcmp(content, bytes, size), ==, 0);
}

static void
test_empty(void)
{
    struct tdl_wqueue queue;
    struct iovec iov;
    tdl_wqueue_init(&queue);
    CHECK_INT(tdl_wqueue_fill(&queue, &iov, 1), ==, 0);
    CHECK_INT(tdl_wqueue_size(&queue), ==, 0);
    CHECK_INT(tdl_wqueue_consume(&queue, 0), ==, 0);
    CHECK_INT(tdl_wqueue_consume(&queue, 1), ==, -EINVAL);
    CHECK_INT(tdl_wqueue_push(&queue, NULL, 0), ==, 0);
    CHECK_INT(tdl_wqueue_fill(&queue, &iov, 1), ==, 0);
    tdl_wqueue_clear(&queue);
}

static void
test_small_writes_share_a_chunk(void)
{
    struct tdl_wqueue queue;
    struct iovec iov[3];
    tdl_wqueue_init(&queue);
    CHECK_INT(tdl_wqueue_push(&queue, "thread", 6), ==, 0);
    CHECK_INT(tdl_wqueue_push(&queue, "", 0), ==, 0);
    CHECK_INT(tdl_wqueue_push(&queue, "le", 2), ==, 0);
    CHECK_INT(tdl_wqueue_fill(&queue, iov, 3), ==, 1);
    check_content(&queue, "threadle", 8);
    CHECK_INT(tdl_wqueue_consume(&queue, 3), ==, 0);
    CHECK_INT(tdl_wqueue_push(&queue, "!", 1), ==, 0);
    CHECK_INT(tdl_wqueue_fill(&queue, iov, 3), ==, 1);
    check_content(&queue, "eadle!", 6);
    tdl_wqueue_clear(&queue);
}

static void
test_copies_do_not_alias(void)
{
    struct tdl_wqueue queue;
    char word[] = "abc";
    tdl_wqueue_init(&queue);
    CHECK_INT(tdl_wqueue_push(&queue, word, 3), ==, 0);
    memset(word, 'x', 3);
    check_content(&queue, "abc", 3);
    tdl_wqueue_clear(&queue);
}

static void
test_write_larger_than_a_chunk(void)
{
    struct tdl_wqueue queue;
    struct iovec iov[4];
    struct owner large = new_owner(5 * TDL_WQUEUE_CHUNK, 3);
    tdl_wqueue_init(&queue);
    CHECK_INT(tdl_wqueue_push(&queue, large.data, 10), ==, 0);
    CHECK_INT(tdl_wqueue_push(&queue, large.data + 10, large.size - 10), ==, 0);
    /* the rest of the first chunk, and one more of the size that is needed */
    CHECK_INT(tdl_wqueue_fill(&queue, iov, 4), ==, 2);
    CHECK_INT(iov[0].iov_len, ==, TDL_WQUEUE_CHUNK);
    check_content(&queue, large.data, large.size);
    tdl_wqueue_clear(&queue);
    tdl_free(large.data);
}

static void
test_large_buffers_are_lent(void)
{
    struct tdl_wqueue queue;
    struct iovec iov[4];
    struct owner large = new_owner(TDL_WQUEUE_SMALL + 1, 0);
    tdl_wqueue_init(&queue);
    CHECK_INT(tdl_wqueue_push(&queue, "a", 1), ==, 0);
    CHECK_INT(lend(&queue, &large), ==, 0);
    CHECK_INT(tdl_wqueue_push(&queue, "b", 1), ==, 0);
    CHECK_INT(tdl_wqueue_fill(&queue, iov, 4), ==, 3);
    CHECK(iov[1].iov_base == large.data);
    CHECK_INT(tdl_wqueue_fill(&queue, iov, 2), ==, 2);
    CHECK_INT(tdl_wqueue_consume(&queue, large.size), ==, 0);
    CHECK_INT(large.released, ==, 0);
    CHECK_INT(tdl_wqueue_fill(&queue, iov, 4), ==, 2);
    CHECK(iov[0].iov_base == large.data + large.size - 1);
    CHECK_INT(iov[0].iov_len, ==, 1);
    CHECK_INT(tdl_wqueue_consume(&queue, 1), ==, 0);
    CHECK_INT(large.released, ==, 1);
    check_content(&queue, "b", 1);
    CHECK_INT(tdl_wqueue_consume(&queue, 1), ==, 0);
    CHECK(queue.head == NULL && queue.tail == NULL);
}

static void
test_small_buffers_are_copied_and_released(void)
{
    struct tdl_wqueue queue;
    struct owner small = new_owner(TDL_WQUEUE_SMALL, 1);
    struct owner nothing = new_owner(0, 1);
    char expected[TDL_WQUEUE_SMALL];
    memcpy(expected, small.data, small.size);
    tdl_wqueue_init(&queue);
    CHECK_INT(lend(&queue, &nothing), ==, 0);
    CHECK_INT(nothing.released, ==, 1);
    CHECK_INT(tdl_wqueue_size(&queue), ==, 0);
    CHECK_INT(lend(&queue, &small), ==, 0);
    CHECK_INT(small.released, ==, 1);
    check_content(&queue, expected, sizeof expected);
    tdl_wqueue_clear(&queue);
    CHECK_INT(small.released, ==, 1);
}

static void
test_consume_too_much_changes_nothing(void)
{
    struct tdl_wqueue queue;
    tdl_wqueue_init(&queue);
    CHECK_INT(tdl_wqueue_push(&queue, "abc", 3), ==, 0);
    CHECK_INT(tdl_wqueue_consume(&queue, 4), ==, -EINVAL);
    check_content(&queue, "abc", 3);
    CHECK_INT(tdl_wqueue_consume(&queue, 3), ==, 0);
}

static void
test_releases_in_order(void)
{
    struct tdl_wqueue queue;
    struct owner owners[6];
    tdl_wqueue_init(&queue);
    releases = 0;
    for (int i = 0; i < 6; i++) {
        owners[i] = new_owner(3000, i);
        CHECK_INT(lend(&queue, &owners[i]), ==, 0);
    }
    CHECK_INT(tdl_wqueue_consume(&queue, 3 * 3000 + 1), ==, 0);
    CHECK_INT(releases, ==, 3);
    tdl_wqueue_clear(&queue);
    for (int i = 0; i < 6; i++)
        CHECK_INT(owners[i].turn, ==, i + 1);
    CHECK_INT(tdl_wqueue_size(&queue), ==, 0);
    tdl_wqueue_clear(&queue);
    CHECK_INT(releases, ==, 6);
}

static void
test_sizes_that_overflow(void)
{
    struct tdl_wqueue queue;
    struct owner lent = {.data = (char *)&queue, .size = SIZE_MAX};
    tdl_wqueue_init(&queue);
    CHECK_INT(tdl_wqueue_push(&queue, "a", 1), ==, 0);
    CHECK_INT(tdl_wqueue_push(&queue, "b", SIZE_MAX), ==, -EOVERFLOW);
    CHECK_INT(lend(&queue, &lent), ==, -EOVERFLOW);
    CHECK_INT(lent.released, ==, 0);
    check_content(&queue, "a", 1);
    CHECK_INT(tdl_wqueue_consume(&queue, 1), ==, 0);
    CHECK_INT(tdl_wqueue_push(&queue, "b", SIZE_MAX), ==, -EOVERFLOW);
    tdl_wqueue_clear(&queue);
}

static int
collect(void *owner, void *arg)
{
    struct owner ***next = arg;
    *(*next)++ = owner;
    return owner == NULL ? -1 : ((struct owner *)owner)->turn;
}

static void
test_visit_owners(void)
{
    struct tdl_wqueue queue;
    struct owner first = new_owner(5000, 1), second = new_owner(5000, 2);
    struct owner *seen[3] = {NULL};
    struct owner **next = seen;
    tdl_wqueue_init(&queue);
    CHECK_INT(tdl_wqueue_visit(&queue, collect, &next), ==, 0);
    CHECK_INT(tdl_wqueue_push(&queue, "a", 1), ==, 0);
    CHECK_INT(lend(&queue, &first), ==, 0);
    CHECK_INT(tdl_wqueue_push(&queue, "a", 1), ==, 0);
    CHECK_INT(lend(&queue, &second), ==, 0);
    CHECK_INT(tdl_wqueue_visit(&queue, collect, &next), ==, 0);
    CHECK_INT(next - seen, ==, 2);
    CHECK(seen[0] == &first && seen[1] == &second);
    first.turn = 7; /* what the visitor returns: it stops there */
    next = seen;
    CHECK_INT(tdl_wqueue_visit(&queue, collect, &next), ==, 7);
    CHECK_INT(next - seen, ==, 1);
    tdl_wqueue_clear(&queue);
}

/* Releases that come back to the queue. */
static struct tdl_wqueue busy;
static struct owner busy_owner;

static void
release_and_push(void *arg)
{
    struct owner *owner = arg;
    release_owner(owner);
    if (owner->released == 1 && releases < 4) {
        busy_owner = new_owner(4000, 9);
        CHECK_INT(lend(&busy, &busy_owner), ==, 0);
    }
    CHECK_INT(tdl_wqueue_push(&busy, "again", 5), ==, 0);
}

static void
test_release_may_come_back(void)
{
    for (int clear = 0; clear < 2; clear++) {
        struct owner first = new_owner(3000, 1), second = new_owner(3000, 2);
        releases = 0;
        tdl_wqueue_init(&busy);
        CHECK_INT(tdl_wqueue_push_steal(&busy, first.data, 3000, &first, release_and_push), ==,
                  0);
        CHECK_INT(tdl_wqueue_push_steal(&busy, second.data, 3000, &second, release_owner), ==,
                  0);
        if (clear)
            tdl_wqueue_clear(&busy);
        else
            CHECK_INT(tdl_wqueue_consume(&busy, 6000), ==, 0);
        CHECK_INT(second.released, ==, 1);
        CHECK_INT(busy_owner.released, ==, 0);
        CHECK_INT(tdl_wqueue_size(&busy), ==, 4005);
        CHECK_INT(tdl_wqueue_consume(&busy, 4000), ==, 0);
        CHECK_INT(busy_owner.released, ==, 1);
        check_content(&busy, "again", 5);
        tdl_wqueue_clear(&busy);
    }
}

/* Through a real socket, with the partial writes that it makes. */
static void
drain_socket(int fd, size_t *received)
{
    char buffer[3000];
    ssize_t n = read(fd, buffer, sizeof buffer);
    CHECK_INT(n, >, 0);
    for (ssize_t i = 0; i < n; i++)
        CHECK_INT(buffer[i], ==, (char)((*received)++ % 251));
}

static void
test_writev_through_a_socket(void)
{
    enum { TOTAL = 1 << 20 };
    struct tdl_wqueue queue;
    char *all = tdl_malloc(TOTAL);
    int fds[2], partial = 0;
    uint64_t random = 3;
    struct owner owners[256];
    int lent = 0;
    size_t received = 0;
    for (size_t i = 0; i < TOTAL; i++)
        all[i] = (char)(i % 251);
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    CHECK_INT(fcntl(fds[0], F_SETFL, O_NONBLOCK), ==, 0);
    tdl_wqueue_init(&queue);
    for (size_t at = 0; at < TOTAL;) {
        size_t size = 1 + check_below(&random, 16000);
        size = size < TOTAL - at ? size : TOTAL - at;
        if (check_below(&random, 2) == 0) {
            owners[lent] = new_owner(size, 0);
            memcpy(owners[lent].data, all + at, size);
            CHECK_INT(lend(&queue, &owners[lent++]), ==, 0);
        }
        else {
            CHECK_INT(tdl_wqueue_push(&queue, all + at, size), ==, 0);
        }
        at += size;
    }
    while (tdl_wqueue_size(&queue) > 0) {
        struct iovec iov[16];
        ssize_t n = writev(fds[0], iov, tdl_wqueue_fill(&queue, iov, 16));
        if (n < 0) {
            CHECK_INT(errno, ==, EAGAIN);
            partial++;
            drain_socket(fds[1], &received);
        }
        else {
            CHECK_INT(tdl_wqueue_consume(&queue, (size_t)n), ==, 0);
        }
    }
    CHECK_INT(partial, >, 0);
    while (received < TOTAL)
        drain_socket(fds[1], &received);
    for (int i = 0; i < lent; i++)
        CHECK_INT(owners[i].released, ==, 1);
    close(fds[0]);
    close(fds[1]);
    tdl_free(all);
}

/* The naive queue: an array of bytes. */
enum { MODEL_ROOM = 1 << 20, MODEL_OWNERS = 2000 };

struct model {
    struct tdl_wqueue queue;
    char bytes[MODEL_ROOM];
    size_t head, tail;
    struct owner owners[MODEL_OWNERS];
    size_t ends[MODEL_OWNERS]; /* where an owner's bytes end; 0: copied at once */
    int lent;
};

static void
model_push(struct model *m, uint64_t *random, bool steal)
{
    size_t size = check_below(random, (size_t)1 << check_below(random, 15));
    if (m->tail + size > MODEL_ROOM || m->lent == MODEL_OWNERS)
        return;
    struct owner *owner = &m->owners[m->lent];
    *owner = new_owner(size, (int)check_below(random, 256));
    memcpy(m->bytes + m->tail, owner->data, size);
    m->tail += size;
    if (steal) {
        m->ends[m->lent++] = size <= TDL_WQUEUE_SMALL ? 0 : m->tail;
        CHECK_INT(lend(&m->queue, owner), ==, 0);
    }
    else {
        CHECK_INT(tdl_wqueue_push(&m->queue, owner->data, size), ==, 0);
        tdl_free(owner->data);
    }
}

static void
model_consume(struct model *m, uint64_t *random)
{
    struct iovec iov[8];
    size_t described = 0;
    int n = tdl_wqueue_fill(&m->queue, iov, 8);
    for (int i = 0; i < n; i++)
        described += iov[i].iov_len;
    size_t size = check_below(random, described + 1);
    if (check_below(random, 4) == 0)
        size = described;
    CHECK_INT(tdl_wqueue_consume(&m->queue, size), ==, 0);
    m->head += size;
}

static void
model_check(const struct model *m)
{
    check_content(&m->queue, m->bytes + m->head, m->tail - m->head);
    for (int i = 0; i < m->lent; i++)
        CHECK_INT(m->owners[i].released, ==, m->ends[i] <= m->head);
    CHECK((m->queue.head == NULL) == (m->head == m->tail));
    CHECK((m->queue.tail == NULL) == (m->head == m->tail));
}

static void
run_model(struct model *m, uint64_t random)
{
    tdl_wqueue_init(&m->queue);
    m->head = m->tail = 0;
    m->lent = 0;
    for (int phase = 0; phase < 10; phase++) {
        size_t pushes = 1 + check_below(&random, 7);
        for (int step = 0; step < 40; step++) {
            if (check_below(&random, 8) < pushes)
                model_push(m, &random, check_below(&random, 2));
            else
                model_consume(m, &random);
            model_check(m);
        }
        if (check_below(&random, 8) == 0) {
            tdl_wqueue_clear(&m->queue);
            m->head = m->tail;
            model_check(m);
        }
    }
    tdl_wqueue_clear(&m->queue);
}

static void
test_random_against_model(void)
{
    static struct model m;
    for (uint64_t seed = 1; seed <= 40; seed++)
        run_model(&m, seed);
}

/* Push all kinds of writes with the nth allocation failing; what failed has
 * changed nothing and succeeds when tried again.  Returns whether it failed. */
static bool
pass_with_fault(long nth)
{
    static const size_t sizes[] = {10, 3000, 100, TDL_WQUEUE_CHUNK, 20000, 1, 2048};
    enum { N = sizeof sizes / sizeof sizes[0] };
    struct tdl_wqueue queue;
    struct owner owners[2 * N];
    static char expected[1 << 17], before[1 << 17];
    size_t total = 0;
    tdl_wqueue_init(&queue);
    for (int i = 0; i < 2 * N; i++)
        owners[i] = new_owner(sizes[i % N], i);
    tdl_alloc_fail(nth);
    for (int i = 0; i < 2 * N; i++) {
        struct owner *owner = &owners[i];
        memcpy(expected + total, owner->data, owner->size);
        size_t size = gather(&queue, before, sizeof before);
        int r = i < N ? lend(&queue, owner) : tdl_wqueue_push(&queue, owner->data, owner->size);
        if (r < 0) {
            CHECK_INT(r, ==, -ENOMEM);
            CHECK_INT(owner->released, ==, 0);
            check_content(&queue, before, size);
            r = i < N ? lend(&queue, owner) : tdl_wqueue_push(&queue, owner->data, owner->size);
        }
        CHECK_INT(r, ==, 0);
        total += owner->size;
        check_content(&queue, expected, total);
    }
    tdl_wqueue_clear(&queue);
    for (int i = 0; i < 2 * N; i++) {
        CHECK_INT(owners[i].released, ==, i < N);
        tdl_free(owners[i].data);
    }
    return tdl_alloc_fail(0) == 0;
}

static void
test_every_allocation_failing(void)
{
    long nth = 1;
    while (pass_with_fault(nth))
        nth++;
    CHECK_INT(nth, >, 6);
}

CHECK_MAIN(TEST(test_empty), TEST(test_small_writes_share_a_chunk),
           TEST(test_copies_do_not_alias), TEST(test_write_larger_than_a_chunk),
           TEST(test_large_buffers_are_lent), TEST(test_small_buffers_are_copied_and_released),
           TEST(test_consume_too_much_changes_nothing), TEST(test_releases_in_order),
           TEST(test_sizes_that_overflow), TEST(test_visit_owners),
           TEST(test_release_may_come_back), TEST(test_writev_through_a_socket),
           TEST(test_random_against_model), TEST(test_every_allocation_failing))

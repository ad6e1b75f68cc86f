/* One body for all back ends: each test runs with each of them. */
#include "core/poller.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

#include "check.h"
#include "core/clock.h"
#include "core/poller_epoll.h"
#include "core/poller_poll.h"

static const char *const names[] = {
#ifdef __linux__
    "epoll",
#endif
    "poll",
};
enum { NAMES = sizeof names / sizeof names[0], MANY = 64 };

static struct tdl_event events[MANY];

static void
open_named(struct tdl_poller *poller, const char *name, bool coarse)
{
    CHECK_INT(tdl_poller_open(poller, name), ==, 0);
    CHECK_INT(strcmp(poller->ops->name, name), ==, 0);
    poller->coarse |= coarse;
}

/* Run `body` with each back end, with its own timeouts and with coarse ones. */
static void
with_each(void (*body)(struct tdl_poller *poller))
{
    for (int i = 0; i < NAMES; i++) {
        for (int coarse = 0; coarse < 2; coarse++) {
            struct tdl_poller poller;
            open_named(&poller, names[i], coarse);
            body(&poller);
            tdl_poller_close(&poller);
        }
    }
}

static void
new_pair(int fds[2])
{
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
}

static void
close_pair(int fds[2])
{
    close(fds[0]);
    close(fds[1]);
}

static int
look(struct tdl_poller *poller)
{
    return tdl_poller_wait(poller, events, MANY, 0);
}

/* Check that exactly one descriptor, registered with `data`, has `bits`. */
static void
check_one(struct tdl_poller *poller, void *data, unsigned bits)
{
    CHECK_INT(look(poller), ==, 1);
    CHECK(events[0].data == data);
    CHECK_INT(events[0].events, ==, bits);
}

static void
test_open_by_name(void)
{
    struct tdl_poller poller;
    CHECK_INT(tdl_poller_open(&poller, "kqueue"), ==, -EINVAL);
    CHECK(poller.ops == NULL);
    tdl_poller_close(&poller);
    CHECK_INT(tdl_poller_open(&poller, "EPOLL"), ==, -EINVAL);
    for (int i = 0; i < NAMES; i++) {
        open_named(&poller, names[i], false);
        tdl_poller_close(&poller);
        CHECK(poller.ops == NULL);
        tdl_poller_close(&poller);
    }
}

static void
check_chosen(const char *value, const char *expected)
{
    struct tdl_poller poller;
    if (value == NULL)
        unsetenv("TREADLE_POLLER");
    else
        setenv("TREADLE_POLLER", value, 1);
    int r = tdl_poller_open(&poller, NULL);
    CHECK_INT(r, ==, expected == NULL ? -EINVAL : 0);
    if (expected != NULL)
        CHECK_INT(strcmp(poller.ops->name, expected), ==, 0);
    tdl_poller_close(&poller);
}

static void
test_open_by_environment(void)
{
    const char *value = getenv("TREADLE_POLLER");
    char *before = value == NULL ? NULL : strdup(value);
    check_chosen(NULL, names[0]);
    check_chosen("", names[0]);
    check_chosen("poll", "poll");
    check_chosen(names[0], names[0]);
    check_chosen("select", NULL);
    check_chosen("poll ", NULL);
    if (before == NULL)
        unsetenv("TREADLE_POLLER");
    else
        setenv("TREADLE_POLLER", before, 1);
    free(before);
}

static void
test_out_of_descriptors(void)
{
#ifdef __linux__
    struct tdl_poller poller;
    struct rlimit before, none;
    CHECK_INT(getrlimit(RLIMIT_NOFILE, &before), ==, 0);
    none = before;
    none.rlim_cur = (rlim_t)dup(0);
    close((int)none.rlim_cur);
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &none), ==, 0);
    int r = tdl_poller_open(&poller, "epoll");
    setrlimit(RLIMIT_NOFILE, &before);
    CHECK_INT(r, ==, -EMFILE);
    CHECK(poller.ops == NULL);
#else
    printf("skipped: no back end needs a descriptor here\n");
#endif
}

static void
test_closed_on_exec(void)
{
#ifdef __linux__
    int lowest = dup(0);
    close(lowest);
    struct tdl_poller poller;
    open_named(&poller, "epoll", false);
    CHECK_INT(fcntl(lowest, F_GETFD), ==, FD_CLOEXEC);
    tdl_poller_close(&poller);
    CHECK_INT(fcntl(lowest, F_GETFD), ==, -1);
#else
    printf("skipped: no back end has a descriptor here\n");
#endif
}

static void
readable_and_writable(struct tdl_poller *poller)
{
    int fds[2], mark;
    char byte;
    new_pair(fds);
    CHECK_INT(tdl_poller_add(poller, fds[0], TDL_POLL_IN, &mark), ==, 0);
    CHECK_INT(look(poller), ==, 0);
    CHECK_INT(write(fds[1], "x", 1), ==, 1);
    check_one(poller, &mark, TDL_POLL_IN);
    check_one(poller, &mark, TDL_POLL_IN); /* level-triggered */
    CHECK_INT(tdl_poller_modify(poller, fds[0], TDL_POLL_IN | TDL_POLL_OUT, fds), ==, 0);
    check_one(poller, fds, TDL_POLL_IN | TDL_POLL_OUT);
    CHECK_INT(tdl_poller_modify(poller, fds[0], TDL_POLL_OUT, &mark), ==, 0);
    check_one(poller, &mark, TDL_POLL_OUT);
    CHECK_INT(tdl_poller_modify(poller, fds[0], 0, &mark), ==, 0);
    CHECK_INT(look(poller), ==, 0);
    CHECK_INT(tdl_poller_modify(poller, fds[0], TDL_POLL_IN, &mark), ==, 0);
    CHECK_INT(read(fds[0], &byte, 1), ==, 1);
    CHECK_INT(look(poller), ==, 0);
    CHECK_INT(tdl_poller_remove(poller, fds[0]), ==, 0);
    CHECK_INT(write(fds[1], "x", 1), ==, 1);
    CHECK_INT(look(poller), ==, 0);
    close_pair(fds);
}

static void
test_readable_and_writable(void)
{
    with_each(readable_and_writable);
}

static void
hang_up_and_error(struct tdl_poller *poller)
{
    int in[2], out[2], mark;
    CHECK_INT(pipe(in), ==, 0);
    CHECK_INT(pipe(out), ==, 0);
    CHECK_INT(tdl_poller_add(poller, in[0], TDL_POLL_IN, &mark), ==, 0);
    CHECK_INT(write(in[1], "x", 1), ==, 1);
    close(in[1]);
    check_one(poller, &mark, TDL_POLL_IN | TDL_POLL_HUP);
    /* nobody asked, told all the same */
    CHECK_INT(tdl_poller_modify(poller, in[0], 0, &mark), ==, 0);
    check_one(poller, &mark, TDL_POLL_HUP);
    CHECK_INT(tdl_poller_remove(poller, in[0]), ==, 0);
    CHECK_INT(tdl_poller_add(poller, out[1], 0, &mark), ==, 0);
    CHECK_INT(look(poller), ==, 0);
    close(out[0]);
    check_one(poller, &mark, TDL_POLL_ERR);
    CHECK_INT(tdl_poller_remove(poller, out[1]), ==, 0);
    close(in[0]);
    close(out[1]);
}

static void
test_hang_up_and_error(void)
{
    with_each(hang_up_and_error);
}

/* What the back end does not leave out of account, it reports once for each change. */
static void
edges(struct tdl_poller *poller)
{
    bool once = strcmp(poller->ops->name, "epoll") == 0;
    int fds[2], mark;
    new_pair(fds);
    CHECK_INT(write(fds[1], "x", 1), ==, 1);
    CHECK_INT(tdl_poller_add(poller, fds[0], TDL_POLL_IN | TDL_POLL_EDGE, &mark), ==, 0);
    check_one(poller, &mark, TDL_POLL_IN);
    CHECK_INT(look(poller), ==, once ? 0 : 1);
    CHECK_INT(write(fds[1], "y", 1), ==, 1);
    check_one(poller, &mark, TDL_POLL_IN);
    unsigned both = TDL_POLL_IN | TDL_POLL_OUT;
    CHECK_INT(tdl_poller_modify(poller, fds[0], both | TDL_POLL_EDGE, &mark), ==, 0);
    check_one(poller, &mark, both);
    CHECK_INT(look(poller), ==, once ? 0 : 1);
    CHECK_INT(tdl_poller_modify(poller, fds[0], TDL_POLL_IN | TDL_POLL_EDGE, &mark), ==, 0);
    check_one(poller, &mark, TDL_POLL_IN);
    CHECK_INT(shutdown(fds[1], SHUT_WR), ==, 0);
    check_one(poller, &mark, TDL_POLL_IN | (once ? TDL_POLL_HUP : 0u));
    CHECK_INT(tdl_poller_modify(poller, fds[0], TDL_POLL_IN, &mark), ==, 0);
    check_one(poller, &mark, TDL_POLL_IN);
    check_one(poller, &mark, TDL_POLL_IN);
    CHECK_INT(tdl_poller_remove(poller, fds[0]), ==, 0);
    close_pair(fds);
}

static void
test_edges(void)
{
    with_each(edges);
}

static void
refusals(struct tdl_poller *poller)
{
    int fds[2], directory = open("/", O_RDONLY);
    FILE *file = tmpfile();
    new_pair(fds);
    int closed = dup(0);
    close(closed);
    CHECK_INT(tdl_poller_add(poller, closed, TDL_POLL_IN, NULL), ==, -EBADF);
    CHECK_INT(tdl_poller_add(poller, -1, TDL_POLL_IN, NULL), ==, -EBADF);
    CHECK_INT(tdl_poller_modify(poller, closed, TDL_POLL_IN, NULL), ==, -EBADF);
    CHECK_INT(tdl_poller_remove(poller, closed), ==, -EBADF);
    CHECK_INT(tdl_poller_remove(poller, -1), ==, -EBADF);
    CHECK_INT(tdl_poller_add(poller, directory, TDL_POLL_IN, NULL), ==, -EPERM);
    CHECK(file != NULL);
    CHECK_INT(tdl_poller_add(poller, fileno(file), TDL_POLL_IN, NULL), ==, -EPERM);
    CHECK_INT(tdl_poller_modify(poller, fds[0], TDL_POLL_IN, NULL), ==, -ENOENT);
    CHECK_INT(tdl_poller_remove(poller, fds[0]), ==, -ENOENT);
    CHECK_INT(tdl_poller_add(poller, fds[0], TDL_POLL_HUP, NULL), ==, -EINVAL);
    CHECK_INT(tdl_poller_add(poller, fds[0], TDL_POLL_IN | 1u << 20, NULL), ==, -EINVAL);
    CHECK_INT(tdl_poller_add(poller, fds[0], TDL_POLL_IN, fds), ==, 0);
    CHECK_INT(tdl_poller_add(poller, fds[0], TDL_POLL_OUT, NULL), ==, -EEXIST);
    CHECK_INT(tdl_poller_modify(poller, fds[0], TDL_POLL_ERR, NULL), ==, -EINVAL);
    CHECK_INT(look(poller), ==, 0); /* refused changes changed nothing */
    CHECK_INT(write(fds[1], "x", 1), ==, 1);
    check_one(poller, fds, TDL_POLL_IN);
    CHECK_INT(tdl_poller_wait(poller, events, 0, 0), ==, -EINVAL);
    CHECK_INT(tdl_poller_wait(poller, events, -1, 0), ==, -EINVAL);
    CHECK_INT(tdl_poller_remove(poller, fds[0]), ==, 0);
    CHECK_INT(tdl_poller_remove(poller, fds[0]), ==, -ENOENT);
    close_pair(fds);
    fclose(file);
    close(directory);
}

static void
test_refusals(void)
{
    with_each(refusals);
}

/* Tables by descriptor have their limits where a number is a power of two. */
static void
any_number(struct tdl_poller *poller)
{
    static const int numbers[] = {16, 15, 32, 31, 17, 255, 256, 64};
    int fds[2];
    new_pair(fds);
    for (int i = 0; i < 8; i++) {
        int fd = fcntl(fds[0], F_DUPFD, numbers[i]);
        CHECK_INT(fd, ==, numbers[i]);
        CHECK_INT(tdl_poller_remove(poller, fd), ==, -ENOENT);
        CHECK_INT(tdl_poller_add(poller, fd, TDL_POLL_OUT, fds), ==, 0);
        check_one(poller, fds, TDL_POLL_OUT);
        CHECK_INT(tdl_poller_remove(poller, fd), ==, 0);
        close(fd);
    }
    close_pair(fds);
}

static void
test_any_number_will_do(void)
{
    with_each(any_number);
}

static void
never_early(struct tdl_poller *poller)
{
    static const int64_t timeouts[] = {1, 1000, 70000, 999999, 1000001, 5300000, 20000000};
    int fds[2];
    new_pair(fds);
    CHECK_INT(tdl_poller_add(poller, fds[0], TDL_POLL_IN, NULL), ==, 0);
    for (size_t i = 0; i < sizeof timeouts / sizeof timeouts[0]; i++) {
        int64_t start = tdl_clock_now();
        CHECK_INT(tdl_poller_wait(poller, events, MANY, timeouts[i]), ==, 0);
        int64_t passed = tdl_clock_now() - start;
        CHECK_INT(passed, >=, timeouts[i]);
        CHECK_INT(passed, <, timeouts[i] + 10 * TDL_NS_PER_S);
    }
    close_pair(fds);
}

static void
test_never_early(void)
{
    with_each(never_early);
}

/* Whether the running system waits with ns, found out without the back end. */
static bool
system_is_fine(const char *name)
{
#if defined(__linux__) && defined(SYS_epoll_pwait2)
    struct epoll_event event;
    struct timespec now = {0};
    int epfd = epoll_create1(0);
    int r = (int)syscall(SYS_epoll_pwait2, epfd, &event, 1, &now, NULL, 0);
    close(epfd);
    return r == 0 || strcmp(name, "poll") == 0;
#elif defined(__linux__)
    return strcmp(name, "poll") == 0;
#else
    return false;
#endif
}

/* Where the system can, a wait of a few us does not take a ms. */
static void
test_fine_timeouts_are_fine(void)
{
    for (int i = 0; i < NAMES; i++) {
        struct tdl_poller poller;
        int64_t shortest = TDL_NEVER;
        open_named(&poller, names[i], false);
        CHECK_INT(poller.coarse, ==, !system_is_fine(names[i]));
        for (int n = 0; n < 50; n++) {
            int64_t start = tdl_clock_now();
            CHECK_INT(tdl_poller_wait(&poller, events, MANY, 20 * TDL_NS_PER_US), ==, 0);
            int64_t passed = tdl_clock_now() - start;
            shortest = passed < shortest ? passed : shortest;
        }
        CHECK((shortest < TDL_NS_PER_MS) == !poller.coarse);
        tdl_poller_close(&poller);
    }
}

#if defined(__linux__) && defined(SYS_epoll_pwait2)
/* Let the calling thread fail with `error` where it waits with ns, as on an old
 * kernel or in a strict container.  Returns whether that could be arranged. */
static bool
forbid_fine_waits(int error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_epoll_pwait2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof code[0], code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static void *
wait_without_fine_waits(void *error)
{
    struct tdl_poller poller;
    struct tdl_event event;
    if (!forbid_fine_waits(*(int *)error))
        return "skipped: no system call filter can be set here";
    if (tdl_poller_open(&poller, "epoll") != 0)
        return "not opened";
    bool coarse = poller.coarse;
    int64_t start = tdl_clock_now();
    int r = tdl_poller_wait(&poller, &event, 1, TDL_NS_PER_MS + 1);
    int64_t passed = tdl_clock_now() - start;
    tdl_poller_close(&poller);
    return coarse && r == 0 && passed >= 2 * TDL_NS_PER_MS ? NULL : "not coarse";
}
#endif

static void
test_system_without_fine_waits(void)
{
#if defined(__linux__) && defined(SYS_epoll_pwait2)
    int errors[] = {ENOSYS, EPERM};
    for (int i = 0; i < 2; i++) {
        pthread_t thread; /* the filter is the thread's alone */
        void *complaint;
        check_start(&thread, 1, wait_without_fine_waits, &errors[i], 0);
        pthread_join(thread, &complaint);
        if (complaint != NULL)
            printf("%s\n", (char *)complaint);
        CHECK(complaint == NULL || strncmp(complaint, "skipped", 7) == 0);
    }
#else
    printf("skipped: this system has no such call that could be missing\n");
#endif
}

static void
test_ms_round_up(void)
{
    CHECK_INT(tdl_poller_ms(-1), ==, -1);
    CHECK_INT(tdl_poller_ms(INT64_MIN), ==, -1);
    CHECK_INT(tdl_poller_ms(0), ==, 0);
    CHECK_INT(tdl_poller_ms(1), ==, 1);
    CHECK_INT(tdl_poller_ms(1000000), ==, 1);
    CHECK_INT(tdl_poller_ms(1000001), ==, 2);
    CHECK_INT(tdl_poller_ms(INT64_C(2147483646) * 1000000), ==, 2147483646);
    CHECK_INT(tdl_poller_ms(INT64_C(2147483646) * 1000000 + 1), ==, 2147483647);
    CHECK_INT(tdl_poller_ms(INT64_MAX), ==, 2147483647);
}

static void
on_alarm(int number)
{
    (void)number;
}

static void
interrupted(struct tdl_poller *poller)
{
    static const int64_t timeouts[] = {-1, 60 * TDL_NS_PER_S, INT64_MAX, INT64_MIN};
    struct sigaction action = {.sa_handler = on_alarm}, before;
    CHECK_INT(sigaction(SIGALRM, &action, &before), ==, 0);
    for (int i = 0; i < 4; i++) {
        /* repeated: the first may come before the wait has begun */
        struct itimerval soon = {{0, 5000}, {0, 5000}}, off = {{0, 0}, {0, 0}};
        setitimer(ITIMER_REAL, &soon, NULL);
        int r = tdl_poller_wait(poller, events, MANY, timeouts[i]);
        setitimer(ITIMER_REAL, &off, NULL);
        CHECK_INT(r, ==, 0);
    }
    sigaction(SIGALRM, &before, NULL);
}

static void
test_a_signal_ends_the_wait(void)
{
    with_each(interrupted);
}

static void *
write_later(void *arg)
{
    struct timespec pause = {.tv_nsec = 10 * TDL_NS_PER_MS};
    nanosleep(&pause, NULL);
    return write(*(int *)arg, "x", 1) == 1 ? NULL : arg;
}

static void
woken(struct tdl_poller *poller)
{
    int fds[2], mark;
    pthread_t thread;
    void *complaint;
    new_pair(fds);
    CHECK_INT(tdl_poller_add(poller, fds[0], TDL_POLL_IN, &mark), ==, 0);
    check_start(&thread, 1, write_later, &fds[1], 0);
    int r = tdl_poller_wait(poller, events, MANY, 60 * TDL_NS_PER_S);
    pthread_join(thread, &complaint);
    CHECK(complaint == NULL);
    CHECK_INT(r, ==, 1);
    CHECK(events[0].data == &mark);
    close_pair(fds);
}

static void
test_readiness_ends_the_wait(void)
{
    with_each(woken);
}

/* With room for few events, all descriptors have their turn. */
static void
fairness(struct tdl_poller *poller)
{
    enum { PAIRS = 40 };
    int fds[PAIRS][2], turns[PAIRS] = {0};
    for (int i = 0; i < PAIRS; i++) {
        new_pair(fds[i]);
        CHECK_INT(tdl_poller_add(poller, fds[i][0], TDL_POLL_OUT, &turns[i]), ==, 0);
    }
    for (int round = 0; round < 6 * PAIRS / 8; round++) {
        events[8].data = fds; /* behind the room: stays as it is */
        CHECK_INT(tdl_poller_wait(poller, events, 8, 0), ==, 8);
        CHECK(events[8].data == fds);
        for (int i = 0; i < 8; i++)
            ++*(int *)events[i].data;
    }
    for (int i = 0; i < PAIRS; i++)
        CHECK_INT(turns[i], ==, 6);
    for (int i = 0; i < PAIRS; i++)
        close_pair(fds[i]);
}

static void
test_all_have_their_turn(void)
{
    with_each(fairness);
}

/* A descriptor that is closed too early neither crashes nor spins. */
static void
closed_while_registered(struct tdl_poller *poller)
{
    int fds[2][2];
    for (int i = 0; i < 2; i++) {
        new_pair(fds[i]);
        CHECK_INT(tdl_poller_add(poller, fds[i][0], TDL_POLL_IN, fds[i]), ==, 0);
    }
    CHECK_INT(write(fds[1][1], "x", 1), ==, 1);
    close_pair(fds[0]);
    check_one(poller, fds[1], TDL_POLL_IN);
    CHECK_INT(tdl_poller_remove(poller, fds[1][0]), ==, 0);
    CHECK_INT(tdl_poller_remove(poller, fds[0][0]), ==, -EBADF);
    int64_t start = tdl_clock_now();
    CHECK_INT(tdl_poller_wait(poller, events, MANY, 3 * TDL_NS_PER_MS), ==, 0);
    CHECK_INT(tdl_clock_now() - start, >=, 3 * TDL_NS_PER_MS);
    close_pair(fds[1]);
    int again[2]; /* the numbers are free for others */
    new_pair(again);
    CHECK_INT(tdl_poller_add(poller, again[0], TDL_POLL_OUT, again), ==, 0);
    check_one(poller, again, TDL_POLL_OUT);
    close_pair(again);
}

static void
test_closed_while_registered(void)
{
    with_each(closed_while_registered);
}

/* Random registrations and traffic.  What must be reported is known: a byte from
 * the peer makes readable, an empty buffer writable. */
enum { MODEL_PAIRS = 100 };

struct model {
    struct tdl_poller *poller;
    int fds[MODEL_PAIRS][2];
    bool registered[MODEL_PAIRS];
    unsigned wanted[MODEL_PAIRS];
    bool readable[MODEL_PAIRS];
    unsigned seen[MODEL_PAIRS];
    int variant[MODEL_PAIRS]; /* which of two addresses is the data */
};

static void
model_register(struct model *m, int i, unsigned wanted, int variant)
{
    void *data = variant ? (void *)&m->fds[i] : (void *)&m->seen[i];
    bool known = m->registered[i];
    int r = tdl_poller_add(m->poller, m->fds[i][0], wanted, data);
    CHECK_INT(r, ==, known ? -EEXIST : 0);
    if (known)
        CHECK_INT(tdl_poller_modify(m->poller, m->fds[i][0], wanted, data), ==, 0);
    m->registered[i] = true;
    m->wanted[i] = wanted;
    m->variant[i] = variant;
}

static void
model_step(struct model *m, uint64_t *random)
{
    int i = (int)check_below(random, MODEL_PAIRS);
    char byte;
    switch (check_below(random, 5)) {
    case 0:
    case 1:
        model_register(m, i, (unsigned)check_below(random, 4), (int)check_below(random, 2));
        break;
    case 2:
        CHECK_INT(tdl_poller_remove(m->poller, m->fds[i][0]), ==,
                  m->registered[i] ? 0 : -ENOENT);
        m->registered[i] = false;
        break;
    default:
        if (m->readable[i])
            CHECK_INT(read(m->fds[i][0], &byte, 1), ==, 1);
        else
            CHECK_INT(write(m->fds[i][1], "x", 1), ==, 1);
        m->readable[i] = !m->readable[i];
    }
}

static int
model_index(const struct model *m, const void *data)
{
    for (int i = 0; i < MODEL_PAIRS; i++) {
        if (data == (m->variant[i] ? (const void *)&m->fds[i] : (const void *)&m->seen[i]))
            return i;
    }
    return -1;
}

/* What must be reported of pair `i` now. */
static unsigned
model_ready(const struct model *m, int i)
{
    unsigned ready = TDL_POLL_OUT | (m->readable[i] ? TDL_POLL_IN : 0u);
    return m->registered[i] ? ready & m->wanted[i] : 0;
}

/* Wait with room for `max` events; all of them must be right.  Returns how many. */
static int
model_wait(struct model *m, int max)
{
    static struct tdl_event all[2 * MODEL_PAIRS];
    int n = tdl_poller_wait(m->poller, all, max, 0);
    CHECK_INT(n, >=, 0);
    CHECK_INT(n, <=, max);
    memset(m->seen, 0, sizeof m->seen);
    for (int k = 0; k < n; k++) {
        int i = model_index(m, all[k].data);
        CHECK_INT(i, >=, 0);
        CHECK_INT(m->seen[i], ==, 0);
        m->seen[i] = all[k].events;
        CHECK_INT(m->seen[i], ==, model_ready(m, i));
    }
    return n;
}

static void
model_check(struct model *m, uint64_t *random)
{
    int max = 1 + (int)check_below(random, MODEL_PAIRS);
    int some = model_wait(m, max);
    int all = model_wait(m, 2 * MODEL_PAIRS);
    CHECK_INT(some, ==, all < max ? all : max);
    for (int i = 0; i < MODEL_PAIRS; i++)
        CHECK_INT(m->seen[i], ==, model_ready(m, i));
    model_wait(m, max); /* so that the next round begins somewhere */
}

static void
random_traffic(struct tdl_poller *poller)
{
    static struct model m;
    uint64_t random = 11;
    m = (struct model){.poller = poller};
    for (int i = 0; i < MODEL_PAIRS; i++)
        new_pair(m.fds[i]);
    for (int round = 0; round < 300; round++) {
        for (int step = 0; step < 20; step++)
            model_step(&m, &random);
        model_check(&m, &random);
    }
    for (int i = 0; i < MODEL_PAIRS; i++)
        close_pair(m.fds[i]);
}

static void
test_random_against_model(void)
{
    with_each(random_traffic);
}

/* Register 40 descriptors with the nth allocation failing: what failed is not
 * registered and can be tried again.  Returns whether it failed. */
static bool
pass_with_fault(const char *name, long nth, int fds[40][2])
{
    struct tdl_poller poller;
    tdl_alloc_fail(nth);
    int r = tdl_poller_open(&poller, name);
    if (r < 0) {
        CHECK_INT(r, ==, -ENOMEM);
        CHECK(poller.ops == NULL);
        open_named(&poller, name, false);
    }
    for (int i = 0; i < 40; i++) {
        r = tdl_poller_add(&poller, fds[i][0], TDL_POLL_OUT, fds[i]);
        if (r < 0) {
            CHECK_INT(r, ==, -ENOMEM);
            CHECK_INT(tdl_poller_modify(&poller, fds[i][0], 0, NULL), ==, -ENOENT);
            CHECK_INT(look(&poller), ==, i);
            r = tdl_poller_add(&poller, fds[i][0], TDL_POLL_OUT, fds[i]);
        }
        CHECK_INT(r, ==, 0);
        CHECK_INT(look(&poller), ==, i + 1);
    }
    for (int i = 0; i < 40; i++)
        CHECK_INT(tdl_poller_remove(&poller, fds[i][0]), ==, 0);
    CHECK_INT(look(&poller), ==, 0);
    tdl_poller_close(&poller);
    return tdl_alloc_fail(0) == 0;
}

/* What a forked child does to its copy leaves the parent's as it was. */
static void
abandon_in_child(struct tdl_poller *poller)
{
    int fds[2];
    new_pair(fds);
    CHECK_INT(tdl_poller_add(poller, fds[0], TDL_POLL_OUT, fds), ==, 0);
    pid_t child = fork();
    if (child == 0) {
        tdl_poller_abandon(poller);
        CHECK_INT(tdl_poller_remove(poller, fds[0]), ==, -ENOENT);
        CHECK_INT(tdl_poller_add(poller, fds[1], TDL_POLL_OUT, fds), ==, -ECHILD);
        CHECK_INT(tdl_poller_modify(poller, fds[0], TDL_POLL_IN, fds), ==, -ECHILD);
        CHECK_INT(tdl_poller_wait(poller, events, MANY, 0), ==, -ECHILD);
        tdl_poller_close(poller);
        tdl_poller_abandon(poller);
        close_pair(fds);
        _exit(0);
    }
    int status = -1;
    CHECK_INT(waitpid(child, &status, 0), ==, child);
    CHECK_INT(status, ==, 0);
    CHECK_INT(tdl_poller_wait(poller, events, MANY, 0), ==, 1);
    CHECK(events[0].data == fds);
    CHECK_INT(tdl_poller_remove(poller, fds[0]), ==, 0);
    close_pair(fds);
}

static void
test_abandoned_by_a_child(void)
{
    with_each(abandon_in_child);
}

static void
test_every_allocation_failing(void)
{
    int fds[40][2];
    for (int i = 0; i < 40; i++)
        new_pair(fds[i]);
    for (int i = 0; i < NAMES; i++) {
        long nth = 1;
        while (pass_with_fault(names[i], nth, fds))
            nth++;
        CHECK_INT(nth, >, strcmp(names[i], "poll") == 0 ? 5 : 1);
    }
    for (int i = 0; i < 40; i++)
        close_pair(fds[i]);
}

CHECK_MAIN(TEST(test_open_by_name), TEST(test_open_by_environment),
           TEST(test_out_of_descriptors), TEST(test_closed_on_exec),
           TEST(test_readable_and_writable), TEST(test_hang_up_and_error), TEST(test_edges),
           TEST(test_refusals), TEST(test_never_early), TEST(test_fine_timeouts_are_fine),
           TEST(test_system_without_fine_waits), TEST(test_ms_round_up),
           TEST(test_any_number_will_do), TEST(test_a_signal_ends_the_wait),
           TEST(test_readiness_ends_the_wait), TEST(test_all_have_their_turn),
           TEST(test_closed_while_registered), TEST(test_random_against_model),
           TEST(test_abandoned_by_a_child), TEST(test_every_allocation_failing))

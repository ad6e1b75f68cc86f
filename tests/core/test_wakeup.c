#include "core/wakeup.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <unistd.h>

#include "check.h"

static const enum tdl_wakeup_kind kinds[] = {
    TDL_WAKEUP_BEST,
    TDL_WAKEUP_PIPE,
    TDL_WAKEUP_EVENTFD,
};

/* Where there is no eventfd, it is refused, and the best kind is a pipe. */
static bool
have_eventfd(void)
{
    struct tdl_wakeup wakeup;
    int r = tdl_wakeup_open(&wakeup, TDL_WAKEUP_EVENTFD);
    CHECK(r == 0 || r == -ENOSYS);
    CHECK((tdl_wakeup_fd(&wakeup) >= 0) == (r == 0));
    tdl_wakeup_close(&wakeup);
    return r == 0;
}

/* How many of `kinds` can be had here. */
static int
kind_count(void)
{
    return have_eventfd() ? 3 : 2;
}

static int
readable(const struct tdl_wakeup *wakeup, int timeout_ms)
{
    struct pollfd fd = {.fd = tdl_wakeup_fd(wakeup), .events = POLLIN};
    return poll(&fd, 1, timeout_ms) == 1 && (fd.revents & POLLIN);
}

static void
test_signal_and_drain(void)
{
    for (int i = 0; i < kind_count(); i++) {
        struct tdl_wakeup wakeup;
        CHECK_INT(tdl_wakeup_open(&wakeup, kinds[i]), ==, 0);
        CHECK(!readable(&wakeup, 0));
        CHECK_INT(tdl_wakeup_drain(&wakeup), ==, 0);
        for (int turn = 0; turn < 3; turn++) {
            errno = ENOENT; /* neither looked at nor changed */
            CHECK_INT(tdl_wakeup_signal(&wakeup), ==, 0);
            CHECK_INT(errno, ==, ENOENT);
            CHECK(readable(&wakeup, 0));
            CHECK(readable(&wakeup, 0));
            CHECK_INT(tdl_wakeup_drain(&wakeup), ==, 1);
            CHECK(!readable(&wakeup, 0));
            CHECK_INT(tdl_wakeup_drain(&wakeup), ==, 0);
        }
        tdl_wakeup_close(&wakeup);
    }
}

static void
test_signals_coalesce(void)
{
    for (int i = 0; i < kind_count(); i++) {
        struct tdl_wakeup wakeup;
        CHECK_INT(tdl_wakeup_open(&wakeup, kinds[i]), ==, 0);
        /* more than a pipe holds: the surplus is no error */
        for (int n = 0; n < 20000; n++)
            CHECK_INT(tdl_wakeup_signal(&wakeup), ==, 0);
        CHECK_INT(tdl_wakeup_drain(&wakeup), ==, 1);
        CHECK(!readable(&wakeup, 0));
        CHECK_INT(tdl_wakeup_drain(&wakeup), ==, 0);
        tdl_wakeup_close(&wakeup);
    }
}

static void
test_full_eventfd_is_no_error(void)
{
    struct tdl_wakeup wakeup;
    uint64_t most = UINT64_MAX - 1;
    if (!have_eventfd()) {
        printf("skipped: there is no eventfd\n");
        return;
    }
    CHECK_INT(tdl_wakeup_open(&wakeup, TDL_WAKEUP_EVENTFD), ==, 0);
    CHECK_INT(write(tdl_wakeup_fd(&wakeup), &most, sizeof most), ==, sizeof most);
    errno = ENOENT;
    CHECK_INT(tdl_wakeup_signal(&wakeup), ==, 0);
    CHECK_INT(errno, ==, ENOENT);
    CHECK_INT(tdl_wakeup_drain(&wakeup), ==, 1);
    CHECK_INT(tdl_wakeup_drain(&wakeup), ==, 0);
    tdl_wakeup_close(&wakeup);
}

static void
test_flags(void)
{
    for (int i = 0; i < kind_count(); i++) {
        struct tdl_wakeup wakeup;
        CHECK_INT(tdl_wakeup_open(&wakeup, kinds[i]), ==, 0);
        int fds[] = {wakeup.read_fd, wakeup.write_fd};
        for (int n = 0; n < 2; n++) {
            CHECK_INT(fcntl(fds[n], F_GETFD) & FD_CLOEXEC, ==, FD_CLOEXEC);
            CHECK_INT(fcntl(fds[n], F_GETFL) & O_NONBLOCK, ==, O_NONBLOCK);
        }
        CHECK((fds[0] != fds[1]) == (kinds[i] == TDL_WAKEUP_PIPE || !have_eventfd()));
        tdl_wakeup_close(&wakeup);
        CHECK_INT(fcntl(fds[0], F_GETFD), ==, -1);
        CHECK_INT(fcntl(fds[1], F_GETFD), ==, -1);
    }
}

static void
test_closed(void)
{
    for (int i = 0; i < kind_count(); i++) {
        struct tdl_wakeup wakeup;
        CHECK_INT(tdl_wakeup_open(&wakeup, kinds[i]), ==, 0);
        tdl_wakeup_close(&wakeup);
        errno = ENOENT;
        CHECK_INT(tdl_wakeup_signal(&wakeup), ==, -EBADF);
        CHECK_INT(errno, ==, ENOENT);
        CHECK_INT(tdl_wakeup_drain(&wakeup), ==, -EBADF);
        CHECK_INT(tdl_wakeup_fd(&wakeup), ==, -1);
        tdl_wakeup_close(&wakeup);
    }
}

static void
test_unknown_kind(void)
{
    struct tdl_wakeup wakeup;
    CHECK_INT(tdl_wakeup_open(&wakeup, (enum tdl_wakeup_kind)3), ==, -EINVAL);
    CHECK_INT(tdl_wakeup_fd(&wakeup), ==, -1);
    tdl_wakeup_close(&wakeup);
}

/* `spare` descriptors may be opened, not one more. */
static void
limit_descriptors(struct rlimit *before, int spare)
{
    CHECK_INT(getrlimit(RLIMIT_NOFILE, before), ==, 0);
    int lowest = dup(0);
    close(lowest);
    struct rlimit few = *before;
    few.rlim_cur = (rlim_t)(lowest + spare);
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &few), ==, 0);
}

static void
test_out_of_descriptors(void)
{
    for (int i = 0; i < kind_count(); i++) {
        for (int spare = 0; spare < 2; spare++) {
            struct tdl_wakeup wakeup;
            struct rlimit before;
            bool pipe = kinds[i] == TDL_WAKEUP_PIPE || !have_eventfd();
            limit_descriptors(&before, spare);
            int r = tdl_wakeup_open(&wakeup, kinds[i]);
            int fd = tdl_wakeup_fd(&wakeup);
            setrlimit(RLIMIT_NOFILE, &before);
            int enough = spare == 1 && !pipe;
            CHECK_INT(r, ==, enough ? 0 : -EMFILE);
            CHECK((fd >= 0) == enough);
            tdl_wakeup_close(&wakeup);
        }
    }
}

static struct tdl_wakeup handler_wakeup;

static void
signal_from_handler(int number)
{
    (void)number;
    tdl_wakeup_signal(&handler_wakeup);
}

static void
test_signal_in_a_signal_handler(void)
{
    struct sigaction action = {.sa_handler = signal_from_handler}, before;
    for (int i = 0; i < kind_count(); i++) {
        CHECK_INT(tdl_wakeup_open(&handler_wakeup, kinds[i]), ==, 0);
        CHECK_INT(sigaction(SIGUSR1, &action, &before), ==, 0);
        raise(SIGUSR1);
        raise(SIGUSR1);
        sigaction(SIGUSR1, &before, NULL);
        CHECK(readable(&handler_wakeup, 0));
        CHECK_INT(tdl_wakeup_drain(&handler_wakeup), ==, 1);
        tdl_wakeup_close(&handler_wakeup);
    }
}

/* Threads count up and signal; the sleeper sees every count that was signalled,
 * although it reads the counts without any other synchronization. */
enum { SIGNALLERS = 4, SIGNALS = 5000 };

struct signaller {
    const struct tdl_wakeup *wakeup;
    _Atomic int sent;
    int failures;
};

static void *
send_signals(void *arg)
{
    struct signaller *self = arg;
    for (int i = 0; i < SIGNALS; i++) {
        atomic_fetch_add_explicit(&self->sent, 1, memory_order_relaxed);
        self->failures += tdl_wakeup_signal(self->wakeup) != 0;
    }
    return NULL;
}

static int
sum_of(struct signaller *signallers)
{
    int sum = 0;
    for (int i = 0; i < SIGNALLERS; i++)
        sum += atomic_load_explicit(&signallers[i].sent, memory_order_relaxed);
    return sum;
}

static void
run_stress(enum tdl_wakeup_kind kind)
{
    struct tdl_wakeup wakeup;
    struct signaller signallers[SIGNALLERS] = {{0}};
    pthread_t threads[SIGNALLERS];
    CHECK_INT(tdl_wakeup_open(&wakeup, kind), ==, 0);
    for (int i = 0; i < SIGNALLERS; i++)
        signallers[i].wakeup = &wakeup;
    check_start(threads, SIGNALLERS, send_signals, signallers, sizeof signallers[0]);
    int seen = 0;
    while (seen < SIGNALLERS * SIGNALS) {
        CHECK(readable(&wakeup, 20000)); /* a lost signal would end here */
        CHECK_INT(tdl_wakeup_drain(&wakeup), ==, 1);
        int sum = sum_of(signallers);
        CHECK_INT(sum, >=, seen);
        seen = sum;
    }
    check_join(threads, SIGNALLERS);
    for (int i = 0; i < SIGNALLERS; i++)
        CHECK_INT(signallers[i].failures, ==, 0);
    tdl_wakeup_close(&wakeup);
}

static void
test_stress_signals_from_threads(void)
{
    for (int i = 0; i < kind_count(); i++)
        run_stress(kinds[i]);
}

/* A drain acquires what the signaller wrote before: plain memory, no atomics. */
struct note {
    struct tdl_wakeup there, back;
    int value;
};

static void *
answer(void *arg)
{
    struct note *note = arg;
    for (int i = 0; i < 2000; i++) {
        if (!readable(&note->there, 20000) || tdl_wakeup_drain(&note->there) != 1)
            return "no signal";
        note->value++;
        tdl_wakeup_signal(&note->back);
    }
    return NULL;
}

static void
test_stress_plain_memory_is_handed_over(void)
{
    for (int i = 0; i < kind_count(); i++) {
        struct note note = {.value = 0};
        pthread_t thread;
        void *complaint;
        CHECK_INT(tdl_wakeup_open(&note.there, kinds[i]), ==, 0);
        CHECK_INT(tdl_wakeup_open(&note.back, kinds[i]), ==, 0);
        check_start(&thread, 1, answer, &note, 0);
        for (int n = 1; n <= 2000; n++) {
            note.value++;
            tdl_wakeup_signal(&note.there);
            CHECK(readable(&note.back, 20000));
            CHECK_INT(tdl_wakeup_drain(&note.back), ==, 1);
            CHECK_INT(note.value, ==, 2 * n);
        }
        pthread_join(thread, &complaint);
        CHECK(complaint == NULL);
        tdl_wakeup_close(&note.there);
        tdl_wakeup_close(&note.back);
    }
}

CHECK_MAIN(TEST(test_signal_and_drain), TEST(test_signals_coalesce),
           TEST(test_full_eventfd_is_no_error), TEST(test_flags), TEST(test_closed),
           TEST(test_unknown_kind), TEST(test_out_of_descriptors),
           TEST(test_signal_in_a_signal_handler), TEST(test_stress_signals_from_threads),
           TEST(test_stress_plain_memory_is_handed_over))

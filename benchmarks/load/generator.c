/* The load generator: so many connections, each sends a request, waits for the
 * whole answer, checks it, and sends the next.
 *
 *     generator -k tcp|unix|udp|http -a ADDRESS [-c CONNECTIONS] [-s SIZE]
 *               [-w SECONDS] [-d SECONDS | -n REQUESTS] [-p PID] [-i]
 *
 * After -w seconds it counts for -d seconds, or so many requests as -n says, and
 * prints one JSON object: requests, seconds, latency in seconds, and with -p the
 * CPU time that process PID took for exactly these requests.  The system brings
 * the clock of a running process up to date at its ticks only; so it is read
 * when all is answered and the process has come to rest.
 *
 * With -i it only connects, prints "ready" and stays until its input is closed. */
#include "exchange.h"
#include "latency.h"
#include "net.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256, PATIENCE_MS = 10000, CONNECTION_MAX = 100000, MESSAGE_MAX = 1 << 24 };

static const double FOREVER = 1e9; /* seconds */

struct options {
    const char *form, *address;
    unsigned connections;
    size_t size;
    double warm_up, seconds;
    unsigned long requests; /* 0: count for `seconds` */
    pid_t server;           /* 0: its clock is not read */
    bool idle;
};

struct load {
    int poller;
    unsigned connections;
    struct exchange *exchanges;
    clockid_t server_clock;
    unsigned long left; /* requests that may yet begin */
    unsigned busy;      /* exchanges under way */
    struct latency latency;
};

static unsigned long
number_of(const char *text, unsigned long least, unsigned long most)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*end || end == text || value < least || value > most)
        net_die("a number is out of range", 0);
    return value;
}

static struct options
parse(int count, char **words)
{
    struct options options = {.form = "tcp", .connections = 1, .size = 1024, .seconds = 1};
    for (int option; (option = getopt(count, words, "k:a:c:s:w:d:n:p:i")) != -1;)
        switch (option) {
        case 'k':
            options.form = optarg;
            break;
        case 'a':
            options.address = optarg;
            break;
        case 'c':
            options.connections = (unsigned)number_of(optarg, 1, CONNECTION_MAX);
            break;
        case 's':
            options.size = number_of(optarg, 1, MESSAGE_MAX);
            break;
        case 'w':
            options.warm_up = strtod(optarg, NULL);
            break;
        case 'd':
            options.seconds = strtod(optarg, NULL);
            break;
        case 'n':
            options.requests = number_of(optarg, 1, 1000000000);
            break;
        case 'p':
            options.server = (pid_t)number_of(optarg, 1, 1 << 30);
            break;
        case 'i':
            options.idle = true;
            break;
        default:
            exit(2);
        }
    if (!options.address)
        net_die("an address is needed (-a)", 0);
    return options;
}

static void
watch(struct load *load, struct exchange *exchange, int operation)
{
    bool writing = exchange_writing(exchange);
    struct epoll_event event = {.events = EPOLLIN | (writing ? EPOLLOUT : 0),
                                .data.ptr = exchange};
    if (epoll_ctl(load->poller, operation, exchange->fd, &event) < 0)
        net_die("epoll_ctl", errno);
}

static enum exchange_form
form_of(const char *name)
{
    if (!strcmp(name, "http"))
        return EXCHANGE_HTTP;
    return net_kind_of(name) == NET_UDP ? EXCHANGE_DATAGRAM : EXCHANGE_STREAM;
}

static void
open_all(struct load *load, const struct options *options)
{
    net_allow_descriptors();
    load->poller = epoll_create1(EPOLL_CLOEXEC);
    load->connections = options->connections;
    load->exchanges = calloc(options->connections, sizeof *load->exchanges);
    if (load->poller < 0 || !load->exchanges)
        net_die("epoll_create1 or calloc", errno);
    for (unsigned i = 0; i < load->connections; i++) {
        struct exchange *exchange = &load->exchanges[i];
        exchange_open(exchange, form_of(options->form), net_kind_of(options->form),
                      options->address, options->size, i);
        watch(load, exchange, EPOLL_CTL_ADD);
    }
}

static void
close_all(struct load *load)
{
    for (unsigned i = 0; i < load->connections; i++)
        exchange_close(&load->exchanges[i]);
    free(load->exchanges);
    close(load->poller);
    latency_fini(&load->latency);
}

static void
begin(struct load *load, struct exchange *exchange)
{
    if (!load->left)
        return;
    load->left--;
    load->busy++;
    exchange_begin(exchange);
}

static void
step(struct load *load, struct exchange *exchange, unsigned events)
{
    bool was_writing = exchange_writing(exchange);
    if (was_writing && (events & EPOLLOUT))
        exchange_write(exchange);
    if ((events & ~(unsigned)EPOLLOUT) && exchange_read(exchange)) {
        load->busy--;
        latency_add(&load->latency, net_now() - exchange->started);
        begin(load, exchange);
    }
    if (exchange_writing(exchange) != was_writing)
        watch(load, exchange, EPOLL_CTL_MOD);
}

static void
turn(struct load *load)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(load->poller, events, EVENTS, PATIENCE_MS);
    if (count < 0 && errno != EINTR)
        net_die("epoll_wait", errno);
    if (count == 0)
        net_die("the server does not answer", 0);
    for (int i = 0; i < count; i++)
        step(load, events[i].data.ptr, events[i].events);
}

/* Begin requests for so long, so many at most, and see them all answered. */
static void
drive(struct load *load, double seconds, unsigned long requests)
{
    int64_t end = net_now() + (int64_t)(seconds * 1e9);
    latency_reset(&load->latency);
    load->left = requests;
    for (unsigned i = 0; i < load->connections; i++) {
        begin(load, &load->exchanges[i]);
        if (exchange_writing(&load->exchanges[i]))
            watch(load, &load->exchanges[i], EPOLL_CTL_MOD);
    }
    while (load->busy) {
        if (net_now() >= end)
            load->left = 0;
        turn(load);
    }
}

static int64_t
server_cpu(const struct load *load)
{
    struct timespec used;
    if (clock_gettime(load->server_clock, &used) < 0)
        net_die("the server's clock", errno);
    return (int64_t)used.tv_sec * 1000000000 + used.tv_nsec;
}

/* What the server's clock says once the server rests, or after half a second of not resting. */
static int64_t
resting_cpu(const struct load *load)
{
    const struct timespec pause = {.tv_nsec = 5000000};
    int64_t before, now = server_cpu(load);
    for (int tries = 0; tries < 100; tries++) {
        before = now;
        nanosleep(&pause, NULL);
        now = server_cpu(load);
        if (now == before)
            break;
    }
    return now;
}

static void
find_clock(struct load *load, pid_t server)
{
    int failed = clock_getcpuclockid(server, &load->server_clock);
    if (failed)
        net_die("the server's clock", failed);
}

static void
print_latency(struct latency *latency)
{
    static const struct {
        const char *name;
        double quantile;
    } quantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}, {"max", 1}};
    latency_sort(latency);
    printf("\"latency\": {");
    for (size_t i = 0; i < sizeof quantiles / sizeof *quantiles; i++)
        printf("%s\"%s\": %.9f", i ? ", " : "", quantiles[i].name,
               (double)latency_at(latency, quantiles[i].quantile) / 1e9);
    printf("}");
}

static void
count_requests(struct load *load, const struct options *options)
{
    bool timed = !options->requests;
    if (options->server)
        find_clock(load, options->server);
    if (options->warm_up > 0)
        drive(load, options->warm_up, ULONG_MAX);
    int64_t cpu = options->server ? resting_cpu(load) : 0;
    int64_t begun = net_now();
    drive(load, timed ? options->seconds : FOREVER, timed ? ULONG_MAX : options->requests);
    int64_t ended = net_now();
    printf("{\"requests\": %zu, \"seconds\": %.9f, ", load->latency.count,
           (double)(ended - begun) / 1e9);
    if (options->server)
        printf("\"server_cpu\": %.9f, ", (double)(resting_cpu(load) - cpu) / 1e9);
    print_latency(&load->latency);
    printf("}\n");
}

static void
stay(void)
{
    char byte;
    printf("ready\n");
    fflush(stdout);
    while (read(0, &byte, 1) > 0)
        continue;
}

int
main(int count, char **words)
{
    struct options options = parse(count, words);
    struct load load = {0};
    open_all(&load, &options);
    if (options.idle)
        stay();
    else
        count_requests(&load, &options);
    close_all(&load);
    return 0;
}

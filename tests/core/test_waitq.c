/* Every order in which the steps of a few actors can come, for each of the state
 * machines, and threads that use them under one lock. */
#include "core/waitq.h"

#include "check.h"
#include "core/lock.h"
#include "core/park.h"

/* ---- the list -------------------------------------------------------------------- */

static void
test_order(void)
{
    struct tdl_waitq q;
    struct tdl_wait w[4];
    tdl_waitq_init(&q);
    CHECK(tdl_waitq_grant(&q) == NULL);
    for (int i = 0; i < 4; i++) {
        tdl_wait_init(&w[i]);
        tdl_waitq_push(&q, &w[i]);
    }
    CHECK_INT(q.count, ==, 4);
    CHECK(tdl_waitq_grant(&q) == &w[0]);
    tdl_waitq_remove(&q, &w[1]);
    tdl_waitq_push_front(&q, &w[1]); /* behind w[0], which has its grant */
    CHECK(q.first == &w[0] && w[0].next == &w[1]);
    tdl_waitq_skip(&q);
    CHECK_INT(w[1].state, ==, TDL_WAIT_SKIPPED);
    CHECK(tdl_waitq_pop(&q) == &w[2]);
    CHECK_INT(q.count, ==, 3);
    tdl_waitq_remove(&q, &w[2]); /* off the list already */
    CHECK_INT(w[2].state, ==, TDL_WAIT_IDLE);
    CHECK_INT(q.count, ==, 3);
    tdl_waitq_remove(&q, &w[0]);
    tdl_waitq_remove(&q, &w[1]);
    tdl_waitq_remove(&q, &w[3]);
    CHECK(q.first == NULL && q.last == NULL && q.pending == NULL && q.count == 0);
}

/* ---- all orders ------------------------------------------------------------------ */

enum { ACTORS = 5, STEPS = 40 };
enum stage { FRESH, WAITING, HOLDING, GONE };

struct actor {
    struct tdl_wait wait; /* first: found by it */
    enum stage stage;
    int came;      /* when it began to wait */
    bool producer; /* of a queue */
};

struct world {
    struct actor actors[ACTORS];
    struct tdl_mutex mutex;
    struct tdl_semaphore semaphore;
    struct tdl_side side;
    size_t items;
    int clock;
};

/* How one machine is stepped.  A choice is an actor and whether it gives up. */
struct machine {
    void (*begin)(struct world *);
    bool (*can)(struct world *, struct actor *, bool give_up);
    void (*step)(struct world *, struct actor *, bool give_up);
    void (*check)(struct world *);
};

static bool
has_grant(const struct actor *a)
{
    return a->wait.state == TDL_WAIT_GRANTED;
}

static int
count_stage(struct world *world, enum stage stage)
{
    int n = 0;
    for (int i = 0; i < ACTORS; i++)
        n += world->actors[i].stage == stage;
    return n;
}

static int
count_grants(struct world *world)
{
    int n = 0;
    for (int i = 0; i < ACTORS; i++)
        n += has_grant(&world->actors[i]);
    return n;
}

static bool
may(struct world *world, struct actor *a, bool give_up)
{
    (void)world;
    if (give_up)
        return a->stage == WAITING;
    return a->stage == FRESH || a->stage == HOLDING || (a->stage == WAITING && has_grant(a));
}

/* An actor that waited is served: after all that came before it and wait still. */
static void
note_served(struct world *world, struct actor *a)
{
    for (int i = 0; i < ACTORS; i++) {
        struct actor *other = &world->actors[i];
        if (other != a && other->stage == WAITING && !has_grant(other))
            CHECK_INT(a->came, <, other->came);
    }
}

/* Run the schedule `choices`; where it ends, take the first choice there is.
 * Returns how many choices were made; `widths` says how many there were each time. */
static int
replay(const struct machine *machine, struct world *world, int *choices, int *widths, int known)
{
    memset(world, 0, sizeof *world);
    machine->begin(world);
    for (int depth = 0; depth < STEPS; depth++) {
        struct actor *able[2 * ACTORS];
        bool gives_up[2 * ACTORS];
        int width = 0;
        for (int i = 0; i < ACTORS; i++)
            for (int give_up = 0; give_up < 2; give_up++)
                if (machine->can(world, &world->actors[i], give_up)) {
                    able[width] = &world->actors[i];
                    gives_up[width++] = give_up;
                }
        if (width == 0)
            return depth;
        widths[depth] = width;
        if (depth >= known)
            choices[depth] = 0;
        world->clock++;
        machine->step(world, able[choices[depth]], gives_up[choices[depth]]);
        machine->check(world);
    }
    CHECK(!"the schedule ends");
    return STEPS;
}

/* Try every schedule.  At the end nobody waits. */
static long
explore(const struct machine *machine)
{
    int choices[STEPS], widths[STEPS];
    struct world world;
    long schedules = 0;
    int depth = 0;
    do {
        depth = replay(machine, &world, choices, widths, depth);
        CHECK_INT(count_stage(&world, WAITING), ==, 0);
        schedules++;
        while (depth > 0 && choices[depth - 1] + 1 == widths[depth - 1])
            depth--;
        if (depth > 0)
            choices[depth - 1]++;
    } while (depth > 0);
    return schedules;
}

/* ---- a lock ---------------------------------------------------------------------- */

static void
begin_mutex(struct world *world)
{
    tdl_waitq_init(&world->mutex.waiters);
}

static void
step_mutex(struct world *world, struct actor *a, bool give_up)
{
    struct tdl_mutex *m = &world->mutex;
    if (give_up) {
        tdl_waitq_remove(&m->waiters, &a->wait);
        tdl_mutex_grant(m);
        a->stage = GONE;
    }
    else if (a->stage == FRESH) {
        bool got = tdl_mutex_try(m, false);
        if (!got)
            tdl_waitq_push(&m->waiters, &a->wait);
        a->stage = got ? HOLDING : WAITING;
        a->came = world->clock;
    }
    else if (a->stage == WAITING) {
        note_served(world, a);
        tdl_mutex_take(m, &a->wait);
        a->stage = HOLDING;
    }
    else {
        tdl_mutex_release(m);
        a->stage = GONE;
    }
}

/* One holder at most; a free lock with waiters is granted to exactly one. */
static void
check_mutex(struct world *world)
{
    int holders = count_stage(world, HOLDING);
    bool waited_for = world->mutex.waiters.first != NULL;
    CHECK_INT(holders, ==, world->mutex.locked);
    CHECK_INT(count_grants(world), ==, !world->mutex.locked && waited_for);
}

static void
test_every_schedule_of_a_mutex(void)
{
    static const struct machine machine = {begin_mutex, may, step_mutex, check_mutex};
    CHECK_INT(explore(&machine), >, 1000);
}

/* ---- a semaphore ----------------------------------------------------------------- */

enum { VALUE = 2 };

static void
begin_semaphore(struct world *world)
{
    tdl_waitq_init(&world->semaphore.waiters);
    world->semaphore.value = VALUE;
}

static void
step_semaphore(struct world *world, struct actor *a, bool give_up)
{
    struct tdl_semaphore *s = &world->semaphore;
    if (give_up) {
        tdl_semaphore_leave(s, &a->wait);
        a->stage = GONE;
    }
    else if (a->stage == FRESH) {
        bool got = tdl_semaphore_try(s, false);
        if (!got)
            tdl_waitq_push(&s->waiters, &a->wait);
        a->stage = got ? HOLDING : WAITING;
        a->came = world->clock;
    }
    else if (a->stage == WAITING) {
        note_served(world, a);
        tdl_semaphore_take(s, &a->wait);
        a->stage = HOLDING;
    }
    else {
        tdl_semaphore_release(s);
        a->stage = GONE;
    }
    while (tdl_semaphore_grant(s) != NULL)
        continue;
}

/* None is lost or made; nobody waits for what is there. */
static void
check_semaphore(struct world *world)
{
    int out = count_stage(world, HOLDING) + count_grants(world);
    CHECK_INT(world->semaphore.value + out, ==, VALUE);
    CHECK(world->semaphore.value == 0 || world->semaphore.waiters.pending == NULL);
}

static void
test_every_schedule_of_a_semaphore(void)
{
    static const struct machine machine = {begin_semaphore, may, step_semaphore,
                                           check_semaphore};
    CHECK_INT(explore(&machine), >, 1000);
}

/* ---- one side of a queue --------------------------------------------------------- */

static void
begin_side(struct world *world)
{
    tdl_waitq_init(&world->side.waiters);
    for (int i = ACTORS / 2; i < ACTORS; i++)
        world->actors[i].producer = true;
}

static void
begin_fair_side(struct world *world)
{
    begin_side(world);
    world->side.fair = true;
}

/* Once the producers are gone, those who still wait must give up. */
static bool
may_side(struct world *world, struct actor *a, bool give_up)
{
    if (a->stage == GONE || a->stage == HOLDING)
        return false;
    return a->producer ? !give_up : may(world, a, give_up);
}

static void
take_or_wait(struct world *world, struct actor *a)
{
    struct tdl_side *side = &world->side;
    bool newcomer = a->stage == FRESH;
    if (!newcomer)
        tdl_side_come(side, &a->wait);
    if (newcomer ? tdl_side_free(side, world->items) > 0 : world->items > 0) {
        world->items--;
        a->stage = HOLDING;
        return;
    }
    CHECK(newcomer || !side->fair); /* what was promised is there */
    a->stage = WAITING;
    if (newcomer)
        a->came = world->clock;
    if (newcomer)
        tdl_waitq_push(&side->waiters, &a->wait);
    else
        tdl_side_again(side, &a->wait);
}

static void
step_side(struct world *world, struct actor *a, bool give_up)
{
    struct tdl_side *side = &world->side;
    if (a->producer) {
        world->items++;
        tdl_side_grant(side);
        a->stage = GONE;
    }
    else if (give_up) {
        if (tdl_side_leave(side, &a->wait) && world->items > 0)
            tdl_side_grant(side);
        a->stage = GONE;
    }
    else
        take_or_wait(world, a);
}

/* Nobody waits for an item that is there unless somebody is on the way to it. */
static void
check_side(struct world *world)
{
    CHECK_INT(world->side.promised, ==, count_grants(world));
    CHECK(world->items == 0 || world->side.promised > 0 || world->side.waiters.first == NULL);
    if (world->side.fair)
        CHECK(world->items <= world->side.promised || world->side.waiters.first == NULL);
}

static void
test_every_schedule_of_a_queue(void)
{
    static const struct machine machine = {begin_side, may_side, step_side, check_side};
    CHECK_INT(explore(&machine), >, 50);
}

static void
test_every_schedule_of_a_fair_queue(void)
{
    static const struct machine machine = {begin_fair_side, may_side, step_side, check_side};
    CHECK_INT(explore(&machine), >, 50);
}

/* ---- threads --------------------------------------------------------------------- */

enum { THREADS = 4, ROUNDS = 2000 };

struct shared {
    struct tdl_lock lock; /* of all below */
    struct tdl_mutex mutex;
    long counter; /* whoever holds `mutex` */
};

struct sleeper {
    struct tdl_wait wait;
    struct tdl_parker parker;
};

static struct shared shared;

static void
tell(struct tdl_wait *w)
{
    if (w != NULL)
        tdl_parker_unpark(&((struct sleeper *)w)->parker);
}

/* Lock the mutex, or give up at once if it is busy and `impatient`. */
static bool
enter(bool impatient)
{
    struct sleeper me;
    tdl_wait_init(&me.wait);
    tdl_parker_init(&me.parker);
    tdl_lock_acquire(&shared.lock);
    bool got = tdl_mutex_try(&shared.mutex, false);
    if (!got)
        tdl_waitq_push(&shared.mutex.waiters, &me.wait);
    tdl_lock_release(&shared.lock);
    if (got)
        return true;
    if (!impatient)
        tdl_parker_park(&me.parker, NULL, -1, INT64_MAX);
    tdl_lock_acquire(&shared.lock);
    bool granted = me.wait.state == TDL_WAIT_GRANTED;
    struct tdl_wait *next = NULL;
    if (impatient) {
        tdl_waitq_remove(&shared.mutex.waiters, &me.wait);
        next = tdl_mutex_grant(&shared.mutex);
    }
    else
        tdl_mutex_take(&shared.mutex, &me.wait);
    tdl_lock_release(&shared.lock);
    tell(next);
    while (impatient && granted && !tdl_parker_notified(&me.parker))
        continue; /* who granted has yet to tell us, on this stack */
    return !impatient;
}

static void *
hammer(void *seed)
{
    uint64_t state = (uint64_t)(uintptr_t)seed;
    for (int i = 0; i < ROUNDS; i++) {
        if (!enter(check_below(&state, 4) == 0))
            continue;
        shared.counter++;
        tdl_lock_acquire(&shared.lock);
        struct tdl_wait *next = tdl_mutex_release(&shared.mutex);
        tdl_lock_release(&shared.lock);
        tell(next);
    }
    return NULL;
}

static void
test_threads_on_a_mutex(void)
{
    pthread_t threads[THREADS];
    tdl_lock_init(&shared.lock);
    tdl_waitq_init(&shared.mutex.waiters);
    shared.mutex.locked = false;
    shared.counter = 0;
    check_start(threads, THREADS, hammer, (void *)(uintptr_t)1, 1);
    check_join(threads, THREADS);
    CHECK(!shared.mutex.locked && shared.mutex.waiters.first == NULL);
    CHECK_INT(shared.counter, >, THREADS * ROUNDS / 4);
}

CHECK_MAIN(TEST(test_order), TEST(test_every_schedule_of_a_mutex),
           TEST(test_every_schedule_of_a_semaphore), TEST(test_every_schedule_of_a_queue),
           TEST(test_every_schedule_of_a_fair_queue), TEST(test_threads_on_a_mutex))

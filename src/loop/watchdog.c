#include "loop/watchdog.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/clock.h"
#include "core/futex.h"
#include "core/lock.h"
#include "py/errors.h"

/* How often it looks within the limit; and the bounds, in ns, of the times between
 * looks and until somebody who keeps the GIL is told of. */
enum { LOOKS = 4 };
#define INTERVAL_MIN TDL_NS_PER_MS
#define GRACE_MIN (100 * TDL_NS_PER_MS)

struct dog {
    _Atomic unsigned references;
    _Atomic uint32_t stopped; /* 0, or 1: the sleeper is woken */
    struct tdl_lock lock;
    LoopObject *loop; /* not owned; NULL once stopped; lock */
    int64_t limit;    /* ns; fixed */
    struct tdl_state *st;
    unsigned generation; /* tdl_state.generation when made; fixed */
    uint64_t beat;       /* the rest is the waiting thread's: as last seen */
    int64_t since;       /* when `beat` was first seen */
    bool reported;
};

/* Waits beside the watchdog's thread while that waits for the GIL. */
struct guard {
    _Atomic unsigned references;
    _Atomic uint32_t relieved; /* the other thread has the GIL */
    _Atomic bool spoke;
    struct dog *dog; /* owned */
    PyThreadState *tstate;
    uint64_t beat;
    int64_t elapsed;
};

typedef struct {
    PyObject_HEAD
    struct dog *dog;     /* owned */
    struct guard *guard; /* owned; of the report that is being made, or NULL */
} WatchdogObject;

/* What is seen of the loop at one moment. */
struct look {
    bool gone; /* the loop was closed, or has another watchdog */
    bool busy;
    uint64_t beat;
    unsigned long thread;
    PyThreadState *tstate;
};

static struct look
look_at(struct dog *dog)
{
    struct look seen = {0};
    tdl_lock_acquire(&dog->lock);
    LoopObject *loop = dog->loop;
    seen.gone = loop == NULL;
    if (loop != NULL) {
        seen.thread = atomic_load_explicit(&loop->thread, memory_order_relaxed);
        seen.tstate = atomic_load_explicit(&loop->tstate, memory_order_relaxed);
        seen.busy =
            seen.thread != 0 && !atomic_load_explicit(&loop->polling, memory_order_relaxed);
        seen.beat = tdl_loop_stats_beat(&loop->stats);
    }
    tdl_lock_release(&dog->lock);
    return seen;
}

static bool
is_stuck(struct dog *dog, uint64_t beat)
{
    struct look seen = look_at(dog);
    return !seen.gone && seen.busy && seen.beat == beat;
}

static void
dog_unref(struct dog *dog)
{
    if (atomic_fetch_sub_explicit(&dog->references, 1, memory_order_acq_rel) == 1)
        tdl_free(dog);
}

/* ---- when the GIL is not to be had --------------------------------------------------- */

static void
guard_unref(struct guard *guard)
{
    if (atomic_fetch_sub_explicit(&guard->references, 1, memory_order_acq_rel) != 1)
        return;
    dog_unref(guard->dog);
    tdl_free(guard);
}

static void
speak(struct guard *guard)
{
    char text[160];
    int n = snprintf(text, sizeof text,
                     "treadle: an event loop has been busy with one callback for %.3f seconds, "
                     "and nobody lets the GIL go\n",
                     (double)guard->elapsed * 1e-9);
    while (write(STDERR_FILENO, text, (size_t)n) < 0 && errno == EINTR)
        continue;
    tdl_dump_stack(STDERR_FILENO, guard->tstate);
}

static void *
guard_main(void *arg)
{
    struct guard *guard = arg;
    int64_t grace = guard->dog->limit < GRACE_MIN ? GRACE_MIN : guard->dog->limit;
    int64_t start = tdl_clock_now(), deadline = tdl_clock_add(start, grace);
    while (atomic_load(&guard->relieved) == 0 && tdl_clock_now() < deadline)
        tdl_futex_wait(&guard->relieved, 0, deadline);
    if (atomic_load(&guard->relieved) == 0 && is_stuck(guard->dog, guard->beat)) {
        guard->elapsed += tdl_clock_now() - start;
        atomic_store(&guard->spoke, true);
        speak(guard);
    }
    guard_unref(guard);
    return NULL;
}

static int
start_detached(void *(*run)(void *), void *arg)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, before;
    if (pthread_attr_init(&attr) != 0)
        return -1;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sigfillset(&all); /* signals are for the program's own threads */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = pthread_create(&thread, &attr, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return r == 0 ? 0 : -1;
}

/* Returns the guard, or NULL if there can be none; then a stuck GIL goes unnoticed. */
static struct guard *
guard_start(struct dog *dog, const struct look *seen, int64_t elapsed)
{
    struct guard *guard = tdl_malloc(sizeof *guard);
    if (guard == NULL)
        return NULL;
    *guard = (struct guard){
        .dog = dog, .tstate = seen->tstate, .beat = seen->beat, .elapsed = elapsed};
    atomic_init(&guard->references, 2);
    atomic_fetch_add_explicit(&dog->references, 1, memory_order_relaxed);
    if (start_detached(guard_main, guard) < 0) {
        guard_unref(guard);
        guard_unref(guard);
        return NULL;
    }
    return guard;
}

/* Returns whether it has spoken. */
static bool
guard_relieve(WatchdogObject *self)
{
    struct guard *guard = self->guard;
    self->guard = NULL;
    if (guard == NULL)
        return false;
    atomic_store(&guard->relieved, 1);
    tdl_futex_wake(&guard->relieved, 1);
    bool spoke = atomic_load(&guard->spoke);
    guard_unref(guard);
    return spoke;
}

/* ---- watching ------------------------------------------------------------------------ */

/* Sleep until the loop is overdue or the watchdog is stopped.
 * Thread state: given up.  Returns whether it is overdue. */
static bool
watch_detached(struct dog *dog, struct look *seen, int64_t *elapsed)
{
    int64_t interval = dog->limit / LOOKS < INTERVAL_MIN ? INTERVAL_MIN : dog->limit / LOOKS;
    for (;;) {
        int64_t deadline = tdl_clock_add(tdl_clock_now(), interval);
        while (atomic_load(&dog->stopped) == 0 && tdl_clock_now() < deadline)
            tdl_futex_wait(&dog->stopped, 0, deadline);
        *seen = look_at(dog);
        if (atomic_load(&dog->stopped) != 0 || seen->gone)
            return false;
        int64_t now = tdl_clock_now();
        if (!seen->busy || seen->beat != dog->beat) {
            dog->beat = seen->beat;
            dog->since = now;
            dog->reported = false;
        }
        else if (!dog->reported && now - dog->since >= dog->limit) {
            dog->reported = true;
            *elapsed = now - dog->since;
            return true;
        }
    }
}

static PyObject *
watchdog_wait(WatchdogObject *self, PyObject *Py_UNUSED(ignored))
{
    struct look seen;
    int64_t elapsed = 0;
    bool overdue;
    guard_relieve(self);
    Py_BEGIN_ALLOW_THREADS
    overdue = watch_detached(self->dog, &seen, &elapsed);
    if (overdue)
        self->guard = guard_start(self->dog, &seen, elapsed);
    Py_END_ALLOW_THREADS
    if (!overdue)
        Py_RETURN_NONE;
    return Py_BuildValue("(kd)", seen.thread, (double)elapsed * 1e-9);
}

static PyObject *
watchdog_acknowledge(WatchdogObject *self, PyObject *Py_UNUSED(ignored))
{
    struct dog *dog = self->dog;
    bool stuck = is_stuck(dog, dog->beat);
    bool kept = guard_relieve(self);
    int64_t elapsed = tdl_clock_now() - dog->since;
    tdl_lock_acquire(&dog->lock);
    if (dog->loop != NULL)
        atomic_fetch_add_explicit(&dog->loop->stats.blocked, 1, memory_order_relaxed);
    tdl_lock_release(&dog->lock);
    return Py_BuildValue("(NNd)", PyBool_FromLong(stuck), PyBool_FromLong(kept),
                         (double)elapsed * 1e-9);
}

static void
dog_stop(struct dog *dog)
{
    /* in a forked child the lock may be held by a thread that is not there */
    if (dog->generation != dog->st->generation)
        return;
    tdl_lock_acquire(&dog->lock);
    dog->loop = NULL;
    tdl_lock_release(&dog->lock);
    atomic_store(&dog->stopped, 1);
    tdl_futex_wake(&dog->stopped, 1);
}

static PyObject *
watchdog_stop(WatchdogObject *self, PyObject *Py_UNUSED(ignored))
{
    dog_stop(self->dog);
    Py_RETURN_NONE;
}

static void
watchdog_dealloc(WatchdogObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    guard_relieve(self);
    if (self->dog != NULL)
        dog_unref(self->dog);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef watchdog_methods[] = {
    {"wait", (PyCFunction)watchdog_wait, METH_NOARGS,
     "wait($self, /)\n--\n\n"
     "Wait until the loop is overdue; return (thread, seconds), or None when stopped."},
    {"acknowledge", (PyCFunction)watchdog_acknowledge, METH_NOARGS,
     "acknowledge($self, /)\n--\n\n"
     "Say that stacks have been taken; return (still stuck, kept the GIL, seconds)."},
    {"stop", (PyCFunction)watchdog_stop, METH_NOARGS,
     "stop($self, /)\n--\n\nLet go of the loop and have wait() return."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot watchdog_slots[] = {
    {Py_tp_methods, watchdog_methods},
    {Py_tp_dealloc, watchdog_dealloc},
    {Py_tp_doc, "Notices that a loop is stuck in one callback."},
    {0, NULL},
};

static PyType_Spec watchdog_spec = {
    .name = "treadle._native.Watchdog",
    .basicsize = sizeof(WatchdogObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = watchdog_slots,
};

/* ---- the loop's side ----------------------------------------------------------------- */

void
tdl_watchdog_stop(LoopObject *loop)
{
    WatchdogObject *self = (WatchdogObject *)loop->watchdog;
    loop->watchdog = NULL;
    if (self == NULL)
        return;
    dog_stop(self->dog);
    Py_DECREF(self);
}

static PyObject *
watchdog_new(LoopObject *loop, int64_t limit)
{
    PyTypeObject *type = loop->st->objects.Watchdog;
    WatchdogObject *self = (WatchdogObject *)type->tp_alloc(type, 0);
    struct dog *dog = self == NULL ? NULL : tdl_malloc(sizeof *dog);
    if (dog == NULL) {
        Py_XDECREF(self);
        return PyErr_NoMemory();
    }
    *dog = (struct dog){
        .loop = loop, .limit = limit, .st = loop->st, .generation = loop->st->generation};
    atomic_init(&dog->references, 1);
    atomic_init(&dog->stopped, 0);
    tdl_lock_init(&dog->lock);
    self->dog = dog;
    return (PyObject *)self;
}

/* _watch_over(seconds): the new watchdog, or None if `seconds` is 0 or None. */
static PyObject *
watch_over(LoopObject *self, PyObject *seconds)
{
    double limit = seconds == Py_None ? 0.0 : PyFloat_AsDouble(seconds);
    if (limit == -1.0 && PyErr_Occurred())
        return NULL;
    if (!(limit >= 0.0)) {
        PyErr_SetString(PyExc_ValueError, "seconds must not be negative");
        return NULL;
    }
    if (tdl_loop_check_closed(self) < 0)
        return NULL;
    PyObject *fresh = NULL;
    if (limit > 0.0) {
        double ns = ceil(limit * 1e9);
        fresh = watchdog_new(self, ns >= 9.2e18 ? TDL_NEVER : (int64_t)ns);
        if (fresh == NULL)
            return NULL;
    }
    tdl_watchdog_stop(self);
    self->watchdog = Py_XNewRef(fresh);
    if (fresh == NULL)
        Py_RETURN_NONE;
    return fresh;
}

PyMethodDef tdl_loop_watchdog_methods[] = {
    {"_watch_over", (PyCFunction)watch_over, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

int
tdl_watchdog_exec(PyObject *module)
{
    return tdl_state_add_type(module, &watchdog_spec, &tdl_state_of(module)->objects.Watchdog);
}

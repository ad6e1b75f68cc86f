/* The loop of a worker process: take a call, run it, put the result. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/board.h"
#include "core/clock.h"
#include "core/frame.h"
#include "core/link.h"
#include "core/memory.h"
#include "procs/codec.h"
#include "procs/procs.h"
#include "py/errors.h"

/* How often at most a worker looks how much memory it has. */
#define LOOK_AT_MEMORY TDL_NS_PER_MS
/* How often a worker that sleeps looks whether its pool's process still exists, and what
 * memory it can give back. */
#define LOOK_AROUND (TDL_NS_PER_S / 2)
/* The same, with nothing to give back and a guard that tells it of its parent's end. */
#define LOOK_SELDOM (30 * TDL_NS_PER_S)

/* A descriptor that is not ours alone: a task may have closed it, and its number may be
 * another file's by now. */
struct watched {
    int fd; /* -1: none */
    dev_t device;
    ino_t inode;
};

struct worker {
    struct tdl_state *st;
    struct tdl_codec *codec;
    struct tdl_link link;
    struct tdl_segment board_segment;
    struct tdl_board *board;
    struct watched doorbell; /* eventfd */
    struct watched guard;    /* kills this process when the parent has ended */
    int parent;              /* pidfd of the pool's process, -1: unknown */
    uint32_t index;
    uint32_t left;          /* tasks that it may still run; UINT32_MAX: any number */
    bool skipped;           /* tasks that were taken back, since the last announcement */
    bool stripped;          /* somebody has closed its descriptors */
    bool idle_memory;       /* perhaps some, since the last task */
    struct tdl_bytes parts; /* of a message that comes in several frames */
    struct tdl_bytes out;
    struct tdl_spin spin;
    int64_t average;    /* ns a task */
    int64_t max_memory; /* bytes; 0: any number */
    int64_t looked;     /* when memory was looked at */
};

/* ---- talking to the parent ---------------------------------------------------------- */

static void
watch(struct watched *watched, int fd)
{
    struct stat found;
    watched->fd = fd >= 0 && fstat(fd, &found) == 0 ? fd : -1;
    if (watched->fd >= 0) {
        watched->device = found.st_dev;
        watched->inode = found.st_ino;
    }
}

static bool
is_there(const struct watched *watched)
{
    struct stat found;
    return fstat(watched->fd, &found) == 0 && found.st_dev == watched->device &&
           found.st_ino == watched->inode;
}

static void
ring(struct worker *worker)
{
    uint64_t one = 1;
    worker->stripped = worker->stripped || !is_there(&worker->doorbell);
    while (!worker->stripped && write(worker->doorbell.fd, &one, sizeof one) < 0 &&
           errno == EINTR)
        continue;
}

/* Whether a task has closed what this worker is woken, ended and heard by.  Then it has to
 * end, and asks not to be missed: its end is what the pool notices. */
static bool
is_stripped(struct worker *worker)
{
    worker->stripped = worker->stripped || !is_there(&worker->doorbell) ||
                       (worker->guard.fd >= 0 && !is_there(&worker->guard));
    if (worker->stripped) {
        atomic_store_explicit(&worker->link.shared->full, 1, memory_order_release);
        tdl_board_post(worker->board, worker->index);
    }
    return worker->stripped;
}

static bool
parent_is_gone(struct worker *worker)
{
    struct pollfd parent = {.fd = worker->parent, .events = POLLIN};
    return worker->parent >= 0 && poll(&parent, 1, 0) > 0;
}

static void
announce(struct worker *worker)
{
    tdl_board_post(worker->board, worker->index);
    worker->skipped = false;
    if (tdl_board_should_ring(worker->board))
        ring(worker);
}

/* The parent may wait for room in the ring of calls or in the table of tasks: perhaps with
 * no task outstanding, so without the doorbell armed. */
static void
announce_room(struct worker *worker)
{
    tdl_board_post(worker->board, worker->index);
    worker->skipped = false;
    tdl_board_should_ring(worker->board);
    ring(worker);
}

/* The ring of results is full: have it emptied.  Returns 0, or -1 with an exception. */
static int
wait_for_room(struct worker *worker, size_t size)
{
    tdl_board_post(worker->board, worker->index);
    tdl_board_should_ring(worker->board);
    ring(worker);
    if (!tdl_channel_want_room(&worker->link.results, size))
        return 0;
    PyThreadState *tstate = PyEval_SaveThread();
    int r = tdl_channel_wait_room(&worker->link.results, tdl_clock_now() + LOOK_AROUND);
    PyEval_RestoreThread(tstate);
    if (r == -ETIMEDOUT && parent_is_gone(worker))
        _exit(1);
    return r == -EINTR ? PyErr_CheckSignals() : 0;
}

/* Send `worker->out`, in parts if need be.  Returns 0, or -1 with an exception set. */
static int
send_out(struct worker *worker, struct tdl_frame frame)
{
    struct tdl_channel *results = &worker->link.results;
    size_t limit = tdl_frame_limit(results), sent = 0;
    do {
        size_t left = worker->out.size - sent;
        frame.length = (uint32_t)(left < limit ? left : limit);
        frame.flags = left > limit ? TDL_FRAME_MORE : 0;
        bool wake;
        int r = tdl_frame_put(results, &frame, worker->out.data + sent, &wake);
        if (r == -EAGAIN) {
            if (wait_for_room(worker, tdl_frame_size(frame.length)) < 0)
                return -1;
            continue;
        }
        if (r < 0) {
            PyErr_SetString(PyExc_RuntimeError, "the ring of results is damaged");
            return -1;
        }
        sent += frame.length;
        if (frame.flags == 0)
            break;
    } while (true);
    return 0;
}

/* ---- running a task ----------------------------------------------------------------- */

/* The raised exception is pickle's, not the task's: have a function of treadle._worker
 * say so in a note. */
static void
explain_failure(const char *how)
{
    PyObject *explain = NULL, *raised = tdl_err_take();
    const struct tdl_import wanted[] = {{how, &explain}, {NULL, NULL}};
    PyObject *r = NULL;
    if (tdl_state_import("treadle._worker", wanted) == 0)
        r = PyObject_CallOneArg(explain, raised);
    if (r == NULL)
        PyErr_Clear(); /* the exception itself is what counts */
    Py_XDECREF(r);
    Py_XDECREF(explain);
    tdl_err_put_steal(raised);
}

static PyObject *
run_call(struct worker *worker, const struct tdl_frame *frame, const uint8_t *data, size_t size)
{
    struct tdl_call call;
    if (tdl_codec_get_call(worker->codec, frame->function, data, size, &call) < 0) {
        explain_failure("explain_unpickling");
        return NULL;
    }
    PyObject *result = PyObject_Call(call.callable, call.args, call.kwargs);
    Py_DECREF(call.callable);
    Py_DECREF(call.args);
    Py_XDECREF(call.kwargs);
    return result;
}

/* Call `function` for each item, up to the first that raises.  Returns the list of what
 * was returned, with or without an exception set; NULL with one. */
static PyObject *
run_items(PyObject *function, PyObject *items, bool star)
{
    Py_ssize_t count = PyList_GET_SIZE(items);
    PyObject *values = PyList_New(0);
    for (Py_ssize_t i = 0; values != NULL && i < count; i++) {
        PyObject *item = PyList_GET_ITEM(items, i);
        PyObject *value =
            star ? PyObject_CallObject(function, item) : PyObject_CallOneArg(function, item);
        if (value == NULL)
            break;
        if (PyList_Append(values, value) < 0)
            Py_CLEAR(values);
        Py_DECREF(value);
    }
    return values;
}

/* Encode the list of values at the end of `worker->out`; up to the first that cannot be,
 * which then leaves an exception set.  Returns 0 or -1 if nothing could be. */
static int
put_values(struct worker *worker, PyObject *values)
{
    if (tdl_codec_put_value(worker->codec, &worker->out, values) == 0)
        return 0;
    PyErr_Clear();
    Py_ssize_t good = 0;
    struct tdl_bytes trial;
    tdl_bytes_init(&trial);
    while (good < PyList_GET_SIZE(values) &&
           tdl_codec_put_value(worker->codec, &trial, PyList_GET_ITEM(values, good)) == 0) {
        tdl_codec_drop(worker->codec, trial.data, trial.size);
        tdl_bytes_reset(&trial);
        good++;
    }
    tdl_bytes_fini(&trial);
    if (PyErr_Occurred())
        explain_failure("explain_pickling");
    PyObject *raised = tdl_err_take();
    PyObject *prefix = PyList_GetSlice(values, 0, good);
    int r = prefix == NULL ? -1 : tdl_codec_put_value(worker->codec, &worker->out, prefix);
    Py_XDECREF(prefix);
    if (r == 0 && raised != NULL)
        tdl_err_put_steal(raised);
    else
        Py_XDECREF(raised);
    return r;
}

/* Encode the raised exception.  Returns 0 or -1 with an exception set. */
static int
put_raised(struct worker *worker)
{
    PyObject *raised = tdl_err_take();
    int r = tdl_codec_put_exception(worker->codec, &worker->out, raised);
    Py_DECREF(raised);
    return r;
}

/* Call it for each item.  Returns the values, with or without an exception set; NULL with
 * one. */
static PyObject *
run_mapped(struct worker *worker, const struct tdl_frame *frame, const uint8_t *data,
           size_t size)
{
    struct tdl_call call;
    PyObject *items, *star, *values = NULL;
    if (tdl_codec_get_call(worker->codec, frame->function, data, size, &call) < 0) {
        explain_failure("explain_unpickling");
        return NULL;
    }
    if (PyArg_ParseTuple(call.args, "O!O", &PyList_Type, &items, &star))
        values = run_items(call.callable, items, star == Py_True);
    PyObject *raised = tdl_err_take();
    Py_DECREF(call.callable);
    Py_DECREF(call.args);
    Py_XDECREF(call.kwargs);
    if (raised != NULL)
        tdl_err_put_steal(raised);
    return values;
}

/* Run a chunk of a map and encode what comes of it: the time it took, the values
 * (`*split` bytes), and perhaps an exception.  Returns the kind of frame, or -1. */
static int
run_chunk(struct worker *worker, const struct tdl_frame *frame, const uint8_t *data,
          size_t size, uint32_t *split)
{
    int64_t start = tdl_clock_now();
    PyObject *values = run_mapped(worker, frame, data, size);
    int64_t ns = tdl_clock_now() - start;
    PyObject *raised = tdl_err_take();
    bool listed = values != NULL && tdl_bytes_append(&worker->out, &ns, sizeof ns) == 0 &&
                  put_values(worker, values) == 0;
    Py_XDECREF(values);
    if (listed)
        *split = (uint32_t)(worker->out.size - sizeof ns);
    else
        tdl_bytes_reset(&worker->out);
    /* what could not be encoded comes before what was raised by a later item */
    if (PyErr_Occurred())
        Py_XSETREF(raised, tdl_err_take());
    if (raised == NULL)
        return listed ? TDL_FRAME_MAPPED : -1;
    tdl_err_put_steal(raised);
    return put_raised(worker) < 0 ? -1 : listed ? TDL_FRAME_MAPPED : TDL_FRAME_RAISED;
}

/* Run it and encode what comes of it.  Returns the kind of frame, or -1. */
static int
run_task(struct worker *worker, const struct tdl_frame *frame, const uint8_t *data, size_t size,
         uint32_t *split)
{
    if (frame->kind == TDL_FRAME_MAP)
        return run_chunk(worker, frame, data, size, split);
    PyObject *result = run_call(worker, frame, data, size);
    if (result != NULL) {
        int r = tdl_codec_put_value(worker->codec, &worker->out, result);
        Py_DECREF(result);
        if (r == 0)
            return TDL_FRAME_RESULT;
        explain_failure("explain_pickling");
    }
    return put_raised(worker) < 0 ? -1 : TDL_FRAME_RAISED;
}

static void
learn_duration(struct worker *worker, int64_t ns)
{
    worker->average += worker->average == 0 ? ns : (ns - worker->average) / 4;
    int64_t average = worker->average < 1 ? 1 : worker->average;
    atomic_store_explicit(&worker->link.shared->task_ns,
                          average > UINT32_MAX ? UINT32_MAX : (uint32_t)average,
                          memory_order_relaxed);
}

/* The parent has decided that the task is over. */
static void
wait_to_be_killed(void)
{
    for (;;)
        pause();
}

/* Say so if this process has grown too large: the parent sends it no more tasks. */
static void
watch_memory(struct worker *worker)
{
    if (worker->max_memory == 0)
        return;
    int64_t now = tdl_clock_now();
    if (now - worker->looked < LOOK_AT_MEMORY)
        return;
    worker->looked = now;
    if (tdl_memory_resident() > worker->max_memory)
        atomic_store_explicit(&worker->link.shared->full, 1, memory_order_relaxed);
}

/* A whole task has come in.  Returns 0 or -1 with an exception set. */
static int
do_task(struct worker *worker, const struct tdl_frame *frame, const uint8_t *data, size_t size)
{
    struct tdl_link_shared *shared = worker->link.shared;
    bool mine = tdl_link_claim(&worker->link, frame->task, TDL_TASK_STARTED);
    int64_t start = tdl_clock_now();
    if (mine) {
        atomic_store_explicit(&shared->since, start, memory_order_relaxed);
        atomic_store_explicit(&shared->running, frame->task + 1, memory_order_release);
    }
    atomic_store_explicit(&shared->passed, frame->task + 1, memory_order_release);
    if (!mine) {
        worker->skipped = true;
        return 0;
    }
    uint32_t split = 0;
    int kind = run_task(worker, frame, data, size, &split);
    if (kind < 0)
        return -1;
    if (!tdl_link_change(&worker->link, frame->task, TDL_TASK_STARTED, TDL_TASK_DONE))
        wait_to_be_killed();
    int64_t ns = tdl_clock_now() - start;
    learn_duration(worker, ns);
    tdl_histogram_add(&shared->wait, start - frame->submitted);
    tdl_histogram_add(&shared->run, ns);
    struct tdl_frame answer = {.kind = (uint16_t)kind, .task = frame->task, .function = split};
    watch_memory(worker);
    int r = send_out(worker, answer);
    atomic_store_explicit(&shared->running, 0, memory_order_release);
    tdl_bytes_reset(&worker->out);
    if (worker->left != UINT32_MAX)
        worker->left--;
    worker->idle_memory = true;
    announce(worker);
    return r;
}

/* ---- messages ----------------------------------------------------------------------- */

/* Returns 1 to go on, 0 to end, -1 with an exception set. */
static int
do_message(struct worker *worker, const struct tdl_frame *frame, const uint8_t *data,
           size_t size)
{
    switch (frame->kind) {
    case TDL_FRAME_CALL:
    case TDL_FRAME_MAP:
        if (do_task(worker, frame, data, size) < 0)
            return -1;
        return worker->left > 0 && !(worker->stripped && is_stripped(worker));
    case TDL_FRAME_DEFINE:
        return tdl_codec_define(worker->codec, frame->function, data, size) < 0 ? -1 : 1;
    case TDL_FRAME_EXIT:
        return 0;
    default:
        PyErr_Format(PyExc_RuntimeError, "a worker got a frame of kind %d", frame->kind);
        return -1;
    }
}

/* Deal with one frame; a message in parts is put together first. */
static int
do_frame(struct worker *worker, const struct tdl_frame *frame, const uint8_t *data)
{
    bool more = frame->flags & TDL_FRAME_MORE;
    if (!more && worker->parts.size == 0) {
        int r = do_message(worker, frame, data, frame->length);
        if (tdl_frame_done(&worker->link.calls, frame))
            announce_room(worker);
        return r;
    }
    int r = tdl_bytes_append(&worker->parts, data, frame->length);
    if (tdl_frame_done(&worker->link.calls, frame))
        announce_room(worker);
    if (r < 0) {
        PyErr_NoMemory();
        return -1;
    }
    if (more)
        return 1;
    struct tdl_bytes whole = worker->parts;
    tdl_bytes_init(&worker->parts);
    r = do_message(worker, frame, whole.data, whole.size);
    tdl_bytes_fini(&whole);
    return r;
}

/* Sleep until there is a call.  Returns 0 or -1 with an exception set. */
static int
wait_for_call(struct worker *worker)
{
    if (worker->skipped)
        announce_room(worker);
    bool seldom = worker->guard.fd >= 0 && !worker->idle_memory;
    int64_t deadline = tdl_clock_now() + (seldom ? LOOK_SELDOM : LOOK_AROUND);
    PyThreadState *tstate = PyEval_SaveThread();
    int r = tdl_channel_wait(&worker->link.calls, &worker->spin, deadline);
    if (r == -ETIMEDOUT && parent_is_gone(worker))
        _exit(1);
    PyEval_RestoreThread(tstate);
    if (r == -ETIMEDOUT && worker->idle_memory)
        worker->idle_memory = tdl_codec_trim(worker->codec);
    return r == -EINTR ? PyErr_CheckSignals() : 0;
}

static int
work(struct worker *worker)
{
    struct tdl_frame frame = {.kind = TDL_FRAME_READY};
    const uint8_t *data;
    int r = send_out(worker, frame);
    announce(worker);
    while (r >= 0) {
        r = tdl_frame_get(&worker->link.calls, &frame, &data);
        if (r < 0) {
            PyErr_SetString(PyExc_RuntimeError, "the ring of calls is damaged");
            return -1;
        }
        if (r == 0 && is_stripped(worker))
            return 0;
        if (r == 0)
            r = wait_for_call(worker);
        else if ((r = do_frame(worker, &frame, data)) == 0)
            return 0;
    }
    return -1;
}

/* ---- set-up and end ----------------------------------------------------------------- */

static int
open_worker(struct worker *worker, int link_fd, int board_fd, PyObject *pickler,
            const int *stores)
{
    int r = tdl_link_attach(&worker->link, link_fd);
    if (r == 0)
        r = tdl_segment_attach(&worker->board_segment, board_fd);
    if (r < 0)
        return tdl_raise_errno(r);
    worker->board = worker->board_segment.memory;
    worker->parent = (int)syscall(SYS_pidfd_open, worker->board->owner, 0);
    worker->codec = tdl_codec_new(worker->st, pickler == Py_None ? NULL : pickler);
    if (worker->codec == NULL)
        return -1;
    if (stores[0] >= 0 && (r = tdl_codec_join(worker->codec, stores[0], stores[1])) < 0)
        return tdl_raise_errno(r);
    return 0;
}

static void
close_worker(struct worker *worker)
{
    tdl_codec_free(worker->codec);
    tdl_bytes_fini(&worker->parts);
    tdl_bytes_fini(&worker->out);
    tdl_link_close(&worker->link);
    tdl_segment_close(&worker->board_segment);
    if (worker->stripped)
        return; /* the numbers may be other files' */
    if (worker->parent >= 0)
        close(worker->parent);
    close(worker->doorbell.fd);
}

/* _work(index, descriptors, max_tasks, pickler, max_memory, guard, tied): be worker `index` of
 * the pool that gave the descriptors (segment, board, doorbell), and perhaps those of two
 * stores as tdl_codec_join() takes them, which are closed at the end, until it is told to
 * end or has run `max_tasks` tasks (0: any number).  With more than `max_memory` bytes in
 * memory (0: any number) it asks to be told.  The descriptor `guard` (-1: none) is set up so
 * that this process is killed when the parent has ended; `tied` has the kernel do so
 * when the thread that started it has, too. */
PyObject *
tdl_procs_work(PyObject *module, PyObject *args)
{
    struct worker worker = {.st = tdl_state_of(module), .left = UINT32_MAX, .parent = -1};
    int link_fd, board_fd, doorbell, guard, tied, stores[2] = {-1, -1};
    unsigned max_tasks;
    PyObject *descriptors, *pickler;
    long long max_memory;
    if (!PyArg_ParseTuple(args, "IO!IOLip:_work", &worker.index, &PyTuple_Type, &descriptors,
                          &max_tasks, &pickler, &max_memory, &guard, &tied) ||
        !PyArg_ParseTuple(descriptors, "iii|ii:_work", &link_fd, &board_fd, &doorbell,
                          &stores[0], &stores[1]))
        return NULL;
    watch(&worker.doorbell, doorbell);
    watch(&worker.guard, guard);
    if (tied)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    worker.max_memory = max_memory;
    if (max_tasks > 0)
        worker.left = max_tasks;
    worker.link.segment.fd = worker.board_segment.fd = -1;
    tdl_spin_init(&worker.spin);
    int r = open_worker(&worker, link_fd, board_fd, pickler, stores);
    for (int i = 0; i < 2; i++)
        if (stores[i] >= 0)
            close(stores[i]);
    if (r == 0)
        r = work(&worker);
    close_worker(&worker);
    if (r < 0)
        return NULL;
    Py_RETURN_NONE;
}

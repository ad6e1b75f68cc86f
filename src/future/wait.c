#include "future/wait.h"

#include "core/clock.h"
#include "future/wait_entry.h"
#include "py/args.h"
#include "py/timeout.h"

enum when { WHEN_FIRST, WHEN_EXCEPTION, WHEN_ALL };

/* One call of wait().  The waiter comes first: it is cast back in note(). */
struct wait_op {
    struct tdl_waiter waiter;
    enum when when;               /* fixed after init */
    _Atomic Py_ssize_t remaining; /* linked and not complete, +1 while linking */
    struct tdl_state *st;
    struct tdl_wait_entry *entries; /* what was not complete at first */
    Py_ssize_t count;
    PyObject *done, *not_done; /* sets */
};

static bool
note(struct tdl_waiter *waiter, struct tdl_wait_node *node, enum tdl_outcome outcome)
{
    (void)node;
    struct wait_op *op = (struct wait_op *)waiter;
    bool last = atomic_fetch_sub_explicit(&op->remaining, 1, memory_order_acq_rel) == 1;
    return last || op->when == WHEN_FIRST ||
           (op->when == WHEN_EXCEPTION && outcome == TDL_OUTCOME_EXCEPTION);
}

static int
parse_when(PyObject *text, enum when *when)
{
    static const char *const names[] = {"FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED"};
    *when = WHEN_ALL;
    if (text == NULL)
        return 0;
    for (int i = 0; PyUnicode_Check(text) && i < 3; i++)
        if (PyUnicode_CompareWithASCIIString(text, names[i]) == 0) {
            *when = (enum when)i;
            return 0;
        }
    PyErr_Format(PyExc_ValueError, "Invalid return condition: %R", text);
    return -1;
}

/* Sort the futures into complete ones and entries.  `*enough` gets whether what
 * is complete already satisfies the condition.  Returns 0 or -1. */
static int
sort_out(struct wait_op *op, PyObject *futures, bool *enough)
{
    *enough = false;
    Py_ssize_t size = PySet_GET_SIZE(futures);
    op->entries = PyMem_New(struct tdl_wait_entry, size > 0 ? size : 1);
    PyObject *it = op->entries == NULL ? PyErr_NoMemory() : PyObject_GetIter(futures);
    PyObject *future;
    int r = it == NULL ? -1 : 0;
    while (r == 0 && (future = PyIter_Next(it)) != NULL) {
        struct tdl_wait_entry *entry = &op->entries[op->count];
        int raised;
        tdl_wait_entry_init(entry, op->st, future, &op->waiter);
        r = tdl_wait_entry_complete(op->st, entry, &raised);
        if (r > 0) {
            r = PySet_Add(op->done, future);
            *enough |= op->when == WHEN_FIRST || (op->when == WHEN_EXCEPTION && raised);
            Py_DECREF(entry->future);
        }
        else if (r == 0)
            op->count++;
        else
            Py_DECREF(entry->future);
        Py_DECREF(future);
    }
    Py_XDECREF(it);
    return r < 0 || PyErr_Occurred() ? -1 : 0;
}

/* A worker of the futures' own pool runs what nobody has started, until that is
 * enough or the time is over. */
static int
help(struct wait_op *op, int64_t deadline)
{
    int r = 0;
    for (Py_ssize_t i = 0; r >= 0 && i < op->count; i++) {
        if (deadline != TDL_NEVER && tdl_clock_now() >= deadline)
            break;
        r = tdl_wait_entry_help(&op->entries[i]);
        int raised = 0;
        if (r > 0 && op->when == WHEN_EXCEPTION)
            tdl_wait_entry_complete(op->st, &op->entries[i], &raised);
        if (r > 0 && (op->when == WHEN_FIRST || raised))
            break;
    }
    return r < 0 ? -1 : 0;
}

/* Link all entries.  Returns whether to wait: 1, 0 if it is enough, -1 on error. */
static int
link_all(struct wait_op *op)
{
    bool enough = false;
    atomic_store_explicit(&op->remaining, op->count + 1, memory_order_relaxed);
    for (Py_ssize_t i = 0; i < op->count; i++) {
        int r = tdl_wait_entry_link(op->st, &op->entries[i]);
        if (r < 0)
            return -1;
        if (r == 0) {
            int raised;
            if (tdl_wait_entry_complete(op->st, &op->entries[i], &raised) < 0)
                return -1;
            atomic_fetch_sub_explicit(&op->remaining, 1, memory_order_acq_rel);
            enough |= op->when == WHEN_FIRST || (op->when == WHEN_EXCEPTION && raised);
        }
    }
    bool last = atomic_fetch_sub_explicit(&op->remaining, 1, memory_order_acq_rel) == 1;
    return !last && !enough;
}

/* Take all entries off and put their futures into the two sets. */
static int
collect(struct wait_op *op, bool keep)
{
    int r = 0;
    for (Py_ssize_t i = 0; i < op->count; i++) {
        struct tdl_wait_entry *entry = &op->entries[i];
        bool was_linked = entry->linked;
        bool noted = tdl_wait_entry_unlink(op->st, entry);
        if (keep && r == 0)
            r = PySet_Add(noted || !was_linked ? op->done : op->not_done, entry->future);
    }
    /* somebody may be about to wake us: not before that may the entries go */
    tdl_waiter_leave(&op->waiter);
    for (Py_ssize_t i = 0; i < op->count; i++)
        Py_DECREF(op->entries[i].future);
    op->count = 0;
    return r;
}

static int
run(struct wait_op *op, PyObject *futures, PyObject *timeout)
{
    bool enough;
    int64_t deadline;
    if (sort_out(op, futures, &enough) < 0)
        return -1;
    if (!enough && op->count > 0) {
        if (tdl_timeout_deadline(timeout, &deadline) < 0 || help(op, deadline) < 0)
            return -1;
        int r = link_all(op);
        if (r > 0)
            r = tdl_waiter_wait(&op->waiter, NULL, deadline);
        return r < 0 ? -1 : collect(op, true);
    }
    /* nothing was linked: what is left is not done */
    int r = 0;
    for (Py_ssize_t i = 0; r == 0 && i < op->count; i++)
        r = PySet_Add(op->not_done, op->entries[i].future);
    return r;
}

static PyObject *
wait_for_set(struct tdl_state *st, PyObject *futures, PyObject *timeout, enum when when)
{
    struct wait_op op = {.when = when, .st = st};
    PyObject *result = NULL;
    tdl_waiter_init(&op.waiter, false, note);
    op.done = PySet_New(NULL);
    op.not_done = PySet_New(NULL);
    if (op.done != NULL && op.not_done != NULL && run(&op, futures, timeout) == 0)
        result = PyObject_CallFunctionObjArgs(st->objects.DoneAndNotDoneFutures, op.done,
                                              op.not_done, NULL);
    if (op.count > 0) {
        PyObject *error = tdl_err_take();
        collect(&op, false);
        if (error != NULL)
            tdl_err_put_steal(error);
    }
    PyMem_Free(op.entries);
    Py_XDECREF(op.done);
    Py_XDECREF(op.not_done);
    return result;
}

static PyObject *
wait_function(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"fs", "timeout", "return_when"};
    PyObject *values[3];
    enum when when;
    if (tdl_args_parse("wait", args, nargs, kwnames, names, 3, 1, values) < 0 ||
        parse_when(values[2], &when) < 0)
        return NULL;
    PyObject *futures = PySet_New(values[0]);
    if (futures == NULL)
        return NULL;
    PyObject *result = wait_for_set(tdl_state_of(module), futures, values[1], when);
    Py_DECREF(futures);
    return result;
}

static PyMethodDef wait_functions[] = {
    {"wait", TDL_METHOD(wait_function), METH_FASTCALL | METH_KEYWORDS,
     "wait($module, /, fs, timeout=None, return_when='ALL_COMPLETED')\n--\n\n"
     "Wait up to timeout seconds for futures; return the sets (done, not_done).\n\n"
     "As concurrent.futures.wait(); takes its futures and treadle's, also mixed. A\n"
     "worker that waits for jobs of its own pool runs those that nobody has started."},
    {NULL, NULL, 0, NULL},
};

int
tdl_wait_exec(PyObject *module)
{
    return PyModule_AddFunctions(module, wait_functions);
}

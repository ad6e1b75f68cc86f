/* ProcessPoolBase: the native side of treadle.ProcessPoolExecutor. */
#include "core/clock.h"
#include "procs/map.h"
#include "procs/procs.h"
#include "py/args.h"
#include "py/errors.h"
#include "py/timeout.h"

typedef struct {
    PyObject_HEAD
    ProcPoolObject *pool; /* NULL until _setup() */
} ProcessPoolObject;

struct options {
    int32_t retries;
    int64_t timeout; /* ns, 0: none */
};

static ProcPoolObject *
pool_of(ProcessPoolObject *self)
{
    if (self->pool == NULL)
        PyErr_Format(PyExc_RuntimeError, "%.200s.__init__() has not been called",
                     Py_TYPE(self)->tp_name);
    return self->pool;
}

/* Have a worker started if none that has had a task is idle and there may be more.  One that
 * was started for another task, which may not have come to it yet, does not count: as with
 * the standard pool, each submit() that finds nobody waiting adds a worker.
 * Returns 0 or -1 with an exception set. */
static int
start_worker(ProcessPoolObject *self)
{
    ProcPoolObject *pool = self->pool;
    uint32_t most = atomic_load_explicit(&pool->max_workers, memory_order_relaxed);
    if (pool->proc_count >= most && pool->idle_ns == TDL_NEVER)
        return 0;
    bool idle = false;
    tdl_lock_acquire(&pool->lock);
    if (pool->idle_ns != TDL_NEVER)
        idle = tdl_procs_live_locked(pool) >= most;
    for (int i = 0; i < TDL_BOARD_WORDS && !idle; i++)
        for (uint64_t left = pool->idle[i]; left != 0 && !idle; left &= left - 1)
            idle = pool->procs[i * 64 + __builtin_ctzll(left)]->next > 0;
    tdl_lock_release(&pool->lock);
    if (idle)
        return 0;
    PyObject *r = PyObject_CallMethodNoArgs((PyObject *)self, pool->st->names._spawn_worker);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

/* Encode the call.  What cannot be encoded becomes the future's exception.
 * Returns 1, 0 if the future has failed, -1 with an exception set. */
static int
encode(ProcPoolObject *pool, struct tdl_task *task, PyObject *const *args, Py_ssize_t nargs,
       PyObject *kwnames)
{
    size_t expected = atomic_load_explicit(&pool->call_size, memory_order_relaxed);
    if (expected >= TDL_SPARE_LEAST) {
        tdl_lock_acquire(&pool->lock);
        task->call = tdl_procs_spare_locked(pool, expected);
        tdl_lock_release(&pool->lock);
    }
    if (tdl_codec_put_call(pool->codec, &task->call, &task->function, args, nargs, kwnames) ==
        0) {
        if (task->call.size != expected)
            atomic_store_explicit(&pool->call_size, task->call.size, memory_order_relaxed);
        return 1;
    }
    if (!PyErr_ExceptionMatches(PyExc_Exception))
        return -1;
    PyObject *raised = tdl_err_take();
    PyObject *wrapped =
        PyObject_CallFunctionObjArgs(pool->st->objects.with_cause, raised, NULL);
    Py_DECREF(raised);
    if (wrapped == NULL)
        return -1;
    tdl_task_ref(task);
    task->ops->complete(task, NULL, wrapped, NULL);
    tdl_task_unref(task);
    return 0;
}

/* The worker that was idle has been told to end before it could have the task.  The
 * dispatcher would start another when that has ended, but only as long as the executor
 * exists. */
static void
start_after_all(ProcessPoolObject *self)
{
    PyObject *r =
        PyObject_CallMethodNoArgs((PyObject *)self, self->pool->st->names._spawn_worker);
    if (r == NULL)
        PyErr_Clear(); /* the dispatcher tries again, and fails the task if it has to */
    Py_XDECREF(r);
}

static PyObject *
submit(ProcessPoolObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
       const struct options *options)
{
    ProcPoolObject *pool = pool_of(self);
    if (pool == NULL || tdl_procs_check_open(pool) < 0 || start_worker(self) < 0)
        return NULL;
    FutureObject *future = tdl_future_new(pool->st, (PyObject *)pool, &pool->source);
    if (future == NULL)
        return NULL;
    struct tdl_task *task =
        tdl_task_new(&tdl_future_task_ops, TDL_FRAME_CALL, (PyObject *)future, args[0]);
    int r = task == NULL ? -1 : encode(pool, task, args, nargs, kwnames);
    if (r > 0) {
        task->retries = options->retries;
        task->timeout = options->timeout;
        if (task->retries > 0)
            tdl_codec_keep(task->call.data, task->call.size);
        tdl_future_set_job(future, task);
        tdl_procs_submit(pool, task);
        if (tdl_procs_wants_worker(pool))
            start_after_all(self);
    }
    else if (task != NULL)
        tdl_task_unref(task);
    if (r < 0)
        Py_CLEAR(future);
    return (PyObject *)future;
}

static PyObject *
executor_submit(ProcessPoolObject *self, PyObject *const *args, Py_ssize_t nargs,
                PyObject *kwnames)
{
    const struct options options = {0};
    if (nargs < 1) {
        PyErr_SetString(PyExc_TypeError, "ProcessPoolExecutor.submit() missing 1 required "
                                         "positional argument: 'fn'");
        return NULL;
    }
    return submit(self, args, nargs, kwnames, &options);
}

/* _submit_with(retries, limit, fn, /, *args, **kwargs); `limit` in seconds, 0: none. */
static PyObject *
executor_submit_with(ProcessPoolObject *self, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *kwnames)
{
    if (nargs < 3) {
        PyErr_SetString(PyExc_TypeError,
                        "submit() missing 1 required positional argument: 'fn'");
        return NULL;
    }
    struct options options = {.retries = (int32_t)PyLong_AsLong(args[0])};
    options.timeout = (int64_t)(PyFloat_AsDouble(args[1]) * 1e9);
    if (PyErr_Occurred())
        return NULL;
    return submit(self, args + 2, nargs - 2, kwnames, &options);
}

/* _set_max_workers(n): how many workers there may be. */
static PyObject *
executor_set_max_workers(ProcessPoolObject *self, PyObject *arg)
{
    ProcPoolObject *pool = pool_of(self);
    unsigned long workers = PyLong_AsUnsignedLong(arg);
    if (pool == NULL || PyErr_Occurred())
        return NULL;
    atomic_store_explicit(&pool->max_workers, (uint32_t)workers, memory_order_relaxed);
    Py_RETURN_NONE;
}

/* _map(fn, items, timeout, chunksize, buffersize, unordered, star, retries, limit): see
 * tdl_procs_batch_new(); `timeout` in seconds from now, `limit` of a chunk. */
static PyObject *
executor_map(ProcessPoolObject *self, PyObject *args)
{
    PyObject *function, *items, *timeout;
    int unordered, star, retries;
    double limit;
    int64_t deadline;
    struct tdl_procs_map_options options = {0};
    if (!PyArg_ParseTuple(args, "OOOnnppid:_map", &function, &items, &timeout,
                          &options.chunksize, &options.buffersize, &unordered, &star, &retries,
                          &limit))
        return NULL;
    ProcPoolObject *pool = pool_of(self);
    if (pool == NULL || tdl_procs_check_open(pool) < 0 ||
        tdl_timeout_deadline(timeout, &deadline) < 0)
        return NULL;
    options.unordered = unordered;
    options.star = star;
    options.retries = retries;
    options.timeout = (int64_t)(limit * 1e9);
    ProcBatchObject *batch = tdl_procs_batch_new(pool, function, items, &options);
    if (batch == NULL)
        return NULL;
    PyObject *map = tdl_procs_batch_feed(batch) < 0 ? NULL : tdl_procs_map_new(batch, deadline);
    Py_DECREF(batch);
    return map;
}

/* _setup(max_workers, max_tasks, respawn, pickler, idle_timeout, min_workers): returns the
 * pool; `idle_timeout` in seconds, below 0: none. */
static PyObject *
executor_setup(ProcessPoolObject *self, PyObject *args)
{
    unsigned max_workers, max_tasks;
    unsigned min_workers;
    int respawn;
    PyObject *pickler;
    double idle_timeout;
    if (!PyArg_ParseTuple(args, "IIpOdI:_setup", &max_workers, &max_tasks, &respawn, &pickler,
                          &idle_timeout, &min_workers))
        return NULL;
    struct tdl_state *st = tdl_state_by_type(Py_TYPE(self));
    if (st == NULL)
        return NULL;
    ProcPoolObject *pool = tdl_procs_new(st, pickler == Py_None ? NULL : pickler);
    if (pool == NULL)
        return NULL;
    pool->max_tasks = max_tasks;
    pool->respawn = respawn;
    if (idle_timeout >= 0 && idle_timeout < 9e9)
        pool->idle_ns = (int64_t)(idle_timeout * 1e9);
    pool->min_workers = min_workers;
    atomic_store_explicit(&pool->max_workers, max_workers, memory_order_relaxed);
    if (self->pool != NULL)
        tdl_procs_close(self->pool);
    Py_XSETREF(self->pool, pool);
    return Py_NewRef(pool);
}

static PyObject *
executor_stats(ProcessPoolObject *self, PyObject *Py_UNUSED(ignored))
{
    ProcPoolObject *pool = pool_of(self);
    return pool == NULL ? NULL : PyObject_CallMethod((PyObject *)pool, "stats", NULL);
}

static PyMethodDef executor_methods[] = {
    {"submit", TDL_METHOD(executor_submit), METH_FASTCALL | METH_KEYWORDS,
     "submit($self, fn, /, *args, **kwargs)\n--\n\n"
     "Schedule fn(*args, **kwargs) in a worker process; return its treadle.Future.\n\n"
     "The call is pickled at once; if that fails the future has the exception. Raises\n"
     "RuntimeError after shutdown and BrokenProcessPool after a worker was lost. As\n"
     "concurrent.futures.Executor.submit()."},
    {"_submit_with", TDL_METHOD(executor_submit_with), METH_FASTCALL | METH_KEYWORDS, NULL},
    {"_set_max_workers", (PyCFunction)executor_set_max_workers, METH_O, NULL},
    {"_map", (PyCFunction)executor_map, METH_VARARGS, NULL},
    {"_setup", (PyCFunction)executor_setup, METH_VARARGS, NULL},
    {"stats", (PyCFunction)executor_stats, METH_NOARGS,
     "stats($self, /)\n--\n\n"
     "Return figures of this moment, as a dict: queued, running and done tasks (a chunk of\n"
     "a map is one task); workers, and how many of them are idle; wait and run, histograms\n"
     "in seconds of the time from submit() until a worker begins, and from there to the\n"
     "outcome; per_worker, a list of dicts with the number of the worker, its pid, tasks\n"
     "queued with it, whether it is running one, how many it has done, and the seconds\n"
     "for which it was busy. What workers have done that have ended is in the histograms."},
    {NULL, NULL, 0, NULL},
};

/* ---- the object --------------------------------------------------------------------- */

static int
executor_traverse(ProcessPoolObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->pool);
    return 0;
}

static void
executor_dealloc(ProcessPoolObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    /* the workers finish what there is, then end: as when the standard executor is
     * collected */
    if (self->pool != NULL)
        tdl_procs_close(self->pool);
    Py_CLEAR(self->pool);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot executor_slots[] = {
    {Py_tp_methods, executor_methods},
    {Py_tp_traverse, executor_traverse},
    {Py_tp_dealloc, executor_dealloc},
    {Py_tp_doc, "The native side of treadle.ProcessPoolExecutor."},
    {0, NULL},
};

static PyType_Spec executor_spec = {
    .name = "treadle._native.ProcessPoolBase",
    .basicsize = sizeof(ProcessPoolObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = executor_slots,
};

int
tdl_procs_executor_exec(PyObject *module)
{
    return tdl_state_add_type(module, &executor_spec,
                              &tdl_state_of(module)->objects.ProcessPoolBase);
}

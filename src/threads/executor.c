#include "threads/executor.h"

#include "core/clock.h"
#include "py/args.h"
#include "py/errors.h"
#include "threads/call.h"
#include "threads/map.h"
#include "threads/native.h"

static WorkQueueObject *
queue_of(ThreadPoolObject *self)
{
    if (self->queue == NULL)
        PyErr_Format(PyExc_RuntimeError, "%.200s.__init__() has not been called",
                     Py_TYPE(self)->tp_name);
    return self->queue;
}

WorkQueueObject *
tdl_executor_queue(struct tdl_state *st, PyObject *executor)
{
    if (PyObject_TypeCheck(executor, st->objects.ThreadPoolBase))
        return queue_of((ThreadPoolObject *)executor);
    PyErr_Format(PyExc_TypeError, "a treadle.ThreadPoolExecutor is required, not '%.200s'",
                 Py_TYPE(executor)->tp_name);
    return NULL;
}

int
tdl_executor_spawn(PyObject *executor, WorkQueueObject *queue, int spawn)
{
    if (spawn <= 0)
        return spawn;
    PyObject *r = PyObject_CallMethodNoArgs(executor, queue->st->names._spawn_worker);
    Py_XDECREF(r);
    if (r != NULL)
        return 0;
    /* the threads that are there will do it */
    if (atomic_load_explicit(&queue->workers, memory_order_seq_cst) > 0) {
        if (!PyErr_ExceptionMatches(PyExc_RuntimeError))
            return -1;
        PyErr_Clear();
        return 0;
    }
    PyObject *raised = tdl_err_take();
    tdl_pool_abandon_all(queue, NULL);
    tdl_err_put_steal(raised);
    return -1;
}

/* ---- submit() --------------------------------------------------------------------- */

/* What `context` of options() means: a new reference in `*result`, or NULL for
 * the worker's own.  Returns 0 or -1 with an exception set. */
static int
resolve_context(WorkQueueObject *queue, PyObject *option, PyObject **result)
{
    *result = NULL;
    int copy = queue->copy_context;
    if (option != NULL && option != Py_None) {
        if (PyContext_CheckExact(option)) {
            *result = Py_NewRef(option);
            return 0;
        }
        copy = PyObject_IsTrue(option);
    }
    if (copy > 0)
        *result = PyContext_CopyCurrent();
    return copy < 0 || (copy && *result == NULL) ? -1 : 0;
}

/* args[0] is the callable; `option` as resolve_context(). */
static PyObject *
submit(ThreadPoolObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
       PyObject *option, int32_t priority)
{
    WorkQueueObject *queue = queue_of(self);
    PyObject *context;
    if (queue == NULL || tdl_pool_check_open(queue) < 0 ||
        resolve_context(queue, option, &context) < 0)
        return NULL;
    FutureObject *future = tdl_future_new(queue->st, (PyObject *)queue, &queue->source);
    struct tdl_job *job = NULL;
    if (future != NULL)
        job = tdl_call_job_new(future, args, nargs, kwnames, context, priority);
    Py_XDECREF(context);
    if (job == NULL ||
        tdl_executor_spawn((PyObject *)self, queue, tdl_pool_push(queue, job)) < 0)
        Py_CLEAR(future);
    return (PyObject *)future;
}

static PyObject *
pool_submit(ThreadPoolObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    if (nargs < 1) {
        PyErr_SetString(PyExc_TypeError, "ThreadPoolExecutor.submit() missing 1 required "
                                         "positional argument: 'fn'");
        return NULL;
    }
    return submit(self, args, nargs, kwnames, NULL, 0);
}

static int
parse_priority(PyObject *option, int32_t *priority)
{
    *priority = 0;
    if (option == Py_None)
        return 0;
    long value = PyLong_AsLong(option);
    if (value == -1 && PyErr_Occurred())
        return -1;
    if (value < INT32_MIN || value > INT32_MAX) {
        PyErr_SetString(PyExc_OverflowError, "priority must fit into 32 bits");
        return -1;
    }
    *priority = (int32_t)value;
    return 0;
}

/* _submit_with(priority, context, fn, /, *args, **kwargs) */
static PyObject *
pool_submit_with(ThreadPoolObject *self, PyObject *const *args, Py_ssize_t nargs,
                 PyObject *kwnames)
{
    int32_t priority;
    if (nargs < 3) {
        PyErr_SetString(PyExc_TypeError,
                        "submit() missing 1 required positional argument: 'fn'");
        return NULL;
    }
    if (parse_priority(args[0], &priority) < 0)
        return NULL;
    return submit(self, args + 2, nargs - 2, kwnames, args[1], priority);
}

/* ---- map() and native jobs -------------------------------------------------------- */

/* _map(fn, iterables, timeout, chunksize, buffersize, unordered, priority, context) */
static PyObject *
pool_map(ThreadPoolObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    WorkQueueObject *queue = queue_of(self);
    if (queue == NULL)
        return NULL;
    if (nargs != 8 || !PyTuple_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "_map() takes 8 arguments, iterables as a tuple");
        return NULL;
    }
    struct tdl_map_options options = {.timeout = args[2]};
    long chunksize = PyLong_AsLong(args[3]);
    options.buffersize = args[4] == Py_None ? 0 : PyLong_AsSsize_t(args[4]);
    int unordered = PyObject_IsTrue(args[5]);
    if (PyErr_Occurred() || unordered < 0 || parse_priority(args[6], &options.priority) < 0 ||
        resolve_context(queue, args[7], &options.context) < 0)
        return NULL;
    options.unordered = unordered;
    options.chunksize = chunksize < 1 ? 1 : chunksize > 1 << 20 ? 1 << 20 : (uint32_t)chunksize;
    PyObject *it = tdl_map_new(queue, (PyObject *)self, args[0], args[1], &options);
    Py_XDECREF(options.context);
    return it;
}

/* _submit_native(address, keepalive, buffers) */
static PyObject *
pool_submit_native(ThreadPoolObject *self, PyObject *args)
{
    PyObject *address, *keepalive, *buffers;
    WorkQueueObject *queue = queue_of(self);
    if (queue == NULL || tdl_pool_check_open(queue) < 0 ||
        !PyArg_ParseTuple(args, "OOO!:_submit_native", &address, &keepalive, &PyTuple_Type,
                          &buffers))
        return NULL;
    void *pointer = PyLong_AsVoidPtr(address);
    if (pointer == NULL) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "the function pointer is NULL");
        return NULL;
    }
    const treadle_job *kind;
    treadle_native_function function;
    memcpy(&function, &pointer, sizeof function);
    void *arg = tdl_native_buffers_new(function, keepalive, buffers, &kind);
    if (arg == NULL)
        return NULL;
    int spawn = 0;
    PyObject *future = tdl_native_submit(queue, kind, arg, &spawn);
    if (future != NULL && tdl_executor_spawn((PyObject *)self, queue, spawn) < 0)
        Py_CLEAR(future);
    return future;
}

/* ---- set-up and end --------------------------------------------------------------- */

/* _setup(max_workers, idle_timeout, inline_waits, context) */
static PyObject *
pool_setup(ThreadPoolObject *self, PyObject *args)
{
    int max_workers, inline_waits, context;
    PyObject *idle_timeout;
    if (!PyArg_ParseTuple(args, "iOpp:_setup", &max_workers, &idle_timeout, &inline_waits,
                          &context))
        return NULL;
    struct tdl_state *st = tdl_state_by_type(Py_TYPE(self));
    if (st == NULL)
        return NULL;
    /* __init__() called again sets the same pool up anew: calls that borrow it from
     * us may be under way, and its workers have to go on */
    WorkQueueObject *queue =
        self->queue != NULL ? (WorkQueueObject *)Py_NewRef(self->queue) : tdl_pool_new(st);
    if (queue == NULL)
        return NULL;
    atomic_store_explicit(&queue->max_workers, max_workers, memory_order_relaxed);
    queue->inline_waits = inline_waits;
    queue->copy_context = context;
    if (idle_timeout != Py_None) {
        double seconds = PyFloat_AsDouble(idle_timeout);
        if (seconds == -1.0 && PyErr_Occurred()) {
            Py_DECREF(queue);
            return NULL;
        }
        queue->idle_timeout = seconds > 9e9 ? TDL_NEVER : (int64_t)(seconds * 1e9);
    }
    atomic_store_explicit(&queue->closed, false, memory_order_seq_cst);
    Py_XSETREF(self->queue, queue);
    Py_RETURN_NONE;
}

/* Count a thread that is about to be started; False if the pool has enough. */
static PyObject *
pool_begin_spawn(ThreadPoolObject *self, PyObject *Py_UNUSED(ignored))
{
    WorkQueueObject *queue = queue_of(self);
    if (queue == NULL)
        return NULL;
    if (!tdl_pool_is_ours(queue))
        Py_RETURN_FALSE;
    int32_t workers = atomic_load_explicit(&queue->workers, memory_order_seq_cst);
    do {
        if (workers >= atomic_load_explicit(&queue->max_workers, memory_order_relaxed))
            Py_RETURN_FALSE;
    } while (!atomic_compare_exchange_weak_explicit(
        &queue->workers, &workers, workers + 1, memory_order_seq_cst, memory_order_seq_cst));
    atomic_fetch_add_explicit(&queue->starting, 1, memory_order_seq_cst);
    Py_RETURN_TRUE;
}

/* The counted thread did not start. */
static PyObject *
pool_spawn_failed(ThreadPoolObject *self, PyObject *Py_UNUSED(ignored))
{
    WorkQueueObject *queue = queue_of(self);
    if (queue == NULL)
        return NULL;
    atomic_fetch_sub_explicit(&queue->starting, 1, memory_order_seq_cst);
    atomic_fetch_sub_explicit(&queue->workers, 1, memory_order_seq_cst);
    Py_RETURN_NONE;
}

/* _close(cancel): no more jobs; `cancel` those that have not started. */
static PyObject *
pool_close(ThreadPoolObject *self, PyObject *cancel)
{
    WorkQueueObject *queue = queue_of(self);
    int yes = PyObject_IsTrue(cancel);
    if (queue == NULL || yes < 0)
        return NULL;
    tdl_pool_close(queue);
    if (yes)
        tdl_pool_abandon_all(queue, NULL);
    Py_RETURN_NONE;
}

static PyObject *
pool_stats(ThreadPoolObject *self, PyObject *Py_UNUSED(ignored))
{
    WorkQueueObject *queue = queue_of(self);
    return queue == NULL ? NULL : PyObject_CallMethod((PyObject *)queue, "stats", NULL);
}

/* ---- attributes that the standard class keeps in its dictionary -------------------- */

static PyObject *
get_work_queue(ThreadPoolObject *self, void *Py_UNUSED(closure))
{
    return Py_XNewRef(queue_of(self));
}

static PyObject *
get_max_workers(ThreadPoolObject *self, void *Py_UNUSED(closure))
{
    WorkQueueObject *queue = queue_of(self);
    return queue == NULL ? NULL : PyLong_FromLong(queue->max_workers);
}

static int
set_max_workers(ThreadPoolObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    WorkQueueObject *queue = queue_of(self);
    if (queue == NULL)
        return -1;
    long n = value == NULL ? 0 : PyLong_AsLong(value);
    if (n == -1 && PyErr_Occurred())
        return -1;
    if (n <= 0 || n > INT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "max_workers must be greater than 0");
        return -1;
    }
    atomic_store_explicit(&queue->max_workers, (int32_t)n, memory_order_seq_cst);
    if (tdl_pool_is_ours(queue))
        tdl_pool_wake_all(queue); /* who is too many leaves */
    return 0;
}

static PyObject *
get_shutdown(ThreadPoolObject *self, void *Py_UNUSED(closure))
{
    WorkQueueObject *queue = queue_of(self);
    return queue == NULL ? NULL : PyBool_FromLong(queue->closed);
}

static int
set_shutdown(ThreadPoolObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    WorkQueueObject *queue = queue_of(self);
    int yes = value == NULL ? 0 : PyObject_IsTrue(value);
    if (queue == NULL || yes < 0)
        return -1;
    if (yes)
        tdl_pool_close(queue);
    else
        atomic_store_explicit(&queue->closed, false, memory_order_seq_cst);
    return 0;
}

static PyObject *
get_broken(ThreadPoolObject *self, void *Py_UNUSED(closure))
{
    WorkQueueObject *queue = queue_of(self);
    if (queue == NULL)
        return NULL;
    PyObject *reason;
    TDL_CRITICAL_BEGIN(queue);
    reason = Py_NewRef(queue->broken == NULL ? Py_False : queue->broken);
    TDL_CRITICAL_END();
    return reason;
}

static PyGetSetDef pool_getset[] = {
    {"_work_queue", (getter)get_work_queue, NULL, "The pool behind the executor.", NULL},
    {"_max_workers", (getter)get_max_workers, (setter)set_max_workers, NULL, NULL},
    {"_shutdown", (getter)get_shutdown, (setter)set_shutdown, NULL, NULL},
    {"_broken", (getter)get_broken, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef pool_methods[] = {
    {"submit", TDL_METHOD(pool_submit), METH_FASTCALL | METH_KEYWORDS,
     "submit($self, fn, /, *args, **kwargs)\n--\n\n"
     "Schedule fn(*args, **kwargs) on a pool thread; return its treadle.Future.\n\n"
     "Raises RuntimeError after shutdown and BrokenThreadPool after a failed\n"
     "initializer. As concurrent.futures.Executor.submit()."},
    {"_submit_with", TDL_METHOD(pool_submit_with), METH_FASTCALL | METH_KEYWORDS, NULL},
    {"_map", TDL_METHOD(pool_map), METH_FASTCALL, NULL},
    {"_submit_native", (PyCFunction)pool_submit_native, METH_VARARGS, NULL},
    {"_setup", (PyCFunction)pool_setup, METH_VARARGS, NULL},
    {"_begin_spawn", (PyCFunction)pool_begin_spawn, METH_NOARGS, NULL},
    {"_spawn_failed", (PyCFunction)pool_spawn_failed, METH_NOARGS, NULL},
    {"_close", (PyCFunction)pool_close, METH_O, NULL},
    {"stats", (PyCFunction)pool_stats, METH_NOARGS,
     "stats($self, /)\n--\n\n"
     "Return figures of this moment, durations in seconds.\n\n"
     "queued, running, done: jobs (each item of a map counts); workers, idle:\n"
     "threads; wait, run: histograms of the time jobs waited and ran, each\n"
     "{'count': n, 'sum': s, 'buckets': [(upper bound, n), ...]}."},
    {NULL, NULL, 0, NULL},
};

/* ---- the object ------------------------------------------------------------------- */

static int
pool_traverse(ThreadPoolObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->queue);
    return 0;
}

static void
pool_dealloc(ThreadPoolObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    /* workers finish what is queued, then leave: as when the standard executor
     * is collected */
    if (self->queue != NULL)
        tdl_pool_close(self->queue);
    Py_CLEAR(self->queue);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot pool_slots[] = {
    {Py_tp_methods, pool_methods},
    {Py_tp_getset, pool_getset},
    {Py_tp_traverse, pool_traverse},
    {Py_tp_dealloc, pool_dealloc},
    {Py_tp_doc, "The native side of treadle.ThreadPoolExecutor."},
    {0, NULL},
};

static PyType_Spec pool_spec = {
    .name = "treadle._native.ThreadPoolBase",
    .basicsize = sizeof(ThreadPoolObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = pool_slots,
};

int
tdl_executor_exec(PyObject *module)
{
    return tdl_state_add_type(module, &pool_spec,
                              &tdl_state_of(module)->objects.ThreadPoolBase);
}

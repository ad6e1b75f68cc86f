#include "threads/native.h"

#include "py/errors.h"
#include "threads/call.h"

enum native_state {
    NATIVE_RAN,       /* run() has been called, the future is not complete yet */
    NATIVE_CANCELLED, /* the future is cancelled, but not told so */
    NATIVE_NOT_OURS,  /* somebody else has taken the job */
};

struct native_job {
    struct tdl_future_job base;
    const treadle_job *kind;
    void *arg; /* NULL with `released` */
    bool released;
    /* of the worker that took the job from the queue, from run_detached() to
     * settle(); who lends a hand meanwhile must not look */
    enum native_state state;
    int64_t value;
};

static void
release_arg(struct native_job *job)
{
    if (!job->released && job->kind->release != NULL)
        job->kind->release(job->arg);
    job->released = true;
}

static void
native_run_detached(struct tdl_job *base)
{
    struct native_job *job = (struct native_job *)base;
    if (atomic_exchange_explicit(&job->base.taken, 1, memory_order_acq_rel)) {
        job->state = NATIVE_NOT_OURS;
        return;
    }
    if (!tdl_future_start_detached(job->base.future)) {
        job->state = NATIVE_CANCELLED;
        return;
    }
    job->value = job->kind->run(job->arg);
    job->state = NATIVE_RAN;
}

static void
forget_job(FutureObject *future)
{
    TDL_CRITICAL_BEGIN(future);
    tdl_future_set_job(future, NULL);
    TDL_CRITICAL_END();
}

static void
complete(struct native_job *job, struct tdl_fire *fire)
{
    PyObject *result = job->kind->finish != NULL ? job->kind->finish(job->arg, job->value)
                                                 : PyLong_FromLongLong(job->value);
    if (result == NULL && !PyErr_Occurred())
        PyErr_SetString(PyExc_SystemError, "a native job's finish() returned NULL without "
                                           "setting an exception");
    PyObject *exception = result == NULL ? tdl_err_take() : NULL;
    release_arg(job);
    tdl_future_job_finish(&job->base, result, exception, fire);
}

static bool
native_run(struct tdl_job *base, struct tdl_fire *fire)
{
    struct native_job *job = (struct native_job *)base;
    if (!tdl_future_job_start(&job->base))
        return false;
    Py_BEGIN_ALLOW_THREADS
    job->value = job->kind->run(job->arg);
    Py_END_ALLOW_THREADS
    complete(job, fire);
    return true;
}

static bool
native_settle(struct tdl_job *base, struct tdl_fire *fire)
{
    struct native_job *job = (struct native_job *)base;
    if (job->state == NATIVE_NOT_OURS)
        return false;
    forget_job(job->base.future);
    if (job->state == NATIVE_RAN) {
        complete(job, fire);
        return true;
    }
    if (tdl_future_start(job->base.future) < 0)
        tdl_log_critical(job->base.future->st, "Exception in worker");
    return false;
}

/* A worker takes native jobs from the queue without a thread state, also in the
 * middle of a collection, which would then take what it has visited before and
 * misses now for garbage.  Not visited, it counts as referenced from outside;
 * a job does not stay in the queue of a pool that nobody uses. */
static int
native_traverse(struct tdl_job *base, visitproc visit, void *arg)
{
    (void)base;
    (void)visit;
    (void)arg;
    return 0;
}

static void
native_free(struct tdl_job *base)
{
    struct native_job *job = (struct native_job *)base;
    release_arg(job);
    Py_DECREF(job->base.future);
    PyMem_Free(job);
}

static const struct tdl_job_ops native_ops = {
    .run = native_run,
    .run_detached = native_run_detached,
    .settle = native_settle,
    .abandon = tdl_future_job_abandon,
    .traverse = native_traverse,
    .free = native_free,
};

PyObject *
tdl_native_submit(WorkQueueObject *queue, const treadle_job *kind, void *arg, int *spawn)
{
    FutureObject *future = tdl_future_new(queue->st, (PyObject *)queue, &queue->source);
    struct native_job *job = future == NULL ? NULL : PyMem_Calloc(1, sizeof *job);
    if (job == NULL) {
        if (kind->release != NULL)
            kind->release(arg);
        Py_XDECREF(future);
        return PyErr_NoMemory();
    }
    tdl_job_init(&job->base.base, &native_ops, 0);
    tdl_future_job_init(&job->base, future);
    job->kind = kind;
    job->arg = arg;
    *spawn = tdl_pool_push(queue, &job->base.base);
    if (*spawn < 0)
        Py_CLEAR(future);
    return (PyObject *)future;
}

/* ---- functions over buffers ------------------------------------------------------- */

struct buffers {
    treadle_native_function function;
    PyObject *keepalive;
    size_t count;
    void **data;
    size_t *sizes;
    Py_buffer views[];
};

static int64_t
buffers_run(void *arg)
{
    struct buffers *b = arg;
    return b->function(b->data, b->sizes, b->count);
}

static void
buffers_release(void *arg)
{
    struct buffers *b = arg;
    for (size_t i = 0; i < b->count; i++)
        PyBuffer_Release(&b->views[i]);
    Py_XDECREF(b->keepalive);
    PyMem_Free(b->data);
    PyMem_Free(b->sizes);
    PyMem_Free(b);
}

static const treadle_job buffers_kind = {.run = buffers_run, .release = buffers_release};

static int
get_buffer(PyObject *object, Py_buffer *view)
{
    if (PyObject_GetBuffer(object, view, PyBUF_WRITABLE) == 0)
        return 0;
    /* numpy says with a ValueError that an array is read-only */
    if (!PyErr_ExceptionMatches(PyExc_BufferError) && !PyErr_ExceptionMatches(PyExc_ValueError))
        return -1;
    PyErr_Clear();
    return PyObject_GetBuffer(object, view, PyBUF_SIMPLE);
}

void *
tdl_native_buffers_new(treadle_native_function function, PyObject *keepalive, PyObject *objects,
                       const treadle_job **kind)
{
    size_t n = (size_t)PyTuple_GET_SIZE(objects);
    struct buffers *b = PyMem_Calloc(1, sizeof *b + n * sizeof(Py_buffer));
    if (b == NULL)
        return PyErr_NoMemory();
    b->function = function;
    b->keepalive = Py_NewRef(keepalive);
    b->data = PyMem_New(void *, n > 0 ? n : 1);
    b->sizes = PyMem_New(size_t, n > 0 ? n : 1);
    int r = 0;
    if (b->data == NULL || b->sizes == NULL) {
        PyErr_NoMemory();
        r = -1;
    }
    for (size_t i = 0; r == 0 && i < n; i++) {
        r = get_buffer(PyTuple_GET_ITEM(objects, (Py_ssize_t)i), &b->views[i]);
        if (r == 0) {
            b->data[i] = b->views[i].buf;
            b->sizes[i] = (size_t)b->views[i].len;
            b->count++;
        }
    }
    if (r < 0) {
        buffers_release(b);
        return NULL;
    }
    *kind = &buffers_kind;
    return b;
}

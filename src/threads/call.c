#include "threads/call.h"

#include "py/errors.h"
#include "threads/help.h"
#include "threads/pool.h"

struct call_job {
    struct tdl_future_job base;
    PyObject *context; /* or NULL */
    PyObject *kwnames; /* or NULL */
    Py_ssize_t nargs;  /* positional ones */
    Py_ssize_t nslots; /* entries of argv */
    /* [0] is free for vectorcall's PY_VECTORCALL_ARGUMENTS_OFFSET and holds the
     * callable; all entries are strong and NULL once released */
    PyObject *argv[];
};

/* ---- jobs with a future --------------------------------------------------------- */

void
tdl_future_job_init(struct tdl_future_job *job, FutureObject *future)
{
    job->future = (FutureObject *)Py_NewRef(future);
    atomic_init(&job->taken, 0);
    tdl_future_set_job(future, job);
}

bool
tdl_future_job_take(struct tdl_future_job *job)
{
    if (atomic_exchange_explicit(&job->taken, 1, memory_order_acq_rel))
        return false;
    TDL_CRITICAL_BEGIN(job->future);
    tdl_future_set_job(job->future, NULL);
    TDL_CRITICAL_END();
    return true;
}

bool
tdl_future_job_start(struct tdl_future_job *job)
{
    if (!tdl_future_job_take(job))
        return false;
    int r = tdl_future_start(job->future);
    if (r < 0)
        tdl_log_critical(job->future->st, "Exception in worker");
    return r > 0;
}

void
tdl_future_job_finish(struct tdl_future_job *job, PyObject *result, PyObject *exception,
                      struct tdl_fire *fire)
{
    if (tdl_future_finish(job->future, result, exception, fire) < 0)
        tdl_log_critical(job->future->st, "Exception in worker");
}

void
tdl_future_job_abandon(struct tdl_job *base, PyObject *reason)
{
    struct tdl_future_job *job = (struct tdl_future_job *)base;
    FutureObject *future = job->future;
    PyObject *raised = tdl_err_take();
    if (tdl_future_job_take(job)) {
        if (reason == NULL && tdl_future_cancel(future) < 0)
            tdl_log_critical(future->st, "Exception in worker");
        /* the standard pool leaves wait() and as_completed() hanging here */
        int r = tdl_future_start(future);
        if (r < 0)
            tdl_log_critical(future->st, "Exception in worker");
        else if (r > 0) {
            PyObject *broken = PyObject_CallOneArg(future->st->objects.BrokenThreadPool,
                                                   reason != NULL ? reason : Py_None);
            if (broken == NULL)
                broken = tdl_err_take();
            tdl_future_job_finish(job, NULL, broken, NULL);
        }
    }
    if (raised != NULL)
        tdl_err_put_steal(raised);
}

/* ---- calls ---------------------------------------------------------------------- */

static void
release_args(struct call_job *job)
{
    for (Py_ssize_t i = 0; i < job->nslots; i++)
        Py_CLEAR(job->argv[i]);
    Py_CLEAR(job->kwnames);
    Py_CLEAR(job->context);
}

static PyObject *
call_in_context(struct call_job *job)
{
    PyObject *callable = job->argv[0];
    size_t nargsf = (size_t)job->nargs | PY_VECTORCALL_ARGUMENTS_OFFSET;
    if (job->context == NULL)
        return PyObject_Vectorcall(callable, job->argv + 1, nargsf, job->kwnames);
    if (PyContext_Enter(job->context) < 0)
        return NULL;
    PyObject *result = PyObject_Vectorcall(callable, job->argv + 1, nargsf, job->kwnames);
    PyObject *exception = result == NULL ? tdl_err_take() : NULL;
    if (PyContext_Exit(job->context) < 0) {
        Py_CLEAR(result);
        Py_XDECREF(exception);
    }
    else if (exception != NULL)
        tdl_err_put_steal(exception);
    return result;
}

static bool
call_run(struct tdl_job *base, struct tdl_fire *fire)
{
    struct call_job *job = (struct call_job *)base;
    if (!tdl_future_job_start(&job->base))
        return false;
    PyObject *result = call_in_context(job);
    PyObject *exception = result == NULL ? tdl_err_take() : NULL;
    /* before anybody can see the result: who waits for it may look whether the
     * arguments are gone */
    release_args(job);
    tdl_future_job_finish(&job->base, result, exception, fire);
    return true;
}

static int
call_traverse(struct tdl_job *base, visitproc visit, void *arg)
{
    struct call_job *job = (struct call_job *)base;
    Py_VISIT(job->base.future);
    for (Py_ssize_t i = 0; i < job->nslots; i++)
        Py_VISIT(job->argv[i]);
    Py_VISIT(job->kwnames);
    Py_VISIT(job->context);
    return 0;
}

static void
call_free(struct tdl_job *base)
{
    struct call_job *job = (struct call_job *)base;
    release_args(job);
    Py_DECREF(job->base.future);
    PyMem_Free(job);
}

static const struct tdl_job_ops call_ops = {
    .run = call_run,
    .abandon = tdl_future_job_abandon,
    .traverse = call_traverse,
    .free = call_free,
};

struct tdl_job *
tdl_call_job_new(FutureObject *future, PyObject *const *args, Py_ssize_t nargs,
                 PyObject *kwnames, PyObject *context, int32_t priority)
{
    Py_ssize_t nkw = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    Py_ssize_t nslots = nargs + nkw;
    struct call_job *job = PyMem_Malloc(sizeof *job + (size_t)nslots * sizeof(PyObject *));
    if (job == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    tdl_job_init(&job->base.base, &call_ops, priority);
    tdl_future_job_init(&job->base, future);
    job->context = Py_XNewRef(context);
    job->kwnames = Py_XNewRef(kwnames);
    job->nargs = nargs - 1;
    job->nslots = nslots;
    for (Py_ssize_t i = 0; i < nslots; i++)
        job->argv[i] = Py_NewRef(args[i]);
    return &job->base.base;
}

/* ---- lending a hand ------------------------------------------------------------- */

static struct tdl_future_job *
job_of(FutureObject *future)
{
    struct tdl_future_job *job;
    TDL_CRITICAL_BEGIN(future);
    job = future->job;
    if (job != NULL)
        tdl_job_ref(&job->base);
    TDL_CRITICAL_END();
    return job;
}

static WorkQueueObject *
queue_of(struct tdl_source *source)
{
    return (WorkQueueObject *)((char *)source - offsetof(WorkQueueObject, source));
}

void
tdl_call_raise_orphaned(struct tdl_source *source)
{
    PyErr_SetString(queue_of(source)->st->objects.BrokenThreadPool,
                    "this future belongs to a pool of the parent process, whose threads do "
                    "not exist in this forked child; create a new pool in the child");
}

bool
tdl_call_may_help(struct tdl_source *source)
{
    return tdl_pool_may_help(queue_of(source));
}

int
tdl_call_help(struct tdl_source *source, FutureObject *future)
{
    WorkQueueObject *queue = queue_of(source);
    if (!tdl_pool_may_help(queue))
        return 0;
    struct tdl_future_job *job = job_of(future);
    if (job == NULL)
        return 0;
    if (Py_EnterRecursiveCall(" while running a job of the pool that is being waited for")) {
        tdl_job_unref(&job->base);
        return -1;
    }
    struct tdl_help help;
    int r = tdl_help_begin(&help, queue);
    if (r == 0) {
        bool ran = job->base.ops->run(&job->base, &help.fire);
        tdl_help_end(&help, ran, job->base.submitted);
        r = tdl_future_is_done(tdl_future_state(future));
    }
    Py_LeaveRecursiveCall();
    tdl_job_unref(&job->base);
    return r;
}

/* Tasks that complete a future: submit(). */
#include "procs/pool.h"
#include "py/errors.h"

static bool
is_plain(struct tdl_task *task)
{
    FutureObject *future = (FutureObject *)task->target;
    bool plain;
    TDL_CRITICAL_BEGIN(future);
    plain = future->callbacks == NULL && future->waiters == NULL && future->condition == NULL;
    TDL_CRITICAL_END();
    return plain;
}

static void
complete(struct tdl_task *task, PyObject *value, PyObject *exception, struct tdl_fire *fire)
{
    FutureObject *future = (FutureObject *)task->target;
    /* in this order: cancel() that finds no job any more must not find it pending */
    tdl_future_start_detached(future);
    TDL_CRITICAL_BEGIN(future);
    tdl_future_set_job(future, NULL);
    TDL_CRITICAL_END();
    if (tdl_future_finish(future, value, exception, fire) < 0)
        tdl_log_critical(future->st, "Exception in a future of the process pool");
}

static void
cancel(struct tdl_task *task)
{
    FutureObject *future = (FutureObject *)task->target;
    TDL_CRITICAL_BEGIN(future);
    tdl_future_set_job(future, NULL);
    TDL_CRITICAL_END();
    if (tdl_future_cancel(future) < 0)
        tdl_log_critical(future->st, "Exception in a future of the process pool");
}

const struct tdl_task_ops tdl_future_task_ops = {
    .is_plain = is_plain,
    .complete = complete,
    .cancel = cancel,
};

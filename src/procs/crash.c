/* Workers that end: what becomes of their tasks. */
#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/clock.h"
#include "procs/pool.h"

void
tdl_procs_kill_locked(struct tdl_proc *proc)
{
    /* by the descriptor: the number may be somebody else's by now */
    proc->killed = true;
    if (proc->pidfd >= 0)
        syscall(SYS_pidfd_send_signal, proc->pidfd, SIGKILL, NULL, 0);
}

void
tdl_procs_free_proc(struct tdl_proc *proc)
{
    tdl_link_close(&proc->link);
    tdl_bytes_fini(&proc->incoming);
    tdl_free(proc->known);
    if (proc->pidfd >= 0)
        close(proc->pidfd);
    if (proc->results_fd >= 0)
        close(proc->results_fd);
    tdl_free(proc);
}

/* Take all tasks off a dead worker: those that it has not begun are queued again, in
 * front and in order, the others are victims. */
static void
recover_locked(ProcPoolObject *pool, struct tdl_proc *proc)
{
    for (uint32_t i = 1; i <= TDL_LINK_TASKS; i++) {
        struct tdl_task *task = proc->tasks[(proc->next - i) % TDL_LINK_TASKS];
        if (task == NULL)
            continue;
        bool begun = !tdl_link_claim(&proc->link, task->number, TDL_TASK_REVOKED);
        tdl_procs_take_locked(pool, proc, task);
        pool->done--;
        if (begun)
            tdl_tasks_push(&pool->victims, task);
        else {
            tdl_codec_sent(pool->codec, task->call.data, task->call.size, 0);
            task->place = TDL_TASK_WAITS;
            tdl_tasks_push_front(&pool->queue, task);
        }
    }
}

/* What is still on its way into the ring goes nowhere. */
static void
drop_outgoing_locked(ProcPoolObject *pool, struct tdl_proc *proc)
{
    for (int i = 0; i < proc->outgoing_count; i++) {
        struct tdl_task *task = proc->outgoing[i].task;
        if (task != NULL &&
            atomic_fetch_sub_explicit(&task->references, 1, memory_order_acq_rel) == 1) {
            atomic_store_explicit(&task->references, 1, memory_order_relaxed);
            task->place = TDL_TASK_GONE;
            tdl_procs_over_locked(pool, task);
        }
    }
    proc->outgoing_count = 0;
}

/* _bury(index): forget a worker whose process has ended.
 * Returns (pid, whether that was expected, what it ran or None, for how many seconds,
 * reruns left, whether it had reported that it was ready, why we killed it, whether it was
 * told to end because it was idle). */
static PyObject *
pool_bury(ProcPoolObject *pool, PyObject *arg)
{
    long index = PyLong_AsLong(arg);
    if (index < 0 || index >= TDL_BOARD_WORKERS || pool->procs[index] == NULL) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "no such worker");
        return NULL;
    }
    tdl_lock_acquire(&pool->lock);
    struct tdl_proc *proc = pool->procs[index];
    pool->procs[index] = NULL;
    drop_outgoing_locked(pool, proc);
    recover_locked(pool, proc);
    tdl_codec_lost_worker(pool->codec, proc->serial);
    struct tdl_task *victim = pool->victims.first;
    PyObject *callable = victim != NULL ? Py_NewRef(victim->callable) : Py_NewRef(Py_None);
    int retries = victim != NULL ? victim->retries : 0;
    int ending = victim != NULL ? (int)victim->ending : 0;
    int64_t since = atomic_load_explicit(&proc->link.shared->since, memory_order_relaxed);
    bool corrupt = proc->corrupt;
    tdl_histogram_merge(&pool->wait, &proc->link.shared->wait);
    tdl_histogram_merge(&pool->run, &proc->link.shared->run);
    tdl_lock_release(&pool->lock);
    double seconds = (double)(tdl_clock_now() - since) / 1e9;
    PyObject *info = Py_BuildValue(
        "(lONdiOiO)", proc->pid, proc->killed && !corrupt ? Py_True : Py_False, callable,
        victim != NULL ? seconds : 0.0, retries, proc->was_ready ? Py_True : Py_False, ending,
        proc->retired ? Py_True : Py_False);
    tdl_procs_free_proc(proc);
    return info;
}

/* _settle(exception): fail the tasks that dead workers had begun, or with None run them
 * again. */
static PyObject *
pool_settle(ProcPoolObject *pool, PyObject *exception)
{
    struct tdl_wakes wakes = {.any = false};
    struct tdl_task *task;
    tdl_lock_acquire(&pool->lock);
    while ((task = tdl_tasks_pop(&pool->victims)) != NULL) {
        if (exception == Py_None) {
            task->retries--;
            task->place = TDL_TASK_WAITS;
            tdl_tasks_push_front(&pool->queue, task);
        }
        else
            tdl_procs_fail_locked(pool, task, Py_NewRef(exception));
    }
    tdl_procs_pump_locked(pool, &wakes);
    tdl_lock_release(&pool->lock);
    tdl_wakes_fire(pool, &wakes);
    Py_RETURN_NONE;
}

/* Move every task that is not over to `tasks`. */
static void
take_all_locked(ProcPoolObject *pool, struct tdl_tasks *tasks)
{
    tdl_tasks_move(tasks, &pool->victims);
    for (uint32_t i = 0; i < pool->proc_end; i++) {
        struct tdl_proc *proc = pool->procs[i];
        for (uint32_t k = 0; proc != NULL && k < TDL_LINK_TASKS; k++) {
            struct tdl_task *task = proc->tasks[(proc->next + k) % TDL_LINK_TASKS];
            if (task != NULL) {
                tdl_procs_take_locked(pool, proc, task);
                tdl_tasks_push(tasks, task);
            }
        }
    }
    tdl_tasks_move(tasks, &pool->queue);
}

/* _break(reason, make): the pool takes no more tasks; all that are not done fail with
 * what make() returns. */
static PyObject *
pool_break(ProcPoolObject *pool, PyObject *args)
{
    PyObject *reason, *make;
    struct tdl_tasks tasks;
    struct tdl_task *task;
    if (!PyArg_ParseTuple(args, "UO:_break", &reason, &make))
        return NULL;
    tdl_tasks_init(&tasks);
    TDL_CRITICAL_BEGIN(pool);
    if (pool->reason == NULL)
        pool->reason = Py_NewRef(reason);
    TDL_CRITICAL_END();
    atomic_store_explicit(&pool->broken, true, memory_order_seq_cst);
    atomic_store_explicit(&pool->closed, true, memory_order_seq_cst);
    tdl_lock_acquire(&pool->lock);
    take_all_locked(pool, &tasks);
    tdl_lock_release(&pool->lock);
    while ((task = tdl_tasks_pop(&tasks)) != NULL) {
        PyObject *exception = PyObject_CallNoArgs(make);
        if (exception == NULL)
            exception = tdl_err_take();
        tdl_lock_acquire(&pool->lock);
        tdl_procs_fail_locked(pool, task, exception);
        tdl_lock_release(&pool->lock);
    }
    tdl_procs_abandon_hungry(pool, make);
    tdl_procs_deliver(pool, true);
    tdl_procs_ring(pool);
    Py_RETURN_NONE;
}

/* Take back what a worker has not begun, but for its next task: that counts as begun,
 * as what is in the standard pool's queue of calls does. */
static void
revoke_all_locked(ProcPoolObject *pool, struct tdl_proc *proc, struct tdl_tasks *tasks)
{
    bool first = true;
    for (uint32_t k = 0; k < TDL_LINK_TASKS; k++) {
        struct tdl_task *task = proc->tasks[(proc->next + k) % TDL_LINK_TASKS];
        if (task == NULL)
            continue;
        if (!first && tdl_procs_revoke_locked(pool, task))
            tdl_tasks_push(tasks, task);
        first = false;
    }
}

/* _cancel_all(): cancel what no worker has begun. */
static PyObject *
pool_cancel_all(ProcPoolObject *pool, PyObject *Py_UNUSED(ignored))
{
    struct tdl_tasks tasks;
    struct tdl_task *task;
    tdl_tasks_init(&tasks);
    tdl_lock_acquire(&pool->lock);
    for (uint32_t i = 0; i < pool->proc_end; i++)
        if (pool->procs[i] != NULL)
            revoke_all_locked(pool, pool->procs[i], &tasks);
    tdl_tasks_move(&tasks, &pool->queue);
    for (task = tasks.first; task != NULL; task = task->next)
        task->place = TDL_TASK_GONE;
    tdl_lock_release(&pool->lock);
    while ((task = tdl_tasks_pop(&tasks)) != NULL) {
        task->ops->cancel(task);
        tdl_codec_drop(pool->codec, task->call.data, task->call.size);
        tdl_task_unref(task);
    }
    tdl_procs_abandon_hungry(pool, pool->st->objects.CancelledError);
    tdl_procs_ring(pool);
    Py_RETURN_NONE;
}

PyMethodDef tdl_procs_crash_methods[] = {
    {"_bury", (PyCFunction)pool_bury, METH_O, NULL},
    {"_settle", (PyCFunction)pool_settle, METH_O, NULL},
    {"_break", (PyCFunction)pool_break, METH_VARARGS, NULL},
    {"_cancel_all", (PyCFunction)pool_cancel_all, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

#include "core/clock.h"
#include "py/errors.h"
#include "py/exclusive.h"
#include "py/pause.h"
#include "py/timeout.h"
#include "threads/executor.h"
#include "threads/help.h"
#include "threads/map.h"

/* Taking the input, map() pauses after so many items. */
enum { ITEMS_PER_PAUSE = 1024 };

/* What map() returns.  Behaves like the generator it stands in for: dropping it
 * before the first next() lets the items run, afterwards it cancels the rest. */
typedef struct {
    PyObject_HEAD
    MapBatchObject *batch;
    WorkQueueObject *queue;
    PyObject *executor; /* weak reference */
    PyObject *inputs;   /* tuple of iterators; NULL once they are exhausted */
    int64_t deadline;
    Py_ssize_t buffersize; /* 0: none */
    bool started, finished;
    _Atomic bool busy; /* a thread is in next() or close() */
    struct tdl_waiter waiter;
} MapIteratorObject;

/* ---- input ------------------------------------------------------------------------ */

/* The next argument, or NULL with or without (exhausted) an exception. */
static PyObject *
next_argument(PyObject *inputs)
{
    Py_ssize_t n = PyTuple_GET_SIZE(inputs);
    if (n == 1)
        return PyIter_Next(PyTuple_GET_ITEM(inputs, 0));
    PyObject *argument = PyTuple_New(n);
    for (Py_ssize_t i = 0; argument != NULL && i < n; i++) {
        PyObject *item = PyIter_Next(PyTuple_GET_ITEM(inputs, i));
        if (item == NULL)
            Py_CLEAR(argument);
        else
            PyTuple_SET_ITEM(argument, i, item);
    }
    return argument;
}

/* Queue one more item.  Returns 1, 0 when the input is exhausted, -1 on error. */
static int
feed_one(MapIteratorObject *self, PyObject *executor)
{
    PyObject *argument = next_argument(self->inputs);
    if (argument == NULL) {
        if (PyErr_Occurred())
            return -1;
        Py_CLEAR(self->inputs);
        return 0;
    }
    if (tdl_pool_check_open(self->queue) < 0) {
        Py_DECREF(argument);
        return -1;
    }
    if (tdl_map_batch_append(self->batch, argument) < 0)
        return -1;
    int r = tdl_runq_add_units(&self->queue->runq, &self->batch->job, 1);
    if (r < 0)
        return tdl_raise_errno(r);
    r = tdl_executor_spawn(executor, self->queue, tdl_pool_added(self->queue));
    return r < 0 ? -1 : 1;
}

/* Queue the items that map() itself takes: up to buffersize, or all. */
static int
feed(MapIteratorObject *self, PyObject *executor)
{
    Py_ssize_t left = self->buffersize > 0 ? self->buffersize : PY_SSIZE_T_MAX;
    int r = 1;
    for (Py_ssize_t i = 1; r > 0 && i <= left; i++) {
        r = feed_one(self, executor);
        /* the input may be a builtin iterator: signals, and others that want the GIL */
        if (r > 0 && i % ITEMS_PER_PAUSE == 0 && tdl_pause(self->queue->st) < 0)
            r = -1;
    }
    return r < 0 ? -1 : 0;
}

/* A result was taken: its place in the buffer goes to the next item. */
static int
refill(MapIteratorObject *self)
{
    if (self->inputs == NULL)
        return 0;
    PyObject *executor = tdl_weakref_get(self->executor);
    if (executor == NULL) {
        Py_CLEAR(self->inputs);
        return 0;
    }
    int r = feed_one(self, executor);
    Py_DECREF(executor);
    return r < 0 ? -1 : 0;
}

/* ---- output ----------------------------------------------------------------------- */

/* No more results will be given: cancel what nobody has started. */
static void
finish(MapIteratorObject *self)
{
    if (self->finished)
        return;
    self->finished = true;
    Py_CLEAR(self->inputs);
    if (self->batch != NULL && tdl_pool_is_ours(self->queue)) {
        tdl_runq_discard(&self->queue->runq, &self->batch->job);
        tdl_map_batch_cancel(self->batch);
    }
}

/* A worker of the pool runs items itself instead of waiting for them.
 * Returns 1 if it ran one, 0 if not, -1 with an exception set. */
static int
help_once(MapIteratorObject *self)
{
    struct tdl_help help;
    if (!tdl_pool_may_help(self->queue))
        return 0;
    if (tdl_help_begin(&help, self->queue) < 0)
        return -1;
    bool ran = tdl_map_batch_run_one(self->batch, &help.fire);
    tdl_help_end(&help, ran, self->batch->job.submitted);
    return ran;
}

/* Wait for the next result.  Returns 1 to look again, -1 with an exception set. */
static int
wait_for_result(MapIteratorObject *self)
{
    int r = tdl_waiter_wait(&self->waiter, &self->queue->source, self->deadline);
    if (r == 1)
        return 1;
    tdl_map_batch_forget_waiter(self->batch);
    tdl_waiter_leave(&self->waiter);
    if (r == 0)
        PyErr_SetNone(PyExc_TimeoutError);
    return -1;
}

/* Returns 1 with the result, 0 at the end, -1 with an exception set. */
static int
next_result(MapIteratorObject *self, PyObject **value, bool *raised)
{
    for (;;) {
        tdl_waiter_rearm(&self->waiter);
        int r = tdl_map_batch_take(self->batch, NULL, value, raised);
        if (r != 0)
            return r > 0 ? 1 : 0;
        if ((r = help_once(self)) < 0)
            return -1;
        if (r > 0)
            continue;
        if (!tdl_pool_is_ours(self->queue))
            return tdl_pool_check_open(self->queue);
        r = tdl_map_batch_take(self->batch, &self->waiter, value, raised);
        if (r != 0)
            return r > 0 ? 1 : 0;
        if (wait_for_result(self) < 0)
            return -1;
    }
}

static PyObject *
iterator_next_unlocked(MapIteratorObject *self)
{
    PyObject *value = NULL;
    bool raised = false;
    if (self->finished)
        return NULL;
    self->started = true;
    int r = next_result(self, &value, &raised);
    if (r > 0 && !raised && refill(self) < 0)
        Py_CLEAR(value);
    if (r > 0 && value != NULL && !raised)
        return value;
    if (raised) {
        tdl_reraise(value);
        Py_DECREF(value);
    }
    PyObject *error = tdl_err_take();
    finish(self);
    if (error != NULL)
        tdl_err_put_steal(error);
    return NULL;
}

static int
enter(MapIteratorObject *self)
{
    return tdl_exclusive_enter(&self->busy,
                               "map iterator is already being advanced by another thread");
}

static PyObject *
iterator_next(MapIteratorObject *self)
{
    if (enter(self) < 0)
        return NULL;
    PyObject *value = iterator_next_unlocked(self);
    tdl_exclusive_leave(&self->busy);
    return value;
}

static PyObject *
iterator_close(MapIteratorObject *self, PyObject *Py_UNUSED(ignored))
{
    if (enter(self) < 0)
        return NULL;
    finish(self);
    tdl_exclusive_leave(&self->busy);
    Py_RETURN_NONE;
}

/* ---- the object ------------------------------------------------------------------- */

static int
iterator_traverse(MapIteratorObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->batch);
    Py_VISIT(self->queue);
    Py_VISIT(self->executor);
    Py_VISIT(self->inputs);
    return 0;
}

static int
iterator_clear(MapIteratorObject *self)
{
    if (self->started && self->queue != NULL)
        finish(self);
    self->finished = true;
    Py_CLEAR(self->inputs);
    Py_CLEAR(self->executor);
    return 0;
}

static void
iterator_dealloc(MapIteratorObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    iterator_clear(self);
    Py_CLEAR(self->batch);
    Py_CLEAR(self->queue);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef iterator_methods[] = {
    {"close", (PyCFunction)iterator_close, METH_NOARGS,
     "close($self, /)\n--\n\nCancel the items that have not started; no more results are given."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot iterator_slots[] = {
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, iterator_next},
    {Py_tp_traverse, iterator_traverse},
    {Py_tp_clear, iterator_clear},
    {Py_tp_dealloc, iterator_dealloc},
    {Py_tp_methods, iterator_methods},
    {Py_tp_doc, "Iterator over the results of a pool's map()."},
    {0, NULL},
};

static PyType_Spec iterator_spec = {
    .name = "treadle._native.MapIterator",
    .basicsize = sizeof(MapIteratorObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = iterator_slots,
};

static PyObject *
iterators_of(PyObject *iterables)
{
    Py_ssize_t n = PyTuple_GET_SIZE(iterables);
    PyObject *inputs = PyTuple_New(n);
    for (Py_ssize_t i = 0; inputs != NULL && i < n; i++) {
        PyObject *it = PyObject_GetIter(PyTuple_GET_ITEM(iterables, i));
        if (it == NULL)
            Py_CLEAR(inputs);
        else
            PyTuple_SET_ITEM(inputs, i, it);
    }
    return inputs;
}

static MapIteratorObject *
iterator_alloc(WorkQueueObject *queue, PyObject *executor, Py_ssize_t buffersize)
{
    PyTypeObject *type = queue->st->objects.MapIterator;
    MapIteratorObject *self = (MapIteratorObject *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    tdl_waiter_init(&self->waiter, false, NULL);
    self->queue = (WorkQueueObject *)Py_NewRef(queue);
    self->buffersize = buffersize;
    self->executor = PyWeakref_NewRef(executor, NULL);
    if (self->executor == NULL)
        Py_CLEAR(self);
    return self;
}

PyObject *
tdl_map_new(WorkQueueObject *queue, PyObject *executor, PyObject *function, PyObject *iterables,
            const struct tdl_map_options *options)
{
    MapIteratorObject *self = iterator_alloc(queue, executor, options->buffersize);
    if (self == NULL || tdl_timeout_deadline(options->timeout, &self->deadline) < 0 ||
        (self->inputs = iterators_of(iterables)) == NULL)
        goto failed;
    self->batch = tdl_map_batch_new(queue->st, function, PyTuple_GET_SIZE(iterables) != 1,
                                    options->unordered, options->context, options->chunksize,
                                    options->priority);
    if (self->batch == NULL)
        goto failed;
    self->batch->job.submitted = tdl_clock_now();
    /* zip() of nothing is empty */
    if (PyTuple_GET_SIZE(iterables) == 0)
        Py_CLEAR(self->inputs);
    else if (feed(self, executor) < 0)
        goto failed;
    return (PyObject *)self;
failed:
    Py_XDECREF(self);
    return NULL;
}

int
tdl_map_iterator_exec(PyObject *module)
{
    return tdl_state_add_type(module, &iterator_spec,
                              &tdl_state_of(module)->objects.MapIterator);
}

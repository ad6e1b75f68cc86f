/* treadle.Task, and how the loop makes one. */
#include "tasks/task.h"

/* ---- making ------------------------------------------------------------------------- */

/* "Task-<number>": formatting it would cost as much as all the rest. */
static PyObject *
spelt(unsigned long long number)
{
    static const char before[] = "Task-";
    char text[sizeof before + 20];
    char *end = text + sizeof text, *start = end;
    do
        *--start = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    start -= sizeof before - 1;
    memcpy(start, before, sizeof before - 1);
    return PyUnicode_FromStringAndSize(start, end - start);
}

/* As asyncio, a number that becomes "Task-<number>" when somebody asks; before 3.12
 * that at once. */
static PyObject *
next_name(struct tdl_state *st)
{
    unsigned long long number =
        atomic_fetch_add_explicit(st->aio.number, 1, memory_order_relaxed) + 1;
    if (st->aio.counts)
        return PyLong_FromUnsignedLongLong(number);
    return spelt(number);
}

static PyObject *
name_of(struct tdl_state *st, PyObject *given)
{
    if (given == NULL || given == Py_None)
        return next_name(st);
    return PyUnicode_CheckExact(given) ? Py_NewRef(given) : PyObject_Str(given);
}

static int
fill(LoopObject *loop, struct tdl_aio_task *t, PyObject *coro, PyObject *name,
     PyObject *context)
{
    t->loop = Py_NewRef((PyObject *)loop);
#if TDL_AIO_AWAITED_BY
    t->is_task = 1;
#endif
    t->context =
        context == NULL || context == Py_None ? PyContext_CopyCurrent() : Py_NewRef(context);
    t->coro = Py_NewRef(coro);
    if (t->context == NULL || (t->name = name_of(loop->st, name)) == NULL)
        return -1;
    t->log_destroy_pending = 1;
    return 0;
}

static bool
is_context(PyObject *context)
{
    return context == NULL || context == Py_None || PyContext_CheckExact(context);
}

static PyObject *
create_by_keywords(LoopObject *loop, PyObject *coro, PyObject *name, PyObject *context)
{
    PyObject *args[3] = {coro, name == NULL ? Py_None : name,
                         context == NULL ? Py_None : context};
    PyObject *kwnames = Py_BuildValue("(ss)", "name", "context");
    PyObject *task = kwnames == NULL ? NULL : tdl_task_create_by_call(loop, args, kwnames);
    Py_XDECREF(kwnames);
    return task;
}

/* After an error, which stays set. */
static void
drop_unmade(struct tdl_state *st, PyObject *task)
{
    PyObject *raised = tdl_err_take();
    tdl_task_unregister(st, task);
    Py_DECREF(task);
    tdl_err_put_steal(raised);
}

PyObject *
tdl_task_create(LoopObject *loop, PyObject *coro, PyObject *name, PyObject *context)
{
    struct tdl_state *st = loop->st;
    if (TDL_FREE_THREADED || !loop->plain || !PyCoro_CheckExact(coro) || !is_context(context))
        return create_by_keywords(loop, coro, name, context);
    PyObject *task = tdl_task_allocate(st->objects.Task, &st->tasks);
    if (task == NULL)
        return NULL;
    int r = fill(loop, tdl_task_of(task), coro, name, context);
    PyObject_GC_Track(task);
    /* scheduled last: who hears of an error has no task that runs all the same */
    if (r == 0 && tdl_task_register(st, task) == 0 && tdl_loop_soon_task(loop, task, NULL) == 0)
        return task;
    tdl_task_of(task)->log_destroy_pending = 0;
    drop_unmade(st, task);
    return NULL;
}

PyObject *
tdl_task_create_by_call(LoopObject *loop, PyObject *const *args, PyObject *kwnames)
{
    PyObject *positional = PyTuple_Pack(1, args[0]);
    PyObject *kwargs = Py_BuildValue("{sO}", "loop", (PyObject *)loop);
    PyObject *task = NULL;
    int r = positional == NULL || kwargs == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; r == 0 && kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++)
        r = PyDict_SetItem(kwargs, PyTuple_GET_ITEM(kwnames, i), args[i + 1]);
    if (r == 0)
        task = PyObject_Call((PyObject *)loop->st->objects.Task, positional, kwargs);
    Py_XDECREF(kwargs);
    Py_XDECREF(positional);
    return task;
}

/* ---- the type ----------------------------------------------------------------------- */

static int
traverse(PyObject *self, visitproc visit, void *arg)
{
    if (Py_TYPE(self)->tp_traverse == traverse)
        return tdl_task_traverse_exact(self, visit, arg);
    return tdl_task_traverse_as(self, tdl_task_stock_type(self, traverse), visit, arg);
}

static int
clear(PyObject *self)
{
    return tdl_task_stock_type(self, traverse)->tp_clear(self);
}

static void
dealloc(PyObject *self)
{
    struct tdl_aio_task *t = tdl_task_of(self);
    if (Py_TYPE(self)->tp_dealloc == dealloc && t->state != TDL_AIO_PENDING && !t->log_tb) {
        struct tdl_state *st = PyType_GetModuleState(Py_TYPE(self));
        if (tdl_task_may_keep(st, self)) {
            tdl_task_unregister(st, self);
            tdl_task_keep(st, self, &st->tasks);
            return;
        }
    }
    tdl_task_dealloc_as(self, tdl_task_stock_type(self, traverse));
}

static PyObject *
iterate(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    return tdl_task_iterate(type->tp_traverse == traverse ? PyType_GetModuleState(type)
                                                          : tdl_state_by_type(type),
                            self);
}

static PyType_Slot slots[] = {
    {Py_tp_iter, iterate},
    {Py_am_await, iterate},
    {Py_tp_traverse, traverse},
    {Py_tp_clear, clear},
    {Py_tp_dealloc, dealloc},
    {Py_tp_doc, "Task(coro, *, loop=None, name=None, context=None, eager_start=False)\n--\n\n"
                "An asyncio.Task; on a treadle loop its steps are native.\n\n"
                "What loop.create_task() returns where no task factory is set."},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "treadle.Task",
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

int
tdl_task_type_exec(PyObject *module)
{
    struct tdl_state *st = tdl_state_of(module);
    tdl_freelist_open(&st->tasks);
    return tdl_task_add_type(module, "Task", &spec, st->objects.aio_task, &st->objects.Task);
}

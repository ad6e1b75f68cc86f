/* TaskCall: the callable that steps or wakes a task, where a callable is wanted. */
#include "tasks/callee.h"
#include "tasks/task.h"

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    struct tdl_state *st;
    PyObject *task;      /* strong */
    PyObject *exception; /* strong; to be thrown by a step, or NULL */
    bool wakes;
} TaskCallObject;

static PyObject *
call_step(TaskCallObject *self, Py_ssize_t nargs, PyObject *kwnames)
{
    if (nargs != 0 || (kwnames != NULL && PyTuple_GET_SIZE(kwnames) != 0)) {
        PyErr_SetString(PyExc_TypeError, nargs != 0 ? "function takes no positional arguments"
                                                    : "function takes no keyword arguments");
        return NULL;
    }
    if (tdl_task_step(self->st, self->task, self->exception) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
call_wake(TaskCallObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    if (kwnames != NULL && PyTuple_GET_SIZE(kwnames) != 0) {
        PyErr_SetString(PyExc_TypeError, "Task.task_wakeup() takes no keyword arguments");
        return NULL;
    }
    if (nargs != 1) {
        PyErr_Format(PyExc_TypeError,
                     "Task.task_wakeup() takes exactly one argument (%zd given)", nargs);
        return NULL;
    }
    if (tdl_task_wake(self->st, self->task, args[0]) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
task_call(PyObject *op, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    TaskCallObject *self = (TaskCallObject *)op;
    Py_ssize_t nargs = PyVectorcall_NARGS(nargsf);
    PyObject *r;
    if (self->task == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the task is gone");
        return NULL;
    }
    Py_INCREF(op);
    r = self->wakes ? call_wake(self, args, nargs, kwnames) : call_step(self, nargs, kwnames);
    Py_DECREF(op);
    return r;
}

static TaskCallObject *
make(struct tdl_state *st, PyObject *task)
{
    PyTypeObject *type = st->objects.TaskCall;
    TaskCallObject *self = (TaskCallObject *)tdl_freelist_pop(&st->task_calls, type);
    if (self == NULL)
        self = PyObject_GC_New(TaskCallObject, type);
    if (self == NULL)
        return NULL;
    self->vectorcall = task_call;
    self->st = st;
    self->task = Py_NewRef(task);
    self->exception = NULL;
    self->wakes = true;
    return self;
}

PyObject *
tdl_task_wake_call(struct tdl_state *st, PyObject *task)
{
    TaskCallObject *self = make(st, task);
    if (self != NULL)
        PyObject_GC_Track(self);
    return (PyObject *)self;
}

PyObject *
tdl_task_step_call(struct tdl_state *st, PyObject *task, PyObject *exception)
{
    TaskCallObject *self = make(st, task);
    if (self == NULL)
        return NULL;
    self->wakes = false;
    self->exception = Py_XNewRef(exception);
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

/* asyncio's own callable that makes a step, as it lies in memory; see tasks/probe.c. */
struct aio_step {
    PyObject_HEAD
    PyObject *task;
    PyObject *exception;
};

/* Of a callable of asyncio's own for one of its tasks. */
static PyObject *
task_of_stock(struct tdl_state *st, PyObject *callback, bool argument)
{
    if (!argument && st->objects.aio_step != NULL &&
        Py_IS_TYPE(callback, st->objects.aio_step)) {
        struct aio_step *step = (struct aio_step *)callback;
        return step->exception == NULL ? step->task : NULL;
    }
    if (argument && PyCFunction_CheckExact(callback) && st->aio_wakeup != NULL &&
        ((PyCFunctionObject *)callback)->m_ml == st->aio_wakeup)
        return PyCFunction_GET_SELF(callback);
    return NULL;
}

PyObject *
tdl_task_of_callback(struct tdl_state *st, PyObject *callback, bool argument, PyObject *context)
{
    PyObject *task;
    if (Py_IS_TYPE(callback, st->objects.TaskCall)) {
        TaskCallObject *call = (TaskCallObject *)callback;
        task = call->wakes == argument && call->exception == NULL ? call->task : NULL;
    }
    else if (tdl_callee_check(st, callback))
        return ((CalleeObject *)callback)->context == context ? callback : NULL;
    else
        task = task_of_stock(st, callback, argument);
    if (task == NULL || !tdl_task_check(st, task) || tdl_task_of(task)->context != context)
        return NULL;
    return task;
}

/* ---- the type ---------------------------------------------------------------------- */

static PyObject *
get_self(TaskCallObject *self, void *Py_UNUSED(closure))
{
    return self->task == NULL ? Py_NewRef(Py_None) : Py_NewRef(self->task);
}

/* A wake-up has a name as asyncio's has, which appears where futures are shown. */
static PyObject *
get_name(TaskCallObject *self, void *closure)
{
    if (self->wakes)
        return PyUnicode_FromString((const char *)closure);
    PyErr_SetString(PyExc_AttributeError, "a task's step has no name");
    return NULL;
}

static PyGetSetDef attributes[] = {
    {"__self__", (getter)get_self, NULL, "The task.", NULL},
    {"__qualname__", (getter)get_name, NULL, NULL, "Task.task_wakeup"},
    {"__name__", (getter)get_name, NULL, NULL, "task_wakeup"},
    {NULL},
};

static PyMemberDef members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(TaskCallObject, vectorcall), READONLY, NULL},
    {NULL},
};

static int
traverse(TaskCallObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->task);
    Py_VISIT(self->exception);
    return 0;
}

static int
clear(TaskCallObject *self)
{
    Py_CLEAR(self->task);
    Py_CLEAR(self->exception);
    return 0;
}

static void
dealloc(TaskCallObject *self)
{
    struct tdl_state *st = self->st;
    PyObject_GC_UnTrack(self);
    clear(self);
    tdl_freelist_push(&st->task_calls, (PyObject *)self);
}

static PyType_Slot slots[] = {
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_getset, attributes},
    {Py_tp_members, members},
    {Py_tp_traverse, traverse},
    {Py_tp_clear, clear},
    {Py_tp_dealloc, dealloc},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "treadle._native.TaskCall",
    .basicsize = sizeof(TaskCallObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
             Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int
tdl_task_call_exec(PyObject *module)
{
    struct tdl_state *st = tdl_state_of(module);
    tdl_freelist_open(&st->task_calls);
    return tdl_state_add_type(module, &spec, &st->objects.TaskCall);
}

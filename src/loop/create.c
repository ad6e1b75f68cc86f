/* create_future() and create_task(): native ones, or asyncio's where those cannot be. */
#include "loop/stream_hooks.h"
#include "loop/task_ops.h"
#include "py/args.h"

/* type(*args, loop=self) without the detour that calling a type takes. */
static PyObject *
make(LoopObject *self, PyObject *type, PyObject *args)
{
    PyTypeObject *t = (PyTypeObject *)type;
    if (self->loop_kwargs == NULL) {
        self->loop_kwargs = Py_BuildValue("{sO}", "loop", (PyObject *)self);
        if (self->loop_kwargs == NULL)
            return NULL;
    }
    PyObject *made = t->tp_new(t, args, NULL);
    if (made != NULL && t->tp_init(made, args, self->loop_kwargs) < 0)
        Py_CLEAR(made);
    return made;
}

PyObject *
tdl_loop_create_future(LoopObject *self)
{
    if (self->st->task_ops != NULL && !self->debug)
        return self->st->task_ops->create_future(self);
    PyObject *empty = PyTuple_New(0);
    PyObject *type = self->st->task_ops == NULL ? self->st->objects.aio_future
                                                : (PyObject *)self->st->objects.LoopFuture;
    PyObject *future = empty == NULL ? NULL : make(self, type, empty);
    Py_XDECREF(empty);
    return future;
}

static PyObject *
create_future(LoopObject *self, PyObject *Py_UNUSED(ignored))
{
    if (self->writers_expected > 0 && self->st->stream_hooks->on_create_future(self) < 0)
        return NULL;
    return tdl_loop_create_future(self);
}

PyObject *
tdl_loop_any_future(struct tdl_state *st, PyObject *loop)
{
    if (Py_IS_TYPE(loop, st->objects.EventLoop) && ((LoopObject *)loop)->untouched)
        return create_future((LoopObject *)loop, NULL);
    return PyObject_CallMethodNoArgs(loop, st->names.create_future);
}

/* Whether no keyword says more than its default. */
static bool
all_none(PyObject *const *values, PyObject *kwnames)
{
    for (Py_ssize_t i = 0; kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, i);
        if (values[i] != Py_None || (PyUnicode_CompareWithASCIIString(name, "name") != 0 &&
                                     PyUnicode_CompareWithASCIIString(name, "context") != 0))
            return false;
    }
    return true;
}

/* Whether asyncio.tasks.Task is still what it was when the loop was set up. */
static bool
has_stock_task(struct tdl_state *st)
{
    struct tdl_objects *o = &st->objects;
    PyObject *task = PyDict_GetItemWithError(o->aio_tasks_dict, st->names.Task);
    return task == o->aio_task;
}

/* As asyncio does it, with its signature of this version. */
static PyObject *
create_task_as_stock(LoopObject *self, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *kwnames)
{
    Py_ssize_t all = nargs + (kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames));
    PyObject **stack = PyMem_New(PyObject *, all + 1);
    if (stack == NULL)
        return PyErr_NoMemory();
    stack[0] = (PyObject *)self;
    for (Py_ssize_t i = 0; i < all; i++)
        stack[i + 1] = args[i];
    PyObject *task = PyObject_Vectorcall(self->st->objects.aio_create_task, stack,
                                         (size_t)nargs + 1, kwnames);
    PyMem_Free(stack);
    return task;
}

/* Find name and context among the keywords.  Returns whether there is no other. */
static bool
find_keywords(PyObject *const *values, PyObject *kwnames, PyObject **name, PyObject **context)
{
    *name = *context = NULL;
    for (Py_ssize_t i = 0; kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++) {
        PyObject *keyword = PyTuple_GET_ITEM(kwnames, i);
        if (PyUnicode_CompareWithASCIIString(keyword, "name") == 0)
            *name = values[i];
        else if (PyUnicode_CompareWithASCIIString(keyword, "context") == 0)
            *context = values[i];
        else
            return false;
    }
    return true;
}

/* Whether asyncio's method hands on what keywords it gets. */
static bool
takes_any(LoopObject *self)
{
    PyObject *code = PyFunction_Check(self->st->objects.aio_create_task)
                         ? PyFunction_GET_CODE(self->st->objects.aio_create_task)
                         : NULL;
    return code != NULL && (((PyCodeObject *)code)->co_flags & CO_VARKEYWORDS) != 0;
}

static PyObject *
create_native_task(LoopObject *self, PyObject *const *args, PyObject *kwnames)
{
    PyObject *name, *context;
    const struct tdl_task_ops *ops = self->st->task_ops;
    bool plain = find_keywords(args + 1, kwnames, &name, &context);
    if (!plain && !takes_any(self))
        return create_task_as_stock(self, args, 1, kwnames);
    if (tdl_loop_check_closed(self) < 0)
        return NULL;
    if (!plain || self->debug)
        return ops->create_by_call(self, args, kwnames);
    return ops->create(self, args[0], name, context);
}

PyObject *
tdl_loop_create_task(LoopObject *self, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *kwnames)
{
    struct tdl_objects *o = &self->st->objects;
    if (nargs != 1 || self->task_factory != NULL || !has_stock_task(self->st))
        return create_task_as_stock(self, args, nargs, kwnames);
    if (self->st->task_ops != NULL)
        return create_native_task(self, args, kwnames);
    if (self->debug || !all_none(args + nargs, kwnames))
        return create_task_as_stock(self, args, nargs, kwnames);
    if (tdl_loop_check_closed(self) < 0)
        return NULL;
    PyObject *arguments = PyTuple_Pack(1, args[0]);
    PyObject *task = arguments == NULL ? NULL : make(self, o->aio_task, arguments);
    Py_XDECREF(arguments);
    return task;
}

PyMethodDef tdl_loop_create_methods[] = {
    {"create_future", (PyCFunction)create_future, METH_NOARGS,
     "create_future($self, /)\n--\n\nReturn a new treadle.LoopFuture, an asyncio.Future, of this loop."},
    {"create_task", TDL_METHOD(tdl_loop_create_task), METH_FASTCALL | METH_KEYWORDS,
     "create_task($self, coro, **kwargs)\n--\n\n"
     "Schedule a coroutine; return its treadle.Task, an asyncio.Task, or what the task\n"
     "factory makes."},
    {NULL, NULL, 0, NULL},
};

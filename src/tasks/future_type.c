/* treadle.LoopFuture, and how the loop makes one. */
#include "tasks/awaited.h"
#include "tasks/task.h"

static int traverse(PyObject *self, visitproc visit, void *arg);

PyObject *
tdl_task_create_future(LoopObject *loop)
{
    struct tdl_state *st = loop->st;
    PyObject *op = tdl_task_allocate(st->objects.LoopFuture, &st->futures);
    if (op == NULL)
        return NULL;
    tdl_awaited_of(op)->loop = Py_NewRef((PyObject *)loop);
    PyObject_GC_Track(op);
    return op;
}

static PyObject *
set_result(PyObject *self, PyObject *result)
{
    if (tdl_awaited_of(self)->loop == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Future object is not initialized.");
        return NULL;
    }
    PyTypeObject *type = Py_TYPE(self);
    struct tdl_state *st =
        type->tp_traverse == traverse ? PyType_GetModuleState(type) : tdl_state_by_type(type);
    if (st == NULL || tdl_awaited_set_result(st, self, result) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static int
traverse(PyObject *self, visitproc visit, void *arg)
{
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
    if (Py_TYPE(self)->tp_dealloc == dealloc && !tdl_awaited_of(self)->log_tb) {
        struct tdl_state *st = PyType_GetModuleState(Py_TYPE(self));
        if (tdl_task_may_keep(st, self)) {
            tdl_task_keep(st, self, &st->futures);
            return;
        }
    }
    tdl_task_dealloc_as(self, tdl_task_stock_type(self, traverse));
}

static PyMethodDef methods[] = {
    {"set_result", set_result, METH_O,
     "set_result($self, result, /)\n--\n\n"
     "Mark the future done and set its result.\n\n"
     "If the future is already done when this method is called, raises\n"
     "InvalidStateError."},
    {NULL, NULL, 0, NULL},
};

static PyObject *
iterate(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    return tdl_task_iterate(type->tp_traverse == traverse ? PyType_GetModuleState(type)
                                                          : tdl_state_by_type(type),
                            self);
}

static PyType_Slot slots[] = {
    {Py_tp_methods, methods},
    {Py_tp_iter, iterate},
    {Py_am_await, iterate},
    {Py_tp_traverse, traverse},
    {Py_tp_clear, clear},
    {Py_tp_dealloc, dealloc},
    {Py_tp_doc, "LoopFuture(*, loop=None)\n--\n\n"
                "An asyncio.Future; what create_future() of a treadle loop returns."},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "treadle._tasks.Future", /* its messages and repr() begin with that, as asyncio's */
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

int
tdl_task_future_exec(PyObject *module)
{
    struct tdl_state *st = tdl_state_of(module);
    tdl_freelist_open(&st->futures);
    return tdl_task_add_type(module, "LoopFuture", &spec, st->objects.aio_future,
                             &st->objects.LoopFuture);
}

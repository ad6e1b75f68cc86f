/* How tasks and futures come and go: memory of dead ones is kept for the next. */
#include "tasks/task.h"

PyObject *
tdl_task_allocate(PyTypeObject *type, struct tdl_freelist *list)
{
    PyObject *op = tdl_freelist_pop(list, type);
    if (op != NULL) {
        memset(op + 1, 0, (size_t)type->tp_basicsize - sizeof(PyObject));
        return op;
    }
    op = type->tp_alloc(type, 0);
    if (op != NULL)
        PyObject_GC_UnTrack(op);
    return op;
}

/* How the interpreter begins the values of attributes. */
struct values {
    uint8_t capacity;
    uint8_t count;
    uint8_t here;
    uint8_t valid;
};

static bool
has_attributes(struct tdl_state *st, PyObject *op)
{
    struct values *values = (struct values *)((char *)op + Py_TYPE(op)->tp_basicsize);
    return *tdl_task_word(op, st->aio.dict) != NULL ||
           (st->aio.values && (values->count != 0 || values->valid != 1));
}

bool
tdl_task_may_keep(struct tdl_state *st, PyObject *op)
{
    return !TDL_FREE_THREADED && *tdl_task_word(op, st->aio.weakrefs) == NULL &&
           !has_attributes(st, op);
}

int
tdl_task_traverse_exact(PyObject *op, visitproc visit, void *arg)
{
    struct tdl_aio_task *t = tdl_task_of(op);
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(t->context);
    Py_VISIT(t->coro);
    Py_VISIT(t->name);
    Py_VISIT(t->fut_waiter);
    Py_VISIT(t->loop);
    Py_VISIT(t->callback0);
    Py_VISIT(t->context0);
    Py_VISIT(t->callbacks);
    Py_VISIT(t->exception);
    Py_VISIT(t->exception_tb);
    Py_VISIT(t->result);
    Py_VISIT(t->source_tb);
    Py_VISIT(t->cancel_msg);
    Py_VISIT(t->cancelled_exc);
#if TDL_AIO_AWAITED_BY
    Py_VISIT(t->awaited_by);
#endif
#if TDL_AIO_OWN_DICT
    Py_VISIT(t->dict);
    return 0;
#else
    return PyObject_VisitManagedDict(op, visit, arg);
#endif
}

static void
clear_future(struct tdl_aio_future *f)
{
    Py_CLEAR(f->loop);
    Py_CLEAR(f->callback0);
    Py_CLEAR(f->context0);
    Py_CLEAR(f->callbacks);
    Py_CLEAR(f->exception);
    Py_CLEAR(f->exception_tb);
    Py_CLEAR(f->result);
    Py_CLEAR(f->source_tb);
    Py_CLEAR(f->cancel_msg);
    Py_CLEAR(f->cancelled_exc);
#if TDL_AIO_AWAITED_BY
    Py_CLEAR(f->awaited_by);
#endif
}

static void
clear_task(struct tdl_aio_task *t)
{
    Py_CLEAR(t->fut_waiter);
    Py_CLEAR(t->coro);
    Py_CLEAR(t->name);
    Py_CLEAR(t->context);
}

void
tdl_task_keep(struct tdl_state *st, PyObject *op, struct tdl_freelist *list)
{
    PyObject_GC_UnTrack(op);
    if (list == &st->tasks)
        clear_task(tdl_task_of(op));
    clear_future(tdl_awaited_of(op));
    tdl_freelist_push(list, op);
}

PyTypeObject *
tdl_task_stock_type(PyObject *self, traverseproc mine)
{
    PyTypeObject *type = Py_TYPE(self);
    while (type->tp_traverse != mine)
        type = type->tp_base;
    return type->tp_base;
}

void
tdl_task_dealloc_as(PyObject *op, PyTypeObject *base)
{
    PyTypeObject *type = Py_TYPE(op);
    bool counted = base->tp_flags & Py_TPFLAGS_HEAPTYPE;
    if (PyObject_CallFinalizerFromDealloc(op) < 0)
        return;
    base->tp_dealloc(op);
    if (!counted)
        Py_DECREF(type);
}

int
tdl_task_traverse_as(PyObject *op, PyTypeObject *base, visitproc visit, void *arg)
{
    if (!(base->tp_flags & Py_TPFLAGS_HEAPTYPE))
        Py_VISIT(Py_TYPE(op));
    return base->tp_traverse(op, visit, arg);
}

int
tdl_task_add_type(PyObject *module, const char *name, PyType_Spec *spec, PyObject *base,
                  PyTypeObject **slot)
{
    PyObject *bases = PyTuple_Pack(1, base);
    if (bases == NULL)
        return -1;
    *slot = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, bases);
    Py_DECREF(bases);
    return *slot == NULL ? -1 : PyModule_AddObjectRef(module, name, (PyObject *)*slot);
}

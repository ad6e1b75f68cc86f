#include "future/future.h"

static const char *const state_words[] = {"pending", "running", "cancelled", "cancelled",
                                          "finished"};

int
tdl_future_check(struct tdl_state *st, PyObject *op)
{
    return Py_IS_TYPE(op, st->objects.Future) || PyObject_TypeCheck(op, st->objects.FutureBase);
}

static FutureObject *
alloc_future(PyTypeObject *type, struct tdl_state *st)
{
    FutureObject *self = (FutureObject *)type->tp_alloc(type, 0);
    if (self != NULL)
        self->st = st;
    return self;
}

FutureObject *
tdl_future_new(struct tdl_state *st, PyObject *owner, struct tdl_source *source)
{
    FutureObject *self = alloc_future(st->objects.Future, st);
    if (self != NULL) {
        self->owner = Py_XNewRef(owner);
        self->source = source;
    }
    return self;
}

static PyObject *
future_tp_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwds))
{
    struct tdl_state *st = tdl_state_by_type(type);
    return st == NULL ? NULL : (PyObject *)alloc_future(type, st);
}

static int future_clear(FutureObject *self);

/* Called once more, __init__() makes the future new, as the standard one does. */
static void
reset(FutureObject *self)
{
    if (tdl_future_state(self) == TDL_PENDING && self->callbacks == NULL &&
        self->waiters == NULL && self->condition == NULL)
        return;
    future_clear(self);
    tdl_future_force_state(self, TDL_PENDING);
}

static int
future_init(FutureObject *self, PyObject *args, PyObject *kwds)
{
    Py_ssize_t given = PyTuple_GET_SIZE(args) + (kwds == NULL ? 0 : PyDict_GET_SIZE(kwds));
    if (given == 0) {
        reset(self);
        return 0;
    }
    PyErr_Format(PyExc_TypeError,
                 "Future.__init__() takes 1 positional argument but %zd were given", given + 1);
    return -1;
}

static int
future_traverse(FutureObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->result);
    Py_VISIT(self->exception);
    Py_VISIT(self->callbacks);
    Py_VISIT(self->condition);
    Py_VISIT(self->waiters);
    Py_VISIT(self->owner);
    return 0;
}

static int
future_clear(FutureObject *self)
{
    Py_CLEAR(self->result);
    Py_CLEAR(self->exception);
    Py_CLEAR(self->callbacks);
    Py_CLEAR(self->condition);
    Py_CLEAR(self->waiters);
    return 0;
}

static void
future_dealloc(FutureObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    future_clear(self);
    Py_CLEAR(self->owner);
    type->tp_free(self);
    Py_DECREF(type);
}

void
tdl_future_outcome(FutureObject *self, PyObject **result, PyObject **exception)
{
    TDL_CRITICAL_BEGIN(self);
    *result = Py_XNewRef(self->result);
    *exception = Py_XNewRef(self->exception);
    TDL_CRITICAL_END();
}

static PyObject *
class_name(PyObject *op)
{
    return PyObject_GetAttrString((PyObject *)Py_TYPE(op), "__name__");
}

static PyObject *
repr_finished(FutureObject *self, PyObject *name)
{
    PyObject *value;
    int raised;
    TDL_CRITICAL_BEGIN(self);
    raised = self->exception != NULL;
    value = raised ? self->exception : self->result;
    value = Py_NewRef(value == NULL ? Py_None : value);
    TDL_CRITICAL_END();
    PyObject *what = class_name(value);
    PyObject *repr = NULL;
    if (what != NULL)
        repr = PyUnicode_FromFormat("<%S at %p state=%s %s %S>", name, self,
                                    state_words[TDL_FINISHED], raised ? "raised" : "returned",
                                    what);
    Py_XDECREF(what);
    Py_DECREF(value);
    return repr;
}

static PyObject *
future_repr(FutureObject *self)
{
    enum tdl_future_state state = tdl_future_state(self);
    PyObject *name = class_name((PyObject *)self);
    if (name == NULL)
        return NULL;
    PyObject *repr;
    if (state == TDL_FINISHED)
        repr = repr_finished(self, name);
    else
        repr = PyUnicode_FromFormat("<%S at %p state=%s>", name, self, state_words[state]);
    Py_DECREF(name);
    return repr;
}

static PyType_Slot future_slots[] = {
    {Py_tp_new, future_tp_new},
    {Py_tp_init, future_init},
    {Py_tp_dealloc, future_dealloc},
    {Py_tp_traverse, future_traverse},
    {Py_tp_clear, future_clear},
    {Py_tp_repr, future_repr},
    {Py_tp_methods, tdl_future_methods},
    {Py_tp_getset, tdl_future_getset},
    {0, NULL},
};

static PyType_Spec future_spec = {
    .name = "treadle._native.FutureBase",
    .basicsize = sizeof(FutureObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = future_slots,
};

int
tdl_future_exec(PyObject *module)
{
    struct tdl_objects *o = &tdl_state_of(module)->objects;
    if (tdl_state_add_type(module, &future_spec, &o->FutureBase) < 0)
        return -1;
    return tdl_state_add_class(
        module, "Future", o->FutureBase, o->cf_future,
        "The result of a call that runs elsewhere.\n\n"
        "A concurrent.futures.Future whose state is one word; its lock,\n"
        "condition and lists are made when somebody looks at them.",
        &o->Future);
}

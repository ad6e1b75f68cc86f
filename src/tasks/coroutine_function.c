/* CoroutineFunction: a native function in the place of an `async def` of asyncio's. */
#include "tasks/coroutine.h"

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    struct tdl_state *st;
    PyObject *stock; /* strong; fixed after init */
} FunctionObject;

PyObject *
tdl_coroutine_function_new(struct tdl_state *st, PyObject *stock, vectorcallfunc function)
{
    FunctionObject *self = PyObject_GC_New(FunctionObject, st->objects.CoroutineFunction);
    if (self == NULL)
        return NULL;
    self->vectorcall = function;
    self->st = st;
    self->stock = Py_NewRef(stock);
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

struct tdl_state *
tdl_coroutine_function_state(PyObject *callable)
{
    return ((FunctionObject *)callable)->st;
}

PyObject *
tdl_coroutine_function_stock(PyObject *callable)
{
    return ((FunctionObject *)callable)->stock;
}

/* __module__ is answered here: among the type's attributes it would be the type's as well. */
static PyObject *
getattro(PyObject *op, PyObject *name)
{
    if (PyUnicode_CompareWithASCIIString(name, "__module__") == 0)
        return PyUnicode_FromString("treadle");
    PyObject *found = PyObject_GenericGetAttr(op, name);
    if (found != NULL || !PyErr_ExceptionMatches(PyExc_AttributeError))
        return found;
    PyErr_Clear();
    return PyObject_GetAttr(((FunctionObject *)op)->stock, name);
}

static PyObject *
get_of_stock(FunctionObject *self, void *name)
{
    return PyObject_GetAttrString(self->stock, name);
}

/* As functions, it is pickled by its name. */
static PyObject *
reduce(FunctionObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyObject_GetAttrString(self->stock, "__qualname__");
}

static PyObject *
repr(FunctionObject *self)
{
    PyObject *name = PyObject_GetAttrString(self->stock, "__qualname__");
    PyObject *text =
        name == NULL ? NULL : PyUnicode_FromFormat("<coroutine function treadle.%U>", name);
    Py_XDECREF(name);
    return text;
}

static int
traverse(FunctionObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->stock);
    return 0;
}

static void
dealloc(FunctionObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_DECREF(self->stock);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"__reduce__", (PyCFunction)reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef getset[] = {
    {"__doc__", (getter)get_of_stock, NULL, NULL, "__doc__"},
    {"__name__", (getter)get_of_stock, NULL, NULL, "__name__"},
    {"__qualname__", (getter)get_of_stock, NULL, NULL, "__qualname__"},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(FunctionObject, vectorcall), READONLY, NULL},
    {NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_call, PyVectorcall_Call}, {Py_tp_getattro, getattro}, {Py_tp_methods, methods},
    {Py_tp_getset, getset},          {Py_tp_members, members},   {Py_tp_repr, repr},
    {Py_tp_traverse, traverse},      {Py_tp_dealloc, dealloc},   {0, NULL},
};

static PyType_Spec spec = {
    .name = "treadle._native.CoroutineFunction",
    .basicsize = sizeof(FunctionObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
             Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int
tdl_coroutine_function_exec(PyObject *module)
{
    return tdl_state_add_type(module, &spec, &tdl_state_of(module)->objects.CoroutineFunction);
}

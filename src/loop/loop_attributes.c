/* Attributes that Python code of asyncio reads and sets, kept where C reads them. */
#include "loop/loop.h"

/* A flag; `closure` is its offset. */
static _Atomic bool *
flag_at(LoopObject *self, void *closure)
{
    return (_Atomic bool *)((char *)self + (size_t)closure);
}

static PyObject *
get_flag(LoopObject *self, void *closure)
{
    return PyBool_FromLong(*flag_at(self, closure));
}

static int
set_flag(LoopObject *self, PyObject *value, void *closure)
{
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "cannot delete this attribute");
        return -1;
    }
    int yes = PyObject_IsTrue(value);
    if (yes >= 0)
        *flag_at(self, closure) = yes;
    return yes < 0 ? -1 : 0;
}

/* An object or None; `closure` is its offset. */
static PyObject *
get_object(LoopObject *self, void *closure)
{
    PyObject *value;
    TDL_CRITICAL_BEGIN(self);
    value = *(PyObject **)((char *)self + (size_t)closure);
    value = Py_NewRef(value == NULL ? Py_None : value);
    TDL_CRITICAL_END();
    return value;
}

static int
set_object(LoopObject *self, PyObject *value, void *closure)
{
    PyObject *before;
    PyObject **place = (PyObject **)((char *)self + (size_t)closure);
    TDL_CRITICAL_BEGIN(self);
    before = *place;
    *place = value == Py_None ? NULL : Py_XNewRef(value);
    TDL_CRITICAL_END();
    Py_XDECREF(before);
    return 0;
}

#define FLAG(name, field) \
    {name, (getter)get_flag, (setter)set_flag, NULL, (void *)offsetof(LoopObject, field)}
#define OBJECT(name, field) \
    {name, (getter)get_object, (setter)set_object, NULL, (void *)offsetof(LoopObject, field)}

PyGetSetDef tdl_loop_attributes[] = {
    FLAG("_closed", closed),
    FLAG("_stopping", stopping),
    FLAG("_debug", debug),
    FLAG("_executor_shutdown_called", executor_shut_down),
    OBJECT("_default_executor", default_executor),
    OBJECT("_task_factory", task_factory),
    {NULL, NULL, NULL, NULL, NULL},
};

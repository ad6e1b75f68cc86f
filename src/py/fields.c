#include "py/fields.h"

#include <stdbool.h>

PyObject *
tdl_field_object(PyObject *op, void *offset)
{
    PyObject *value = *(PyObject **)((char *)op + (size_t)offset);
    return Py_NewRef(value == NULL ? Py_None : value);
}

PyObject *
tdl_field_flag(PyObject *op, void *offset)
{
    return PyBool_FromLong(*(bool *)((char *)op + (size_t)offset));
}

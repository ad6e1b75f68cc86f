/* Getters for the fields of native objects; the closure is the field's offset. */
#ifndef TDL_PY_FIELDS_H
#define TDL_PY_FIELDS_H

#include "py/compat.h"

/* A PyObject *, None for NULL. */
PyObject *tdl_field_object(PyObject *op, void *offset);

/* A bool. */
PyObject *tdl_field_flag(PyObject *op, void *offset);

#endif

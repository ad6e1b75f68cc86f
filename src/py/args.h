/* Arguments of METH_FASTCALL methods. */
#ifndef TDL_PY_ARGS_H
#define TDL_PY_ARGS_H

#include "py/compat.h"

/* The cast that a PyMethodDef needs for anything but the two-argument form. */
#define TDL_METHOD(function) ((PyCFunction)(void (*)(void))(function))

/* Parse `count` parameters named in `names`, positional or by keyword, the
 * first `required` of them required.  `values` gets borrowed references, NULL
 * for what was not given.  The messages are those of Python functions.
 * Returns 0, or -1 with TypeError set. */
int tdl_args_parse(const char *function, PyObject *const *args, Py_ssize_t nargs,
                   PyObject *kwnames, const char *const *names, int count, int required,
                   PyObject **values);

/* Take one keyword argument: put `value` where its name is in `names`, among `count`.
 * Returns 0, or -1 with TypeError set if it is not there or has been given. */
int tdl_args_keyword(const char *function, PyObject *name, PyObject *value,
                     const char *const *names, int count, PyObject **values);

#endif

#include "py/args.h"

static int
index_of(PyObject *name, const char *const *names, int count)
{
    for (int i = 0; i < count; i++)
        if (PyUnicode_CompareWithASCIIString(name, names[i]) == 0)
            return i;
    return -1;
}

int
tdl_args_keyword(const char *function, PyObject *name, PyObject *value,
                 const char *const *names, int count, PyObject **values)
{
    int i = index_of(name, names, count);
    if (i < 0) {
        PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", function,
                     name);
        return -1;
    }
    if (values[i] != NULL) {
        PyErr_Format(PyExc_TypeError, "%s() got multiple values for argument '%s'", function,
                     names[i]);
        return -1;
    }
    values[i] = value;
    return 0;
}

int
tdl_args_parse(const char *function, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
               const char *const *names, int count, int required, PyObject **values)
{
    if (nargs > count) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %d argument%s (%zd given)", function,
                     count, count == 1 ? "" : "s", nargs);
        return -1;
    }
    for (int i = 0; i < count; i++)
        values[i] = i < nargs ? args[i] : NULL;
    Py_ssize_t nkw = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    for (Py_ssize_t k = 0; k < nkw; k++)
        if (tdl_args_keyword(function, PyTuple_GET_ITEM(kwnames, k), args[nargs + k], names,
                             count, values) < 0)
            return -1;
    for (int i = 0; i < required; i++)
        if (values[i] == NULL) {
            PyErr_Format(PyExc_TypeError, "%s() missing required argument: '%s'", function,
                         names[i]);
            return -1;
        }
    return 0;
}

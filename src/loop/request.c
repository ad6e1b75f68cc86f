/* The arguments of the methods that schedule. */
#include "loop/loop.h"
#include "py/args.h"

/* `count`: 1 or 2, of which at least one is missing. */
static int
raise_missing(const char *method, const char *const *names, PyObject **values, int count)
{
    if (count == 2 && values[0] == NULL && values[1] == NULL)
        PyErr_Format(PyExc_TypeError,
                     "%s() missing 2 required positional arguments: '%s' and '%s'", method,
                     names[0], names[1]);
    else
        PyErr_Format(PyExc_TypeError, "%s() missing 1 required positional argument: '%s'",
                     method, names[values[0] == NULL ? 0 : 1]);
    return -1;
}

/* Any mixture of positional and keyword arguments, as a Python function takes them. */
static int
parse_slowly(const char *method, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
             const char *first, struct tdl_request *request)
{
    const char *const all[] = {first, "callback", "context"};
    const char *const *names = first == NULL ? all + 1 : all;
    int named = first == NULL ? 1 : 2; /* those that may be positional, too */
    PyObject *values[3] = {NULL};
    Py_ssize_t given = nargs < named ? nargs : named;
    for (Py_ssize_t i = 0; i < given; i++)
        values[i] = args[i];
    Py_ssize_t nkw = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    for (Py_ssize_t k = 0; k < nkw; k++)
        if (tdl_args_keyword(method, PyTuple_GET_ITEM(kwnames, k), args[nargs + k], names,
                             named + 1, values) < 0)
            return -1;
    request->first = first == NULL ? NULL : values[0];
    request->callback = values[named - 1];
    request->context = values[named] == Py_None ? NULL : values[named];
    if (request->callback == NULL || values[0] == NULL)
        return raise_missing(method, names, values, named);
    request->args = args + given;
    request->nargs = nargs - given;
    return 0;
}

int
tdl_loop_parse_request(struct tdl_state *st, const char *method, PyObject *const *args,
                       Py_ssize_t nargs, PyObject *kwnames, const char *first,
                       struct tdl_request *request)
{
    Py_ssize_t skip = first == NULL ? 0 : 1;
    bool context = kwnames != NULL && PyTuple_GET_SIZE(kwnames) == 1 &&
                   PyTuple_GET_ITEM(kwnames, 0) == st->names.context;
    if (nargs <= skip || (kwnames != NULL && !context))
        return parse_slowly(method, args, nargs, kwnames, first, request);
    request->first = args[0];
    request->callback = args[skip];
    request->args = args + skip + 1;
    request->nargs = nargs - skip - 1;
    request->context = context && args[nargs] != Py_None ? args[nargs] : NULL;
    return 0;
}

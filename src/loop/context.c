#include "loop/context.h"

/* How every version to date lays out a context, as far as it matters here. */
struct layout {
    PyObject_HEAD
    PyObject *previous;
    PyObject *variables;
};

static PyObject *
variables_of(PyObject *context)
{
    return ((struct layout *)context)->variables;
}

/* Set a new variable in `context`.  Returns 0 or -1 with an exception set. */
static int
change(PyObject *context)
{
    PyObject *variable = PyContextVar_New("treadle probe", NULL);
    if (variable == NULL || PyContext_Enter(context) < 0) {
        Py_XDECREF(variable);
        return -1;
    }
    PyObject *token = PyContextVar_Set(variable, variable);
    Py_XDECREF(token);
    Py_DECREF(variable);
    return PyContext_Exit(context) < 0 || token == NULL ? -1 : 0;
}

/* Copies have the variables of the original until one of the two is changed. */
static bool
behaves(PyObject *context)
{
    PyObject *before = variables_of(context);
    if (change(context) < 0 || variables_of(context) == before)
        return false;
    PyObject *copy = PyContext_Copy(context);
    bool good = copy != NULL && variables_of(copy) == variables_of(context) &&
                change(copy) == 0 && variables_of(copy) != variables_of(context) &&
                variables_of(copy) != NULL;
    Py_XDECREF(copy);
    return good;
}

bool
tdl_context_probe(void)
{
    if (TDL_FREE_THREADED)
        return false;
    PyObject *context = PyContext_New();
    bool good = context != NULL &&
                Py_TYPE(context)->tp_basicsize >= (int)sizeof(struct layout) &&
                behaves(context);
    Py_XDECREF(context);
    PyErr_Clear();
    return good;
}

PyObject *
tdl_context_copy(struct tdl_state *st, struct tdl_contexts *contexts, bool *shared)
{
    *shared = st->contexts_comparable;
    if (!st->contexts_comparable)
        return PyContext_CopyCurrent();
    PyObject *current = PyThreadState_Get()->context;
    if (current == NULL || contexts->snapshot == NULL ||
        variables_of(current) != variables_of(contexts->snapshot)) {
        PyObject *copy = PyContext_CopyCurrent();
        if (copy == NULL)
            return NULL;
        Py_XSETREF(contexts->snapshot, copy);
    }
    return Py_NewRef(contexts->snapshot);
}

PyObject *
tdl_context_take(struct tdl_contexts *contexts, PyObject *snapshot)
{
    PyObject *scratch = contexts->scratch;
    contexts->scratch = NULL;
    if (scratch != NULL && variables_of(scratch) == variables_of(snapshot))
        return scratch;
    Py_XDECREF(scratch);
    return PyContext_Copy(snapshot);
}

bool
tdl_context_give_back(struct tdl_contexts *contexts, PyObject *context, PyObject *snapshot)
{
    if (contexts->scratch != NULL || Py_REFCNT(context) != 1 ||
        variables_of(context) != variables_of(snapshot))
        return false;
    contexts->scratch = context;
    return true;
}

void
tdl_context_clear(struct tdl_contexts *contexts)
{
    Py_CLEAR(contexts->snapshot);
    Py_CLEAR(contexts->scratch);
}

int
tdl_context_traverse(struct tdl_contexts *contexts, visitproc visit, void *arg)
{
    Py_VISIT(contexts->snapshot);
    Py_VISIT(contexts->scratch);
    return 0;
}

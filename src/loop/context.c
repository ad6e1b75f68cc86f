#include "loop/context.h"

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
    PyObject *before = tdl_context_variables(context);
    if (change(context) < 0 || tdl_context_variables(context) == before)
        return false;
    PyObject *copy = PyContext_Copy(context);
    bool good = copy != NULL && tdl_context_variables(copy) == tdl_context_variables(context) &&
                change(copy) == 0 &&
                tdl_context_variables(copy) != tdl_context_variables(context) &&
                tdl_context_variables(copy) != NULL;
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
                Py_TYPE(context)->tp_basicsize >= (int)sizeof(struct tdl_context_layout) &&
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
        tdl_context_variables(current) != tdl_context_variables(contexts->snapshot)) {
        PyObject *copy = PyContext_CopyCurrent();
        if (copy == NULL)
            return NULL;
        Py_XSETREF(contexts->snapshot, copy);
    }
    return Py_NewRef(contexts->snapshot);
}

PyObject *
tdl_context_take_fresh(struct tdl_contexts *contexts, PyObject *snapshot)
{
    Py_CLEAR(contexts->scratch);
    return PyContext_Copy(snapshot);
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

#include "future/settle.h"

int
tdl_settle_is_done(struct tdl_state *st, PyObject *future)
{
    PyObject *done = PyObject_CallMethodNoArgs(future, st->names.done);
    int r = done == NULL ? -1 : PyObject_IsTrue(done);
    Py_XDECREF(done);
    return r;
}

static int
settle(struct tdl_state *st, PyObject *future, PyObject *method, PyObject *value)
{
    int done = tdl_settle_is_done(st, future);
    if (done != 0)
        return done < 0 ? -1 : 0;
    PyObject *r = PyObject_CallMethodOneArg(future, method, value);
    Py_XDECREF(r);
    return r == NULL ? -1 : 1;
}

int
tdl_settle_result(struct tdl_state *st, PyObject *future, PyObject *value)
{
    return settle(st, future, st->names.set_result, value);
}

int
tdl_settle_exception(struct tdl_state *st, PyObject *future, PyObject *exc)
{
    return settle(st, future, st->names.set_exception, exc);
}

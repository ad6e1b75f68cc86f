#include "future/deliver.h"

#include "future/future.h"
#include "future/settle.h"

static int
call_with(PyObject *destination, PyObject *method, PyObject *value)
{
    PyObject *r = value == NULL ? PyObject_CallMethodNoArgs(destination, method)
                                : PyObject_CallMethodOneArg(destination, method, value);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

/* As asyncio.futures._copy_future_state(). */
static int
copy_outcome(struct tdl_state *st, PyObject *destination, FutureObject *source)
{
    int done = tdl_settle_is_done(st, destination);
    if (done != 0)
        return done < 0 ? -1 : 0;
    if (tdl_future_state(source) != TDL_FINISHED)
        return call_with(destination, st->names.cancel, NULL);
    PyObject *outcome = NULL, *exception;
    tdl_future_outcome(source, &outcome, &exception);
    if (exception != NULL) {
        Py_XSETREF(outcome, PyObject_CallOneArg(st->objects.aio_convert, exception));
        Py_DECREF(exception);
        exception = outcome;
        if (outcome == NULL)
            return -1;
    }
    int r = call_with(destination,
                      exception != NULL ? st->names.set_exception : st->names.set_result,
                      outcome == NULL ? Py_None : outcome);
    Py_XDECREF(outcome);
    return r;
}

/* Tell the loop's exception handler what went wrong with one pair.
 * Returns 0 or -1 with an exception set. */
static int
report(struct tdl_state *st, PyObject *loop, PyObject *destination)
{
    if (!PyErr_ExceptionMatches(PyExc_Exception))
        return -1;
    PyObject *exc = tdl_err_take();
    PyObject *context = Py_BuildValue("{s:s,s:N,s:O}", "message",
                                      "Exception while delivering the result of a pool's job",
                                      "exception", exc, "future", destination);
    if (context == NULL)
        return -1;
    int r = call_with(loop, st->names.call_exception_handler, context);
    Py_DECREF(context);
    return r;
}

/* A BaseException goes on to the loop, but not before the rest has been delivered:
 * nobody else would. */
int
tdl_deliver_all(struct tdl_state *st, PyObject *pairs, PyObject *loop)
{
    PyObject *raised = NULL;
    for (Py_ssize_t i = 0; i + 1 < PyList_GET_SIZE(pairs); i += 2) {
        PyObject *destination = PyList_GET_ITEM(pairs, i);
        FutureObject *source = (FutureObject *)PyList_GET_ITEM(pairs, i + 1);
        if (copy_outcome(st, destination, source) < 0 && report(st, loop, destination) < 0)
            Py_XSETREF(raised, tdl_err_take());
    }
    if (raised == NULL)
        return 0;
    tdl_err_put_steal(raised);
    return -1;
}

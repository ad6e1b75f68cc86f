/* run_in_executor(): jobs to our own thread pools, and their results back. */
#include "future/bridge.h"
#include "loop/loop.h"
#include "py/args.h"

enum { STACK = 8 };

/* The executor that is meant, borrowed; NULL without an exception: asyncio's way. */
static PyObject *
executor_for(LoopObject *self, PyObject *given)
{
    PyObject *executor = given;
    if (executor == Py_None)
        executor = self->executor_shut_down ? NULL : self->default_executor;
    bool ours = executor != NULL && !self->debug && !self->closed &&
                PyObject_TypeCheck(executor, self->st->objects.ThreadPoolBase);
    return ours ? executor : NULL;
}

/* executor.submit(*args[1:]) */
static PyObject *
submit(LoopObject *self, PyObject *executor, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *small[STACK];
    PyObject **stack = nargs <= STACK ? small : PyMem_New(PyObject *, nargs);
    if (stack == NULL)
        return PyErr_NoMemory();
    stack[0] = executor;
    for (Py_ssize_t i = 1; i < nargs; i++)
        stack[i] = args[i];
    PyObject *future =
        PyObject_VectorcallMethod(self->st->names.submit, stack, (size_t)nargs, NULL);
    if (stack != small)
        PyMem_Free(stack);
    return future;
}

/* By way of Python: first use of the default executor, other executors, debug mode,
 * and every error. */
static PyObject *
run_by_python(LoopObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *method = PyObject_GetAttrString((PyObject *)self, "_run_in_executor");
    if (method == NULL)
        return NULL;
    PyObject *future = PyObject_Vectorcall(method, args, (size_t)nargs, kwnames);
    Py_DECREF(method);
    return future;
}

static PyObject *
run_in_executor(LoopObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *executor = nargs < 2 || kwnames != NULL ? NULL : executor_for(self, args[0]);
    if (executor == NULL)
        return run_by_python(self, args, nargs, kwnames);
    Py_INCREF(executor);
    PyObject *job = submit(self, executor, args, nargs);
    Py_DECREF(executor);
    if (job == NULL)
        return NULL;
    PyObject *future;
    if (tdl_future_check(self->st, job))
        future = tdl_bridge_wrap(self->st, job, (PyObject *)self);
    else /* a subclass has a submit() of its own */
        future = PyObject_CallMethod((PyObject *)self, "_wrap_other_future", "O", job);
    Py_DECREF(job);
    return future;
}

PyMethodDef tdl_loop_executor_methods[] = {
    {"run_in_executor", TDL_METHOD(run_in_executor), METH_FASTCALL | METH_KEYWORDS,
     "run_in_executor($self, executor, func, /, *args)\n--\n\n"
     "Call func(*args) in an executor; return an asyncio future of the result.\n\n"
     "The default executor is a treadle.ThreadPoolExecutor. Results of treadle's\n"
     "pools come straight into the loop; other executors take asyncio's way."},
    {NULL, NULL, 0, NULL},
};

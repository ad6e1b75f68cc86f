#include "loop/report.h"

bool
tdl_report_is_fatal(void)
{
    return PyErr_ExceptionMatches(PyExc_SystemExit) ||
           PyErr_ExceptionMatches(PyExc_KeyboardInterrupt);
}

static int
put(PyObject *context, const char *key, PyObject *value)
{
    return value == NULL ? 0 : PyDict_SetItemString(context, key, value);
}

int
tdl_report_exception(LoopObject *loop, const char *message, PyObject *exc, PyObject *transport,
                     PyObject *protocol)
{
    PyObject *context = Py_BuildValue("{s:s,s:O}", "message", message, "exception", exc);
    PyObject *told = NULL;
    if (context != NULL && put(context, "transport", transport) == 0 &&
        put(context, "protocol", protocol) == 0)
        told = PyObject_CallMethodOneArg((PyObject *)loop,
                                         loop->st->names.call_exception_handler, context);
    Py_XDECREF(context);
    Py_XDECREF(told);
    return told == NULL ? -1 : 0;
}

int
tdl_report_raised(LoopObject *loop, const char *message, PyObject *transport,
                  PyObject *protocol)
{
    if (tdl_report_is_fatal())
        return -1;
    PyObject *exc = tdl_err_take();
    int r = tdl_report_exception(loop, message, exc, transport, protocol);
    Py_DECREF(exc);
    return r;
}

int
tdl_report_debug(LoopObject *loop, const char *message, PyObject *exc, PyObject *transport)
{
    PyObject *r = NULL;
    PyObject *method = PyObject_GetAttrString(loop->st->objects.aio_logger, "debug");
    PyObject *args = Py_BuildValue("(sOs)", "%r: %s", transport, message);
    PyObject *kwargs = Py_BuildValue("{s:O}", "exc_info", exc);
    if (method != NULL && args != NULL && kwargs != NULL)
        r = PyObject_Call(method, args, kwargs);
    Py_XDECREF(method);
    Py_XDECREF(args);
    Py_XDECREF(kwargs);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

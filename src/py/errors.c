#include "py/errors.h"

#include <errno.h>

int
tdl_raise_errno(int error)
{
    if (error == -ENOMEM) {
        PyErr_NoMemory();
        return -1;
    }
    errno = -error;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

/* logger.<method>(message[, subject], exc_info=exc) */
static void
log_exception(struct tdl_state *st, PyObject *method, const char *message, PyObject *subject)
{
    PyObject *exc = tdl_err_take();
    PyObject *text = PyUnicode_FromString(message);
    PyObject *args[4] = {st->objects.logger, text, NULL, NULL};
    size_t n = 2;
    if (subject != NULL)
        args[n++] = subject;
    args[n] = exc == NULL ? Py_None : exc;
    PyObject *r = NULL;
    if (text != NULL)
        r = PyObject_VectorcallMethod(method, args, n, st->objects.exc_info_kwnames);
    if (r == NULL)
        PyErr_WriteUnraisable(subject);
    Py_XDECREF(r);
    Py_XDECREF(text);
    Py_XDECREF(exc);
}

void
tdl_log_exception(struct tdl_state *st, const char *format, PyObject *subject)
{
    log_exception(st, st->names.exception, format, subject);
}

void
tdl_log_critical(struct tdl_state *st, const char *message)
{
    log_exception(st, st->names.critical, message, NULL);
}

PyObject *
tdl_reraise(PyObject *exc)
{
    if (PyExceptionInstance_Check(exc))
        PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
    else if (PyExceptionClass_Check(exc))
        PyErr_SetNone(exc);
    else
        PyErr_SetString(PyExc_TypeError, "exceptions must derive from BaseException");
    return NULL;
}

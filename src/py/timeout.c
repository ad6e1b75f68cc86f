#include "py/timeout.h"

#include <math.h>

#include "core/clock.h"

/* The longest wait that the standard library's locks accept, in seconds. */
#define SECONDS_MAX 9223372036.0

int
tdl_timeout_deadline(PyObject *timeout, int64_t *deadline)
{
    if (timeout == NULL || timeout == Py_None) {
        *deadline = TDL_NEVER;
        return 0;
    }
    double seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1.0 && PyErr_Occurred()) {
        if (PyErr_ExceptionMatches(PyExc_TypeError))
            PyErr_Format(PyExc_TypeError,
                         "timeout must be a number of seconds or None, not '%.200s'",
                         Py_TYPE(timeout)->tp_name);
        return -1;
    }
    if (seconds > SECONDS_MAX) {
        PyErr_SetString(PyExc_OverflowError, "timeout value is too large");
        return -1;
    }
    /* NaN is not above 0 either, which is all that the standard classes look at */
    int64_t ns = seconds > 0 ? (int64_t)ceil(seconds * 1e9) : 0;
    *deadline = tdl_clock_add(tdl_clock_now(), ns);
    return 0;
}

#include "loop/flow.h"

#include "loop/report.h"
#include "py/args.h"

/* ---- the marks --------------------------------------------------------------------- */

static bool
given(PyObject *limit)
{
    return limit != NULL && limit != Py_None;
}

/* What `high` is if it is not given.  Returns a new reference or NULL. */
static PyObject *
default_high(PyObject *low)
{
    if (!given(low))
        return PyLong_FromLong(TDL_FLOW_HIGH);
    PyObject *four = PyLong_FromLong(4);
    PyObject *high = four == NULL ? NULL : PyNumber_Multiply(four, low);
    Py_XDECREF(four);
    return high;
}

static PyObject *
default_low(PyObject *high)
{
    PyObject *four = PyLong_FromLong(4);
    PyObject *low = four == NULL ? NULL : PyNumber_FloorDivide(high, four);
    Py_XDECREF(four);
    return low;
}

/* high >= low >= 0: 1 or 0, or -1 with an exception set. */
static int
in_order(PyObject *high, PyObject *low)
{
    int r = PyObject_RichCompareBool(high, low, Py_GE);
    if (r <= 0)
        return r;
    PyObject *zero = PyLong_FromLong(0);
    r = zero == NULL ? -1 : PyObject_RichCompareBool(low, zero, Py_GE);
    Py_XDECREF(zero);
    return r;
}

/* `limit`, not negative, in whole bytes; sizes have no fractions. */
static int
bytes_of(PyObject *limit, size_t *bytes)
{
    PyObject *whole = PyNumber_Long(limit);
    if (whole == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_OverflowError))
            return -1;
        PyErr_Clear(); /* infinity */
        *bytes = SIZE_MAX;
        return 0;
    }
    *bytes = PyLong_AsSize_t(whole);
    Py_DECREF(whole);
    if (*bytes == (size_t)-1 && PyErr_Occurred())
        PyErr_Clear(); /* more than there can be */
    return 0;
}

static int
set_limits(struct tdl_flow *flow, PyObject *high, PyObject *low)
{
    PyObject *upper = given(high) ? Py_NewRef(high) : default_high(low);
    PyObject *lower = upper == NULL ? NULL : given(low) ? Py_NewRef(low) : default_low(upper);
    struct tdl_flow marks = *flow;
    int ordered = lower == NULL ? -1 : in_order(upper, lower);
    if (ordered == 0) {
        PyErr_Format(PyExc_ValueError, "high (%R) must be >= low (%R) must be >= 0", upper,
                     lower);
        ordered = -1;
    }
    if (ordered > 0 && (bytes_of(upper, &marks.high) < 0 || bytes_of(lower, &marks.low) < 0))
        ordered = -1;
    Py_XDECREF(upper);
    Py_XDECREF(lower);
    if (ordered < 0)
        return -1;
    flow->high = marks.high;
    flow->low = marks.low;
    return 0;
}

int
tdl_flow_set_limits(struct tdl_flow *flow, PyObject *const *args, Py_ssize_t nargs,
                    PyObject *kwnames)
{
    static const char *const names[] = {"high", "low"};
    PyObject *v[2];
    if (tdl_args_parse("set_write_buffer_limits", args, nargs, kwnames, names, 2, 0, v) < 0)
        return -1;
    return set_limits(flow, v[0], v[1]);
}

PyObject *
tdl_flow_limits(const struct tdl_flow *flow)
{
    PyObject *low = PyLong_FromSize_t(flow->low);
    PyObject *high = low == NULL ? NULL : PyLong_FromSize_t(flow->high);
    PyObject *pair = high == NULL ? NULL : PyTuple_Pack(2, low, high);
    Py_XDECREF(low);
    Py_XDECREF(high);
    return pair;
}

/* ---- telling the protocol ----------------------------------------------------------- */

static int
tell(LoopObject *loop, PyObject *transport, PyObject *protocol, PyObject *method,
     const char *failure)
{
    PyObject *party = Py_NewRef(protocol == NULL ? Py_None : protocol);
    PyObject *r = PyObject_CallMethodNoArgs(party, method);
    int done = 0;
    if (r == NULL)
        done = tdl_report_raised(loop, failure, transport, party);
    Py_XDECREF(r);
    Py_DECREF(party);
    return done;
}

int
tdl_flow_pause(struct tdl_flow *flow, LoopObject *loop, PyObject *transport, PyObject *protocol)
{
    flow->paused = true;
    return tell(loop, transport, protocol, loop->st->names.pause_writing,
                "protocol.pause_writing() failed");
}

int
tdl_flow_resume(struct tdl_flow *flow, LoopObject *loop, PyObject *transport,
                PyObject *protocol)
{
    flow->paused = false;
    return tell(loop, transport, protocol, loop->st->names.resume_writing,
                "protocol.resume_writing() failed");
}

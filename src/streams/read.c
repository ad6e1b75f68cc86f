/* read(), readexactly(), readuntil(), readline(), async iteration, and what feeds and
 * asks: the ordinary cases.  All others are asyncio's own methods'. */
#include "streams/read.h"

#include <string.h>

#include "py/args.h"
#include "streams/operation.h"
#include "streams/stock.h"

/* ---- attempts ------------------------------------------------------------------------ */

/* Whether asyncio must do it: the reader is not plain, or has failed before this began. */
static bool
is_special(OperationObject *self)
{
    ReaderState *state = self->state;
    return state == NULL || !state->plain ||
           (!self->woken && !tdl_reader_has(state, TDL_READER_EXCEPTION, Py_None));
}

static bool
at_eof(ReaderState *state)
{
    return tdl_reader_has(state, TDL_READER_EOF, Py_True);
}

static enum tdl_attempt
done_with_nothing(PyObject **result)
{
    *result = PyBytes_FromStringAndSize(NULL, 0);
    return *result == NULL ? TDL_ATTEMPT_FAILED : TDL_ATTEMPT_DONE;
}

/* Take `n` bytes and let the transport go on.  Inside the critical section nothing but
 * the taking. */
static enum tdl_attempt
take(OperationObject *self, Py_ssize_t n, PyObject **result)
{
    ReaderState *state = self->state;
    PyObject *taken = NULL;
    TDL_CRITICAL_BEGIN(state);
    if (state->plain && n <= tdl_reader_size(state))
        taken = tdl_reader_take(state, n);
    else
        PyErr_SetString(PyExc_RuntimeError, "a stream reader was used by two threads at once");
    TDL_CRITICAL_END();
    if (taken != NULL && tdl_reader_maybe_resume(state) < 0)
        Py_CLEAR(taken);
    *result = taken;
    return taken == NULL ? TDL_ATTEMPT_FAILED : TDL_ATTEMPT_DONE;
}

static enum tdl_attempt
attempt_read(OperationObject *self, PyObject **result)
{
    if (is_special(self) || self->count < 0)
        return TDL_ATTEMPT_DELEGATE;
    if (self->count == 0)
        return done_with_nothing(result);
    Py_ssize_t size = tdl_reader_size(self->state);
    if (size == 0 && !self->woken && !at_eof(self->state))
        return TDL_ATTEMPT_WAIT;
    return take(self, size < self->count ? size : self->count, result);
}

static enum tdl_attempt
attempt_readexactly(OperationObject *self, PyObject **result)
{
    if (is_special(self) || self->count < 0)
        return TDL_ATTEMPT_DELEGATE;
    if (self->count == 0)
        return done_with_nothing(result);
    if (tdl_reader_size(self->state) >= self->count)
        return take(self, self->count, result);
    return at_eof(self->state) ? TDL_ATTEMPT_DELEGATE : TDL_ATTEMPT_WAIT;
}

/* Where `separator` ends, in the bytes from `self->offset` on.  Returns 0 if it is not
 * there, and remembers how far it cannot begin. */
static Py_ssize_t
find_end(OperationObject *self, const char *separator, Py_ssize_t length)
{
    Py_ssize_t size = tdl_reader_size(self->state), left = size - self->offset;
    if (left < length)
        return 0;
    const char *bytes = tdl_reader_bytes(self->state);
    const char *from = bytes + self->offset;
    const char *at = length == 1 ? memchr(from, separator[0], (size_t)left)
                                 : memmem(from, (size_t)left, separator, (size_t)length);
    if (at != NULL)
        return at - bytes + length;
    self->offset = size + 1 - length;
    return 0;
}

/* Everything up to `separator`.  `*ended` says that it cannot come any more. */
static enum tdl_attempt
attempt_until(OperationObject *self, const char *separator, Py_ssize_t length, bool *ended,
              PyObject **result)
{
    *ended = false;
    if (is_special(self))
        return TDL_ATTEMPT_DELEGATE;
    Py_ssize_t end = 0;
    TDL_CRITICAL_BEGIN(self->state);
    if (self->state->plain)
        end = find_end(self, separator, length);
    TDL_CRITICAL_END();
    Py_ssize_t unmatched = end > 0 ? end - length : self->offset;
    if (unmatched > self->state->limit)
        return TDL_ATTEMPT_DELEGATE;
    if (end > 0)
        return take(self, end, result);
    *ended = at_eof(self->state);
    return *ended ? TDL_ATTEMPT_DELEGATE : TDL_ATTEMPT_WAIT;
}

static enum tdl_attempt
attempt_readuntil(OperationObject *self, PyObject **result)
{
    PyObject *separator = self->argument;
    bool ended;
    if (separator == NULL)
        return attempt_until(self, "\n", 1, &ended, result);
    if (!PyBytes_CheckExact(separator) || PyBytes_GET_SIZE(separator) == 0)
        return TDL_ATTEMPT_DELEGATE;
    return attempt_until(self, PyBytes_AS_STRING(separator), PyBytes_GET_SIZE(separator),
                         &ended, result);
}

/* What is left at the end is a line, too. */
static enum tdl_attempt
attempt_readline(OperationObject *self, PyObject **result)
{
    bool ended;
    enum tdl_attempt attempt = attempt_until(self, "\n", 1, &ended, result);
    if (!ended || !tdl_reader_has(self->state, TDL_READER_PAUSED, Py_False))
        return attempt;
    return take(self, tdl_reader_size(self->state), result);
}

static enum tdl_attempt
attempt_next(OperationObject *self, PyObject **result)
{
    enum tdl_attempt attempt = attempt_readline(self, result);
    if (attempt != TDL_ATTEMPT_DONE || PyBytes_GET_SIZE(*result) > 0)
        return attempt;
    Py_CLEAR(*result);
    PyErr_SetNone(PyExc_StopAsyncIteration);
    return TDL_ATTEMPT_FAILED;
}

#define STOCK(function, index)                                            \
    static PyObject *function(struct tdl_state *st)                       \
    {                                                                     \
        return tdl_stock_method(st->objects.stock_reader_methods, index); \
    }
STOCK(stock_read, TDL_STOCK_READ)
STOCK(stock_readexactly, TDL_STOCK_READEXACTLY)
STOCK(stock_readuntil, TDL_STOCK_READUNTIL)
STOCK(stock_readline, TDL_STOCK_READLINE)
STOCK(stock_next, TDL_STOCK_ANEXT)
#undef STOCK

static const struct tdl_operation_kind kind_read = {"read", "StreamReader.read", attempt_read,
                                                    stock_read};
static const struct tdl_operation_kind kind_readexactly = {
    "readexactly", "StreamReader.readexactly", attempt_readexactly, stock_readexactly};
static const struct tdl_operation_kind kind_readuntil = {"readuntil", "StreamReader.readuntil",
                                                         attempt_readuntil, stock_readuntil};
static const struct tdl_operation_kind kind_readline = {"readline", "StreamReader.readline",
                                                        attempt_readline, stock_readline};
static const struct tdl_operation_kind kind_next = {"__anext__", "StreamReader.__anext__",
                                                    attempt_next, stock_next};

/* ---- coroutine methods ------------------------------------------------------------------ */

/* The parameter `name` of `method`: positional, or by keyword.
 * Returns 0 with it in `*value`, borrowed, NULL if it was not given; or -1. */
static int
parse_one(const char *method, const char *name, int required, PyObject *const *args,
          Py_ssize_t nargs, PyObject *kwnames, PyObject **value)
{
    *value = nargs == 1 ? args[0] : NULL;
    if (kwnames == NULL && nargs <= 1 && nargs >= required)
        return 0;
    return tdl_args_parse(method, args, nargs, kwnames, &name, 1, required, value);
}

static PyObject *
begin(PyObject *op, const struct tdl_operation_kind *kind, PyObject *argument, Py_ssize_t count)
{
    struct tdl_state *st = tdl_state_by_type(Py_TYPE(op));
    ReaderState *state = st == NULL ? NULL : tdl_reader_state(st, op, false);
    if (state == NULL && PyErr_Occurred())
        return NULL;
    PyObject *operation = tdl_operation_new(st, kind, op, state, argument, count);
    Py_XDECREF(state);
    return operation;
}

/* The number of bytes that is asked for; -1, which means asyncio's method, if it is not
 * an ordinary one. */
static Py_ssize_t
count_of(PyObject *n)
{
    if (n == NULL || !PyLong_CheckExact(n))
        return -1;
    Py_ssize_t count = PyLong_AsSsize_t(n);
    if (count == -1)
        PyErr_Clear();
    return count;
}

static PyObject *
reader_read(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *n;
    if (parse_one("StreamReader.read", "n", 0, args, nargs, kwnames, &n) < 0)
        return NULL;
    return begin(op, &kind_read, n, count_of(n));
}

static PyObject *
reader_readexactly(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *n;
    if (parse_one("StreamReader.readexactly", "n", 1, args, nargs, kwnames, &n) < 0)
        return NULL;
    return begin(op, &kind_readexactly, n, count_of(n));
}

static PyObject *
reader_readuntil(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *separator;
    if (parse_one("StreamReader.readuntil", "separator", 0, args, nargs, kwnames, &separator) <
        0)
        return NULL;
    return begin(op, &kind_readuntil, separator, 0);
}

static PyObject *
reader_readline(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return begin(op, &kind_readline, NULL, 0);
}

static PyObject *
reader_anext(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return begin(op, &kind_next, NULL, 0);
}

/* ---- other methods ------------------------------------------------------------------------ */

static PyObject *
call_stock(struct tdl_state *st, int index, PyObject *op, PyObject *argument)
{
    PyObject *args[2] = {op, argument};
    return PyObject_Vectorcall(tdl_stock_method(st->objects.stock_reader_methods, index), args,
                               argument == NULL ? 1 : 2, NULL);
}

static PyObject *
reader_feed_data(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *data;
    struct tdl_state *st = tdl_state_by_type(Py_TYPE(op));
    if (st == NULL ||
        parse_one("StreamReader.feed_data", "data", 1, args, nargs, kwnames, &data) < 0)
        return NULL;
    ReaderState *state = tdl_reader_state(st, op, false);
    if (state == NULL && PyErr_Occurred())
        return NULL;
    int r = state == NULL || !PyBytes_CheckExact(data) ? 0 : tdl_reader_feed(state, data);
    Py_XDECREF(state);
    if (r == 0)
        return call_stock(st, TDL_STOCK_FEED_DATA, op, data);
    if (r < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
reader_at_eof(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    struct tdl_state *st = tdl_state_by_type(Py_TYPE(op));
    ReaderState *state = st == NULL ? NULL : tdl_reader_state(st, op, false);
    int answer = -1;
    if (state != NULL) {
        TDL_CRITICAL_BEGIN(state);
        if (state->plain)
            answer = at_eof(state) && tdl_reader_size(state) == 0;
        TDL_CRITICAL_END();
        Py_DECREF(state);
    }
    if (answer >= 0)
        return PyBool_FromLong(answer);
    return st == NULL || PyErr_Occurred() ? NULL : call_stock(st, TDL_STOCK_AT_EOF, op, NULL);
}

static PyObject *
reader_exception(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    struct tdl_state *st = tdl_state_by_type(Py_TYPE(op));
    ReaderState *state = st == NULL ? NULL : tdl_reader_state(st, op, false);
    if (state != NULL && state->plain) {
        PyObject *exc = tdl_reader_get(state, TDL_READER_EXCEPTION);
        Py_DECREF(state);
        return exc;
    }
    Py_XDECREF(state);
    return st == NULL || PyErr_Occurred() ? NULL
                                          : call_stock(st, TDL_STOCK_EXCEPTION, op, NULL);
}

PyMethodDef tdl_read_methods[] = {
    {"read", TDL_METHOD(reader_read), METH_FASTCALL | METH_KEYWORDS,
     "read($self, n=-1)\n--\n\n"
     "Return up to n bytes, as soon as there is one; all until the end if n is negative."},
    {"readexactly", TDL_METHOD(reader_readexactly), METH_FASTCALL | METH_KEYWORDS,
     "readexactly($self, n)\n--\n\n"
     "Return exactly n bytes; asyncio.IncompleteReadError if the end comes first."},
    {"readuntil", TDL_METHOD(reader_readuntil), METH_FASTCALL | METH_KEYWORDS,
     "readuntil($self, separator=b'\\n')\n--\n\n"
     "Return what comes up to the separator, with it."},
    {"readline", (PyCFunction)reader_readline, METH_NOARGS,
     "readline($self)\n--\n\nReturn a line with its end, or what is left at the end."},
    {"__anext__", (PyCFunction)reader_anext, METH_NOARGS, NULL},
    {"feed_data", TDL_METHOD(reader_feed_data), METH_FASTCALL | METH_KEYWORDS,
     "feed_data($self, data)\n--\n\nAdd to what can be read."},
    {"at_eof", (PyCFunction)reader_at_eof, METH_NOARGS,
     "at_eof($self)\n--\n\nReturn whether everything was read and no more will come."},
    {"exception", (PyCFunction)reader_exception, METH_NOARGS,
     "exception($self)\n--\n\nReturn what set_exception() was given, or None."},
    {NULL, NULL, 0, NULL},
};

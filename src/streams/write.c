/* write(), is_closing() and drain().  The attributes of a writer are in its dictionary,
 * as asyncio's are. */
#include "streams/write.h"

#include "loop/transport.h"
#include "py/args.h"
#include "streams/operation.h"
#include "streams/stock.h"

/* An attribute of an instance; a new reference, or NULL with or without an exception. */
static PyObject *
own(PyObject *op, PyObject *name)
{
    PyObject *dict = PyObject_GenericGetDict(op, NULL);
    PyObject *value = dict == NULL ? NULL : tdl_dict_get(dict, name);
    Py_XDECREF(dict);
    return value;
}

static PyObject *
call_stock(struct tdl_state *st, int index, PyObject *op, PyObject *const *args,
           Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *bound = PyObject_CallFunctionObjArgs(
        (PyObject *)&PyMethod_Type, tdl_stock_method(st->objects.stock_writer_methods, index),
        op, NULL);
    PyObject *r =
        bound == NULL ? NULL : PyObject_Vectorcall(bound, args, (size_t)nargs, kwnames);
    Py_XDECREF(bound);
    return r;
}

/* The transport, if it is one of ours; new, or NULL with or without an exception. */
static TransportObject *
native_transport(struct tdl_state *st, PyObject *op)
{
    PyObject *transport = own(op, st->names._transport);
    if (transport != NULL && !tdl_transport_check(st, transport))
        Py_CLEAR(transport);
    return (TransportObject *)transport;
}

static PyObject *
writer_write(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    struct tdl_state *st = tdl_state_by_type(Py_TYPE(op));
    TransportObject *transport =
        st == NULL || nargs != 1 || kwnames != NULL ? NULL : native_transport(st, op);
    if (transport == NULL)
        return st == NULL || PyErr_Occurred()
                   ? NULL
                   : call_stock(st, TDL_STOCK_WRITE, op, args, nargs, kwnames);
    PyObject *r = tdl_transport_write(transport, args[0]);
    Py_DECREF(transport);
    return r;
}

static PyObject *
writer_is_closing(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    struct tdl_state *st = tdl_state_by_type(Py_TYPE(op));
    TransportObject *transport = st == NULL ? NULL : native_transport(st, op);
    if (transport == NULL)
        return st == NULL || PyErr_Occurred()
                   ? NULL
                   : call_stock(st, TDL_STOCK_IS_CLOSING, op, NULL, 0, NULL);
    PyObject *r = PyBool_FromLong(transport->closing);
    Py_DECREF(transport);
    return r;
}

/* ---- drain() --------------------------------------------------------------------------- */

/* The reader is there, of our class, and has not failed; or there is none. */
static bool
reader_is_well(struct tdl_state *st, PyObject *dict)
{
    PyObject *reader = tdl_dict_get(dict, st->names._reader);
    bool well = reader == Py_None;
    if (reader != NULL && Py_IS_TYPE(reader, st->objects.StreamReader)) {
        ReaderState *state = tdl_reader_state(st, reader, false);
        well = state != NULL && tdl_reader_has(state, TDL_READER_EXCEPTION, Py_None);
        Py_XDECREF(state);
    }
    Py_XDECREF(reader);
    return well;
}

static bool
is_false(PyObject *dict, PyObject *name)
{
    PyObject *value = tdl_dict_get(dict, name);
    Py_XDECREF(value);
    return value == Py_False;
}

/* asyncio's protocol, which would not make drain() wait. */
static bool
protocol_is_well(struct tdl_state *st, PyObject *dict)
{
    PyObject *protocol = tdl_dict_get(dict, st->names._protocol);
    bool well = false;
    if (protocol != NULL && Py_IS_TYPE(protocol, st->objects.aio_reader_protocol)) {
        PyObject *attributes = PyObject_GenericGetDict(protocol, NULL);
        well = attributes != NULL && is_false(attributes, st->names._connection_lost) &&
               is_false(attributes, st->names._paused) &&
               PyDict_Contains(attributes, st->names._drain_helper) == 0;
        Py_XDECREF(attributes);
    }
    Py_XDECREF(protocol);
    return well;
}

/* Whether the transport is not closing: 1 or 0, or -1 with an exception set. */
static int
transport_is_open(struct tdl_state *st, PyObject *dict)
{
    PyObject *transport = tdl_dict_get(dict, st->names._transport);
    int open = 0;
    if (transport != NULL && tdl_transport_check(st, transport))
        open = !((TransportObject *)transport)->closing;
    Py_XDECREF(transport);
    return open;
}

static enum tdl_attempt
attempt_drain(OperationObject *self, PyObject **result)
{
    struct tdl_state *st = self->st;
    PyObject *dict = PyObject_GenericGetDict(self->owner, NULL);
    if (dict == NULL)
        return TDL_ATTEMPT_FAILED;
    bool drained = reader_is_well(st, dict) && transport_is_open(st, dict) > 0 &&
                   protocol_is_well(st, dict);
    Py_DECREF(dict);
    if (PyErr_Occurred())
        return TDL_ATTEMPT_FAILED;
    if (!drained)
        return TDL_ATTEMPT_DELEGATE;
    *result = Py_NewRef(Py_None);
    return TDL_ATTEMPT_DONE;
}

static PyObject *
stock_drain(struct tdl_state *st)
{
    return tdl_stock_method(st->objects.stock_writer_methods, TDL_STOCK_DRAIN);
}

static const struct tdl_operation_kind kind_drain = {"drain", "StreamWriter.drain",
                                                     attempt_drain, stock_drain};

static PyObject *
writer_drain(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    struct tdl_state *st = tdl_state_by_type(Py_TYPE(op));
    return st == NULL ? NULL : tdl_operation_new(st, &kind_drain, op, NULL, NULL, 0);
}

static PyMethodDef methods[] = {
    {"write", TDL_METHOD(writer_write), METH_FASTCALL | METH_KEYWORDS,
     "write($self, data)\n--\n\nSend data, now or when the transport takes it."},
    {"is_closing", (PyCFunction)writer_is_closing, METH_NOARGS,
     "is_closing($self)\n--\n\nReturn whether the transport is closing or closed."},
    {"drain", (PyCFunction)writer_drain, METH_NOARGS,
     "drain($self)\n--\n\nWait until it is sensible to write more."},
    {NULL, NULL, 0, NULL},
};

int
tdl_write_exec(PyObject *module)
{
    struct tdl_objects *o = &tdl_state_of(module)->objects;
    return tdl_stock_subclass(module, o->aio_writer, methods, NULL, &o->StreamWriter);
}

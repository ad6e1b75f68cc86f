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
    PyObject *dict = tdl_instance_dict(op);
    PyObject *value = dict == NULL ? NULL : tdl_dict_get_name(dict, name);
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

/* transport.write(data), of whatever transport. */
static PyObject *
write_to(struct tdl_state *st, PyObject *transport, PyObject *data)
{
    if (tdl_transport_check(st, transport))
        return tdl_transport_write((TransportObject *)transport, data);
    PyObject *r = PyObject_CallMethodOneArg(transport, st->names.write, data);
    if (r == NULL)
        return NULL;
    Py_DECREF(r);
    Py_RETURN_NONE;
}

static PyObject *
writer_write(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    struct tdl_state *st = tdl_state_by_type(Py_TYPE(op));
    if (st == NULL)
        return NULL;
    PyObject *transport = nargs != 1 || kwnames != NULL ? NULL : own(op, st->names._transport);
    if (transport == NULL)
        return PyErr_Occurred() ? NULL
                                : call_stock(st, TDL_STOCK_WRITE, op, args, nargs, kwnames);
    PyObject *r = write_to(st, transport, args[0]);
    Py_DECREF(transport);
    return r;
}

/* Whether the transport is closing: 1 or 0, or -1 with an exception set. */
static int
is_closing(struct tdl_state *st, PyObject *transport)
{
    if (tdl_transport_check(st, transport))
        return ((TransportObject *)transport)->closing;
    PyObject *r = PyObject_CallMethodNoArgs(transport, st->names.is_closing);
    int closing = r == NULL ? -1 : PyObject_IsTrue(r);
    Py_XDECREF(r);
    return closing;
}

static PyObject *
writer_is_closing(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    struct tdl_state *st = tdl_state_by_type(Py_TYPE(op));
    PyObject *transport = st == NULL ? NULL : own(op, st->names._transport);
    PyObject *r = NULL;
    if (transport != NULL && tdl_transport_check(st, transport))
        r = PyBool_FromLong(((TransportObject *)transport)->closing);
    else if (st != NULL && !PyErr_Occurred())
        r = call_stock(st, TDL_STOCK_IS_CLOSING, op, NULL, 0, NULL);
    Py_XDECREF(transport);
    return r;
}

/* ---- drain() --------------------------------------------------------------------------- */

/* The reader is there, of our class, and has not failed; or there is none. */
static bool
reader_is_well(struct tdl_state *st, PyObject *dict)
{
    PyObject *reader = tdl_dict_get_name(dict, st->names._reader);
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
    PyObject *value = tdl_dict_get_name(dict, name);
    Py_XDECREF(value);
    return value == Py_False;
}

static bool
has(PyObject *dict, PyObject *name)
{
    PyObject *value = tdl_dict_get_name(dict, name);
    Py_XDECREF(value);
    return value != NULL;
}

/* asyncio's protocol, which would not make drain() wait. */
static bool
protocol_is_well(struct tdl_state *st, PyObject *dict)
{
    PyObject *protocol = tdl_dict_get_name(dict, st->names._protocol);
    bool well = false;
    if (protocol != NULL && (Py_IS_TYPE(protocol, st->objects.aio_reader_protocol) ||
                             Py_IS_TYPE(protocol, st->objects.aio_process_protocol))) {
        PyObject *attributes = tdl_instance_dict(protocol);
        well = attributes != NULL && is_false(attributes, st->names._connection_lost) &&
               is_false(attributes, st->names._paused) &&
               !has(attributes, st->names._drain_helper);
        Py_XDECREF(attributes);
    }
    Py_XDECREF(protocol);
    return well;
}

/* Whether the transport is there and not closing: 1 or 0, or -1 with an exception. */
static int
transport_is_open(struct tdl_state *st, PyObject *dict)
{
    PyObject *transport = tdl_dict_get_name(dict, st->names._transport);
    if (transport == NULL)
        return PyErr_Occurred() ? -1 : 0;
    int closing = is_closing(st, transport);
    Py_DECREF(transport);
    return closing < 0 ? -1 : !closing;
}

static enum tdl_attempt
attempt_drain(OperationObject *self, PyObject **result)
{
    struct tdl_state *st = self->st;
    PyObject *dict = tdl_instance_dict(self->owner);
    if (dict == NULL)
        return TDL_ATTEMPT_FAILED;
    bool drained = reader_is_well(st, dict) && protocol_is_well(st, dict) &&
                   transport_is_open(st, dict) > 0;
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

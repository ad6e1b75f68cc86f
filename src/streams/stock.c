#include "streams/stock.h"

static const char *const reader_methods[TDL_STOCK_READER_METHODS] = {
    "read",
    "readexactly",
    "readuntil",
    "readline",
    "__anext__",
    "feed_data",
    "at_eof",
    "exception",
    "_wait_for_data",
    "_wakeup_waiter",
    "_maybe_resume_transport",
};

static const char *const writer_methods[TDL_STOCK_WRITER_METHODS] = {
    "write",
    "drain",
    "is_closing",
};

static const char *const protocol_methods[] = {
    "data_received",
    "connection_made",
    "_drain_helper",
    "_stream_reader",
};

struct stock_class {
    PyTypeObject *type;
    PyObject *methods; /* tuple */
    const char *const *names;
};

static struct stock_class
look_up(struct tdl_objects *o, enum tdl_stock which)
{
    struct stock_class found = {o->aio_reader, o->stock_reader_methods, reader_methods};
    if (which == TDL_STOCK_WRITER)
        found = (struct stock_class){o->aio_writer, o->stock_writer_methods, writer_methods};
    if (which == TDL_STOCK_PROTOCOL)
        found = (struct stock_class){o->aio_reader_protocol, o->stock_protocol_methods,
                                     protocol_methods};
    return found;
}

int
tdl_stock_unchanged(struct tdl_state *st, enum tdl_stock which)
{
    struct stock_class class = look_up(&st->objects, which);
    unsigned version = tdl_type_version(class.type);
    if (version != 0 && version == st->stock_versions[which])
        return 1;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(class.methods); i++) {
        PyObject *method = PyObject_GetAttrString((PyObject *)class.type, class.names[i]);
        if (method == NULL) {
            PyErr_Clear();
            return 0;
        }
        Py_DECREF(method);
        if (method != PyTuple_GET_ITEM(class.methods, i))
            return 0;
    }
    st->stock_versions[which] = tdl_type_version(class.type);
    return 1;
}

static int
note_methods(PyTypeObject *type, const char *const *names, Py_ssize_t count, PyObject **slot)
{
    *slot = PyTuple_New(count);
    if (*slot == NULL)
        return -1;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *method = PyObject_GetAttrString((PyObject *)type, names[i]);
        if (method == NULL)
            return -1;
        PyTuple_SET_ITEM(*slot, i, method);
    }
    return 0;
}

static int
add_getset(PyTypeObject *type, PyGetSetDef *getset)
{
    for (; getset != NULL && getset->name != NULL; getset++) {
        PyObject *descriptor = PyDescr_NewGetSet(type, getset);
        int r = descriptor == NULL
                    ? -1
                    : PyObject_SetAttrString((PyObject *)type, getset->name, descriptor);
        Py_XDECREF(descriptor);
        if (r < 0)
            return -1;
    }
    return 0;
}

/* The class is made like any Python class, since only then is a change of `__class__`
 * allowed; `anchor`, a second base, is how its methods find the module. */
static PyObject *
make_class(PyTypeObject *base, PyTypeObject *anchor)
{
    PyObject *name = PyObject_GetAttrString((PyObject *)base, "__name__");
    PyObject *doc = PyObject_GetAttrString((PyObject *)base, "__doc__");
    PyObject *body = NULL, *class = NULL;
    if (name != NULL && doc != NULL)
        body = Py_BuildValue("{s:(),s:s,s:O}", "__slots__", "__module__", "treadle", "__doc__",
                             doc);
    if (body != NULL)
        class =
            PyObject_CallFunction((PyObject *)&PyType_Type, "O(OO)O", name, base, anchor, body);
    Py_XDECREF(name);
    Py_XDECREF(doc);
    Py_XDECREF(body);
    return class;
}

int
tdl_stock_subclass(PyObject *module, PyTypeObject *base, PyMethodDef *methods,
                   PyGetSetDef *getset, PyTypeObject **slot)
{
    struct tdl_objects *o = &tdl_state_of(module)->objects;
    *slot = (PyTypeObject *)make_class(base, o->StreamAnchor);
    if (*slot == NULL || tdl_state_add_methods(*slot, methods) < 0 ||
        add_getset(*slot, getset) < 0)
        return -1;
    return PyModule_AddType(module, *slot);
}

static PyType_Slot anchor_slots[] = {
    {0, NULL},
};

static PyType_Spec anchor_spec = {
    .name = "treadle._native.StreamAnchor",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = anchor_slots,
};

/* By its code StreamWriter.__init__() is known when it runs. */
static int
note_init_code(struct tdl_objects *o)
{
    PyObject *init = PyObject_GetAttrString((PyObject *)o->aio_writer, "__init__");
    if (init == NULL)
        return -1;
    if (PyFunction_Check(init))
        o->aio_writer_init_code = Py_NewRef(PyFunction_GET_CODE(init));
    Py_DECREF(init);
    return 0;
}

int
tdl_stock_exec(PyObject *module)
{
    struct tdl_objects *o = &tdl_state_of(module)->objects;
    const struct tdl_import classes[] = {
        {"StreamReader", (PyObject **)&o->aio_reader},
        {"StreamWriter", (PyObject **)&o->aio_writer},
        {"StreamReaderProtocol", (PyObject **)&o->aio_reader_protocol},
        {NULL, NULL},
    };
    enum { PROTOCOL_METHODS = sizeof protocol_methods / sizeof protocol_methods[0] };
    const struct tdl_import process[] = {
        {"SubprocessStreamProtocol", (PyObject **)&o->aio_process_protocol}, {NULL, NULL}};
    const struct tdl_import tls[] = {{"SSLProtocol", (PyObject **)&o->aio_tls_protocol},
                                     {NULL, NULL}};
    if (tdl_state_import("asyncio.streams", classes) < 0 ||
        tdl_state_import("asyncio.subprocess", process) < 0 ||
        tdl_state_import("asyncio.sslproto", tls) < 0 || note_init_code(o) < 0 ||
        tdl_state_add_type(module, &anchor_spec, &o->StreamAnchor) < 0 ||
        note_methods(o->aio_reader, reader_methods, TDL_STOCK_READER_METHODS,
                     &o->stock_reader_methods) < 0 ||
        note_methods(o->aio_writer, writer_methods, TDL_STOCK_WRITER_METHODS,
                     &o->stock_writer_methods) < 0)
        return -1;
    return note_methods(o->aio_reader_protocol, protocol_methods, PROTOCOL_METHODS,
                        &o->stock_protocol_methods);
}

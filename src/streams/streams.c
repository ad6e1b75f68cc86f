#include "streams/streams.h"

#include "streams/adopt.h"
#include "streams/operation.h"
#include "streams/reader.h"
#include "streams/stock.h"
#include "streams/write.h"

/* _init_streams(): what needs asyncio, before the first loop and after _init_loop(). */
static PyObject *
init_streams(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    static int (*const parts[])(PyObject *) = {
        tdl_stock_exec, tdl_operation_exec, tdl_reader_exec, tdl_write_exec, tdl_adopt_exec,
    };
    if (tdl_state_of(module)->stream_hooks != NULL)
        Py_RETURN_NONE;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (parts[i](module) < 0)
            return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"_init_streams", init_streams, METH_NOARGS, NULL},
    {"_adopt_stream", tdl_adopt_stream, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

int
tdl_streams_exec(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}

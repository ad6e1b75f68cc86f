/* asyncio's stream classes: which of their methods are still the ones it came with, and
 * subclasses of them whose instances are theirs with another `__class__`.
 *
 * Attached thread state. */
#ifndef TDL_STREAMS_STOCK_H
#define TDL_STREAMS_STOCK_H

#include "py/state.h"

/* The methods of asyncio's that ours stand in for, in the tuples
 * tdl_objects.stock_*_methods. */
enum tdl_stock_reader_method {
    TDL_STOCK_READ,
    TDL_STOCK_READEXACTLY,
    TDL_STOCK_READUNTIL,
    TDL_STOCK_READLINE,
    TDL_STOCK_ANEXT,
    TDL_STOCK_FEED_DATA,
    TDL_STOCK_AT_EOF,
    TDL_STOCK_EXCEPTION,
    /* from here on: called by those, and not replaced */
    TDL_STOCK_WAIT_FOR_DATA,
    TDL_STOCK_WAKEUP_WAITER,
    TDL_STOCK_MAYBE_RESUME_TRANSPORT,
    TDL_STOCK_READER_METHODS
};

enum tdl_stock_writer_method {
    TDL_STOCK_WRITE,
    TDL_STOCK_DRAIN,
    TDL_STOCK_IS_CLOSING,
    TDL_STOCK_WRITER_METHODS
};

/* Which class. */
enum tdl_stock { TDL_STOCK_READER, TDL_STOCK_WRITER, TDL_STOCK_PROTOCOL };

/* Whether the methods that native code stands in for are asyncio's own: nobody has
 * patched the class.  Returns 1 or 0, or -1 with an exception set. */
int tdl_stock_unchanged(struct tdl_state *st, enum tdl_stock which);

/* The function behind a method; borrowed. */
static inline PyObject *
tdl_stock_method(PyObject *methods, int i)
{
    return PyTuple_GET_ITEM(methods, i);
}

/* Make a subclass of `base`, with its name and layout, that has `methods` and `getset`
 * (or NULL) as well, and add it to `module`.
 * Returns 0, or -1 with an exception set. */
int tdl_stock_subclass(PyObject *module, PyTypeObject *base, PyMethodDef *methods,
                       PyGetSetDef *getset, PyTypeObject **slot);

/* Find the classes.  Returns 0 or -1 with an exception set. */
int tdl_stock_exec(PyObject *module);

#endif

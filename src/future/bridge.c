#include "future/bridge.h"

#include "future/callbacks.h"
#include "future/landing.h"
#include "future/loop_inbox.h"
#include "py/args.h"

/* Both ends of treadle.wrap_future(): called with our future when that is done
 * (which the bridge intercepts), with asyncio's when that is. */
typedef struct {
    PyObject_HEAD
    struct tdl_state *st;
    PyObject *loop;
    struct tdl_delivery delivery; /* its futures are references of ours */
} LinkObject;

/* ---- asyncio's own callback, recognised by its code --------------------------- */

static int
index_in(PyObject *names, const char *wanted)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(names); i++)
        if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, i), wanted) == 0)
            return (int)i;
    return -1;
}

/* The code of the function `name` defined inside `outer`; borrowed, NULL if none. */
static PyObject *
nested_code(PyObject *outer, const char *name)
{
    PyObject *consts = PyObject_GetAttrString(outer, "co_consts");
    PyObject *found = NULL;
    for (Py_ssize_t i = 0; consts != NULL && i < PyTuple_GET_SIZE(consts); i++) {
        PyObject *code = PyTuple_GET_ITEM(consts, i);
        if (PyCode_Check(code) &&
            PyUnicode_CompareWithASCIIString(((PyCodeObject *)code)->co_name, name) == 0)
            found = code; /* kept alive by `outer` */
    }
    Py_XDECREF(consts);
    return found;
}

struct aio {
    PyObject *chain_code, *convert, *running_loop, *selector_loop;
    int cell_destination, cell_loop;
};

/* Find the callback's code and its cells in the module asyncio.futures.
 * Returns whether all was found; sets no exception. */
static int
find_chain_code(PyObject *module, struct aio *aio)
{
    PyObject *chain = PyObject_GetAttrString(module, "_chain_future");
    PyObject *outer = chain == NULL ? NULL : PyObject_GetAttrString(chain, "__code__");
    PyObject *code = outer == NULL ? NULL : nested_code(outer, "_call_set_state");
    PyObject *names = code == NULL ? NULL : PyObject_GetAttrString(code, "co_freevars");
    if (names != NULL) {
        aio->cell_destination = index_in(names, "destination");
        aio->cell_loop = index_in(names, "dest_loop");
        if (aio->cell_destination >= 0 && aio->cell_loop >= 0)
            aio->chain_code = Py_NewRef(code);
    }
    Py_XDECREF(names);
    Py_XDECREF(outer);
    Py_XDECREF(chain);
    PyErr_Clear();
    return aio->chain_code != NULL;
}

static int
look_at_asyncio(struct aio *aio)
{
    /* asyncio before _asyncio: otherwise some versions end up with two dicts of
     * current tasks */
    PyObject *asyncio = PyImport_ImportModule("asyncio");
    PyObject *futures = asyncio == NULL ? NULL : PyImport_ImportModule("asyncio.futures");
    PyObject *events = futures == NULL ? NULL : PyImport_ImportModule("asyncio.events");
    if (events != NULL) {
        aio->convert = PyObject_GetAttrString(futures, "_convert_future_exc");
        aio->running_loop = PyObject_GetAttrString(events, "_get_running_loop");
    }
    PyObject *selectors = PyImport_ImportModule("asyncio.selector_events");
    if (selectors != NULL)
        aio->selector_loop = PyObject_GetAttrString(selectors, "BaseSelectorEventLoop");
    Py_XDECREF(selectors);
    int ok = aio->convert != NULL && aio->running_loop != NULL && find_chain_code(futures, aio);
    Py_XDECREF(events);
    Py_XDECREF(futures);
    Py_XDECREF(asyncio);
    PyErr_Clear();
    return ok;
}

/* Whether asyncio is there and looks as expected.  Looks once. */
static int
bridge_ready(struct tdl_state *st)
{
    int ready = atomic_load_explicit(&st->aio_ready, memory_order_acquire);
    if (ready != 0)
        return ready > 0;
    struct aio aio = {0};
    ready = look_at_asyncio(&aio) ? 1 : -1;
    tdl_lock_acquire(&st->aio_lock);
    int first = atomic_load_explicit(&st->aio_ready, memory_order_relaxed) == 0;
    if (first) {
        st->objects.aio_chain_code = aio.chain_code;
        st->objects.aio_convert = aio.convert;
        st->objects.aio_running_loop = aio.running_loop;
        st->objects.aio_selector_loop = aio.selector_loop;
        st->aio_cell_destination = aio.cell_destination;
        st->aio_cell_loop = aio.cell_loop;
        atomic_store_explicit(&st->aio_ready, ready, memory_order_release);
    }
    tdl_lock_release(&st->aio_lock);
    if (!first) {
        Py_XDECREF(aio.chain_code);
        Py_XDECREF(aio.convert);
        Py_XDECREF(aio.running_loop);
        Py_XDECREF(aio.selector_loop);
    }
    return atomic_load_explicit(&st->aio_ready, memory_order_acquire) > 0;
}

/* Whether `fn` may be the callback: cheap, and does not import asyncio. */
static int
is_of_asyncio(PyObject *fn)
{
    if (!PyFunction_Check(fn))
        return 0;
    PyObject *module = PyFunction_GetModule(fn);
    return module != NULL && PyUnicode_Check(module) &&
           PyUnicode_CompareWithASCIIString(module, "asyncio.futures") == 0;
}

static PyObject *
cell_value(PyObject *closure, int i)
{
    return PyCell_Get(PyTuple_GET_ITEM(closure, i));
}

/* The loop runs on this very thread: asyncio's callback may then deliver at once. */
static int
runs_here(struct tdl_state *st, PyObject *loop)
{
    PyObject *running = PyObject_CallNoArgs(st->objects.aio_running_loop);
    if (running == NULL) {
        PyErr_Clear();
        return 1;
    }
    int here = running == loop;
    Py_DECREF(running);
    return here;
}

/* Returns as tdl_bridge_deliver(). */
static int
post_pair(FutureObject *self, PyObject *loop, PyObject *destination, struct tdl_fire *fire)
{
    struct tdl_delivery *delivery = tdl_delivery_new(destination, (PyObject *)self);
    return delivery == NULL ? -1 : tdl_loop_inbox_post(self->st, loop, delivery, NULL, fire);
}

/* Returns as tdl_bridge_deliver(). */
static int
deliver_chain(FutureObject *self, PyObject *fn, struct tdl_fire *fire)
{
    struct tdl_state *st = self->st;
    if (!is_of_asyncio(fn) || !bridge_ready(st) ||
        PyFunction_GET_CODE(fn) != st->objects.aio_chain_code)
        return 0;
    PyObject *closure = PyFunction_GET_CLOSURE(fn);
    PyObject *destination = cell_value(closure, st->aio_cell_destination);
    PyObject *loop = cell_value(closure, st->aio_cell_loop);
    int r = 0;
    if (destination != NULL && loop != NULL && loop != Py_None && !runs_here(st, loop))
        r = post_pair(self, loop, destination, fire);
    Py_XDECREF(destination);
    Py_XDECREF(loop);
    return r;
}

int
tdl_bridge_deliver(FutureObject *self, PyObject *fn, struct tdl_fire *fire)
{
    struct tdl_state *st = self->st;
    if (!Py_IS_TYPE(fn, st->objects.FutureLink))
        return deliver_chain(self, fn, fire);
    LinkObject *link = (LinkObject *)fn;
    return tdl_loop_inbox_post(st, link->loop, &link->delivery, fn, fire);
}

/* ---- treadle.wrap_future() --------------------------------------------------- */

/* asyncio's future is done: if it was cancelled, cancel ours. */
static PyObject *
link_call(LinkObject *self, PyObject *args, PyObject *kwds)
{
    PyObject *destination;
    if (kwds != NULL && PyDict_GET_SIZE(kwds) != 0) {
        PyErr_SetString(PyExc_TypeError, "FutureLink() takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "O:FutureLink", &destination))
        return NULL;
    PyObject *cancelled = PyObject_CallMethodNoArgs(destination, self->st->names.cancelled);
    if (cancelled == NULL)
        return NULL;
    int yes = PyObject_IsTrue(cancelled);
    Py_DECREF(cancelled);
    if (yes < 0 || (yes && tdl_future_cancel((FutureObject *)self->delivery.source) < 0))
        return NULL;
    Py_RETURN_NONE;
}

static int
link_traverse(LinkObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->loop);
    Py_VISIT(self->delivery.destination);
    Py_VISIT(self->delivery.source);
    return 0;
}

static void
link_dealloc(LinkObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_XDECREF(self->loop);
    Py_XDECREF(self->delivery.destination);
    Py_XDECREF(self->delivery.source);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot link_slots[] = {
    {Py_tp_call, link_call},
    {Py_tp_traverse, link_traverse},
    {Py_tp_dealloc, link_dealloc},
    {0, NULL},
};

static PyType_Spec link_spec = {
    .name = "treadle._native.FutureLink",
    .basicsize = sizeof(LinkObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = link_slots,
};

static LinkObject *
link_new(struct tdl_state *st, PyObject *loop, PyObject *destination, PyObject *source)
{
    PyTypeObject *type = st->objects.FutureLink;
    LinkObject *link = (LinkObject *)type->tp_alloc(type, 0);
    if (link != NULL) {
        link->st = st;
        link->loop = Py_NewRef(loop);
        link->delivery.destination = Py_NewRef(destination);
        link->delivery.source = Py_NewRef(source);
    }
    return link;
}

/* Tie `destination` and `source` together.  Returns 0 or -1 with an exception. */
static int
tie(struct tdl_state *st, PyObject *loop, PyObject *destination, PyObject *source)
{
    LinkObject *link = link_new(st, loop, destination, source);
    if (link == NULL)
        return -1;
    PyObject *r =
        PyObject_CallMethodOneArg(destination, st->names.add_done_callback, (PyObject *)link);
    int ok = r == NULL ? -1 : tdl_callbacks_add((FutureObject *)source, (PyObject *)link);
    struct tdl_landing *landing = tdl_landing_of(st, loop);
    if (ok == 0 && landing != NULL)
        tdl_landing_expect(landing, loop, (FutureObject *)source);
    Py_XDECREF(r);
    Py_DECREF(link);
    return ok;
}

PyObject *
tdl_bridge_wrap(struct tdl_state *st, PyObject *future, PyObject *loop)
{
    if (!bridge_ready(st)) {
        PyErr_SetString(PyExc_RuntimeError, "this asyncio is not one that treadle knows; use "
                                            "asyncio.wrap_future() instead");
        return NULL;
    }
    PyObject *destination = PyObject_CallMethodNoArgs(loop, st->names.create_future);
    if (destination != NULL && tie(st, loop, destination, future) < 0)
        Py_CLEAR(destination);
    return destination;
}

static PyObject *
wrap_future(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"future", "loop"};
    struct tdl_state *st = tdl_state_of(module);
    PyObject *values[2];
    if (tdl_args_parse("wrap_future", args, nargs, kwnames, names, 2, 2, values) < 0)
        return NULL;
    if (!tdl_future_check(st, values[0]))
        return PyErr_Format(PyExc_TypeError, "a treadle.Future is required, not '%.200s'",
                            Py_TYPE(values[0])->tp_name);
    if (!PyType_SUPPORTS_WEAKREFS(Py_TYPE(values[1])))
        return PyErr_Format(PyExc_TypeError,
                            "cannot wrap a future for a '%.200s': such loops "
                            "have no weak references; use "
                            "asyncio.wrap_future() instead",
                            Py_TYPE(values[1])->tp_name);
    return tdl_bridge_wrap(st, values[0], values[1]);
}

static PyMethodDef bridge_functions[] = {
    {"wrap_future", TDL_METHOD(wrap_future), METH_FASTCALL | METH_KEYWORDS,
     "wrap_future($module, /, future, loop)\n--\n\n"
     "Return an asyncio future of loop that follows a treadle.Future.\n\n"
     "As asyncio.wrap_future(), without a Python callback in between: results reach\n"
     "the loop in batches, one wake-up each."},
    {NULL, NULL, 0, NULL},
};

int
tdl_bridge_exec(PyObject *module)
{
    struct tdl_state *st = tdl_state_of(module);
    tdl_lock_init(&st->aio_lock);
    if (tdl_loop_inbox_exec(module) < 0 ||
        tdl_state_add_type(module, &link_spec, &st->objects.FutureLink) < 0)
        return -1;
    return PyModule_AddFunctions(module, bridge_functions);
}

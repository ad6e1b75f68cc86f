#include "procs/pickling.h"

#include "core/lock.h"
#include "procs/shared.h"

enum { SPARES = 4 };

struct tdl_pickling {
    struct tdl_state *st;
    PyObject *make;  /* class of picklers */
    PyObject *dumps; /* a function instead, or NULL */
    PyObject *given; /* the pickler, or NULL */
    PyObject *loads; /* pickle.loads */
    PyObject *kwnames;
    bool custom;
    struct tdl_lock lock;
    unsigned nspares;        /* lock */
    PyObject *spare[SPARES]; /* lock; targets with a pickler each, not in use */
};

/* What this thread pickles into; a thread can pickle while it pickles. */
static _Thread_local unsigned pickling_depth;

bool
tdl_pickling_active(void)
{
    return pickling_depth > 0;
}

/* ---- the file and the buffer callback of a pickler ---------------------------------------- */

typedef struct {
    PyObject_HEAD
    struct tdl_state *st;
    struct tdl_sink *sink; /* NULL unless it is being pickled */
    PyObject *pickler;     /* whose file this is; NULL for one that is used once */
} TargetObject;

static int
check_in_use(TargetObject *self)
{
    if (self->sink != NULL)
        return 0;
    PyErr_SetString(PyExc_ValueError, "this file is used while something is pickled only");
    return -1;
}

static PyObject *
target_write(PyObject *op, PyObject *data)
{
    TargetObject *self = (TargetObject *)op;
    Py_buffer view;
    if (check_in_use(self) < 0 || PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    int r = self->sink == NULL ? check_in_use(self)
                               : tdl_sink_put(self->sink, view.buf, (size_t)view.len);
    Py_ssize_t size = view.len;
    PyBuffer_Release(&view);
    return r < 0 ? NULL : PyLong_FromSsize_t(size);
}

/* The buffer callback: false takes the buffer out of the pickle. */
static PyObject *
target_call(PyObject *op, PyObject *args, PyObject *kwargs)
{
    TargetObject *self = (TargetObject *)op;
    PyObject *buffer;
    Py_buffer view;
    if (check_in_use(self) < 0 || !PyArg_ParseTuple(args, "O:buffer_callback", &buffer))
        return NULL;
    if (PyObject_GetBuffer(buffer, &view, PyBUF_FULL_RO) < 0)
        return NULL;
    bool beside = PyBuffer_IsContiguous(&view, 'A') && self->sink != NULL &&
                  ((size_t)view.len >= self->sink->part_min ||
                   tdl_shared_contains(self->st, view.buf, (size_t)view.len));
    if (!beside) {
        PyBuffer_Release(&view);
        Py_RETURN_TRUE;
    }
    if (tdl_sink_add_view(self->sink, &view) < 0)
        return NULL;
    Py_RETURN_FALSE;
}

static int
target_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(((TargetObject *)op)->pickler);
    return 0;
}

static int
target_clear(PyObject *op)
{
    Py_CLEAR(((TargetObject *)op)->pickler);
    return 0;
}

static void
target_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    target_clear(op);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyMethodDef target_methods[] = {
    {"write", target_write, METH_O, "Take bytes of a pickle."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot target_slots[] = {
    {Py_tp_methods, target_methods},
    {Py_tp_call, target_call},
    {Py_tp_traverse, target_traverse},
    {Py_tp_clear, target_clear},
    {Py_tp_dealloc, target_dealloc},
    {Py_tp_doc, "The file that a pickler for a pool writes to, and its buffer callback."},
    {0, NULL},
};

static PyType_Spec target_spec = {
    .name = "treadle._native.PickleTarget",
    .basicsize = sizeof(TargetObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = target_slots,
};

int
tdl_pickling_exec(PyObject *module)
{
    struct tdl_objects *o = &tdl_state_of(module)->objects;
    const struct tdl_import wanted[] = {
        {"PicklingError", &o->PicklingError},
        {"UnpicklingError", &o->UnpicklingError},
        {NULL, NULL},
    };
    if (tdl_state_import("_pickle", wanted) < 0)
        return -1;
    return tdl_state_add_type(module, &target_spec, &o->PickleTarget);
}

/* ---- picklers -------------------------------------------------------------------------------- */

static int
find_custom(struct tdl_pickling *p, PyObject *pickler)
{
    p->custom = true;
    p->make = PyObject_GetAttrString(pickler, "Pickler");
    if (p->make != NULL)
        return 0;
    if (!PyErr_ExceptionMatches(PyExc_AttributeError))
        return -1;
    PyErr_Clear();
    p->dumps = PyObject_GetAttrString(pickler, "dumps");
    if (p->dumps == NULL && PyErr_ExceptionMatches(PyExc_AttributeError))
        PyErr_Format(PyExc_TypeError,
                     "pickler must have a class Pickler or a function dumps, as the "
                     "modules pickle and cloudpickle have; %.200R has neither",
                     pickler);
    return p->dumps == NULL ? -1 : 0;
}

static int
find_stock(struct tdl_pickling *p)
{
    const struct tdl_import wanted[] = {{"ForkingPickler", &p->make}, {NULL, NULL}};
    return tdl_state_import("multiprocessing.reduction", wanted);
}

struct tdl_pickling *
tdl_pickling_new(struct tdl_state *st, PyObject *pickler)
{
    struct tdl_pickling *p = PyMem_Calloc(1, sizeof *p);
    if (p == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    p->st = st;
    tdl_lock_init(&p->lock);
    const struct tdl_import wanted[] = {{"loads", &p->loads}, {NULL, NULL}};
    p->given = Py_XNewRef(pickler);
    int r = pickler != NULL ? find_custom(p, pickler) : find_stock(p);
    p->kwnames = Py_BuildValue("(s)", "buffers");
    if (r < 0 || p->kwnames == NULL || tdl_state_import("_pickle", wanted) < 0) {
        tdl_pickling_free(p);
        return NULL;
    }
    return p;
}

void
tdl_pickling_free(struct tdl_pickling *pickling)
{
    if (pickling == NULL)
        return;
    while (pickling->nspares > 0) {
        PyObject *target = pickling->spare[--pickling->nspares];
        target_clear(target);
        Py_DECREF(target);
    }
    Py_XDECREF(pickling->make);
    Py_XDECREF(pickling->dumps);
    Py_XDECREF(pickling->given);
    Py_XDECREF(pickling->loads);
    Py_XDECREF(pickling->kwnames);
    PyMem_Free(pickling);
}

int
tdl_pickling_traverse(struct tdl_pickling *pickling, visitproc visit, void *arg)
{
    if (pickling == NULL)
        return 0;
    Py_VISIT(pickling->make);
    Py_VISIT(pickling->dumps);
    Py_VISIT(pickling->given);
    return 0;
}

PyObject *
tdl_pickling_pickler(const struct tdl_pickling *pickling)
{
    return pickling->given != NULL ? pickling->given : Py_None;
}

bool
tdl_pickling_is_custom(const struct tdl_pickling *pickling)
{
    return pickling->custom;
}

static PyObject *
new_pickler(struct tdl_pickling *p, PyObject *target)
{
    if (!p->custom)
        return PyObject_CallFunction(p->make, "OiOO", target, 5, Py_True, target);
    PyObject *kwargs = Py_BuildValue("{s:i,s:O}", "protocol", 5, "buffer_callback", target);
    PyObject *args = PyTuple_Pack(1, target);
    PyObject *pickler =
        kwargs == NULL || args == NULL ? NULL : PyObject_Call(p->make, args, kwargs);
    Py_XDECREF(args);
    Py_XDECREF(kwargs);
    return pickler;
}

/* A target with a pickler: a spare one, or a new one. */
static TargetObject *
take_target(struct tdl_pickling *p)
{
    TargetObject *target = NULL;
    tdl_lock_acquire(&p->lock);
    if (p->nspares > 0)
        target = (TargetObject *)p->spare[--p->nspares];
    tdl_lock_release(&p->lock);
    if (target != NULL)
        return target;
    PyTypeObject *type = p->st->objects.PickleTarget;
    target = (TargetObject *)type->tp_alloc(type, 0);
    if (target == NULL)
        return NULL;
    target->st = p->st;
    target->pickler = new_pickler(p, (PyObject *)target);
    if (target->pickler == NULL)
        Py_CLEAR(target);
    return target;
}

/* A pickler of others keeps who knows what from one time to the next, and so may one
 * that has failed. */
static void
put_target_back_steal(struct tdl_pickling *p, TargetObject *target, bool reusable)
{
    bool kept = false;
    if (reusable && !p->custom) {
        tdl_lock_acquire(&p->lock);
        kept = p->nspares < SPARES;
        if (kept)
            p->spare[p->nspares++] = (PyObject *)target;
        tdl_lock_release(&p->lock);
    }
    if (!kept) {
        target_clear((PyObject *)target);
        Py_DECREF(target);
    }
}

static int
discard(PyObject *result)
{
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static int
dump_with_pickler(struct tdl_pickling *p, struct tdl_sink *sink, PyObject *object)
{
    TargetObject *target = take_target(p);
    if (target == NULL)
        return -1;
    target->sink = sink;
    int r = discard(PyObject_CallMethodOneArg(target->pickler, p->st->names.dump, object));
    target->sink = NULL;
    if (r == 0 && !p->custom)
        r = discard(PyObject_CallMethodNoArgs(target->pickler, p->st->names.clear_memo));
    PyObject *raised = r < 0 ? tdl_err_take() : NULL;
    put_target_back_steal(p, target, r == 0);
    if (raised != NULL)
        tdl_err_put_steal(raised);
    return r;
}

static int
dump_with_function(struct tdl_pickling *p, struct tdl_sink *sink, PyObject *object)
{
    Py_buffer view;
    PyObject *bytes = PyObject_CallOneArg(p->dumps, object);
    int r = bytes == NULL ? -1 : PyObject_GetBuffer(bytes, &view, PyBUF_SIMPLE);
    if (r == 0) {
        r = tdl_sink_put(sink, view.buf, (size_t)view.len);
        PyBuffer_Release(&view);
    }
    Py_XDECREF(bytes);
    return r;
}

int
tdl_pickling_dump(struct tdl_pickling *pickling, struct tdl_sink *sink, PyObject *object)
{
    if (pickling->dumps != NULL)
        return dump_with_function(pickling, sink, object);
    pickling_depth++;
    int r = dump_with_pickler(pickling, sink, object);
    pickling_depth--;
    return r;
}

PyObject *
tdl_pickling_load(struct tdl_pickling *pickling, const uint8_t *data, size_t size,
                  PyObject *buffers)
{
    PyObject *view =
        PyMemoryView_FromMemory((char *)(uintptr_t)data, (Py_ssize_t)size, PyBUF_READ);
    if (view == NULL)
        return NULL;
    PyObject *args[] = {view, buffers};
    PyObject *object = PyObject_Vectorcall(pickling->loads, args, 1,
                                           buffers == NULL ? NULL : pickling->kwnames);
    Py_DECREF(view);
    return object;
}

#include "sync/queue.h"

#include "py/args.h"
#include "sync/object.h"
#include "sync/sync.h"

/* ---- life ------------------------------------------------------------------------ */

/* Whether `type` has all of those methods of its native base. */
static bool
has_all(PyTypeObject *type, PyTypeObject *base, PyObject *const *names, int count)
{
    for (int i = 0; i < count; i++)
        if (!tdl_sync_has_own(type, base, names[i]))
            return false;
    return true;
}

static PyObject *
queue_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwds))
{
    QueueObject *self = (QueueObject *)tdl_sync_alloc(type);
    if (self == NULL)
        return NULL;
    struct tdl_objects *o = &self->head.st->objects;
    struct tdl_names *names = &self->head.st->names;
    PyObject *const parts[] = {names->_put, names->_get, names->qsize};
    tdl_waitq_init(&self->getters.waiters);
    tdl_waitq_init(&self->putters.waiters);
    tdl_waitq_init(&self->joiners);
    tdl_lock_init(&self->guard.lock);
    if (PyType_IsSubtype(type, o->LifoQueueBase))
        self->kind = TDL_QUEUE_LIFO;
    else if (PyType_IsSubtype(type, o->PriorityQueueBase))
        self->kind = TDL_QUEUE_PRIORITY;
    self->own_methods = has_all(type, o->QueueBase, parts, 3);
    self->plain_put = tdl_sync_has_own(type, o->QueueBase, names->put_nowait);
    self->plain_get = tdl_sync_has_own(type, o->QueueBase, names->get_nowait);
    return (PyObject *)self;
}

/* The size as a number; 0: no limit.  Whatever compares with numbers is fine.
 * Returns -1 with an exception set. */
static Py_ssize_t
limit_of(PyObject *maxsize)
{
    if (PyLong_Check(maxsize)) {
        int overflow;
        long long value = PyLong_AsLongLongAndOverflow(maxsize, &overflow);
        if (value == -1 && overflow == 0 && PyErr_Occurred())
            return -1;
        return value > 0 && overflow == 0 ? (Py_ssize_t)value : 0;
    }
    double value = PyFloat_AsDouble(maxsize);
    if (value == -1.0 && PyErr_Occurred())
        return -1;
    if (!(value > 0) || value > 9e15)
        return 0;
    Py_ssize_t whole = (Py_ssize_t)value;
    return (double)whole < value ? whole + 1 : whole;
}

static int
queue_init(QueueObject *self, PyObject *args, PyObject *kwds)
{
    static const char *const names[] = {"maxsize"};
    PyObject *given;
    if (tdl_sync_parse("Queue.__init__", args, kwds, names, 1, 0, &given) < 0)
        return -1;
    PyObject *maxsize = given == NULL ? PyLong_FromLong(0) : Py_NewRef(given);
    Py_ssize_t limit = maxsize == NULL ? -1 : limit_of(maxsize);
    if (limit < 0) {
        Py_XDECREF(maxsize);
        return -1;
    }
    self->limit = limit;
    Py_XSETREF(self->maxsize, maxsize);
    struct tdl_state *st = self->head.st;
    if (tdl_sync_has_own(Py_TYPE(self), st->objects.QueueBase, st->names._init))
        return tdl_queue_make(self);
    PyObject *r = PyObject_CallMethodOneArg((PyObject *)self, st->names._init, self->maxsize);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

static int
queue_traverse(QueueObject *self, visitproc visit, void *arg)
{
    Py_VISIT(self->items);
    Py_VISIT(self->maxsize);
    return tdl_sync_traverse((PyObject *)self, visit, arg);
}

static int
queue_clear(QueueObject *self)
{
    self->native = false;
    Py_CLEAR(self->items);
    Py_CLEAR(self->maxsize);
    return tdl_sync_clear((PyObject *)self);
}

static void
queue_dealloc(QueueObject *self)
{
    PyObject_GC_UnTrack(self);
    Py_CLEAR(self->items);
    Py_CLEAR(self->maxsize);
    tdl_sync_free((PyObject *)self);
}

/* ---- methods that do not wait ---------------------------------------------------- */

static const struct tdl_queue_visit nobody = {NULL, false};

static PyObject *
put_nowait(QueueObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"item"};
    PyObject *item;
    if (tdl_args_parse("put_nowait", args, nargs, kwnames, names, 1, 1, &item) < 0)
        return NULL;
    enum tdl_queue_outcome outcome = tdl_queue_put(self, item, &nobody);
    if (outcome == TDL_QUEUE_FINE)
        Py_RETURN_NONE;
    if (outcome == TDL_QUEUE_BUSY)
        PyErr_SetNone(self->head.st->objects.QueueFull);
    return NULL;
}

static PyObject *
get_nowait(QueueObject *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *item;
    enum tdl_queue_outcome outcome = tdl_queue_get(self, &item, &nobody);
    if (outcome == TDL_QUEUE_BUSY)
        PyErr_SetNone(self->head.st->objects.QueueEmpty);
    return outcome == TDL_QUEUE_FINE ? item : NULL;
}

static PyObject *
qsize(QueueObject *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *items;
    TDL_CRITICAL_BEGIN(self);
    items = Py_XNewRef(self->items);
    TDL_CRITICAL_END();
    Py_ssize_t size = items == NULL ? 0 : PyObject_Size(items);
    Py_XDECREF(items);
    return size < 0 ? NULL : PyLong_FromSsize_t(size);
}

static PyObject *
empty(QueueObject *self, PyObject *Py_UNUSED(ignored))
{
    Py_ssize_t size = tdl_queue_size(self);
    return size < 0 ? NULL : PyBool_FromLong(size == 0);
}

static PyObject *
full(QueueObject *self, PyObject *Py_UNUSED(ignored))
{
    Py_ssize_t size = self->limit == 0 ? 0 : tdl_queue_size(self);
    return size < 0 ? NULL : PyBool_FromLong(self->limit > 0 && size >= self->limit);
}

static PyObject *
task_done(QueueObject *self, PyObject *Py_UNUSED(ignored))
{
    int64_t left;
    TDL_CRITICAL_BEGIN(self);
    left = self->unfinished <= 0 ? -1 : --self->unfinished;
    TDL_CRITICAL_END();
    if (left < 0) {
        PyErr_SetString(PyExc_ValueError, "task_done() called too many times");
        return NULL;
    }
    if (left == 0 && tdl_queue_wake_joiners(self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Take everything out.  Returns 0 or -1 with an exception set. */
static int
drain(QueueObject *self)
{
    int r = 0;
    tdl_handle_lock_guard(&self->guard);
    for (;;) {
        Py_ssize_t size = tdl_queue_size(self);
        if (size <= 0) {
            r = (int)size;
            break;
        }
        PyObject *item = PyObject_CallMethodNoArgs((PyObject *)self, self->head.st->names._get);
        if (item == NULL && self->native && Py_SIZE(self->items) == 0) {
            PyErr_Clear(); /* another thread was faster */
            break;
        }
        if (item == NULL) {
            r = -1;
            break;
        }
        Py_DECREF(item);
        TDL_CRITICAL_BEGIN(self);
        if (self->unfinished > 0)
            self->unfinished--;
        TDL_CRITICAL_END();
    }
    tdl_handle_unlock_guard(&self->guard);
    return r;
}

static PyObject *
queue_shutdown(QueueObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"immediate"};
    PyObject *given;
    if (tdl_args_parse("shutdown", args, nargs, kwnames, names, 1, 0, &given) < 0)
        return NULL;
    int immediate = given == NULL ? 0 : PyObject_IsTrue(given);
    if (immediate < 0)
        return NULL;
    TDL_CRITICAL_BEGIN(self);
    self->is_shut = true;
    TDL_CRITICAL_END();
    if (immediate &&
        (drain(self) < 0 || (self->unfinished == 0 && tdl_queue_wake_joiners(self) < 0)))
        return NULL;
    if (tdl_queue_wake_side(self, &self->getters) < 0 ||
        tdl_queue_wake_side(self, &self->putters) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- what subclasses replace ----------------------------------------------------- */

static PyObject *
step_init(QueueObject *self, PyObject *Py_UNUSED(maxsize))
{
    if (tdl_queue_make(self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
step_put(QueueObject *self, PyObject *item)
{
    if (tdl_queue_push(self, item) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
step_get(QueueObject *self, PyObject *Py_UNUSED(ignored))
{
    return tdl_queue_pop(self);
}

/* ---- looking --------------------------------------------------------------------- */

/* Append to `text`, which is dropped on failure; takes `part`. */
static void
append_steal(PyObject **text, PyObject *part)
{
    if (part == NULL)
        Py_CLEAR(*text);
    else if (*text != NULL)
        PyUnicode_Append(text, part);
    Py_XDECREF(part);
}

static PyObject *
items_text(PyObject *items)
{
    PyObject *list = PySequence_List(items);
    PyObject *text = list == NULL ? NULL : PyUnicode_FromFormat(" _queue=%R", list);
    Py_XDECREF(list);
    return text;
}

static PyObject *
format(QueueObject *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *text = PyUnicode_FromFormat("maxsize=%R", self->maxsize);
    PyObject *items = PyObject_GetAttrString((PyObject *)self, "_queue");
    int filled = items == NULL ? 0 : PyObject_IsTrue(items);
    PyErr_Clear();
    if (filled > 0)
        append_steal(&text, items_text(items));
    Py_XDECREF(items);
    size_t getters = self->getters.waiters.count, putters = self->putters.waiters.count;
    if (getters > 0)
        append_steal(&text, PyUnicode_FromFormat(" _getters[%zu]", getters));
    if (putters > 0)
        append_steal(&text, PyUnicode_FromFormat(" _putters[%zu]", putters));
    if (self->unfinished != 0)
        append_steal(&text, PyUnicode_FromFormat(" tasks=%lld", (long long)self->unfinished));
    if (self->is_shut)
        append_steal(&text, PyUnicode_FromString(" shutdown"));
    return text;
}

static PyObject *
described(QueueObject *self, bool with_address)
{
    PyObject *text = PyObject_CallMethod((PyObject *)self, "_format", NULL);
    PyObject *name =
        text == NULL ? NULL : PyObject_GetAttrString((PyObject *)Py_TYPE(self), "__name__");
    PyObject *all = NULL;
    if (name != NULL && with_address)
        all = PyUnicode_FromFormat("<%U at %p %S>", name, self, text);
    else if (name != NULL)
        all = PyUnicode_FromFormat("<%U %S>", name, text);
    Py_XDECREF(name);
    Py_XDECREF(text);
    return all;
}

static PyObject *
queue_repr(QueueObject *self)
{
    return described(self, true);
}

static PyObject *
queue_str(QueueObject *self)
{
    return described(self, false);
}

static PyObject *
get_items(QueueObject *self, void *Py_UNUSED(closure))
{
    PyObject *items;
    TDL_CRITICAL_BEGIN(self);
    items = Py_XNewRef(self->items);
    TDL_CRITICAL_END();
    if (items == NULL)
        PyErr_Format(PyExc_AttributeError, "'%.100s' object has no attribute '_queue'",
                     Py_TYPE(self)->tp_name);
    return items;
}

static int
set_items(QueueObject *self, PyObject *items, void *Py_UNUSED(closure))
{
    PyObject *before;
    TDL_CRITICAL_BEGIN(self);
    before = self->items;
    self->items = Py_XNewRef(items);
    tdl_queue_classify(self);
    TDL_CRITICAL_END();
    Py_XDECREF(before);
    return 0;
}

static PyObject *
get_maxsize(QueueObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(self->maxsize == NULL ? Py_None : self->maxsize);
}

static PyObject *
get_unfinished(QueueObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromLongLong(self->unfinished);
}

static int
set_unfinished(QueueObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    long long number = value == NULL ? 0 : PyLong_AsLongLong(value);
    if (number == -1 && PyErr_Occurred())
        return -1;
    self->unfinished = number;
    return 0;
}

static PyObject *
get_getters(QueueObject *self, void *Py_UNUSED(closure))
{
    return tdl_party_list(&self->head, &self->getters.waiters);
}

static PyObject *
get_putters(QueueObject *self, void *Py_UNUSED(closure))
{
    return tdl_party_list(&self->head, &self->putters.waiters);
}

static PyObject *
get_is_shut(QueueObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->is_shut);
}

static PyMethodDef queue_methods[] = {
    {"put_nowait", TDL_METHOD(put_nowait), METH_FASTCALL | METH_KEYWORDS,
     "put_nowait($self, /, item)\n--\n\n"
     "Put an item. QueueFull if there is no room, QueueShutDown if the queue is shut down.\n"
     "From any thread."},
    {"get_nowait", (PyCFunction)get_nowait, METH_NOARGS,
     "get_nowait($self, /)\n--\n\n"
     "Take an item. QueueEmpty if there is none, QueueShutDown if the queue is shut down\n"
     "as well. From any thread."},
    {"qsize", (PyCFunction)qsize, METH_NOARGS,
     "qsize($self, /)\n--\n\nReturn the number of items."},
    {"empty", (PyCFunction)empty, METH_NOARGS,
     "empty($self, /)\n--\n\nReturn whether there is no item."},
    {"full", (PyCFunction)full, METH_NOARGS,
     "full($self, /)\n--\n\nReturn whether there are maxsize items."},
    {"task_done", (PyCFunction)task_done, METH_NOARGS,
     "task_done($self, /)\n--\n\n"
     "Say that an item is dealt with. ValueError if called more often than items were put.\n"
     "From any thread."},
    {"shutdown", TDL_METHOD(queue_shutdown), METH_FASTCALL | METH_KEYWORDS,
     "shutdown($self, /, immediate=False)\n--\n\n"
     "Let puts raise QueueShutDown, and gets once the queue is empty; who waits now goes\n"
     "on and sees that. With immediate the items are dropped. From any thread."},
    {"_init", (PyCFunction)step_init, METH_O, NULL},
    {"_put", (PyCFunction)step_put, METH_O, NULL},
    {"_get", (PyCFunction)step_get, METH_NOARGS, NULL},
    {"_format", (PyCFunction)format, METH_NOARGS, NULL},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef queue_getset[] = {
    {"maxsize", (getter)get_maxsize, NULL, "Number of items allowed; 0 or less: no limit.",
     NULL},
    {"_maxsize", (getter)get_maxsize, NULL, NULL, NULL},
    {"_queue", (getter)get_items, (setter)set_items, NULL, NULL},
    {"_getters", (getter)get_getters, NULL, NULL, NULL},
    {"_putters", (getter)get_putters, NULL, NULL, NULL},
    {"_unfinished_tasks", (getter)get_unfinished, (setter)set_unfinished, NULL, NULL},
    {"_is_shutdown", (getter)get_is_shut, NULL, NULL, NULL},
    {"_loop", tdl_sync_get_bound, tdl_sync_set_bound, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot queue_slots[] = {
    {Py_tp_new, queue_new},           {Py_tp_init, queue_init},
    {Py_tp_methods, queue_methods},   {Py_tp_getset, queue_getset},
    {Py_tp_repr, queue_repr},         {Py_tp_str, queue_str},
    {Py_tp_traverse, queue_traverse}, {Py_tp_clear, queue_clear},
    {Py_tp_dealloc, queue_dealloc},   {0, NULL},
};

static PyType_Spec queue_spec = {
    .name = "treadle._native.QueueBase",
    .basicsize = sizeof(QueueObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = queue_slots,
};

static PyType_Slot no_slots[] = {
    {0, NULL},
};

/* A type that differs in the order of items. */
static int
add_kind(PyObject *module, const char *name, PyTypeObject **slot)
{
    PyType_Spec spec = {
        .name = name,
        .basicsize = sizeof(QueueObject),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
        .slots = no_slots,
    };
    PyObject *base = (PyObject *)tdl_state_of(module)->objects.QueueBase;
    *slot = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, base);
    return *slot == NULL ? -1 : PyModule_AddType(module, *slot);
}

int
tdl_queue_exec(PyObject *module)
{
    struct tdl_objects *o = &tdl_state_of(module)->objects;
    o->deque_append = PyObject_GetAttrString(o->deque, "append");
    o->deque_popleft = PyObject_GetAttrString(o->deque, "popleft");
    if (o->deque_append == NULL || o->deque_popleft == NULL ||
        tdl_state_add_type(module, &queue_spec, &o->QueueBase) < 0 ||
        tdl_state_add_methods(o->QueueBase, tdl_queue_wait_methods) < 0 ||
        add_kind(module, "treadle._native.LifoQueueBase", &o->LifoQueueBase) < 0)
        return -1;
    return add_kind(module, "treadle._native.PriorityQueueBase", &o->PriorityQueueBase);
}

#include "future/loop_inbox.h"

#include "future/future.h"
#include "future/landing.h"

typedef struct {
    PyObject_HEAD
    struct tdl_state *st;
    PyObject *loop_ref;           /* weak reference; fixed after init */
    struct tdl_deliveries posted; /* the object's lock */
    int scheduled;                /* the loop was asked to call us; the object's lock */
    /* Of a stock selector loop, which can be woken without it; else NULL.
     * Fixed after init. */
    struct tdl_loop_wake *wake;
} InboxObject;

/* A post looks at every so many deliveries in an inbox whether the loop was closed. */
enum { SUSPICIOUS = 1024 };

/* ---- finding the inbox of a loop ---------------------------------------------- */

/* Whether the class of `loop` has the stock method `name` of `owner`. */
static int
has_stock_method(PyObject *loop, PyObject *owner, const char *name)
{
    PyObject *ours = PyObject_GetAttrString((PyObject *)Py_TYPE(loop), name);
    PyObject *stock = ours == NULL ? NULL : PyObject_GetAttrString(owner, name);
    Py_XDECREF(ours);
    Py_XDECREF(stock);
    return ours != NULL && ours == stock;
}

static struct tdl_loop_wake *
wake_by_socket(PyObject *loop)
{
    PyObject *socket = PyObject_GetAttrString(loop, "_csock");
    int fd = socket == NULL ? -1 : PyObject_AsFileDescriptor(socket);
    Py_XDECREF(socket);
    return fd < 0 ? NULL : tdl_loop_wake_new(fd);
}

/* A wake for `loop` if it is a selector loop that schedules and wakes as the
 * stock one does; else NULL.  Sets no exception. */
static struct tdl_loop_wake *
wake_of(struct tdl_state *st, PyObject *loop)
{
    PyObject *stock = st->objects.aio_selector_loop;
    struct tdl_loop_wake *wake = NULL;
    if (stock != NULL && PyObject_IsInstance(loop, stock) > 0 &&
        has_stock_method(loop, stock, "call_soon_threadsafe") &&
        has_stock_method(loop, stock, "_call_soon") &&
        has_stock_method(loop, stock, "_write_to_self"))
        wake = wake_by_socket(loop);
    PyErr_Clear();
    return wake;
}

static InboxObject *
inbox_new(struct tdl_state *st, PyObject *loop)
{
    PyTypeObject *type = st->objects.LoopInbox;
    InboxObject *inbox = (InboxObject *)type->tp_alloc(type, 0);
    if (inbox == NULL)
        return NULL;
    inbox->st = st;
    inbox->loop_ref = PyWeakref_NewRef(loop, NULL);
    inbox->wake = wake_of(st, loop);
    if (inbox->loop_ref == NULL)
        Py_CLEAR(inbox);
    return inbox;
}

static int
serves(PyObject *inbox, PyObject *loop)
{
    PyObject *referent = tdl_weakref_get(((InboxObject *)inbox)->loop_ref);
    Py_XDECREF(referent);
    return referent == loop;
}

static int
is_closed(struct tdl_state *st, PyObject *loop)
{
    PyObject *closed = PyObject_CallMethodNoArgs(loop, st->names.is_closed);
    int r = closed == NULL ? -1 : PyObject_IsTrue(closed);
    Py_XDECREF(closed);
    return r;
}

/* Forget the inboxes of loops that are gone or closed: what a closed loop was still
 * to be told refers to the loop, so neither would ever go.
 * Returns 0 or -1 with an exception. */
static int
sweep(struct tdl_state *st)
{
    PyObject *items = PyDict_Items(st->objects.loop_inboxes);
    if (items == NULL)
        return -1;
    int r = 0;
    for (Py_ssize_t i = 0; r == 0 && i < PyList_GET_SIZE(items); i++) {
        PyObject *item = PyList_GET_ITEM(items, i);
        PyObject *loop = tdl_weakref_get(((InboxObject *)PyTuple_GET_ITEM(item, 1))->loop_ref);
        int closed = loop == NULL ? 1 : is_closed(st, loop);
        if (closed < 0)
            PyErr_Clear(); /* an odd loop; it is not the one that was asked for */
        Py_XDECREF(loop);
        if (closed > 0 &&
            PyDict_DelItem(st->objects.loop_inboxes, PyTuple_GET_ITEM(item, 0)) < 0) {
            /* another thread swept it first */
            PyErr_Clear();
        }
    }
    Py_DECREF(items);
    return r;
}

/* The inbox of `loop`: a new reference, or NULL with or without an exception
 * (without: the loop cannot be weakly referenced). */
static InboxObject *
inbox_of(struct tdl_state *st, PyObject *loop)
{
    PyObject *key = PyLong_FromVoidPtr(loop);
    if (key == NULL)
        return NULL;
    PyObject *found = tdl_dict_get(st->objects.loop_inboxes, key);
    if (found == NULL || !serves(found, loop)) {
        Py_CLEAR(found);
        if (!PyErr_Occurred() && PyType_SUPPORTS_WEAKREFS(Py_TYPE(loop)) && sweep(st) == 0) {
            found = (PyObject *)inbox_new(st, loop);
            if (found != NULL && PyDict_SetItem(st->objects.loop_inboxes, key, found) < 0)
                Py_CLEAR(found);
        }
    }
    Py_DECREF(key);
    return (InboxObject *)found;
}

/* ---- posting ------------------------------------------------------------------ */

/* Take everything out; the next post asks the loop again. */
static struct tdl_deliveries
take_posted(InboxObject *self)
{
    struct tdl_deliveries taken;
    TDL_CRITICAL_BEGIN(self);
    taken = tdl_deliveries_take(&self->posted);
    self->scheduled = 0;
    TDL_CRITICAL_END();
    return taken;
}

static void
drop_posted(InboxObject *self)
{
    struct tdl_deliveries taken = take_posted(self);
    tdl_deliveries_drop(&taken);
}

/* What call_soon_threadsafe() of a stock loop does, up to the waking. */
static PyObject *
call_soon(InboxObject *self, PyObject *loop)
{
    PyObject *r = PyObject_CallMethodNoArgs(loop, self->st->names._check_closed);
    if (r == NULL)
        return NULL;
    Py_DECREF(r);
    PyObject *none = PyTuple_New(0);
    if (none == NULL)
        return NULL;
    r = PyObject_CallMethodObjArgs(loop, self->st->names._call_soon, self, none, Py_None, NULL);
    Py_DECREF(none);
    return r;
}

static PyObject *
ask(InboxObject *self, PyObject *loop, struct tdl_fire *fire)
{
    if (fire == NULL || self->wake == NULL)
        return PyObject_CallMethodOneArg(loop, self->st->names.call_soon_threadsafe,
                                         (PyObject *)self);
    PyObject *handle = call_soon(self, loop);
    if (handle != NULL)
        tdl_fire_add_loop(fire, self->wake);
    return handle;
}

/* Ask the loop to call us.  A closed loop is no error: what was posted is dropped.
 * After a failure it stays, for the next post to ask again.
 * Returns 0 or -1 with an exception set. */
static int
schedule(InboxObject *self, PyObject *loop, struct tdl_fire *fire)
{
    PyObject *r = ask(self, loop, fire);
    if (r != NULL) {
        Py_DECREF(r);
        return 0;
    }
    PyObject *raised = tdl_err_take();
    int closed = is_closed(self->st, loop);
    PyErr_Clear();
    if (closed > 0) {
        Py_DECREF(raised);
        drop_posted(self);
        return 0;
    }
    TDL_CRITICAL_BEGIN(self);
    self->scheduled = 0;
    TDL_CRITICAL_END();
    tdl_err_put_steal(raised);
    return -1;
}

/* Whether `delivery` was taken; `*first`: the loop has to be asked; `*many`: it has not
 * come for long. */
static int
push(InboxObject *self, struct tdl_delivery *delivery, PyObject *keeper, int *first, int *many)
{
    int taken;
    TDL_CRITICAL_BEGIN(self);
    taken = tdl_deliveries_push(&self->posted, delivery, keeper);
    if (taken) {
        *first = !self->scheduled;
        self->scheduled = 1;
        *many = self->posted.count % SUSPICIOUS == 0;
    }
    TDL_CRITICAL_END();
    return taken;
}

/* Returns 0 or -1 with an exception set. */
static int
post(InboxObject *inbox, PyObject *loop, struct tdl_delivery *delivery, PyObject *keeper,
     struct tdl_fire *fire)
{
    int first = 0, many = 0;
    if (!push(inbox, delivery, keeper, &first, &many))
        return 0;
    if (first)
        return schedule(inbox, loop, fire);
    if (!many)
        return 0;
    int closed = is_closed(inbox->st, loop);
    if (closed > 0) /* before it called: nobody will empty the inbox */
        drop_posted(inbox);
    return closed < 0 ? -1 : 0;
}

int
tdl_loop_inbox_post(struct tdl_state *st, PyObject *loop, struct tdl_delivery *delivery,
                    PyObject *keeper, struct tdl_fire *fire)
{
    struct tdl_landing *landing = tdl_landing_of(st, loop);
    if (landing != NULL) {
        if (!tdl_landing_post(landing, loop, delivery, keeper, fire) && keeper == NULL)
            tdl_delivery_free(delivery);
        return 1;
    }
    InboxObject *inbox = inbox_of(st, loop);
    if (inbox == NULL) {
        if (keeper == NULL)
            tdl_delivery_free(delivery);
        return PyErr_Occurred() ? -1 : 0;
    }
    int r = post(inbox, loop, delivery, keeper, fire);
    Py_DECREF(inbox);
    return r < 0 ? -1 : 1;
}

/* ---- the object ---------------------------------------------------------------- */

static PyObject *
inbox_call(InboxObject *self, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwds))
{
    PyObject *loop = tdl_weakref_get(self->loop_ref);
    struct tdl_deliveries taken = take_posted(self);
    int r = 0;
    if (loop != NULL)
        r = tdl_deliver_all(self->st, &taken, loop);
    else
        tdl_deliveries_drop(&taken);
    Py_XDECREF(loop);
    if (r < 0)
        return NULL;
    Py_RETURN_NONE;
}

static int
inbox_traverse(InboxObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->loop_ref);
    return tdl_deliveries_traverse(&self->posted, visit, arg);
}

static void
inbox_dealloc(InboxObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_XDECREF(self->loop_ref);
    tdl_deliveries_drop(&self->posted);
    tdl_loop_wake_unref(self->wake);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot inbox_slots[] = {
    {Py_tp_call, inbox_call},
    {Py_tp_traverse, inbox_traverse},
    {Py_tp_dealloc, inbox_dealloc},
    {Py_tp_doc, "Finished futures on their way to one asyncio loop."},
    {0, NULL},
};

static PyType_Spec inbox_spec = {
    .name = "treadle._native.LoopInbox",
    .basicsize = sizeof(InboxObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = inbox_slots,
};

int
tdl_loop_inbox_exec(PyObject *module)
{
    struct tdl_objects *o = &tdl_state_of(module)->objects;
    o->loop_inboxes = PyDict_New();
    if (o->loop_inboxes == NULL)
        return -1;
    return tdl_state_add_type(module, &inbox_spec, &o->LoopInbox);
}

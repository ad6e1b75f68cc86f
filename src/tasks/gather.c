/* gather(): a future of the results of others. */
#include "tasks/any.h"
#include "tasks/callee.h"
#include "tasks/functions.h"
#include "tasks/task.h"

/* asyncio.Future with what cancelling it needs; behind asyncio's fields. */
typedef struct {
    struct tdl_aio_future future;
    PyObject *children; /* list, strong; NULL once collected as garbage */
    char cancel_requested;
} GatheringObject;

/* ---- a child is done --------------------------------------------------------------------- */

/* What goes into the list of results for `child`, which is done. */
static PyObject *
entry_of(struct tdl_state *st, PyObject *child)
{
    PyObject *exception, *result;
    if (tdl_any_has_result(st, child, &result))
        return Py_NewRef(result);
    int cancelled = tdl_any_cancelled(st, child);
    if (cancelled < 0)
        return NULL;
    if (cancelled) {
        PyObject *msg = PyObject_GetAttr(child, st->names._cancel_message);
        if (msg == NULL)
            return NULL;
        if (msg == Py_None)
            Py_SETREF(msg, PyUnicode_FromString(""));
        PyObject *error =
            msg == NULL ? NULL : PyObject_CallOneArg(st->objects.aio_cancelled_error, msg);
        Py_XDECREF(msg);
        return error;
    }
    if (tdl_any_outcome(st, child, &exception) < 0)
        return NULL;
    return exception != NULL ? exception : tdl_any_result(st, child);
}

static PyObject *
collect(struct tdl_state *st, PyObject *children)
{
    Py_ssize_t count = PyList_GET_SIZE(children);
    PyObject *results = PyList_New(count);
    for (Py_ssize_t i = 0; results != NULL && i < count; i++) {
        PyObject *child = tdl_list_get(children, i);
        PyObject *entry = child == NULL ? Py_NewRef(Py_None) : entry_of(st, child);
        Py_XDECREF(child);
        if (entry == NULL)
            Py_CLEAR(results);
        else
            PyList_SET_ITEM(results, i, entry);
    }
    return results;
}

/* All are done: with a request to cancel, the last child's error goes on. */
static int
finish(CalleeObject *self, PyObject *outer)
{
    struct tdl_state *st = self->st;
    PyObject *children = Py_NewRef(self->members);
    PyObject *results = collect(st, children);
    int r = -1;
    if (results != NULL && ((GatheringObject *)outer)->cancel_requested) {
        PyObject *last = tdl_list_get(children, PyList_GET_SIZE(children) - 1);
        PyObject *error = last == NULL ? NULL : tdl_any_cancelled_error(st, last);
        r = error == NULL ? -1 : tdl_any_set_exception(st, outer, error);
        Py_XDECREF(error);
        Py_XDECREF(last);
    }
    else if (results != NULL)
        r = tdl_awaited_set_result(st, outer, results);
    Py_XDECREF(results);
    Py_DECREF(children);
    return r;
}

/* The children that are not done outlive gather(): they are not awaited any more. */
static int
forget_awaiter(CalleeObject *self)
{
    if (self->task == NULL || self->left == 0 || self->members == NULL)
        return 0;
    int r = 0;
    for (Py_ssize_t i = 0; r == 0 && i < PyList_GET_SIZE(self->members); i++) {
        PyObject *child = tdl_list_get(self->members, i);
        r = child == NULL ? 0 : tdl_any_drop_awaiter(self->st, child, self->task);
        Py_XDECREF(child);
    }
    return r;
}

static int
fail(CalleeObject *self, PyObject *outer, PyObject *exception)
{
    if (self->st->gather_forgets && forget_awaiter(self) < 0)
        return -1;
    return tdl_any_set_exception(self->st, outer, exception);
}

/* Nobody will ask: its exception does not count as never retrieved. */
static int
ignore(struct tdl_state *st, PyObject *child)
{
    int cancelled = tdl_any_cancelled(st, child);
    if (cancelled != 0)
        return cancelled < 0 ? -1 : 0;
    PyObject *exception;
    int r = tdl_any_outcome(st, child, &exception);
    if (r == 0)
        Py_XDECREF(exception);
    return r;
}

static int
note(CalleeObject *self, PyObject *outer, PyObject *child)
{
    PyObject *exception = NULL, *result;
    if (!self->mode && !tdl_any_has_result(self->st, child, &result) &&
        tdl_any_outcome(self->st, child, &exception) < 0)
        return -1;
    if (exception != NULL) {
        int r = fail(self, outer, exception);
        Py_DECREF(exception);
        return r;
    }
    return self->left > 0 || self->members == NULL ? 0 : finish(self, outer);
}

static int
child_done(CalleeObject *self, PyObject *child)
{
    if (child == NULL)
        return 0;
    self->left--;
    if (self->task != NULL && tdl_any_drop_awaiter(self->st, child, self->task) < 0)
        return -1;
    PyObject *outer = Py_XNewRef(self->outer);
    int r;
    if (outer == NULL || tdl_awaited_of(outer)->state != TDL_AIO_PENDING)
        r = ignore(self->st, child);
    else
        r = note(self, outer, child);
    Py_XDECREF(outer);
    return r;
}

static const struct tdl_callee_kind done_kind = {
    .name = "_done_callback",
    .qualname = "gather.<locals>._done_callback",
    .done = child_done,
};

/* ---- arguments --------------------------------------------------------------------------- */

/* Which arguments are the same: a table by address while all are compared by identity, else
 * a dict. */
struct seen {
    PyObject *const *args;
    size_t *slots; /* index of an argument + 1, or 0 */
    size_t mask;
    PyObject *dict; /* argument: index */
};

static bool
by_identity(struct tdl_state *st, PyObject *const *args, Py_ssize_t nargs)
{
    for (Py_ssize_t i = 0; i < nargs; i++)
        if (!PyCoro_CheckExact(args[i]) && !tdl_awaited_check(st, args[i]))
            return false;
    return true;
}

static int
seen_open(struct seen *seen, struct tdl_state *st, PyObject *const *args, Py_ssize_t nargs)
{
    *seen = (struct seen){.args = args};
    if (!by_identity(st, args, nargs)) {
        seen->dict = PyDict_New();
        return seen->dict == NULL ? -1 : 0;
    }
    size_t size = 16;
    while (size < (size_t)nargs * 2)
        size *= 2;
    seen->slots = PyMem_Calloc(size, sizeof *seen->slots);
    seen->mask = size - 1;
    if (seen->slots == NULL)
        PyErr_NoMemory();
    return seen->slots == NULL ? -1 : 0;
}

static void
seen_close(struct seen *seen)
{
    PyMem_Free(seen->slots);
    Py_XDECREF(seen->dict);
}

static Py_ssize_t
index_by_dict(struct seen *seen, Py_ssize_t i)
{
    PyObject *index = PyLong_FromSsize_t(i);
    PyObject *before = index == NULL ? NULL : tdl_dict_get(seen->dict, seen->args[i]);
    Py_ssize_t found = -1;
    if (before != NULL)
        found = PyLong_AsSsize_t(before);
    else if (!PyErr_Occurred() && PyDict_SetItem(seen->dict, seen->args[i], index) == 0)
        found = i;
    Py_XDECREF(before);
    Py_XDECREF(index);
    return found;
}

/* The first argument that equals argument `i`, or -1 with an exception set. */
static Py_ssize_t
first_index(struct seen *seen, Py_ssize_t i)
{
    if (seen->dict != NULL)
        return index_by_dict(seen, i);
    size_t at = (size_t)((uintptr_t)seen->args[i] >> 4);
    at = (at ^ at >> 10) & seen->mask;
    while (seen->slots[at] != 0) {
        if (seen->args[seen->slots[at] - 1] == seen->args[i])
            return (Py_ssize_t)seen->slots[at] - 1;
        at = (at + 1) & seen->mask;
    }
    seen->slots[at] = (size_t)i + 1;
    return i;
}

/* ---- gathering --------------------------------------------------------------------------- */

struct gathering {
    struct tdl_state *st;
    CalleeObject *callee;
    PyObject *loop;   /* or NULL: not known yet */
    PyObject *create; /* the loop's create_task(), or NULL */
    PyObject *done;   /* list of children that were done from the start, or NULL */
};

static int
keep_quiet(struct tdl_state *st, PyObject *child)
{
    if (!tdl_task_check(st, child))
        return PyObject_SetAttr(child, st->names._log_destroy_pending, Py_False);
    tdl_task_of(child)->log_destroy_pending = 0;
    return 0;
}

/* Before 3.12 one that is done tells of it in the next turn, as the others. */
static int
watch(struct gathering *g, PyObject *child)
{
    int done = TDL_AIO_EAGER_TASKS ? tdl_any_done(g->st, child) : 0;
    if (done < 0)
        return -1;
    g->callee->left++;
    if (done) {
        if (g->done == NULL && (g->done = PyList_New(0)) == NULL)
            return -1;
        return PyList_Append(g->done, child);
    }
    if (tdl_any_add_awaiter(g->st, child, g->callee->task) < 0)
        return -1;
    return tdl_any_add_callback(g->st, child, (PyObject *)g->callee, g->callee->context);
}

/* A new reference to the child that `arg` makes, or NULL. */
static PyObject *
add(struct gathering *g, PyObject *arg)
{
    PyObject *child = tdl_any_ensure(g->st, arg, g->loop, &g->create);
    if (child == NULL)
        return NULL;
    if ((g->loop == NULL && (g->loop = tdl_any_loop(g->st, child)) == NULL) ||
        (child != arg && keep_quiet(g->st, child) < 0) || watch(g, child) < 0)
        Py_CLEAR(child);
    return child;
}

static int
add_all(struct gathering *g, PyObject *const *args, Py_ssize_t nargs)
{
    struct seen seen;
    PyObject *children = g->callee->members;
    int r = seen_open(&seen, g->st, args, nargs);
    for (Py_ssize_t i = 0; r == 0 && i < nargs; i++) {
        Py_ssize_t first = first_index(&seen, i);
        PyObject *child = NULL;
        if (first == i)
            child = add(g, args[i]);
        else if (first >= 0)
            child = Py_NewRef(PyList_GET_ITEM(children, first));
        if (child == NULL)
            r = -1;
        else
            PyList_SET_ITEM(children, i, child);
    }
    seen_close(&seen);
    return r;
}

static PyObject *
make_outer(struct tdl_state *st, PyObject *loop, PyObject *children)
{
    PyTypeObject *type = st->objects.Gathering;
    PyObject *outer;
    if (Py_IS_TYPE(loop, st->objects.EventLoop) && !((LoopObject *)loop)->debug) {
        outer = tdl_task_allocate(type, &st->gatherings);
        if (outer == NULL)
            return NULL;
        tdl_awaited_of(outer)->loop = Py_NewRef(loop);
        PyObject_GC_Track(outer);
    }
    else {
        PyObject *stack[1] = {loop};
        outer = PyObject_Vectorcall((PyObject *)type, stack, 0, st->objects.loop_kwnames);
    }
    if (outer != NULL)
        ((GatheringObject *)outer)->children = Py_NewRef(children);
    return outer;
}

/* Those that were done from the start. */
static int
note_done(struct gathering *g)
{
    for (Py_ssize_t i = 0; g->done != NULL && i < PyList_GET_SIZE(g->done); i++)
        if (child_done(g->callee, PyList_GET_ITEM(g->done, i)) < 0)
            return -1;
    return 0;
}

static PyObject *
gather(struct gathering *g, PyObject *const *args, Py_ssize_t nargs)
{
    CalleeObject *callee = g->callee;
    if ((g->loop != NULL && tdl_functions_awaiter(g->st, g->loop, &callee->task) < 0) ||
        (callee->members = PyList_New(nargs)) == NULL || add_all(g, args, nargs) < 0)
        return NULL;
    PyObject *outer = make_outer(g->st, g->loop, callee->members);
    if (outer == NULL)
        return NULL;
    callee->outer = Py_NewRef(outer);
    if (note_done(g) < 0)
        Py_CLEAR(outer);
    return outer;
}

/* A loop that runs is what coroutines go to; before 3.14 a future that comes first says. */
static int
find_loop(struct gathering *g, PyObject *first)
{
    g->loop = NULL;
    if (!TDL_AIO_AWAITED_BY && !PyCoro_CheckExact(first))
        return 0;
    g->loop = tdl_functions_running_loop(g->st);
    return g->loop == NULL && PyErr_Occurred() ? -1 : 0;
}

PyObject *
tdl_gather(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"return_exceptions"};
    struct tdl_state *st = tdl_state_of(module);
    struct gathering g = {.st = st};
    PyObject *return_exceptions = NULL;
    for (Py_ssize_t i = 0; kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++)
        if (tdl_args_keyword("gather", PyTuple_GET_ITEM(kwnames, i), args[nargs + i], names, 1,
                             &return_exceptions) < 0)
            return NULL;
    int ready = tdl_functions_ready(st);
    if (ready < 0)
        return NULL;
    if (!ready || nargs == 0)
        return PyObject_Vectorcall(st->objects.aio_gather, args, (size_t)nargs, kwnames);
    int mode = return_exceptions == NULL ? 0 : PyObject_IsTrue(return_exceptions);
    if (mode < 0 || (g.callee = tdl_callee_new(st, &done_kind)) == NULL)
        return NULL;
    g.callee->mode = mode;
    PyObject *outer = find_loop(&g, args[0]) < 0 ? NULL : gather(&g, args, nargs);
    Py_XDECREF(g.loop);
    Py_XDECREF(g.create);
    Py_XDECREF(g.done);
    Py_DECREF(g.callee);
    return outer;
}

/* ---- the type ---------------------------------------------------------------------------- */

/* 1 if any child was cancelled, 0 or -1. */
static int
cancel_children(struct tdl_state *st, PyObject *children, PyObject *msg)
{
    int any = 0;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(children); i++) {
        PyObject *child = tdl_list_get(children, i);
        int r = child == NULL ? 0 : tdl_any_cancel(st, child, msg);
        Py_XDECREF(child);
        if (r < 0)
            return -1;
        any |= r;
    }
    return any;
}

static PyObject *
cancel(GatheringObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"msg"};
    PyObject *msg;
    if (tdl_args_parse("cancel", args, nargs, kwnames, names, 1, 0, &msg) < 0)
        return NULL;
    struct tdl_state *st = tdl_state_by_type(Py_TYPE(self));
    if (st == NULL)
        return NULL;
    if (self->future.state != TDL_AIO_PENDING || self->children == NULL)
        Py_RETURN_FALSE;
    PyObject *children = Py_NewRef(self->children);
    int r = cancel_children(st, children, msg == NULL ? Py_None : msg);
    Py_DECREF(children);
    if (r < 0)
        return NULL;
    if (r > 0)
        self->cancel_requested = 1;
    return PyBool_FromLong(r);
}

static PyMethodDef methods[] = {
    {"cancel", TDL_METHOD(cancel), METH_FASTCALL | METH_KEYWORDS,
     "cancel($self, /, msg=None)\n--\n\n"
     "Cancel all that is gathered and not done yet; return whether there was any."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef members[] = {
    {"_children", T_OBJECT, offsetof(GatheringObject, children), 0, NULL},
    {"_cancel_requested", T_BOOL, offsetof(GatheringObject, cancel_requested), 0, NULL},
    {NULL},
};

static int
traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((GatheringObject *)self)->children);
    return tdl_task_traverse_as(self, tdl_task_stock_type(self, traverse), visit, arg);
}

static int
clear(PyObject *self)
{
    Py_CLEAR(((GatheringObject *)self)->children);
    return tdl_task_stock_type(self, traverse)->tp_clear(self);
}

static void
dealloc(PyObject *self)
{
    struct tdl_state *st = PyType_GetModuleState(Py_TYPE(self));
    PyObject *children = ((GatheringObject *)self)->children;
    ((GatheringObject *)self)->children = NULL;
    if (!tdl_awaited_of(self)->log_tb && tdl_task_may_keep(st, self))
        tdl_task_keep(st, self, &st->gatherings);
    else
        tdl_task_dealloc_as(self, Py_TYPE(self)->tp_base);
    Py_XDECREF(children); /* last: the collector must not see what is dead */
}

static PyType_Slot slots[] = {
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {Py_tp_traverse, traverse},
    {Py_tp_clear, clear},
    {Py_tp_dealloc, dealloc},
    {Py_tp_doc, "_GatheringFuture(*, loop=None)\n--\n\n"
                "What gather() returns: an asyncio.Future."},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "treadle._native._GatheringFuture",
    .basicsize = sizeof(GatheringObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

int
tdl_gather_exec(PyObject *module)
{
    struct tdl_state *st = tdl_state_of(module);
    tdl_freelist_open(&st->gatherings);
    return tdl_task_add_type(module, "_GatheringFuture", &spec, st->objects.aio_future,
                             &st->objects.Gathering);
}

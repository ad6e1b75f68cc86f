/* TaskGroup: the native side of treadle.TaskGroup, which is a subclass of asyncio's.
 *
 * Its state is in the attributes that asyncio's class has, so that class's methods do on it
 * whatever is not done here: errors, cancelling, other loops, subclasses. */
#include "py/args.h"
#include "py/coro.h"
#include "py/fields.h"
#include "tasks/any.h"
#include "tasks/callee.h"
#include "tasks/scopes.h"

typedef struct {
    PyObject_HEAD
    struct tdl_state *st;
    CalleeObject *callee; /* a callback of all tasks, strong; NULL while there is none */
    /* asyncio's attributes; strong, or NULL for None; the object's critical section */
    PyObject *loop;
    PyObject *parent;
    PyObject *tasks;  /* a set; never NULL once made */
    PyObject *errors; /* a list */
    PyObject *base_error;
    PyObject *waiter;
    bool entered;
    bool exiting;
    bool aborting;
    bool parent_cancel_requested;
    bool cancel_on_enter; /* from 3.15 on */
} GroupObject;

static bool
is_exact(const GroupObject *self)
{
    return Py_IS_TYPE(self, (PyTypeObject *)self->st->objects.TaskGroup);
}

static void
set(GroupObject *self, size_t offset, PyObject *value)
{
    tdl_scope_set((PyObject *)self, value, (void *)offset);
}

#define SET(self, field, value) set(self, offsetof(GroupObject, field), value)

/* Whether nothing has happened that asyncio's code has to see to. */
static bool
is_fine(const GroupObject *self)
{
    return self->entered && !self->aborting && !self->parent_cancel_requested &&
           self->base_error == NULL && self->errors != NULL &&
           PyList_CheckExact(self->errors) && PyList_GET_SIZE(self->errors) == 0;
}

/* The group's loop as one whose create_task() is native and makes native tasks: borrowed, or
 * NULL. */
static LoopObject *
loop_of(const GroupObject *self)
{
    if (self->loop == NULL || !Py_IS_TYPE(self->loop, self->st->objects.EventLoop))
        return NULL;
    LoopObject *loop = (LoopObject *)self->loop;
    return loop->untouched && !loop->debug && loop->task_factory == NULL ? loop : NULL;
}

/* asyncio's `method` on the same arguments. */
static PyObject *
by_stock(GroupObject *self, PyObject *method, PyObject *const *args, Py_ssize_t nargs,
         PyObject *kwnames)
{
    PyObject *bound = PyMethod_New(method, (PyObject *)self);
    PyObject *r =
        bound == NULL ? NULL : PyObject_Vectorcall(bound, args, (size_t)nargs, kwnames);
    Py_XDECREF(bound);
    return r;
}

/* ---- tasks ------------------------------------------------------------------------ */

/* The last task is done: nobody refers to the group on its account any more. */
static int
tell_waiter(GroupObject *self)
{
    PyObject *waiter = Py_XNewRef(self->waiter);
    int done = 1;
    Py_CLEAR(self->callee);
    if (waiter != NULL && (done = tdl_any_done(self->st, waiter)) == 0)
        done = tdl_any_set_result(self->st, waiter, Py_True);
    Py_XDECREF(waiter);
    return done < 0 ? -1 : 0;
}

/* Whether it ended without an exception, or was cancelled. */
static bool
ended_well(struct tdl_state *st, PyObject *task)
{
    if (!tdl_awaited_check(st, task))
        return false;
    struct tdl_aio_future *f = tdl_awaited_of(task);
    return f->state == TDL_AIO_CANCELLED ||
           (f->state == TDL_AIO_FINISHED && f->exception == NULL);
}

/* As asyncio does it, in the context of whoever made the callee, which is the current one
 * already where a handle brought us here; NULL: the current one. */
static int
done_by_stock(GroupObject *self, PyObject *context, PyObject *task)
{
    bool entered = context != NULL && PyContext_Enter(context) == 0;
    if (!entered)
        PyErr_Clear();
    PyObject *r =
        PyObject_CallFunctionObjArgs(self->st->objects.stock_group_done, self, task, NULL);
    if (entered)
        return tdl_handle_exit_context(context, r);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

static int
task_done(CalleeObject *callee, PyObject *task)
{
    GroupObject *self = (GroupObject *)callee->outer;
    if (task == NULL || self == NULL)
        return 0;
    if (!ended_well(callee->st, task)) {
        Py_INCREF(self);
        int r = done_by_stock(self, callee->context, task);
        if (PySet_GET_SIZE(self->tasks) == 0)
            Py_CLEAR(self->callee);
        Py_DECREF(self);
        return r;
    }
    if (PySet_Discard(self->tasks, task) < 0)
        return -1;
    if (self->parent != NULL && tdl_any_drop_awaiter(callee->st, task, self->parent) < 0)
        return -1;
    return PySet_GET_SIZE(self->tasks) == 0 ? tell_waiter(self) : 0;
}

static int
make_callee(GroupObject *self)
{
    static const struct tdl_callee_kind kind = {"_on_task_done", "TaskGroup._on_task_done",
                                                task_done};
    if (self->callee != NULL)
        return 0;
    self->callee = tdl_callee_new(self->st, &kind);
    if (self->callee == NULL)
        return -1;
    self->callee->outer = Py_NewRef((PyObject *)self);
    return 0;
}

static int
adopt(GroupObject *self, PyObject *task)
{
    struct tdl_state *st = self->st;
    if (make_callee(self) < 0 ||
        (self->parent != NULL && tdl_any_add_awaiter(st, task, self->parent) < 0) ||
        PySet_Add(self->tasks, task) < 0)
        return -1;
    CalleeObject *callee = (CalleeObject *)Py_NewRef((PyObject *)self->callee);
    int r = tdl_any_add_callback(st, task, (PyObject *)callee, callee->context);
    Py_DECREF((PyObject *)callee);
    return r;
}

/* Whether these keywords mean the same on every version. */
static bool
are_plain(PyObject *kwnames)
{
    for (Py_ssize_t i = 0; kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, i);
        if (PyUnicode_CompareWithASCIIString(name, "name") != 0 &&
            PyUnicode_CompareWithASCIIString(name, "context") != 0)
            return false;
    }
    return true;
}

/* Of a loop that is not ours: its task may be done at once, and cancel the group. */
static int
adopt_any(GroupObject *self, PyObject *task)
{
    struct tdl_state *st = self->st;
    int done = tdl_any_done(st, task);
    if (done > 0 && st->group_looks_at_once)
        return done_by_stock(self, NULL, task);
    if (done < 0 || adopt(self, task) < 0)
        return -1;
    if (!self->aborting || done > 0)
        return 0;
    return tdl_any_cancel(st, task, NULL) < 0 ? -1 : 0;
}

/* loop.create_task(coro) with the keywords that asyncio gives it. */
static PyObject *
create_by_method(GroupObject *self, PyObject *coro)
{
    struct tdl_state *st = self->st;
    PyObject *stack[3] = {self->loop, coro, Py_None};
    return PyObject_VectorcallMethod(
        st->names.create_task, stack, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET,
        TDL_AIO_GROUP_NAMES_TASKS ? st->objects.name_kwnames : NULL);
}

static PyObject *
create_task(GroupObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    struct tdl_state *st = self->st;
    bool native = st->task_ops != NULL && nargs == 1 && is_exact(self) && is_fine(self) &&
                  self->loop != NULL && (!self->exiting || PySet_GET_SIZE(self->tasks) > 0);
    LoopObject *loop = native ? loop_of(self) : NULL;
    if (!native || !(kwnames == NULL || (loop != NULL && are_plain(kwnames))))
        return by_stock(self, st->objects.stock_group_create, args, nargs, kwnames);
    PyObject *task = loop != NULL ? tdl_loop_create_task(loop, args, nargs, kwnames)
                                  : create_by_method(self, args[0]);
    if (task != NULL && (loop != NULL ? adopt(self, task) : adopt_any(self, task)) < 0)
        Py_CLEAR(task);
    return task;
}

/* ---- async with ------------------------------------------------------------------- */

static enum tdl_go
enter(CoroutineObject *coroutine, PyObject **result)
{
    GroupObject *self = (GroupObject *)coroutine->owner;
    struct tdl_state *st = coroutine->st;
    bool fresh = !self->entered && !self->cancel_on_enter && self->loop == NULL;
    PyObject *loop = fresh ? PyObject_CallNoArgs(st->objects.sync_running_loop) : NULL;
    PyObject *task = loop == NULL ? NULL : tdl_coroutine_task(st, loop);
    enum tdl_go r = TDL_GO_DONE;
    if (task == NULL)
        r = tdl_coroutine_become(
            coroutine, PyObject_CallOneArg(st->objects.stock_group_enter, (PyObject *)self));
    else {
        SET(self, loop, loop);
        SET(self, parent, task);
        self->entered = true;
        *result = Py_NewRef((PyObject *)self);
    }
    Py_XDECREF(task);
    Py_XDECREF(loop);
    return r;
}

static PyObject *
aenter(GroupObject *self, PyObject *Py_UNUSED(ignored))
{
    static const struct tdl_coroutine_op op = {
        "__aenter__", "TaskGroup.__aenter__", enter, NULL, NULL, true};
    if (!is_exact(self))
        return PyObject_CallOneArg(self->st->objects.stock_group_enter, (PyObject *)self);
    return tdl_coroutine_new(self->st, &op, (PyObject *)self, NULL, NULL);
}

/* asyncio's coroutine that leaves without an exception. */
static PyObject *
make_stock_exit(GroupObject *self)
{
    PyObject *args[3] = {Py_None, Py_None, Py_None};
    return by_stock(self, self->st->objects.stock_group_exit, args, 3, NULL);
}

static enum tdl_go
leave(CoroutineObject *coroutine, PyObject **result)
{
    GroupObject *self = (GroupObject *)coroutine->owner;
    if (coroutine->st->group_forgets) {
        SET(self, parent, NULL);
        SET(self, errors, NULL);
        SET(self, base_error, NULL);
    }
    *result = Py_NewRef(coroutine->st->group_suppresses ? Py_True : Py_None);
    return TDL_GO_DONE;
}

static enum tdl_go
leave_or_wait(CoroutineObject *coroutine, PyObject **result)
{
    GroupObject *self = (GroupObject *)coroutine->owner;
    if (PySet_GET_SIZE(self->tasks) == 0)
        return leave(coroutine, result);
    if (self->waiter == NULL) {
        PyObject *future =
            PyObject_CallMethodNoArgs(self->loop, coroutine->st->names.create_future);
        if (future == NULL)
            return TDL_GO_ERROR;
        SET(self, waiter, future);
        Py_DECREF(future);
    }
    Py_XSETREF(coroutine->future, Py_NewRef(self->waiter));
    return TDL_GO_WAIT;
}

/* Bring asyncio's coroutine to where it waits for the tasks, though there may be none left.
 * What it does before that with a cancelled parent has to wait: it is not to see that now.
 * Returns the future that it waits for, or NULL with an exception set. */
static PyObject *
bring_to_wait(GroupObject *self, PyObject *inner)
{
    PyObject *op = (PyObject *)self, *future = NULL;
    bool requested = self->parent_cancel_requested;
    bool added = PySet_GET_SIZE(self->tasks) == 0;
    if (added && PySet_Add(self->tasks, op) < 0)
        return NULL;
    SET(self, waiter, NULL);
    self->parent_cancel_requested = false;
    PySendResult r = PyIter_Send(inner, Py_None, &future);
    self->parent_cancel_requested = requested;
    if (added && PySet_Discard(self->tasks, op) < 0)
        Py_CLEAR(future);
    if (r == PYGEN_RETURN) { /* somebody has changed asyncio's class */
        Py_CLEAR(future);
        PyErr_SetString(PyExc_RuntimeError, "asyncio.TaskGroup does not wait for its tasks");
    }
    return future;
}

/* Go on as asyncio's coroutine would that had waited all the time; an exception that is set
 * is what its waiting ends with. */
static enum tdl_go
hand_over(CoroutineObject *coroutine)
{
    GroupObject *self = (GroupObject *)coroutine->owner;
    PyObject *raised = tdl_err_take();
    PyObject *inner = make_stock_exit(self);
    PyObject *future = inner == NULL ? NULL : bring_to_wait(self, inner);
    int r = future == NULL ? -1 : 0;
    if (r == 0)
        r = PyObject_SetAttr(future, coroutine->st->names._asyncio_future_blocking, Py_False);
    if (r == 0 && raised == NULL)
        r = tdl_any_set_result(coroutine->st, future, Py_True);
    Py_XDECREF(future);
    if (r < 0) {
        Py_XDECREF(inner);
        Py_XDECREF(raised);
        return TDL_GO_ERROR;
    }
    if (raised != NULL)
        tdl_err_put_steal(raised);
    return tdl_coroutine_become(coroutine, inner);
}

static enum tdl_go
start_exit(CoroutineObject *coroutine, PyObject **result)
{
    GroupObject *self = (GroupObject *)coroutine->owner;
    if (!is_fine(self) || self->loop == NULL || coroutine->st->task_ops == NULL)
        return tdl_coroutine_become(coroutine, make_stock_exit(self));
    self->exiting = true;
    return leave_or_wait(coroutine, result);
}

static enum tdl_go
wake_exit(CoroutineObject *coroutine, PyObject **result)
{
    GroupObject *self = (GroupObject *)coroutine->owner;
    SET(self, waiter, NULL);
    return is_fine(self) ? leave_or_wait(coroutine, result) : hand_over(coroutine);
}

static enum tdl_go
fail_exit(CoroutineObject *coroutine, PyObject **Py_UNUSED(result))
{
    return hand_over(coroutine);
}

static PyObject *
aexit(GroupObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const struct tdl_coroutine_op op = {
        "__aexit__", "TaskGroup.__aexit__", start_exit, wake_exit, fail_exit, false};
    tdl_coro_forget(self->st, (PyObject *)self);
    if (nargs != 3 || kwnames != NULL || args[0] != Py_None || args[1] != Py_None ||
        !is_exact(self) || !is_fine(self))
        return by_stock(self, self->st->objects.stock_group_exit, args, nargs, kwnames);
    return tdl_coroutine_new(self->st, &op, (PyObject *)self, NULL, NULL);
}

/* ---- the type --------------------------------------------------------------------- */

static PyObject *
group_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwds))
{
    struct tdl_state *st = tdl_state_by_type(type);
    GroupObject *self = st == NULL ? NULL : (GroupObject *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->st = st;
    self->tasks = PySet_New(NULL);
    if (self->tasks == NULL)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static int
group_init(GroupObject *self, PyObject *args, PyObject *kwds)
{
    static char *names[] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwds, ":TaskGroup.__init__", names))
        return -1;
    PyObject *errors = PyList_New(0), *tasks = PySet_New(NULL);
    if (errors == NULL || tasks == NULL) {
        Py_XDECREF(errors);
        Py_XDECREF(tasks);
        return -1;
    }
    SET(self, errors, errors);
    SET(self, tasks, tasks);
    SET(self, loop, NULL);
    SET(self, parent, NULL);
    SET(self, base_error, NULL);
    SET(self, waiter, NULL);
    self->entered = self->exiting = self->aborting = false;
    self->parent_cancel_requested = self->cancel_on_enter = false;
    Py_DECREF(errors);
    Py_DECREF(tasks);
    return 0;
}

static int
set_flag(PyObject *op, PyObject *value, void *offset)
{
    int truth = value == NULL ? 0 : PyObject_IsTrue(value);
    if (truth < 0)
        return -1;
    *(bool *)((char *)op + (size_t)offset) = truth;
    return 0;
}

static PyMethodDef methods[] = {
    {"create_task", TDL_METHOD(create_task), METH_FASTCALL | METH_KEYWORDS,
     "create_task($self, coro, " TDL_AIO_GROUP_KEYWORDS ")\n--\n\n"
     "Create a new task in this group and return it.\n\nSimilar to `asyncio.create_task`."},
    {"__aenter__", (PyCFunction)aenter, METH_NOARGS, NULL},
    {"__aexit__", TDL_METHOD(aexit), METH_FASTCALL | METH_KEYWORDS, NULL},
    {NULL, NULL, 0, NULL},
};

#define FIELD(name, field) \
    {name, tdl_scope_get, tdl_scope_set, NULL, (void *)offsetof(GroupObject, field)}
#define FLAG(name) \
    {"_" #name, tdl_field_flag, set_flag, NULL, (void *)offsetof(GroupObject, name)}

static PyGetSetDef getset[] = {
    {"_tasks", tdl_scope_get, NULL, NULL, (void *)offsetof(GroupObject, tasks)},
    FIELD("_loop", loop),
    FIELD("_parent_task", parent),
    FIELD("_errors", errors),
    FIELD("_base_error", base_error),
    FIELD("_on_completed_fut", waiter),
    FLAG(entered),
    FLAG(exiting),
    FLAG(aborting),
    FLAG(parent_cancel_requested),
    FLAG(cancel_on_enter),
    {NULL, NULL, NULL, NULL, NULL},
};

static int
traverse(GroupObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT((PyObject *)self->callee);
    Py_VISIT(self->loop);
    Py_VISIT(self->parent);
    Py_VISIT(self->tasks);
    Py_VISIT(self->errors);
    Py_VISIT(self->base_error);
    Py_VISIT(self->waiter);
    return 0;
}

/* The set stays, which the rest expects; the collector empties it. */
static int
clear(GroupObject *self)
{
    Py_CLEAR(self->callee);
    Py_CLEAR(self->loop);
    Py_CLEAR(self->parent);
    Py_CLEAR(self->errors);
    Py_CLEAR(self->base_error);
    Py_CLEAR(self->waiter);
    return 0;
}

static void
dealloc(GroupObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    clear(self);
    Py_CLEAR(self->tasks);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

static PyType_Slot slots[] = {
    {Py_tp_new, group_new},     {Py_tp_init, group_init},
    {Py_tp_methods, methods},   {Py_tp_getset, getset},
    {Py_tp_traverse, traverse}, {Py_tp_clear, clear},
    {Py_tp_dealloc, dealloc},   {0, NULL},
};

static PyType_Spec spec = {
    .name = "treadle._native.TaskGroupBase",
    .basicsize = sizeof(GroupObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

/* ---- the module ------------------------------------------------------------------- */

/* _init_group(class, stock, looks): treadle.TaskGroup, and asyncio's, which is its second
 * base; whether that sees to a task that is done when it is made at once. */
static PyObject *
init_group(PyObject *module, PyObject *args)
{
    struct tdl_state *st = tdl_state_of(module);
    struct tdl_objects *o = &st->objects;
    PyObject *ours, *stock;
    int looks;
    const struct tdl_import wanted[] = {{"__aenter__", &o->stock_group_enter},
                                        {"__aexit__", &o->stock_group_exit},
                                        {"create_task", &o->stock_group_create},
                                        {"_on_task_done", &o->stock_group_done},
                                        {NULL, NULL}};
    if (!PyArg_ParseTuple(args, "OOp", &ours, &stock, &looks) ||
        tdl_state_take(stock, wanted) < 0)
        return NULL;
    Py_XSETREF(o->name_kwnames, Py_BuildValue("(s)", "name"));
    if (o->name_kwnames == NULL)
        return NULL;
    st->group_looks_at_once = looks;
    st->group_forgets = PyObject_HasAttrString(stock, "_aexit");
    st->group_suppresses = PyObject_HasAttrString(stock, "cancel");
    Py_XSETREF(o->TaskGroup, Py_NewRef(ours));
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"_init_group", init_group, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

int
tdl_group_exec(PyObject *module)
{
    PyTypeObject **slot = &tdl_state_of(module)->objects.TaskGroupBase;
    if (tdl_state_add_type(module, &spec, slot) < 0)
        return -1;
    return PyModule_AddFunctions(module, functions);
}

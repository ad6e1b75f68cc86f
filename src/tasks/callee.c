#include "tasks/callee.h"

#include "py/args.h"

static PyObject *
callee_call(PyObject *op, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    CalleeObject *self = (CalleeObject *)op;
    Py_ssize_t nargs = PyVectorcall_NARGS(nargsf);
    if (nargs > 1 || (kwnames != NULL && PyTuple_GET_SIZE(kwnames) != 0)) {
        PyErr_Format(PyExc_TypeError, "%s() takes the future that is done", self->kind->name);
        return NULL;
    }
    Py_INCREF(op);
    int r = self->kind->done(self, nargs == 0 ? NULL : args[0]);
    Py_DECREF(op);
    if (r < 0)
        return NULL;
    Py_RETURN_NONE;
}

CalleeObject *
tdl_callee_new(struct tdl_state *st, const struct tdl_callee_kind *kind)
{
    PyTypeObject *type = st->objects.Callee;
    PyObject *context = PyContext_CopyCurrent();
    if (context == NULL)
        return NULL;
    CalleeObject *self = (CalleeObject *)tdl_freelist_pop(&st->callees, type);
    if (self == NULL)
        self = PyObject_GC_New(CalleeObject, type);
    if (self == NULL) {
        Py_DECREF(context);
        return NULL;
    }
    self->vectorcall = callee_call;
    self->st = st;
    self->kind = kind;
    self->context = context;
    self->outer = self->members = self->task = self->timer = NULL;
    self->left = 0;
    self->mode = 0;
    PyObject_GC_Track(self);
    return self;
}

static int
report(LoopObject *loop, PyObject *callee, PyObject *future)
{
    if (PyErr_ExceptionMatches(PyExc_SystemExit) ||
        PyErr_ExceptionMatches(PyExc_KeyboardInterrupt))
        return -1;
    PyObject *raised = tdl_err_take();
    struct tdl_request request = {callee, &future, future != NULL,
                                  ((CalleeObject *)callee)->context};
    PyObject *handle = tdl_loop_make_handle(loop, TDL_HANDLE_SOON, &request, NULL);
    tdl_err_put_steal(raised);
    if (handle == NULL) { /* no memory to say it properly */
        PyErr_WriteUnraisable(callee);
        return 0;
    }
    int r = tdl_handle_report(loop->st, handle);
    Py_DECREF(handle);
    return r;
}

int
tdl_callee_run(LoopObject *loop, PyObject *callee, PyObject *future)
{
    CalleeObject *self = (CalleeObject *)callee;
    return self->kind->done(self, future) < 0 ? report(loop, callee, future) : 0;
}

/* ---- the type ---------------------------------------------------------------------- */

static PyObject *
get_name(CalleeObject *self, void *qualified)
{
    return PyUnicode_FromString(qualified == NULL ? self->kind->name : self->kind->qualname);
}

static PyGetSetDef attributes[] = {
    {"__name__", (getter)get_name, NULL, NULL, NULL},
    {"__qualname__", (getter)get_name, NULL, NULL, "qualified"},
    {NULL},
};

static PyMemberDef members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(CalleeObject, vectorcall), READONLY, NULL},
    {NULL},
};

static int
traverse(CalleeObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->context);
    Py_VISIT(self->outer);
    Py_VISIT(self->members);
    Py_VISIT(self->task);
    Py_VISIT(self->timer);
    return 0;
}

/* The context stays, which handles that are made of it need. */
static int
clear(CalleeObject *self)
{
    Py_CLEAR(self->outer);
    Py_CLEAR(self->members);
    Py_CLEAR(self->task);
    Py_CLEAR(self->timer);
    return 0;
}

static void
dealloc(CalleeObject *self)
{
    struct tdl_state *st = self->st;
    PyObject_GC_UnTrack(self);
    clear(self);
    Py_CLEAR(self->context);
    tdl_freelist_push(&st->callees, (PyObject *)self);
}

static PyType_Slot slots[] = {
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_getset, attributes},
    {Py_tp_members, members},
    {Py_tp_traverse, traverse},
    {Py_tp_clear, clear},
    {Py_tp_dealloc, dealloc},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "treadle._native.Callee",
    .basicsize = sizeof(CalleeObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
             Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int
tdl_callee_exec(PyObject *module)
{
    struct tdl_state *st = tdl_state_of(module);
    tdl_freelist_open(&st->callees);
    return tdl_state_add_type(module, &spec, &st->objects.Callee);
}

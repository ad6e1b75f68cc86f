#include "loop/handle.h"

#include "loop/loop.h"
#include "py/args.h"

/* ---- making ----------------------------------------------------------------------- */

static PyTypeObject *
type_for(struct tdl_state *st, enum tdl_handle_kind kind)
{
    if (kind == TDL_HANDLE_TIMER)
        return st->objects.TimerHandle;
    if (kind == TDL_HANDLE_THREADSAFE && st->objects.ThreadSafeHandle != NULL)
        return st->objects.ThreadSafeHandle;
    return st->objects.Handle;
}

/* An untracked handle whose native part is all zero. */
static PyObject *
allocate(struct tdl_state *st, enum tdl_handle_kind kind)
{
    PyTypeObject *type = type_for(st, kind);
    PyObject *op = tdl_freelist_pop(&st->handles[kind], type);
    if (op == NULL) {
        op = type->tp_alloc(type, 0);
        if (op != NULL)
            PyObject_GC_UnTrack(op);
        return op;
    }
    memset(tdl_handle_part(st, op), 0, sizeof(struct tdl_handle));
    if (kind == TDL_HANDLE_TIMER)
        memset(tdl_handle_timer_part(st, op), 0, sizeof(struct tdl_handle_timer));
    return op;
}

static PyObject *
tuple_of(PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *tuple = PyTuple_New(nargs);
    for (Py_ssize_t i = 0; tuple != NULL && i < nargs; i++)
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i]));
    return tuple;
}

static int
set_arguments(struct tdl_handle *h, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs > TDL_HANDLE_INLINE || h->debug) {
        h->first = tuple_of(args, nargs);
        h->nargs = h->first == NULL ? 0 : TDL_HANDLE_TUPLE;
        return h->first == NULL ? -1 : 0;
    }
    if (nargs > 0)
        h->first = Py_NewRef(args[0]);
    if (nargs > 1)
        h->second = Py_NewRef(args[1]);
    h->nargs = (uint8_t)nargs;
    return 0;
}

/* Debug mode: where the handle is made, and later what it was before cancel(). */
static PyObject *
make_notes(struct tdl_state *st)
{
    PyObject *traceback = PyObject_CallNoArgs(st->objects.aio_extract_stack);
    PyObject *notes = traceback == NULL ? NULL : Py_BuildValue("[OO]", traceback, Py_None);
    Py_XDECREF(traceback);
    return notes;
}

static int
fill(struct tdl_state *st, struct tdl_handle *h, PyObject *loop,
     const struct tdl_request *request)
{
    h->loop = Py_NewRef(loop);
    h->callback = Py_NewRef(request->callback);
    if (request->context != NULL)
        h->context = Py_NewRef(request->context);
    else
        h->context = tdl_context_copy(st, &((LoopObject *)loop)->contexts, &h->shared);
    if (h->context == NULL || set_arguments(h, request->args, request->nargs) < 0)
        return -1;
    if (h->debug && (h->second = make_notes(st)) == NULL)
        return -1;
    return 0;
}

PyObject *
tdl_handle_new(struct tdl_state *st, enum tdl_handle_kind kind, PyObject *loop,
               const struct tdl_request *request, const struct tdl_when *when, bool debug)
{
    PyObject *op = allocate(st, kind);
    if (op == NULL)
        return NULL;
    struct tdl_handle *h = tdl_handle_part(st, op);
    h->kind = (uint8_t)kind;
    h->debug = debug;
    if (kind == TDL_HANDLE_TIMER)
        tdl_handle_timer_part(st, op)->when =
            (struct tdl_when){when->seconds, Py_XNewRef(when->given)};
    int r = fill(st, h, loop, request);
    if (TDL_FREE_THREADED)
        PyObject_GC_Track(op);
    if (r < 0)
        Py_CLEAR(op);
    return op;
}

void
tdl_handle_track(struct tdl_state *st, PyObject *op)
{
    if (tdl_handle_check(st, op) && !PyObject_GC_IsTracked(op))
        PyObject_GC_Track(op);
}

int
tdl_handle_visit(struct tdl_state *st, PyObject *op, visitproc visit, void *arg)
{
    if (!TDL_FREE_THREADED && Py_REFCNT(op) == 1 && tdl_handle_check(st, op) &&
        !PyObject_GC_IsTracked(op))
        return Py_TYPE(op)->tp_traverse(op, visit, arg);
    Py_VISIT(op);
    return 0;
}

PyObject *
tdl_handle_context(struct tdl_handle *h)
{
    if (h->shared) {
        PyObject *own = PyContext_Copy(h->context);
        if (own == NULL)
            return NULL;
        h->shared = false;
        Py_SETREF(h->context, own);
    }
    return h->context;
}

/* ---- running ---------------------------------------------------------------------- */

PyObject *
tdl_handle_args(struct tdl_handle *h)
{
    if (h->callback == NULL)
        return Py_NewRef(Py_None);
    if (h->nargs == TDL_HANDLE_TUPLE)
        return Py_NewRef(h->first);
    PyObject *args[TDL_HANDLE_INLINE] = {h->first, h->second};
    return tuple_of(args, h->nargs);
}

/* References that keep a call's parts alive: the callback may cancel its handle. */
struct call {
    PyObject *callback;
    PyObject *argv[1 + TDL_HANDLE_INLINE]; /* [0] is vectorcall's */
    uint8_t nargs;
};

static bool
begin_call(PyObject *op, struct tdl_handle *h, struct call *call)
{
    bool live;
    TDL_CRITICAL_BEGIN(op);
    live = h->callback != NULL && !atomic_load_explicit(&h->cancelled, memory_order_relaxed);
    if (live) {
        call->callback = Py_NewRef(h->callback);
        call->nargs = h->nargs;
        call->argv[1] = Py_XNewRef(h->first);
        call->argv[2] = h->nargs == 2 ? Py_NewRef(h->second) : NULL;
    }
    TDL_CRITICAL_END();
    return live;
}

static PyObject *
invoke(struct call *call)
{
    if (call->nargs == TDL_HANDLE_TUPLE)
        return PyObject_Call(call->callback, call->argv[1], NULL);
    return PyObject_Vectorcall(call->callback, call->argv + 1,
                               call->nargs | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
}

static void
end_call(struct call *call)
{
    Py_DECREF(call->callback);
    Py_XDECREF(call->argv[1]);
    Py_XDECREF(call->argv[2]);
}

int
tdl_handle_report(struct tdl_state *st, PyObject *op)
{
    if (PyErr_ExceptionMatches(PyExc_SystemExit) ||
        PyErr_ExceptionMatches(PyExc_KeyboardInterrupt))
        return -1;
    PyObject *exc = tdl_err_take();
    PyObject *r =
        PyObject_CallFunctionObjArgs(st->objects.report_callback_error, op, exc, NULL);
    Py_DECREF(exc);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

int
tdl_handle_exit_failed(PyObject *context)
{
    PyObject *exc = tdl_err_take();
    if (PyContext_Exit(context) < 0)
        PyErr_Clear();
    tdl_err_put_steal(exc);
    return -1;
}

static int
call_in(PyObject *context, struct call *call)
{
    if (PyContext_Enter(context) < 0)
        return -1;
    return tdl_handle_exit_context(context, invoke(call));
}

/* In a context that nobody else sees unless the callback shows or changes it. */
static int
call_in_scratch(struct tdl_handle *h, struct call *call)
{
    struct tdl_contexts *contexts = &((LoopObject *)h->loop)->contexts;
    PyObject *snapshot = h->context;
    PyObject *context = tdl_context_take(contexts, snapshot);
    if (context == NULL)
        return -1;
    h->context = context;
    h->shared = false;
    int r = call_in(context, call);
    if (tdl_context_give_back(contexts, context, snapshot)) {
        h->context = snapshot;
        h->shared = true;
    }
    else
        Py_DECREF(snapshot);
    return r;
}

int
tdl_handle_run(struct tdl_state *st, PyObject *op)
{
    struct tdl_handle *h = tdl_handle_part(st, op);
    struct call call;
    /* from 3.14 on, who cancels from another thread waits for a run to end */
    tdl_handle_lock(st, op);
    int r = 0;
    if (begin_call(op, h, &call)) {
        r = h->shared ? call_in_scratch(h, &call) : call_in(h->context, &call);
        end_call(&call);
        if (r < 0)
            r = tdl_handle_report(st, op);
    }
    tdl_handle_unlock(st, op);
    return r;
}

/* ---- cancelling ------------------------------------------------------------------- */

void
tdl_handle_drop_call(PyObject *op, struct tdl_handle *h)
{
    struct call call = {0};
    TDL_CRITICAL_BEGIN(op);
    call.callback = h->callback;
    call.argv[1] = h->first;
    call.argv[2] = h->debug ? NULL : h->second;
    h->callback = NULL;
    h->first = NULL;
    if (!h->debug)
        h->second = NULL;
    h->nargs = 0;
    TDL_CRITICAL_END();
    Py_XDECREF(call.callback);
    Py_XDECREF(call.argv[1]);
    Py_XDECREF(call.argv[2]);
}

/* In debug mode a cancelled handle still says what it was for. */
static int
note_repr(PyObject *op, struct tdl_handle *h)
{
    PyObject *repr = PyObject_Repr(op);
    return repr == NULL ? -1 : PyList_SetItem(h->second, TDL_HANDLE_REPR, repr);
}

static int
cancel_locked(struct tdl_state *st, PyObject *op)
{
    struct tdl_handle *h = tdl_handle_part(st, op);
    if (atomic_exchange_explicit(&h->cancelled, true, memory_order_acq_rel))
        return 0;
    if (h->debug && note_repr(op, h) < 0)
        return -1;
    int r = 0;
    if (h->kind == TDL_HANDLE_TIMER)
        r = tdl_loop_timer_cancelled((LoopObject *)h->loop, op);
    tdl_handle_drop_call(op, h);
    return r;
}

int
tdl_handle_cancel(struct tdl_state *st, PyObject *op)
{
    if (tdl_handle_check(st, op)) {
        tdl_handle_lock(st, op);
        int r = cancel_locked(st, op);
        tdl_handle_unlock(st, op);
        return r;
    }
    PyObject *r = PyObject_CallMethodNoArgs(op, st->names.cancel);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

#include "loop/ready.h"

#include "py/errors.h"

static bool
is_bare(void *place)
{
    return ((uintptr_t)place & 1) != 0;
}

static PyObject *
unmarked(void *place)
{
    return (PyObject *)((uintptr_t)place & ~(uintptr_t)1);
}

int
tdl_ready_reserve(LoopObject *loop, size_t places)
{
    int r;
    TDL_CRITICAL_BEGIN(loop);
    r = tdl_ring_reserve(&loop->ready, places);
    TDL_CRITICAL_END();
    return r < 0 ? tdl_raise_errno(r) : 0;
}

int
tdl_ready_push_steal(LoopObject *loop, PyObject *handle)
{
    int r;
    TDL_CRITICAL_BEGIN(loop);
    r = tdl_ring_push(&loop->ready, handle);
    TDL_CRITICAL_END();
    if (r == 0)
        return 0;
    tdl_handle_release(loop->st, handle);
    return tdl_raise_errno(r);
}

int
tdl_ready_push_bare(LoopObject *loop, PyObject *callback, PyObject *argument, PyObject *context)
{
    int r;
    argument = argument == NULL ? Py_None : argument;
    TDL_CRITICAL_BEGIN(loop);
    r = tdl_ring_reserve(&loop->ready, TDL_READY_BARE_PLACES);
    if (r == 0) {
        tdl_ring_push(&loop->ready, (void *)((uintptr_t)Py_NewRef(callback) | 1));
        tdl_ring_push(&loop->ready, Py_NewRef(argument));
        tdl_ring_push(&loop->ready, Py_NewRef(context));
        loop->bare++;
    }
    TDL_CRITICAL_END();
    return r < 0 ? tdl_raise_errno(r) : 0;
}

bool
tdl_ready_pop(LoopObject *loop, struct tdl_ready *entry)
{
    void *first;
    TDL_CRITICAL_BEGIN(loop);
    first = tdl_ring_pop(&loop->ready);
    if (is_bare(first)) {
        entry->handle = NULL;
        entry->callback = unmarked(first);
        entry->argument = tdl_ring_pop(&loop->ready);
        entry->context = tdl_ring_pop(&loop->ready);
        entry->places = TDL_READY_BARE_PLACES;
        loop->bare--;
    }
    else {
        entry->handle = first;
        entry->places = 1;
    }
    TDL_CRITICAL_END();
    return first != NULL;
}

static void
drop(LoopObject *loop, struct tdl_ready *entry)
{
    if (entry->handle != NULL) {
        tdl_handle_release(loop->st, entry->handle);
        return;
    }
    Py_DECREF(entry->callback);
    Py_DECREF(entry->argument);
    Py_DECREF(entry->context);
}

static PyObject *
make_handle(LoopObject *loop, const struct tdl_ready *entry)
{
    if (entry->handle != NULL)
        return Py_NewRef(entry->handle);
    struct tdl_request request = {entry->callback, &entry->argument,
                                  entry->argument == Py_None ? 0 : 1, entry->context};
    return tdl_loop_make_handle(loop, TDL_HANDLE_SOON, &request, NULL);
}

PyObject *
tdl_ready_as_handle(LoopObject *loop, struct tdl_ready *entry)
{
    PyObject *handle = make_handle(loop, entry);
    drop(loop, entry);
    return handle;
}

/* ---- running ---------------------------------------------------------------------- */

/* By way of Python: in debug mode, and for handles of other classes. */
static int
run_by_python(LoopObject *loop, const struct tdl_ready *entry)
{
    PyObject *handle = make_handle(loop, entry);
    if (handle == NULL)
        return -1;
    PyObject *r =
        PyObject_CallMethodOneArg((PyObject *)loop, loop->st->names._run_handle, handle);
    Py_DECREF(handle);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

static int
report_bare(LoopObject *loop, const struct tdl_ready *entry)
{
    PyObject *raised = tdl_err_take();
    PyObject *handle = make_handle(loop, entry);
    tdl_err_put_steal(raised);
    if (handle == NULL)
        return -1;
    int r = tdl_handle_report(loop->st, handle);
    Py_DECREF(handle);
    return r;
}

static int
run_bare(LoopObject *loop, const struct tdl_ready *entry)
{
    if (PyContext_Enter(entry->context) < 0)
        return report_bare(loop, entry);
    PyObject *argv[2] = {NULL, entry->argument};
    size_t nargs = entry->argument == Py_None ? 0 : 1;
    PyObject *value = PyObject_Vectorcall(entry->callback, argv + 1,
                                          nargs | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    if (tdl_handle_exit_context(entry->context, value) < 0)
        return report_bare(loop, entry);
    return 0;
}

int
tdl_ready_run(LoopObject *loop, struct tdl_ready *entry)
{
    int r;
    if (loop->debug || (entry->handle != NULL && !tdl_handle_check(loop->st, entry->handle)))
        r = run_by_python(loop, entry);
    else if (entry->handle != NULL)
        r = tdl_handle_run(loop->st, entry->handle);
    else
        r = run_bare(loop, entry);
    drop(loop, entry);
    return r;
}

/* ---- looking ---------------------------------------------------------------------- */

/* The entry at place `i`, borrowed.  Returns how many places it takes. */
static unsigned
entry_at(LoopObject *loop, size_t i, struct tdl_ready *entry)
{
    void *first = tdl_ring_at(&loop->ready, i);
    *entry = (struct tdl_ready){.handle = first, .places = 1};
    if (is_bare(first))
        *entry = (struct tdl_ready){NULL, unmarked(first), tdl_ring_at(&loop->ready, i + 1),
                                    tdl_ring_at(&loop->ready, i + 2), TDL_READY_BARE_PLACES};
    return entry->places;
}

PyObject *
tdl_ready_list(LoopObject *loop)
{
    PyObject *list = PyList_New(0);
    struct tdl_ready entry;
    for (size_t i = 0; list != NULL && i < tdl_ring_count(&loop->ready); i += entry.places) {
        entry_at(loop, i, &entry);
        PyObject *handle = make_handle(loop, &entry);
        if (handle == NULL || PyList_Append(list, handle) < 0)
            Py_CLEAR(list);
        Py_XDECREF(handle);
    }
    return list;
}

void
tdl_ready_clear(LoopObject *loop)
{
    struct tdl_ready entry;
    while (tdl_ready_pop(loop, &entry))
        drop(loop, &entry);
}

int
tdl_ready_traverse(LoopObject *loop, visitproc visit, void *arg)
{
    struct tdl_ready entry;
    for (size_t i = 0; i < tdl_ring_count(&loop->ready); i += entry.places) {
        entry_at(loop, i, &entry);
        int r = entry.handle == NULL ? 0 : tdl_handle_visit(loop->st, entry.handle, visit, arg);
        if (r != 0)
            return r;
        Py_VISIT(entry.callback);
        Py_VISIT(entry.argument);
        Py_VISIT(entry.context);
    }
    return 0;
}

#include "loop/ready.h"

#include "loop/task_ops.h"
#include "py/errors.h"

/* What the lowest bits of an entry's first pointer say. */
enum { HANDLE, BARE, STEP, WOKEN, MARKS };

static void *
marked(PyObject *op, int mark)
{
    return (void *)((uintptr_t)Py_NewRef(op) | (uintptr_t)mark);
}

static int
mark_of(void *place)
{
    return (int)((uintptr_t)place & (MARKS - 1));
}

static PyObject *
unmarked(void *place)
{
    return (PyObject *)((uintptr_t)place & ~(uintptr_t)(MARKS - 1));
}

/* How many places an entry takes that begins with `place`. */
static unsigned
places_of(void *place)
{
    static const unsigned char places[MARKS] = {1, TDL_READY_BARE_PLACES, 1, 2};
    return places[mark_of(place)];
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
tdl_ready_push_failed(LoopObject *loop, PyObject *handle, int error)
{
    tdl_handle_release(loop->st, handle);
    return tdl_raise_errno(error);
}

int
tdl_ready_push_bare(LoopObject *loop, PyObject *callback, PyObject *argument, PyObject *context)
{
    int r;
    argument = argument == NULL ? Py_None : argument;
    TDL_CRITICAL_BEGIN(loop);
    r = tdl_ring_reserve(&loop->ready, TDL_READY_BARE_PLACES);
    if (r == 0) {
        tdl_ring_push(&loop->ready, marked(callback, BARE));
        tdl_ring_push(&loop->ready, Py_NewRef(argument));
        tdl_ring_push(&loop->ready, Py_NewRef(context));
        loop->more += TDL_READY_BARE_PLACES - 1;
    }
    TDL_CRITICAL_END();
    return r < 0 ? tdl_raise_errno(r) : 0;
}

int
tdl_ready_push_task(LoopObject *loop, PyObject *task, PyObject *future)
{
    int r;
    TDL_CRITICAL_BEGIN(loop);
    r = tdl_ring_reserve(&loop->ready, 2);
    if (r == 0) {
        tdl_ring_push(&loop->ready, marked(task, future == NULL ? STEP : WOKEN));
        if (future != NULL) {
            tdl_ring_push(&loop->ready, Py_NewRef(future));
            loop->more++;
        }
    }
    TDL_CRITICAL_END();
    return r < 0 ? tdl_raise_errno(r) : 0;
}

bool
tdl_ready_pop(LoopObject *loop, struct tdl_ready *entry)
{
    void *first;
    *entry = (struct tdl_ready){0};
    TDL_CRITICAL_BEGIN(loop);
    first = tdl_ring_pop(&loop->ready);
    entry->places = places_of(first);
    loop->more -= entry->places - 1;
    switch (mark_of(first)) {
    case HANDLE:
        entry->handle = first;
        break;
    case BARE:
        entry->callback = unmarked(first);
        entry->argument = tdl_ring_pop(&loop->ready);
        entry->context = tdl_ring_pop(&loop->ready);
        break;
    case WOKEN:
        entry->argument = tdl_ring_pop(&loop->ready);
        /* fallthrough */
    default:
        entry->task = unmarked(first);
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
    Py_XDECREF(entry->task);
    Py_XDECREF(entry->callback);
    Py_XDECREF(entry->argument);
    Py_XDECREF(entry->context);
}

static PyObject *
make_task_handle(LoopObject *loop, const struct tdl_ready *entry)
{
    PyObject *context;
    bool future = entry->argument != NULL;
    PyObject *callback =
        loop->st->task_ops->callback_of(loop->st, entry->task, future, &context);
    if (callback == NULL)
        return NULL;
    struct tdl_request request = {callback, &entry->argument, future, context};
    PyObject *handle = tdl_loop_make_handle(loop, TDL_HANDLE_SOON, &request, NULL);
    Py_DECREF(callback);
    return handle;
}

static PyObject *
make_handle(LoopObject *loop, const struct tdl_ready *entry)
{
    if (entry->handle != NULL)
        return Py_NewRef(entry->handle);
    if (entry->task != NULL)
        return make_task_handle(loop, entry);
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
    else if (entry->task != NULL)
        r = loop->st->task_ops->run(loop, entry->task, entry->argument);
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
    int mark = mark_of(first);
    *entry = (struct tdl_ready){.places = places_of(first)};
    if (mark == HANDLE)
        entry->handle = first;
    else if (mark == BARE)
        entry->callback = unmarked(first);
    else
        entry->task = unmarked(first);
    if (entry->places > 1)
        entry->argument = tdl_ring_at(&loop->ready, i + 1);
    if (mark == BARE)
        entry->context = tdl_ring_at(&loop->ready, i + 2);
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
        Py_VISIT(entry.task);
        Py_VISIT(entry.callback);
        Py_VISIT(entry.argument);
        Py_VISIT(entry.context);
    }
    return 0;
}

/* Whether asyncio's tasks and futures are laid out as tasks/layout.h says.
 *
 * python/treadle/_tasks.py makes samples and compares what lies in them, as numbers that
 * are not followed, with what their attributes say.  If all is as expected it switches
 * native tasks on; else everything stays asyncio's. */
#include "tasks/functions.h"
#include "tasks/scopes.h"
#include "tasks/task.h"

struct field {
    const char *name;
    size_t offset;
    size_t size;
};

#define FIELD(type, name) \
    {#name, offsetof(struct type, name), sizeof(((struct type *)NULL)->name)}
#define OF_FUTURE(type)                                                                       \
    FIELD(type, loop), FIELD(type, callback0), FIELD(type, context0), FIELD(type, callbacks), \
        FIELD(type, exception), FIELD(type, exception_tb), FIELD(type, result),               \
        FIELD(type, source_tb), FIELD(type, cancel_msg), FIELD(type, cancelled_exc),          \
        FIELD(type, state)

static const struct field future_fields[] = {
    OF_FUTURE(tdl_aio_future),
#if TDL_AIO_AWAITED_BY
    FIELD(tdl_aio_future, awaited_by),
    FIELD(tdl_aio_future, is_task),
    FIELD(tdl_aio_future, awaited_by_is_set),
#endif
    {NULL},
};

static const struct field task_fields[] = {
    OF_FUTURE(tdl_aio_task),
#if TDL_AIO_AWAITED_BY
    FIELD(tdl_aio_task, awaited_by),
    FIELD(tdl_aio_task, is_task),
    FIELD(tdl_aio_task, awaited_by_is_set),
#endif
    FIELD(tdl_aio_task, fut_waiter),
    FIELD(tdl_aio_task, coro),
    FIELD(tdl_aio_task, name),
    FIELD(tdl_aio_task, context),
    FIELD(tdl_aio_task, cancels),
    {NULL},
};

static uint64_t
number_at(const char *place, size_t size)
{
    uint64_t number = 0;
    memcpy(&number, place, size < sizeof number ? size : sizeof number);
    return number;
}

static int
put(PyObject *dict, const char *name, uint64_t number)
{
    PyObject *value = PyLong_FromUnsignedLongLong(number);
    int r = value == NULL ? -1 : PyDict_SetItemString(dict, name, value);
    Py_XDECREF(value);
    return r;
}

static PyObject *
look_at(PyObject *op, const struct field *fields)
{
    PyObject *found = PyDict_New();
    for (; found != NULL && fields->name != NULL; fields++)
        if (put(found, fields->name, number_at((char *)op + fields->offset, fields->size)) < 0)
            Py_CLEAR(found);
    return found;
}

static int
put_marks(PyObject *found, bool log_tb, bool blocking)
{
    return put(found, "log_tb", log_tb) < 0 ? -1 : put(found, "blocking", blocking);
}

/* _look_at_future(future), _look_at_task(task): a dict of what would be in the fields if
 * they lay as expected, or None if the size is another. */
static PyObject *
look_at_future(PyObject *Py_UNUSED(module), PyObject *op)
{
    if ((size_t)Py_TYPE(op)->tp_basicsize != sizeof(struct tdl_aio_future))
        Py_RETURN_NONE;
    struct tdl_aio_future *f = tdl_awaited_of(op);
    PyObject *found = look_at(op, future_fields);
    if (found != NULL && put_marks(found, f->log_tb, f->blocking) < 0)
        Py_CLEAR(found);
    return found;
}

static PyObject *
look_at_task(PyObject *Py_UNUSED(module), PyObject *op)
{
    if ((size_t)Py_TYPE(op)->tp_basicsize != sizeof(struct tdl_aio_task))
        Py_RETURN_NONE;
    struct tdl_aio_task *t = tdl_task_of(op);
    PyObject *found = look_at(op, task_fields);
    if (found != NULL && (put_marks(found, t->log_tb, t->blocking) < 0 ||
                          put(found, "must_cancel", t->must_cancel) < 0 ||
                          put(found, "log_destroy_pending", t->log_destroy_pending) < 0))
        Py_CLEAR(found);
    return found;
}

/* _look_at_words(object, first, count): words of an object's memory, which begins
 * before it for what the collector and dictionaries need. */
static PyObject *
look_at_words(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *op;
    Py_ssize_t first, count;
    if (!PyArg_ParseTuple(args, "Onn", &op, &first, &count))
        return NULL;
    PyObject *words = PyTuple_New(count);
    for (Py_ssize_t i = 0; words != NULL && i < count; i++) {
        char *place = (char *)op + (first + i) * (Py_ssize_t)sizeof(void *);
        PyObject *word = PyLong_FromUnsignedLongLong(number_at(place, sizeof(void *)));
        if (word == NULL)
            Py_CLEAR(words);
        else
            PyTuple_SET_ITEM(words, i, word);
    }
    return words;
}

/* _make_dict(object): its dictionary, which from then on it has. */
static PyObject *
make_dict(PyObject *Py_UNUSED(module), PyObject *op)
{
    return PyObject_GenericGetDict(op, NULL);
}

/* ---- where asyncio keeps what is not in tasks ------------------------------------------ */

/* How far behind the part of a thread state that is public asyncio's fields may lie. */
enum { SEARCHED = 1024 };

#if TDL_AIO_TASK_LINKS

/* The list of a thread's tasks: `task` is the newest on it. */
static bool
find_head(struct tdl_state *st, PyObject *task)
{
    struct tdl_aio_links *links = &tdl_task_of(task)->links;
    char *thread = (char *)PyThreadState_Get();
    char *head = (char *)links->next;
    if (head < thread + sizeof(PyThreadState) ||
        head >= thread + SEARCHED + sizeof(PyThreadState))
        return false;
    if (((struct tdl_aio_links *)head)->prev != links)
        return false;
    st->aio.tasks_head = (size_t)(head - thread);
    return true;
}

/* `loop` is the running one, `task` the current one. */
static bool
find_running(struct tdl_state *st, PyObject *loop, PyObject *task)
{
    char *thread = (char *)PyThreadState_Get();
    size_t last = st->aio.tasks_head - 2 * sizeof(PyObject *);
    for (size_t at = sizeof(PyThreadState); at <= last; at += sizeof(PyObject *)) {
        PyObject **words = (PyObject **)(thread + at);
        if (words[0] == loop && words[1] == task) {
            st->aio.running_loop = at;
            return true;
        }
    }
    return false;
}

static bool
find_in_thread(struct tdl_state *st, PyObject *loop, PyObject *task)
{
    return !TDL_FREE_THREADED && find_head(st, task) && find_running(st, loop, task);
}

#else

static bool
find_in_thread(struct tdl_state *st, PyObject *Py_UNUSED(loop), PyObject *Py_UNUSED(task))
{
    PyObject *tasks = st->objects.aio_current_tasks;
    return tasks != NULL && PyDict_CheckExact(tasks);
}

#endif

/* asyncio's counter for the names of tasks: the word of its module's state that grows by
 * one when a task is made. */
struct counter {
    uint64_t *words;
    size_t count;
    uint64_t *before; /* a copy */
};

static bool
counter_begin(struct counter *c, PyObject *module)
{
    PyModuleDef *def = PyModule_Check(module) ? PyModule_GetDef(module) : NULL;
    c->words = def == NULL || def->m_size <= 0 ? NULL : PyModule_GetState(module);
    c->count = c->words == NULL ? 0 : (size_t)def->m_size / sizeof(uint64_t);
    c->before = c->words == NULL ? NULL : PyMem_Malloc(c->count * sizeof(uint64_t));
    if (c->before == NULL)
        return false;
    memcpy(c->before, c->words, c->count * sizeof(uint64_t));
    return true;
}

static uint64_t *
counter_end(struct counter *c, uint64_t number)
{
    uint64_t *found = NULL;
    for (size_t i = 0; i < c->count; i++)
        if (c->words[i] == number && c->before[i] + 1 == number)
            found = found == NULL ? &c->words[i] : c->words; /* the last: there are two */
    PyMem_Free(c->before);
    return found == c->words ? NULL : found;
}

/* The number in the name of a task that asyncio has made, or 0. */
static uint64_t
number_of(PyObject *task)
{
    PyObject *name = tdl_task_of(task)->name;
    uint64_t number =
        name != NULL && PyLong_CheckExact(name) ? PyLong_AsUnsignedLongLong(name) : 0;
    if (PyErr_Occurred()) {
        PyErr_Clear();
        return 0;
    }
    return number;
}

static void
find_counter(struct tdl_state *st, PyObject *module, PyObject *make)
{
    struct counter c;
    st->aio.number = &st->aio.own_number;
    if (!counter_begin(&c, module)) {
        PyErr_Clear();
        return;
    }
    PyObject *task = PyObject_CallNoArgs(make);
    uint64_t number = task == NULL ? 0 : number_of(task);
    uint64_t *found = counter_end(&c, number);
    st->aio.counts = number != 0;
    if (number != 0 && found != NULL) {
        st->aio.number = (_Atomic uint64_t *)found;
        *found = number - 1; /* as if there had been no sample */
    }
    Py_XDECREF(task);
    PyErr_Clear();
}

/* ---- switching on ---------------------------------------------------------------------- */

static int
import(struct tdl_objects *o)
{
    const struct tdl_import errors[] = {{"CancelledError", &o->aio_cancelled_error},
                                        {"InvalidStateError", &o->aio_invalid_state},
                                        {NULL, NULL}};
    const struct tdl_import native[] = {{"_enter_task", &o->aio_enter_task},
                                        {"_leave_task", &o->aio_leave_task},
                                        {"_register_task", &o->aio_register_task},
#if !TDL_AIO_TASK_LINKS
                                        {"_current_tasks", &o->aio_current_tasks},
#endif
                                        {NULL, NULL}};
    if (tdl_state_import("asyncio.exceptions", errors) < 0 ||
        tdl_state_import("_asyncio", native) < 0)
        return -1;
    Py_XSETREF(o->context_kwnames, Py_BuildValue("(s)", "context"));
    return o->context_kwnames == NULL ? -1 : 0;
}

/* _init_tasks(loop_class, module, loop, task, make, weakrefs, dict, values): the samples are as expected.
 * `loop` runs and `task`, the newest of asyncio's, is its current one; make() makes another;
 * the last three say where weak references and dictionary are.  Returns whether it was switched on. */
static PyObject *
init_tasks(PyObject *module, PyObject *args)
{
    PyObject *loop_class, *asyncio, *loop, *task, *make;
    Py_ssize_t weakrefs, dict;
    int values;
    struct tdl_state *st = tdl_state_of(module);
    if (!PyArg_ParseTuple(args, "O!OOO!Onnp", &PyType_Type, &loop_class, &asyncio, &loop,
                          st->objects.aio_task, &task, &make, &weakrefs, &dict, &values))
        return NULL;
    if (import(&st->objects) < 0)
        return NULL;
    if (!find_in_thread(st, loop, task))
        Py_RETURN_FALSE;
    st->aio.weakrefs = weakrefs;
    st->aio.dict = dict;
    st->aio.values = values;
    find_counter(st, asyncio, make);
    tdl_task_find_all(module);
    Py_XSETREF(st->objects.EventLoop, (PyTypeObject *)Py_NewRef(loop_class));
    if (tdl_task_call_exec(module) < 0 || tdl_task_future_iter_exec(module) < 0 ||
        tdl_task_type_exec(module) < 0 || tdl_task_future_exec(module) < 0 ||
        tdl_functions_types_exec(module) < 0)
        return NULL;
    st->task_ops = &tdl_task_ops;
    Py_RETURN_TRUE;
}

static PyMethodDef functions[] = {
    {"_look_at_future", look_at_future, METH_O, NULL},
    {"_look_at_task", look_at_task, METH_O, NULL},
    {"_look_at_words", look_at_words, METH_VARARGS, NULL},
    {"_make_dict", make_dict, METH_O, NULL},
    {"_init_tasks", init_tasks, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

int
tdl_tasks_exec(PyObject *module)
{
    if (PyModule_AddFunctions(module, functions) < 0 || tdl_functions_exec(module) < 0)
        return -1;
    return tdl_scopes_exec(module);
}

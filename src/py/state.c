#include "py/state.h"

#define COUNT_OF_OBJECTS(part) (sizeof(part) / sizeof(PyObject *))

static int
init_names(struct tdl_names *names)
{
#define INTERN(name)                                               \
    if ((names->name = PyUnicode_InternFromString(#name)) == NULL) \
        return -1;
    TDL_NAMES(INTERN)
#undef INTERN
    return 0;
}

int
tdl_state_take(PyObject *op, const struct tdl_import *wanted)
{
    for (; wanted->name != NULL; wanted++) {
        Py_XSETREF(*wanted->place, PyObject_GetAttrString(op, wanted->name));
        if (*wanted->place == NULL)
            return -1;
    }
    return 0;
}

int
tdl_state_import(const char *module, const struct tdl_import *wanted)
{
    PyObject *m = PyImport_ImportModule(module);
    int r = m == NULL ? -1 : tdl_state_take(m, wanted);
    Py_XDECREF(m);
    return r;
}

static int
init_futures(struct tdl_objects *o)
{
    const struct tdl_import base[] = {
        {"Future", &o->cf_future},
        {"PENDING", &o->state_names[0]},
        {"RUNNING", &o->state_names[1]},
        {"CANCELLED", &o->state_names[2]},
        {"CANCELLED_AND_NOTIFIED", &o->state_names[3]},
        {"FINISHED", &o->state_names[4]},
        {"CancelledError", &o->CancelledError},
        {"InvalidStateError", &o->InvalidStateError},
        {"DoneAndNotDoneFutures", &o->DoneAndNotDoneFutures},
        {"LOGGER", &o->logger},
        {NULL, NULL},
    };
    const struct tdl_import thread[] = {{"BrokenThreadPool", &o->BrokenThreadPool},
                                        {NULL, NULL}};
    if (tdl_state_import("concurrent.futures._base", base) < 0)
        return -1;
    return tdl_state_import("concurrent.futures.thread", thread);
}

int
tdl_state_init(struct tdl_state *st)
{
    struct tdl_objects *o = &st->objects;
    const struct tdl_import collections[] = {{"deque", &o->deque}, {NULL, NULL}};
    if (init_names(&st->names) < 0 || init_futures(o) < 0 ||
        tdl_state_import("collections", collections) < 0)
        return -1;
    o->exc_info_kwnames = Py_BuildValue("(s)", "exc_info");
    return o->exc_info_kwnames == NULL ? -1 : 0;
}

int
tdl_state_traverse(struct tdl_state *st, visitproc visit, void *arg)
{
    PyObject **objects = (PyObject **)&st->objects;
    for (size_t i = 0; i < COUNT_OF_OBJECTS(st->objects); i++)
        Py_VISIT(objects[i]);
    return 0;
}

void
tdl_state_clear(struct tdl_state *st)
{
    PyObject **objects = (PyObject **)&st->objects;
    PyObject **names = (PyObject **)&st->names;
    for (int kind = 0; kind < TDL_STATE_HANDLES; kind++)
        tdl_freelist_clear(&st->handles[kind]);
    tdl_freelist_clear(&st->operations);
    tdl_freelist_clear(&st->awaits);
    tdl_freelist_clear(&st->coroutines);
    tdl_freelist_clear(&st->tasks);
    tdl_freelist_clear(&st->task_calls);
    tdl_freelist_clear(&st->futures);
    tdl_freelist_clear(&st->callees);
    tdl_freelist_clear(&st->gatherings);
    tdl_freelist_clear(&st->future_iters);
    for (size_t i = 0; i < COUNT_OF_OBJECTS(st->objects); i++)
        Py_CLEAR(objects[i]);
    for (size_t i = 0; i < COUNT_OF_OBJECTS(st->names); i++)
        Py_CLEAR(names[i]);
}

int
tdl_state_add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **slot)
{
    *slot = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    return *slot == NULL ? -1 : PyModule_AddType(module, *slot);
}

int
tdl_state_add_methods(PyTypeObject *type, PyMethodDef *methods)
{
    for (; methods->ml_name != NULL; methods++) {
        PyObject *descriptor = PyDescr_NewMethod(type, methods);
        int r = descriptor == NULL
                    ? -1
                    : PyObject_SetAttrString((PyObject *)type, methods->ml_name, descriptor);
        Py_XDECREF(descriptor);
        if (r < 0)
            return -1;
    }
    return 0;
}

int
tdl_state_add_class(PyObject *module, const char *name, PyTypeObject *native, PyObject *base,
                    const char *doc, PyTypeObject **slot)
{
    PyObject *body =
        Py_BuildValue("{s:(),s:s,s:s}", "__slots__", "__module__", "treadle", "__doc__", doc);
    if (body == NULL)
        return -1;
    *slot = (PyTypeObject *)PyObject_CallFunction((PyObject *)&PyType_Type, "s(OO)O", name,
                                                  native, base, body);
    Py_DECREF(body);
    return *slot == NULL ? -1 : PyModule_AddType(module, *slot);
}

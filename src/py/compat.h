/* Every difference between CPython versions and builds, in one place.
 *
 * The rest of the sources include this instead of <Python.h> and never test
 * PY_VERSION_HEX or Py_GIL_DISABLED themselves. */
#ifndef TDL_PY_COMPAT_H
#define TDL_PY_COMPAT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

/* Whether threads run Python code at the same time: 1 on free-threaded builds. */
#ifdef Py_GIL_DISABLED
#define TDL_FREE_THREADED 1
#else
#define TDL_FREE_THREADED 0
#endif

/* Per-object critical sections: a real lock without the GIL, nothing with it. */
#if PY_VERSION_HEX >= 0x030D0000
#define TDL_CRITICAL_BEGIN(op) Py_BEGIN_CRITICAL_SECTION(op)
#define TDL_CRITICAL_END() Py_END_CRITICAL_SECTION()
#else
#define TDL_CRITICAL_BEGIN(op) {
#define TDL_CRITICAL_END() }
#endif

/* Slots that only newer versions know. */
#if PY_VERSION_HEX >= 0x030D0000
#define TDL_GIL_SLOT {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#else
#define TDL_GIL_SLOT
#endif

/* 3.12 corrupts its heap when an interpreter with its own GIL imports asyncio,
 * so only interpreters that share the GIL are supported there. */
#if PY_VERSION_HEX >= 0x030D0000
#define TDL_INTERPRETERS_SLOT \
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#elif PY_VERSION_HEX >= 0x030C0000
#define TDL_INTERPRETERS_SLOT \
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_SUPPORTED},
#else
#define TDL_INTERPRETERS_SLOT
#endif

/* What asyncio's own transports do, by version: whether a server knows its clients
 * one by one, and whether writelines() hands the system a list of buffers instead
 * of joining them. */
#define TDL_AIO_SERVER_KNOWS_CLIENTS (PY_VERSION_HEX >= 0x030D0000)
#define TDL_AIO_WRITES_LISTS (PY_VERSION_HEX >= 0x030C0000)

/* What asyncio's Barrier says of a number of parties that is none. */
#if PY_VERSION_HEX >= 0x030E0000
#define TDL_AIO_PARTIES_MESSAGE "parties must be >= 1"
#else
#define TDL_AIO_PARTIES_MESSAGE "parties must be > 0"
#endif

/* How asyncio's C futures and tasks are laid out (tasks/layout.h): with a dictionary and
 * weak references among their fields; with who awaits them; with links to other tasks. */
#define TDL_AIO_OWN_DICT (PY_VERSION_HEX < 0x030D0000)
#define TDL_AIO_AWAITED_BY (PY_VERSION_HEX >= 0x030E0000)
#define TDL_AIO_TASK_LINKS (PY_VERSION_HEX >= 0x030E0000)

/* Tasks may be done when they are made, which gather() takes notice of. */
#define TDL_AIO_EAGER_TASKS (PY_VERSION_HEX >= 0x030C0000)

/* wait_for() awaits in the task that calls it; before, in a task of its own. */
#define TDL_AIO_AWAITS_IN_TASK (PY_VERSION_HEX >= 0x030C0000)

/* What asyncio's TaskGroup.create_task() takes beside the coroutine; whether it tells the
 * loop that the task has no name. */
#if PY_VERSION_HEX >= 0x030E0000
#define TDL_AIO_GROUP_KEYWORDS "**kwargs"
#else
#define TDL_AIO_GROUP_KEYWORDS "*, name=None, context=None"
#endif
#define TDL_AIO_GROUP_NAMES_TASKS (PY_VERSION_HEX >= 0x030D0000 && PY_VERSION_HEX < 0x030E0000)

/* What a task calls a step that comes when it is done. */
#if PY_VERSION_HEX >= 0x030E0000
#define TDL_AIO_STEP_NAME "__step"
#else
#define TDL_AIO_STEP_NAME "_step"
#endif

/* Make `bytes`, of which the caller has the only reference and the memory of which is
 * large enough, one of `size` bytes.  A hash that was computed is forgotten. */
static inline void
tdl_bytes_set_size(PyObject *bytes, Py_ssize_t size)
{
    Py_SET_SIZE((PyVarObject *)bytes, size);
    PyBytes_AS_STRING(bytes)[size] = '\0';
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    ((PyBytesObject *)bytes)->ob_shash = -1;
#pragma GCC diagnostic pop
}

/* A new reference to what the weak reference `ref` refers to, or NULL (no
 * exception) when that is gone. */
static inline PyObject *
tdl_weakref_get(PyObject *ref)
{
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *referent = NULL;
    PyWeakref_GetRef(ref, &referent);
    return referent;
#else
    PyObject *referent = PyWeakref_GetObject(ref);
    return referent == Py_None ? NULL : Py_XNewRef(referent);
#endif
}

/* A new reference to dict[key], or NULL with or without an exception. */
static inline PyObject *
tdl_dict_get(PyObject *dict, PyObject *key)
{
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *value = NULL;
    PyDict_GetItemRef(dict, key, &value);
    return value;
#else
    return Py_XNewRef(PyDict_GetItemWithError(dict, key));
#endif
}

/* The same for a name that is interned, and so knows its hash. */
static inline PyObject *
tdl_dict_get_name(PyObject *dict, PyObject *name)
{
#if TDL_FREE_THREADED
    return tdl_dict_get(dict, name);
#else
    Py_hash_t hash = ((PyASCIIObject *)name)->hash;
    return hash == -1 ? tdl_dict_get(dict, name)
                      : Py_XNewRef(_PyDict_GetItem_KnownHash(dict, name, hash));
#endif
}

/* op.__dict__ of an instance of a Python class.  Returns a new reference or NULL. */
static inline PyObject *
tdl_instance_dict(PyObject *op)
{
#if !TDL_FREE_THREADED
    PyObject **place = _PyObject_GetDictPtr(op);
    if (place != NULL && *place != NULL)
        return Py_NewRef(*place);
#endif
    return PyObject_GenericGetDict(op, NULL);
}

/* Add dict[key] = value unless there is one.
 * Returns 0, 1 if there was one, or -1 with an exception. */
static inline int
tdl_dict_add(PyObject *dict, PyObject *key, PyObject *value)
{
#if PY_VERSION_HEX >= 0x030D0000
    if (Py_Version >= 0x030D06F0)
        return PyDict_SetDefaultRef(dict, key, value, NULL);
    /* Before 3.13.6 that goes on, and counts an item that is not there, when the dict
     * cannot be made larger (python/cpython#109700). */
    int r = PyDict_Contains(dict, key);
    return r == 0 ? PyDict_SetItem(dict, key, value) : r;
#else
    Py_ssize_t before = PyDict_GET_SIZE(dict);
    if (PyDict_SetDefault(dict, key, value) == NULL)
        return -1;
    return PyDict_GET_SIZE(dict) == before;
#endif
}

/* A new reference to list[i], or NULL (no exception) when the list is shorter:
 * for lists that others may change meanwhile. */
static inline PyObject *
tdl_list_get(PyObject *list, Py_ssize_t i)
{
    if (i >= PyList_GET_SIZE(list))
        return NULL;
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *item = PyList_GetItemRef(list, i);
    if (item == NULL)
        PyErr_Clear();
    return item;
#else
    return Py_NewRef(PyList_GET_ITEM(list, i));
#endif
}

/* `dict`[`key`] taken out of it: a new reference, or NULL with or without an
 * exception. */
static inline PyObject *
tdl_dict_pop(PyObject *dict, PyObject *key)
{
    PyObject *value = tdl_dict_get(dict, key);
    if (value != NULL && PyDict_DelItem(dict, key) < 0)
        Py_CLEAR(value);
    return value;
}

/* The number of the state that `type` is in, which changes when it or a base of it does;
 * 0: not known. */
static inline unsigned
tdl_type_version(PyTypeObject *type)
{
    return type->tp_version_tag;
}

#if PY_VERSION_HEX < 0x030D0000
/* A C int, or -1 with an exception set. */
#define PyLong_AsInt _PyLong_AsInt
#endif

#if PY_VERSION_HEX < 0x030C0000
/* The raised exception as one object, taken out of the thread state. */
static inline PyObject *
tdl_err_take(void)
{
    PyObject *type, *value, *tb;
    PyErr_Fetch(&type, &value, &tb);
    if (type == NULL)
        return NULL;
    PyErr_NormalizeException(&type, &value, &tb);
    if (tb != NULL)
        PyException_SetTraceback(value, tb);
    Py_XDECREF(tb);
    Py_DECREF(type);
    return value;
}

static inline void
tdl_err_put_steal(PyObject *exc)
{
    PyErr_Restore(Py_NewRef(Py_TYPE(exc)), exc, PyException_GetTraceback(exc));
}
#else
static inline PyObject *
tdl_err_take(void)
{
    return PyErr_GetRaisedException();
}

/* Raise `exc` as it is: no context is added, its traceback is kept. */
static inline void
tdl_err_put_steal(PyObject *exc)
{
    PyErr_SetRaisedException(exc);
}
#endif

/* Write the Python stack of `tstate`'s thread to `fd`, from any thread and without the
 * GIL, as faulthandler does; nothing on versions that keep this to themselves. */
#if PY_VERSION_HEX >= 0x030F0000
static inline void
tdl_dump_stack(int fd, PyThreadState *tstate)
{
    PyUnstable_DumpTraceback(fd, tstate);
}
#elif PY_VERSION_HEX < 0x030D0000
PyAPI_FUNC(void) _Py_DumpTraceback(int fd, PyThreadState *tstate);

static inline void
tdl_dump_stack(int fd, PyThreadState *tstate)
{
    _Py_DumpTraceback(fd, tstate);
}
#else
static inline void
tdl_dump_stack(int Py_UNUSED(fd), PyThreadState *Py_UNUSED(tstate))
{
}
#endif

#endif

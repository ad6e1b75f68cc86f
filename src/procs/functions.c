#include "procs/functions.h"

#include <errno.h>

#include "core/lock.h"
#include "procs/compact.h"

/* What is under `name` in the module called `module`, without importing anything or
 * running code: a new reference, or NULL without an exception. */
static PyObject *
look_up(PyObject *module, PyObject *name)
{
    PyObject *modules = PyImport_GetModuleDict();
    PyObject *m = tdl_dict_get(modules, module);
    PyObject *found = NULL;
    if (m != NULL && PyModule_CheckExact(m))
        found = tdl_dict_get(PyModule_GetDict(m), name);
    Py_XDECREF(m);
    if (found == NULL)
        PyErr_Clear();
    return found;
}

/* ---- who calls -------------------------------------------------------------------------- */

struct definition {
    size_t size;
    uint8_t data[];
};

struct tdl_functions {
    struct tdl_state *st;
    int (*by_name)(void *arg, PyObject *function);
    void *arg;
    PyObject *numbers; /* {(module, name): number}, 0: to be pickled */
    struct tdl_lock lock;
    uint32_t count;                                              /* lock */
    _Atomic(struct definition *) definitions[TDL_FUNCTIONS_MAX]; /* fixed once there */
};

struct tdl_functions *
tdl_functions_new(struct tdl_state *st, int (*by_name)(void *arg, PyObject *function),
                  void *arg)
{
    struct tdl_functions *f = PyMem_RawCalloc(1, sizeof *f);
    if (f == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    f->st = st;
    f->by_name = by_name;
    f->arg = arg;
    tdl_lock_init(&f->lock);
    f->numbers = PyDict_New();
    if (f->numbers == NULL) {
        tdl_functions_free(f);
        return NULL;
    }
    return f;
}

void
tdl_functions_free(struct tdl_functions *functions)
{
    if (functions == NULL)
        return;
    for (uint32_t i = 0; i < TDL_FUNCTIONS_MAX; i++)
        PyMem_RawFree(atomic_load(&functions->definitions[i]));
    Py_XDECREF(functions->numbers);
    PyMem_RawFree(functions);
}

/* Whether pickle would send it by name if it is found under it; the types whose
 * treatment nobody can change, and builtin functions. */
static bool
is_of_a_kind(PyObject *function)
{
    if (PyFunction_Check(function) || Py_IS_TYPE(function, &PyType_Type))
        return true;
    if (!Py_IS_TYPE(function, &PyCFunction_Type))
        return false;
    PyObject *self = PyCFunction_GET_SELF(function);
    return self == NULL || PyModule_Check(self);
}

/* (module, name) of a function that is found by them: a new reference, or NULL with
 * or without an exception. */
static PyObject *
key_of(struct tdl_state *st, PyObject *function)
{
    if (!is_of_a_kind(function))
        return NULL;
    PyObject *module = PyObject_GetAttr(function, st->names.__module__);
    PyObject *name = module == NULL ? NULL : PyObject_GetAttr(function, st->names.__qualname__);
    PyObject *key = NULL;
    if (name != NULL && PyUnicode_CheckExact(module) && PyUnicode_CheckExact(name)) {
        PyObject *found = look_up(module, name);
        if (found == function)
            key = PyTuple_Pack(2, module, name);
        Py_XDECREF(found);
    }
    Py_XDECREF(name);
    Py_XDECREF(module);
    if (PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_AttributeError))
        PyErr_Clear();
    return key;
}

static struct definition *
definition_of(PyObject *key)
{
    Py_ssize_t sizes[2];
    const char *texts[2];
    for (int i = 0; i < 2; i++) {
        texts[i] = PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(key, i), &sizes[i]);
        if (texts[i] == NULL || sizes[i] > UINT16_MAX) {
            PyErr_Clear(); /* a name that is no text, or a strange one */
            return NULL;
        }
    }
    uint16_t length = (uint16_t)sizes[0];
    size_t size = sizeof length + (size_t)sizes[0] + (size_t)sizes[1];
    struct definition *d = PyMem_RawMalloc(sizeof *d + size);
    if (d == NULL)
        return NULL;
    d->size = size;
    memcpy(d->data, &length, sizeof length);
    memcpy(d->data + sizeof length, texts[0], (size_t)sizes[0]);
    memcpy(d->data + sizeof length + sizes[0], texts[1], (size_t)sizes[1]);
    return d;
}

/* The number for a definition (taken), 0 if there is none or no room. */
static uint32_t
publish(struct tdl_functions *f, struct definition *d)
{
    if (d == NULL)
        return 0;
    tdl_lock_acquire(&f->lock);
    uint32_t index = f->count;
    if (index < TDL_FUNCTIONS_MAX)
        f->count++;
    tdl_lock_release(&f->lock);
    if (index == TDL_FUNCTIONS_MAX) {
        PyMem_RawFree(d);
        return 0;
    }
    atomic_store_explicit(&f->definitions[index], d, memory_order_release);
    return index + 1;
}

static int
add(struct tdl_functions *f, PyObject *function, PyObject *key, uint32_t *number)
{
    *number = 0;
    if (PyDict_GET_SIZE(f->numbers) >= TDL_FUNCTIONS_MAX)
        return 0;
    int by_name = f->by_name == NULL ? 1 : f->by_name(f->arg, function);
    if (by_name < 0)
        return -1;
    if (by_name)
        *number = publish(f, definition_of(key));
    PyObject *value = PyLong_FromUnsignedLong(*number);
    int r = value == NULL ? -1 : PyDict_SetItem(f->numbers, key, value);
    Py_XDECREF(value);
    return r;
}

int
tdl_functions_number(struct tdl_functions *functions, PyObject *function, uint32_t *number)
{
    *number = 0;
    PyObject *key = key_of(functions->st, function);
    if (key == NULL)
        return PyErr_Occurred() ? -1 : 0;
    int r = 0;
    PyObject *value = tdl_dict_get(functions->numbers, key);
    if (value != NULL)
        *number = (uint32_t)PyLong_AsUnsignedLong(value);
    else
        r = PyErr_Occurred() ? -1 : add(functions, function, key, number);
    Py_XDECREF(value);
    Py_DECREF(key);
    return r;
}

int
tdl_functions_definition(struct tdl_functions *functions, uint32_t number, const uint8_t **data,
                         size_t *size)
{
    if (number == 0 || number > TDL_FUNCTIONS_MAX)
        return -ENOENT;
    struct definition *d =
        atomic_load_explicit(&functions->definitions[number - 1], memory_order_acquire);
    if (d == NULL)
        return -ENOENT;
    *data = d->data;
    *size = d->size;
    return 0;
}

/* ---- who is called -------------------------------------------------------------------------- */

struct callable {
    PyObject *module;
    PyObject *name;
};

struct tdl_callables {
    struct tdl_state *st;
    struct callable entries[TDL_FUNCTIONS_MAX];
};

struct tdl_callables *
tdl_callables_new(struct tdl_state *st)
{
    struct tdl_callables *c = PyMem_RawCalloc(1, sizeof *c);
    if (c == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    c->st = st;
    return c;
}

static void
clear(struct callable *entry)
{
    Py_CLEAR(entry->module);
    Py_CLEAR(entry->name);
}

void
tdl_callables_free(struct tdl_callables *callables)
{
    if (callables == NULL)
        return;
    for (uint32_t i = 0; i < TDL_FUNCTIONS_MAX; i++)
        clear(&callables->entries[i]);
    PyMem_RawFree(callables);
}

int
tdl_callables_define(struct tdl_callables *callables, uint32_t number, const uint8_t *data,
                     size_t size)
{
    uint16_t length;
    if (number == 0 || number > TDL_FUNCTIONS_MAX || size < sizeof length)
        goto malformed;
    memcpy(&length, data, sizeof length);
    data += sizeof length;
    size -= sizeof length;
    if (length > size)
        goto malformed;
    PyObject *module = PyUnicode_DecodeUTF8((const char *)data, length, NULL);
    PyObject *name =
        PyUnicode_DecodeUTF8((const char *)data + length, (Py_ssize_t)(size - length), NULL);
    if (module == NULL || name == NULL) {
        Py_XDECREF(module);
        Py_XDECREF(name);
        PyErr_Clear();
        goto malformed;
    }
    PyUnicode_InternInPlace(&module);
    PyUnicode_InternInPlace(&name);
    struct callable *entry = &callables->entries[number - 1];
    struct callable old = *entry;
    *entry = (struct callable){.module = module, .name = name};
    clear(&old);
    return 0;
malformed:
    tdl_compact_malformed(callables->st, "a function that is not one");
    return -1;
}

/* As the unpickler finds it. */
static PyObject *
import(PyObject *module, PyObject *name)
{
    PyObject *m = PyImport_Import(module);
    PyObject *object = m == NULL ? NULL : PyObject_GetAttr(m, name);
    if (m != NULL && object == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        PyErr_Format(PyExc_AttributeError, "Can't get attribute %R on %R", name, m);
    }
    Py_XDECREF(m);
    return object;
}

PyObject *
tdl_callables_get(struct tdl_callables *callables, uint32_t number)
{
    struct callable *entry =
        number == 0 || number > TDL_FUNCTIONS_MAX ? NULL : &callables->entries[number - 1];
    if (entry == NULL || entry->module == NULL)
        return tdl_compact_malformed(callables->st, "a function that was not defined");
    PyObject *found = look_up(entry->module, entry->name);
    if (found != NULL)
        return found;
    PyObject *module = Py_NewRef(entry->module), *name = Py_NewRef(entry->name);
    found = import(module, name);
    Py_DECREF(module);
    Py_DECREF(name);
    return found;
}

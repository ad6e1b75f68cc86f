/* Memory of dead objects of one type, kept for the next ones: saves the
 * allocator's work and the collector's.
 *
 * For garbage-collected types whose instances have no dictionary.  Used with the
 * GIL held.  Without a GIL the lists stay empty: an allocator for each thread does
 * as well. */
#ifndef TDL_PY_FREELIST_H
#define TDL_PY_FREELIST_H

#include "py/compat.h"

enum { TDL_FREELIST_SIZE = 1024 };

struct tdl_freelist {
    int capacity; /* 0 until opened and once cleared */
    int count;
    PyObject *objects[TDL_FREELIST_SIZE]; /* dead, untracked, their type not counted */
};

/* Begin to keep objects. */
static inline void
tdl_freelist_open(struct tdl_freelist *list)
{
    list->capacity = TDL_FREE_THREADED ? 0 : TDL_FREELIST_SIZE;
}

/* Give all memory back and keep no more.  While the type still exists. */
void tdl_freelist_clear(struct tdl_freelist *list);

/* An object of `type` out of the list: a new reference, not tracked, its own fields
 * as they were left.  NULL, without an exception, if the list is empty. */
static inline PyObject *
tdl_freelist_pop(struct tdl_freelist *list, PyTypeObject *type)
{
    if (list->count == 0)
        return NULL;
    return PyObject_Init(list->objects[--list->count], type);
}

/* Keep the memory of `op`, which is dead, untracked, and of exactly the list's type,
 * or free it.  Drops the reference to its type that every instance holds. */
static inline void
tdl_freelist_push(struct tdl_freelist *list, PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    /* the collector calls a finalizer once in the life of a memory block */
    if (list->count < list->capacity && !PyObject_GC_IsFinalized(op))
        list->objects[list->count++] = op;
    else
        PyObject_GC_Del(op);
    Py_DECREF(type);
}

#endif

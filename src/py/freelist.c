#include "py/freelist.h"

void
tdl_freelist_clear(struct tdl_freelist *list)
{
    list->capacity = 0;
    while (list->count > 0)
        PyObject_GC_Del(list->objects[--list->count]);
}

#include "loop/lent.h"

#include "py/errors.h"

static void
release(void *owner)
{
    Py_DECREF((PyObject *)owner);
}

int
tdl_lent_push(struct tdl_wqueue *queue, PyObject *owner, const char *data, size_t size)
{
    int r;
    if (size == 0)
        return 0;
    if (owner != NULL && PyBytes_CheckExact(owner)) {
        r = tdl_wqueue_push_steal(queue, data, size, Py_NewRef(owner), release);
        if (r < 0)
            Py_DECREF(owner);
    }
    else
        r = tdl_wqueue_push(queue, data, size);
    return r < 0 ? tdl_raise_errno(r) : 0;
}

/* visitproc and its argument, by way of the queue. */
struct traversal {
    visitproc visit;
    void *arg;
};

static int
visit_owner(void *owner, void *arg)
{
    struct traversal *traversal = arg;
    return traversal->visit(owner, traversal->arg);
}

int
tdl_lent_traverse(const struct tdl_wqueue *queue, visitproc visit, void *arg)
{
    struct traversal traversal = {visit, arg};
    return tdl_wqueue_visit(queue, visit_owner, &traversal);
}

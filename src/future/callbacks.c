#include "future/callbacks.h"

#include "future/bridge.h"
#include "py/errors.h"

static int
call_one(FutureObject *self, PyObject *fn, struct tdl_fire *fire)
{
    int r = tdl_bridge_deliver(self, fn, fire);
    if (r > 0)
        return 0;
    if (r == 0) {
        PyObject *value = PyObject_CallOneArg(fn, (PyObject *)self);
        Py_XDECREF(value);
        r = value == NULL ? -1 : 0;
    }
    if (r < 0 && PyErr_ExceptionMatches(PyExc_Exception)) {
        tdl_log_exception(self->st, "exception calling callback for %r", (PyObject *)self);
        r = 0;
    }
    return r;
}

static PyObject *
list_of_one(PyObject *item)
{
    PyObject *list = PyList_New(1);
    if (list != NULL)
        PyList_SET_ITEM(list, 0, Py_NewRef(item));
    return list;
}

int
tdl_callbacks_add(FutureObject *self, PyObject *fn)
{
    PyObject *fresh = NULL;
    int r = 0, now = 0, kept = 0;
    while (!kept) {
        /* not under the lock: to make a list may start a collection, which may
         * run anything (3.11) */
        if (self->callbacks == NULL && fresh == NULL && (fresh = list_of_one(fn)) == NULL)
            return -1;
        TDL_CRITICAL_BEGIN(self);
        now = tdl_future_is_done(tdl_future_state(self));
        kept = now || self->callbacks != NULL || fresh != NULL;
        if (!now && self->callbacks != NULL)
            r = PyList_Append(self->callbacks, fn);
        else if (!now && fresh != NULL) {
            self->callbacks = fresh;
            fresh = NULL;
        }
        TDL_CRITICAL_END();
    }
    Py_XDECREF(fresh);
    return now ? call_one(self, fn, NULL) : r;
}

int
tdl_callbacks_run(FutureObject *self, struct tdl_fire *fire)
{
    PyObject *list;
    TDL_CRITICAL_BEGIN(self);
    list = Py_XNewRef(self->callbacks);
    /* a list that nobody has seen is dropped with what its callbacks hold */
    if (!self->callbacks_seen)
        Py_CLEAR(self->callbacks);
    TDL_CRITICAL_END();
    if (list == NULL)
        return 0;
    int r = 0;
    PyObject *fn;
    for (Py_ssize_t i = 0; r == 0 && (fn = tdl_list_get(list, i)) != NULL; i++) {
        r = call_one(self, fn, fire);
        Py_DECREF(fn);
    }
    Py_DECREF(list);
    return r;
}

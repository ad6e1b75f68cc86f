/* What all synchronisation objects have in common. */
#ifndef TDL_SYNC_OBJECT_H
#define TDL_SYNC_OBJECT_H

#include "sync/await.h"

/* ---- life ------------------------------------------------------------------------ */

/* Allocate an object of `type` whose head is a SyncObject.  A new reference or NULL. */
PyObject *tdl_sync_alloc(PyTypeObject *type);

/* For types whose objects have no references but in their head. */
int tdl_sync_traverse(PyObject *op, visitproc visit, void *arg);
int tdl_sync_clear(PyObject *op);
void tdl_sync_dealloc(PyObject *op);

/* The last part of a dealloc: the head, the memory, the type. */
void tdl_sync_free(PyObject *op);

/* Whether instances of `type`, a subclass of `base`, have the method `name` of `base`. */
bool tdl_sync_has_own(PyTypeObject *type, PyTypeObject *base, PyObject *name);

/* ---- arguments ------------------------------------------------------------------- */

/* Parse what an __init__() got: as tdl_args_parse(). */
int tdl_sync_parse(const char *function, PyObject *args, PyObject *kwds,
                   const char *const *names, int count, int required, PyObject **values);

/* How long a thread will wait. */
struct tdl_sync_patience {
    int64_t deadline;
    bool now; /* not at all */
};

/* `timeout` in seconds, NULL or None: for ever, 0 or less: not at all.
 * Returns 0 or -1 with an exception set. */
int tdl_sync_patience(PyObject *timeout, struct tdl_sync_patience *patience);

/* Parse the arguments of a method that takes timeout=None. */
int tdl_sync_parse_timeout(const char *method, PyObject *const *args, Py_ssize_t nargs,
                           PyObject *kwnames, struct tdl_sync_patience *patience);

/* Refuse to wait in a thread whose loop runs: `what` would hold it up.
 * Returns 0, or -1 with RuntimeError set. */
int tdl_sync_may_block(struct tdl_state *st, const char *what, const char *instead);

/* The loop that runs in this thread: a new reference; None: there is none.  NULL with an
 * exception set. */
PyObject *tdl_sync_loop_here(struct tdl_state *st);

/* The running loop: a new reference, or NULL with RuntimeError set if there is none. */
PyObject *tdl_sync_running_loop(struct tdl_state *st);

/* ---- methods --------------------------------------------------------------------- */

/* __aexit__() and __exit__(): call release(). */
PyObject *tdl_sync_aexit(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *tdl_sync_exit(PyObject *self, PyObject *const *args, Py_ssize_t nargs);

/* `object._loop`: for looking at; assigning binds the object to that loop. */
PyObject *tdl_sync_get_bound(PyObject *op, void *closure);
int tdl_sync_set_bound(PyObject *op, PyObject *value, void *closure);

/* object.__repr__() with "[extra]" before the last bracket.  Drops `extra`. */
PyObject *tdl_sync_repr_steal(PyObject *self, PyObject *extra);

/* The extra text of a repr: `what`, and how many wait if any do. */
PyObject *tdl_sync_extra(const char *what, const struct tdl_waitq *q);

#endif

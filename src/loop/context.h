/* Contexts of callbacks, without a copy for each.
 *
 * call_soon() promises that a callback runs in a copy of the context that was
 * current. A copy costs an object, and most callbacks change nothing. So handles
 * made in the same state of a context share one copy, the snapshot, which nobody
 * enters; and callbacks run in a copy of that, the scratch context, which the next
 * callback gets if it is still as it was and nobody else refers to it. What Python
 * can see is the same as with a copy for each.
 *
 * Whether a context is as it was is told by the pointer to its (immutable) map of
 * variables. That is private to the interpreter: tdl_context_probe() finds out
 * whether it is where it is expected, and without it everything is copied; so it is
 * on builds without a GIL. The loop's thread, with the GIL. */
#ifndef TDL_LOOP_CONTEXT_H
#define TDL_LOOP_CONTEXT_H

#include <stdbool.h>

#include "py/state.h"

/* How every version to date lays out a context, as far as it matters here. */
struct tdl_context_layout {
    PyObject_HEAD
    PyObject *previous;
    PyObject *variables;
};

/* The map of variables; borrowed, and only to be compared.  If contexts are comparable. */
static inline PyObject *
tdl_context_variables(PyObject *context)
{
    return ((struct tdl_context_layout *)context)->variables;
}

struct tdl_contexts {
    PyObject *snapshot; /* or NULL */
    PyObject *scratch;  /* or NULL: none kept, or in use */
};

/* Whether contexts can be compared; to be kept in st->contexts_comparable.
 * Sets no exception. */
bool tdl_context_probe(void);

/* A context with what the current one holds: a new reference or NULL.
 * `*shared` says whether it is the snapshot, not to be entered. */
PyObject *tdl_context_copy(struct tdl_state *st, struct tdl_contexts *contexts, bool *shared);

/* The same as tdl_context_take(), and never the scratch context. */
PyObject *tdl_context_take_fresh(struct tdl_contexts *contexts, PyObject *snapshot);

/* A context to run a callback in that was scheduled with `snapshot`: a new
 * reference or NULL. */
static inline PyObject *
tdl_context_take(struct tdl_contexts *contexts, PyObject *snapshot)
{
    PyObject *scratch = contexts->scratch;
    if (scratch == NULL || tdl_context_variables(scratch) != tdl_context_variables(snapshot))
        return tdl_context_take_fresh(contexts, snapshot);
    contexts->scratch = NULL;
    return scratch;
}

/* Whether `context`, out of tdl_context_take(), is still like `snapshot` and only
 * the caller's.  If so its reference is taken, and the next callback gets it. */
static inline bool
tdl_context_give_back(struct tdl_contexts *contexts, PyObject *context, PyObject *snapshot)
{
    if (contexts->scratch != NULL || Py_REFCNT(context) != 1 ||
        tdl_context_variables(context) != tdl_context_variables(snapshot))
        return false;
    contexts->scratch = context;
    return true;
}

void tdl_context_clear(struct tdl_contexts *contexts);
int tdl_context_traverse(struct tdl_contexts *contexts, visitproc visit, void *arg);

#endif

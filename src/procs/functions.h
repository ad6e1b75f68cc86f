/* Functions that go by a number instead of being pickled with every call.
 *
 * Only what pickle itself sends by name gets a number: a function, builtin
 * function or class that is found in its module under its name, at the time of
 * the call.  The number stands for the name, not for the object, so a function that is
 * redefined or a module that is reloaded needs nothing special: whoever is now
 * found there is meant, on both sides, as with pickle.  Everything else (methods,
 * partials, closures, callable objects) has state and is pickled each time.
 *
 * A table is bounded; what does not fit in any more is pickled.  Every function
 * needs an attached thread state, tdl_functions_definition() excepted. */
#ifndef TDL_PROCS_FUNCTIONS_H
#define TDL_PROCS_FUNCTIONS_H

#include "core/bytes.h"
#include "py/state.h"

enum { TDL_FUNCTIONS_MAX = 4096 };

/* ---- who calls -------------------------------------------------------------------------- */

struct tdl_functions;

/* An empty table, or NULL with an exception set.  `by_name`, if not NULL, is asked
 * once for each name whether it may have a number: 1, 0, or -1 with an exception set. */
struct tdl_functions *tdl_functions_new(struct tdl_state *st,
                                        int (*by_name)(void *arg, PyObject *function),
                                        void *arg);

/* Free (NULL is fine). */
void tdl_functions_free(struct tdl_functions *functions);

/* The number of `function` in `*number`, or 0 if it has to be pickled.
 * Returns 0, or -1 with an exception set. */
int tdl_functions_number(struct tdl_functions *functions, PyObject *function, uint32_t *number);

/* What defines `number` on the other side, valid as long as the table.
 * Any thread; thread state: not needed.  Returns 0, or -ENOENT. */
int tdl_functions_definition(struct tdl_functions *functions, uint32_t number,
                             const uint8_t **data, size_t *size);

/* ---- who is called -------------------------------------------------------------------------- */

struct tdl_callables;

/* An empty table, or NULL with an exception set. */
struct tdl_callables *tdl_callables_new(struct tdl_state *st);

/* Free (NULL is fine). */
void tdl_callables_free(struct tdl_callables *callables);

/* `number` is what `data` says from here on; it is looked up on use.
 * Returns 0, or -1 with UnpicklingError or MemoryError. */
int tdl_callables_define(struct tdl_callables *callables, uint32_t number, const uint8_t *data,
                         size_t size);

/* What `number` means now, importing its module if need be: a new reference, or
 * NULL with what pickle.loads() would raise. */
PyObject *tdl_callables_get(struct tdl_callables *callables, uint32_t number);

#endif

/* Pickling into a sink, protocol 5, with large buffers as parts beside the pickle.
 *
 * Every function needs an attached thread state and may run any code. */
#ifndef TDL_PROCS_PICKLING_H
#define TDL_PROCS_PICKLING_H

#include "procs/sink.h"
#include "py/state.h"

struct tdl_pickling;

/* A way of pickling: multiprocessing's for `pickler` NULL; else the class
 * pickler.Pickler, called with (file, protocol=5, buffer_callback=...), or without
 * one the function pickler.dumps.  Returns NULL with an exception set. */
struct tdl_pickling *tdl_pickling_new(struct tdl_state *st, PyObject *pickler);

/* Free (NULL is fine). */
void tdl_pickling_free(struct tdl_pickling *pickling);

int tdl_pickling_traverse(struct tdl_pickling *pickling, visitproc visit, void *arg);

/* The pickler that was given, None without one: a borrowed reference. */
PyObject *tdl_pickling_pickler(const struct tdl_pickling *pickling);

/* Whether a pickler was given. */
bool tdl_pickling_is_custom(const struct tdl_pickling *pickling);

/* Append `object`'s pickle; contiguous buffers of sink->part_min bytes or more, and
 * those in shared memory of whatever size, become parts.
 * Returns 0, or -1 with what pickling raised, and the sink with some of it. */
int tdl_pickling_dump(struct tdl_pickling *pickling, struct tdl_sink *sink, PyObject *object);

/* Unpickle; `buffers` is a list with an object for each part, or NULL for none.
 * Returns a new reference, or NULL with what unpickling raised. */
PyObject *tdl_pickling_load(struct tdl_pickling *pickling, const uint8_t *data, size_t size,
                            PyObject *buffers);

/* Whether this thread is pickling for a pool. */
bool tdl_pickling_active(void);

/* Make the types. */
int tdl_pickling_exec(PyObject *module);

#endif

/* Locks, events and queues that asyncio programs use as asyncio's, and threads and other
 * loops at the same time: see sync/party.h for how they wait. */
#ifndef TDL_SYNC_SYNC_H
#define TDL_SYNC_SYNC_H

#include "py/state.h"

/* Module exec: add the types and _init_sync().  Returns 0 or -1 with an exception. */
int tdl_sync_exec(PyObject *module);

/* The parts, each in the file of its name. */
int tdl_lock_exec(PyObject *module);
int tdl_semaphore_exec(PyObject *module);
int tdl_event_exec(PyObject *module);
int tdl_queue_exec(PyObject *module);
int tdl_async_condition_exec(PyObject *module);
int tdl_rlock_exec(PyObject *module);
int tdl_barrier_exec(PyObject *module);

#endif

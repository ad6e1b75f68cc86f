/* The module's state: one for each interpreter that imports treadle._native.
 *
 * All fields are set by the modules' exec functions and constant afterwards,
 * except where a comment says otherwise.  Objects that need the state hold a
 * pointer to it; it lives as long as the module, which every type references. */
#ifndef TDL_PY_STATE_H
#define TDL_PY_STATE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "core/lock.h"
#include "py/compat.h"
#include "py/freelist.h"

/* Names that are looked up or called often, interned once. */
#define TDL_NAMES(X)            \
    X(acquire)                  \
    X(add_cancelled)            \
    X(add_done_callback)        \
    X(add_exception)            \
    X(add_result)               \
    X(append)                   \
    X(buffer_updated)           \
    X(call_exception_handler)   \
    X(call_soon_threadsafe)     \
    X(cancel)                   \
    X(cancelled)                \
    X(clear_memo)               \
    X(close)                    \
    X(connection_lost)          \
    X(context)                  \
    X(connection_made)          \
    X(create_future)            \
    X(critical)                 \
    X(data_received)            \
    X(datagram_received)        \
    X(done)                     \
    X(dump)                     \
    X(eof_received)             \
    X(error_received)           \
    X(exception)                \
    X(family)                   \
    X(feed_data)                \
    X(fileno)                   \
    X(get_buffer)               \
    X(gettimeout)               \
    X(is_closed)                \
    X(is_closing)               \
    X(notify_all)               \
    X(pause_reading)            \
    X(pause_writing)            \
    X(pipe)                     \
    X(proto)                    \
    X(release)                  \
    X(remove)                   \
    X(resume_reading)           \
    X(resume_writing)           \
    X(set_exception)            \
    X(set_result)               \
    X(setblocking)              \
    X(type)                     \
    X(submit)                   \
    X(write)                    \
    X(throw)                    \
    X(locked)                   \
    X(result)                   \
    X(popleft)                  \
    X(pop)                      \
    X(qsize)                    \
    X(put_nowait)               \
    X(get_nowait)               \
    X(wait)                     \
    X(Task)                     \
    X(__module__)               \
    X(__qualname__)             \
    X(_app_protocol)            \
    X(_put)                     \
    X(_get)                     \
    X(_init)                    \
    X(_attach)                  \
    X(_call_connection_lost)    \
    X(_call_soon)               \
    X(_check_closed)            \
    X(_client_connected_cb)     \
    X(_condition)               \
    X(_connection_lost)         \
    X(_detach)                  \
    X(_dispatch_late)           \
    X(_drain_helper)            \
    X(_paused)                  \
    X(_protocol)                \
    X(_reader)                  \
    X(_run_handle)              \
    X(_spawn_worker)            \
    X(_start_reading)           \
    X(_state)                   \
    X(_stream_reader_wr)        \
    X(_timer_handle_cancelled)  \
    X(_transport)               \
    X(_treadle)                 \
    X(_waiters)                 \
    X(call_soon)                \
    X(get_loop)                 \
    X(value)                    \
    X(_asyncio_future_blocking) \
    X(_cancel_message)          \
    X(_log_destroy_pending)     \
    X(_make_cancelled_error)    \
    X(call_later)               \
    X(cr_await)                 \
    X(get)                      \
    X(create_task)              \
    X(exceptions)               \
    X(uncancel)                 \
    X(remove_done_callback)     \
    X(_on_timeout)              \
    X(current_task)             \
    X(time)                     \
    X(call_at)                  \
    X(_loop)

enum { TDL_STATE_NAMES = 5, TDL_STATE_HANDLES = 3 };

struct tdl_names {
#define TDL_NAME_FIELD(name) PyObject *name;
    TDL_NAMES(TDL_NAME_FIELD)
#undef TDL_NAME_FIELD
};

/* Only object pointers in here: the state's traverse and clear walk it as an array. */
struct tdl_objects {
    /* concurrent.futures */
    PyObject *cf_future;                    /* Future */
    PyObject *state_names[TDL_STATE_NAMES]; /* 'PENDING' ... in tdl_future_state order */
    PyObject *CancelledError;
    PyObject *InvalidStateError;
    PyObject *BrokenThreadPool;
    PyObject *DoneAndNotDoneFutures;
    PyObject *logger;
    PyObject *deque;
    PyObject *pause;            /* a Python function that does nothing; see py/pause.h */
    PyObject *exc_info_kwnames; /* ('exc_info',) */
    /* asyncio, found on first use; see aio_ready */
    PyObject *aio_chain_code;    /* code of the callback that _chain_future adds */
    PyObject *aio_convert;       /* _convert_future_exc */
    PyObject *aio_running_loop;  /* _get_running_loop */
    PyObject *aio_selector_loop; /* BaseSelectorEventLoop, or NULL */
    PyObject *loop_inboxes;      /* {id(loop): LoopInbox} */
    /* our types */
    PyTypeObject *FutureBase;
    PyTypeObject *Future;
    PyTypeObject *ConditionBase;
    PyTypeObject *Condition;
    PyTypeObject *WaitProxy;
    PyTypeObject *AsCompleted;
    PyTypeObject *LoopInbox;
    PyTypeObject *FutureLink;
    PyTypeObject *WorkQueue;
    PyTypeObject *ThreadPoolBase;
    PyTypeObject *MapBatch;
    PyTypeObject *MapIterator;
    /* the process pool; the first two made by _init_procs() */
    PyObject *BrokenProcessPool;
    PyObject *with_cause; /* see procs/procs.c */
    PyTypeObject *ProcPool;
    PyTypeObject *ProcessPoolBase;
    PyTypeObject *ProcBatch;
    PyTypeObject *ProcChunk;
    PyTypeObject *ProcMap;
    /* the loop, made by _init_loop() */
    PyObject *aio_extract_stack; /* asyncio.format_helpers.extract_stack */
    PyObject *aio_future;        /* asyncio.Future */
    PyObject *aio_task;          /* asyncio.Task */
    PyObject *aio_tasks_dict;    /* of the module asyncio.tasks */
    PyObject *aio_base_loop;     /* asyncio.BaseEventLoop */
    PyObject *aio_create_task;   /* its create_task() */
    PyObject *report_callback_error;
    PyTypeObject *Handle;
    PyTypeObject *TimerHandle;
    PyTypeObject *ThreadSafeHandle; /* NULL before 3.14 */
    PyTypeObject *aio_step;         /* type of the callable that a task schedules, once seen */
    PyTypeObject *LoopBase;
    PyTypeObject *Watchdog;
    PyTypeObject *SockWatch;
    PyTypeObject *Datagram;
    PyObject *socket_type; /* socket.socket */
    /* transports, made by _init_loop() */
    PyObject *BaseTransport;    /* asyncio's */
    PyObject *BufferedProtocol; /* asyncio's */
    PyObject *TransportSocket;  /* asyncio.trsock's */
    PyObject *aio_transport;    /* asyncio's own _SelectorSocketTransport */
    PyObject *aio_check_file;   /* BaseSelectorEventLoop._ensure_fd_no_transport */
    PyObject *aio_logger;
    PyTypeObject *StreamTransport;
    PyTypeObject *ReadPipeTransport;
    PyTypeObject *WritePipeTransport;
    PyTypeObject *Acceptor;
    /* tasks, made by _init_tasks() */
    PyObject *aio_cancelled_error; /* asyncio.CancelledError */
    PyObject *aio_invalid_state;   /* asyncio.InvalidStateError */
    PyObject *aio_enter_task;      /* _asyncio._enter_task */
    PyObject *aio_leave_task;      /* _asyncio._leave_task */
    PyObject *tasks_data, *tasks_pending, *tasks_iterating, *task_gone; /* tasks/registry.c */
    PyObject *aio_register_task; /* _asyncio._register_task */
    PyObject *aio_current_tasks; /* {loop: task}; NULL where threads keep them */
    PyObject *context_kwnames;   /* ('context',) */
    PyObject *msg_kwnames;       /* ('msg',) */
    PyObject *loop_kwnames;      /* ('loop',) */
    /* asyncio's functions, found on first use; see tasks/functions.h */
    PyObject *aio_gather;
    PyObject *aio_shield;
    PyObject *aio_all_completed;
    PyObject *aio_log_on_exception; /* asyncio.tasks._log_on_exception, or NULL */
    PyObject *aio_note_timeout;     /* asyncio.Timeout._insert_timeout_error, or NULL */
    PyObject *ExceptionGroup;
    PyObject *wait_for_expire; /* a function of tasks/wait_for.c */
    PyObject *aio_ensure_future;
    PyObject *aio_current_task;
    PyObject *aio_isfuture;
    PyObject *aio_get_running_loop;
    PyTypeObject *EventLoop;
    PyTypeObject *Task;
    PyTypeObject *LoopFuture;
    PyTypeObject *FutureIter;
    PyTypeObject *TaskCall;
    PyTypeObject *Callee;
    PyTypeObject *Gathering;
    /* stand-ins for asyncio's functions, made by tasks/scopes.c */
    PyTypeObject *Coroutine;
    PyTypeObject *CoroutineFunction;
    PyObject *set_result_if_pending; /* a function of tasks/sleep.c */
    PyTypeObject *TimeoutBase;
    PyObject *Timeout;        /* treadle's class, a subclass of that; and asyncio's methods */
    PyObject *timeout_expire; /* a function of tasks/timeout.c */
    PyObject *stock_timeout_enter, *stock_timeout_exit, *stock_reschedule;
    PyObject *timeout_created, *timeout_active, *timeout_expiring, *timeout_expired;
    PyObject *timeout_exited;
    PyTypeObject *TaskGroupBase;
    PyObject *TaskGroup;    /* treadle's class, a subclass of that; and asyncio's methods */
    PyObject *name_kwnames; /* ('name',) */
    PyObject *stock_group_enter, *stock_group_exit, *stock_group_create, *stock_group_done;
    PyObject *aio_running_loop_or_raise; /* asyncio.get_running_loop */
    /* streams, made by _init_streams() */
    PyTypeObject *aio_reader;           /* asyncio.StreamReader */
    PyTypeObject *aio_writer;           /* asyncio.StreamWriter */
    PyTypeObject *aio_reader_protocol;  /* asyncio.StreamReaderProtocol */
    PyTypeObject *aio_process_protocol; /* asyncio.subprocess.SubprocessStreamProtocol */
    PyTypeObject *aio_tls_protocol;     /* asyncio.sslproto.SSLProtocol */
    PyObject *aio_writer_init_code;     /* code of StreamWriter.__init__() */
    PyObject *stock_reader_methods;     /* tuple; see streams/stock.h */
    PyObject *stock_writer_methods;
    PyObject *stock_protocol_methods;
    PyTypeObject *StreamAnchor; /* a base of the next two */
    PyTypeObject *StreamReader; /* ours, a subclass of asyncio's */
    PyTypeObject *StreamWriter;
    PyTypeObject *ReaderState;
    PyTypeObject *StreamOperation;
    PyTypeObject *StreamGreeter;
    PyObject *loop_create_future; /* the method descriptor of LoopBase */
    PyObject *stop_iteration;     /* see streams/operation.c; the loop's threads' own */
    /* synchronisation; the asyncio part by _init_sync() */
    PyObject *sync_running_loop;            /* asyncio._get_running_loop */
    PyObject *sync_current_task;            /* asyncio.current_task */
    PyObject *sync_cancelled;               /* asyncio.CancelledError */
    PyObject *sync_blocking;                /* '_asyncio_future_blocking' */
    PyObject *sync_stop;                    /* a StopIteration; see py/coro.h */
    PyObject *deque_append, *deque_popleft; /* the methods of deques */
    PyObject *sync_future; /* a type that is_plain() of sync/party.c knows, or NULL */
    PyTypeObject *Await;
    PyTypeObject *Grant;
    PyTypeObject *LockBase;
    PyTypeObject *SemaphoreBase;
    PyTypeObject *EventBase;
    PyTypeObject *AsyncConditionBase;
    PyTypeObject *RLockBase;
    PyTypeObject *BarrierBase;
    PyObject *lock_class; /* treadle.Lock */
    PyObject *BrokenBarrierError;
    PyTypeObject *QueueBase;
    PyTypeObject *LifoQueueBase;
    PyTypeObject *PriorityQueueBase;
    PyObject *QueueEmpty;
    PyObject *QueueFull;
    PyObject *QueueShutDown; /* asyncio's, or ours before 3.13 */
    PyObject *heappush;
    PyObject *heappop;
    /* what goes through the pipes of a process pool */
    PyObject *PicklingError;
    PyObject *UnpicklingError;
    PyObject *shared_whole; /* our function _shared_whole */
    PyTypeObject *PickleTarget;
    PyTypeObject *Block;
    PyTypeObject *SharedBuffer;
    PyTypeObject *Codec;
};

/* What tasks know of asyncio's own; found out by tasks/probe.c, constant from then on. */
struct tdl_aio {
    bool counts;              /* names of tasks are numbers until they are asked for */
    size_t running_loop;      /* where a thread state has it, the task behind it; 0: nowhere */
    size_t tasks_head;        /* where a thread state has the list of its tasks */
    _Atomic uint64_t *number; /* of the last task that was given a name */
    _Atomic uint64_t own_number;
    Py_ssize_t weakrefs; /* where objects have their weak references and dictionary */
    Py_ssize_t dict;
    bool values; /* attributes' values lie behind objects until there is a dictionary */
};

struct tdl_landing;
struct tdl_stream_hooks;
struct SharedObject;
struct tdl_task_ops;

struct tdl_state {
    struct tdl_names names;
    struct tdl_objects objects;
    struct tdl_lock aio_lock; /* makes the fields below, and objects.aio_*, once */
    _Atomic int aio_ready;    /* 0 not looked yet, 1 usable, -1 not recognised */
    _Atomic bool exiting;     /* interpreter exit has begun: no more jobs; set once */
    unsigned generation;      /* +1 in each forked child; written with the world stopped */
    struct LoopObject *loops; /* loops that are open; see loop/fork.h; loops_lock */
    struct tdl_lock loops_lock;
    struct SharedObject *shared; /* shared buffers of this process; shared_lock */
    struct tdl_lock shared_lock;
    size_t handle_offset; /* of the native part in handles; set by _init_loop() */
    size_t handle_tail;   /* of what only some handles have; set by _init_loop() */
    /* The landing of a loop of ours, NULL for others; set once by the loop's exec. */
    struct tdl_landing *(*landing_of)(struct tdl_state *st, PyObject *loop);
    const struct tdl_task_ops *task_ops; /* see loop/task_ops.h; NULL: asyncio's tasks only */
    struct tdl_aio aio;
    struct tdl_freelist tasks;
    struct tdl_freelist task_calls;
    struct tdl_freelist futures;
    struct tdl_freelist callees;
    struct tdl_freelist gatherings;
    bool gather_forgets; /* whether asyncio's gather() lets go of children that outlive it */
    struct tdl_freelist future_iters;
    bool group_looks_at_once;  /* see _init_group() of tasks/group.c, as the next two */
    bool group_forgets;        /* whether asyncio's TaskGroup drops its references in the end */
    bool group_suppresses;     /* whether its __aexit__() returns True */
    bool contexts_comparable;  /* see loop/context.h; set by _init_loop() */
    _Atomic int socket_layout; /* whether socket objects can be read; see loop/socket.c */
    PyMethodDef *aio_wakeup;   /* of the function that wakes a task, once seen */
    struct tdl_freelist handles[TDL_STATE_HANDLES]; /* dead handles of each kind */
    struct tdl_freelist operations;                 /* dead stream operations */
    /* What the streams above do for transports: loop/stream_hooks.h.  NULL before
     * _init_streams(). */
    const struct tdl_stream_hooks *stream_hooks;
    unsigned stock_versions[3];     /* see streams/stock.h; changes */
    struct tdl_freelist awaits;     /* dead sync/await.h objects */
    struct tdl_freelist coroutines; /* dead tasks/coroutine.h objects */
    int aio_cell_destination;       /* closure cells of that callback */
    int aio_cell_loop;
};

/* The module's definition (module.c); the same in every interpreter. */
extern struct PyModuleDef tdl_module_def;

/* The state of `module`. */
static inline struct tdl_state *
tdl_state_of(PyObject *module)
{
    return (struct tdl_state *)PyModule_GetState(module);
}

/* The state behind `type`, one of ours or a subclass of one.
 * Returns NULL with TypeError set for any other type. */
static inline struct tdl_state *
tdl_state_by_type(PyTypeObject *type)
{
    PyObject *module = PyType_GetModuleByDef(type, &tdl_module_def);
    return module == NULL ? NULL : tdl_state_of(module);
}

/* Fill in the names and the objects of the standard library.
 * Returns 0, or -1 with an exception set. */
int tdl_state_init(struct tdl_state *st);

int tdl_state_traverse(struct tdl_state *st, visitproc visit, void *arg);
void tdl_state_clear(struct tdl_state *st);

/* An attribute of a module, and where among the state's objects it goes. */
struct tdl_import {
    const char *name;
    PyObject **place;
};

/* Import `module` and get its attributes `wanted`, which an entry without a name
 * ends.  Returns 0, or -1 with an exception set. */
int tdl_state_import(const char *module, const struct tdl_import *wanted);

/* The same of an object. */
int tdl_state_take(PyObject *op, const struct tdl_import *wanted);

/* Make a heap type from `spec`, keep it in `*slot`, and add it to `module`
 * under its name.  Returns 0, or -1 with an exception set. */
int tdl_state_add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **slot);

/* Extend `type` by `methods`, which must last as long as it.
 * Returns 0, or -1 with an exception set. */
int tdl_state_add_methods(PyTypeObject *type, PyMethodDef *methods);

/* Make the class `name` with bases (native, base), without slots of its own,
 * keep it in `*slot` and add it to `module`.  The native base comes first, so
 * its methods win; the interpreter lays out dictionary and weak references.
 * Returns 0, or -1 with an exception set. */
int tdl_state_add_class(PyObject *module, const char *name, PyTypeObject *native,
                        PyObject *base, const char *doc, PyTypeObject **slot);

#endif

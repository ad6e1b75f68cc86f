/* What user code raised in a callback of native code, for the loop's exception
 * handler.
 *
 * The loop's thread; attached thread state. */
#ifndef TDL_LOOP_REPORT_H
#define TDL_LOOP_REPORT_H

#include "loop/loop.h"

/* Whether the raised exception is one that no callback may swallow: SystemExit or
 * KeyboardInterrupt. */
bool tdl_report_is_fatal(void);

/* Give the raised exception to loop.call_exception_handler(), with `message`, and
 * `transport` and `protocol` where they are not NULL.
 * Returns 0 with the exception cleared; -1 with one set: it was SystemExit or
 * KeyboardInterrupt, or the handler itself failed. */
int tdl_report_raised(LoopObject *loop, const char *message, PyObject *transport,
                      PyObject *protocol);

/* The same with `exc`, whatever it is; nothing is raised when this is called. */
int tdl_report_exception(LoopObject *loop, const char *message, PyObject *exc,
                         PyObject *transport, PyObject *protocol);

/* Log `exc` of `transport` to "asyncio", level DEBUG.  Returns 0 or -1. */
int tdl_report_debug(LoopObject *loop, const char *message, PyObject *exc, PyObject *transport);

#endif

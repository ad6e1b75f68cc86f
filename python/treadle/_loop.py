"""EventLoop: the native loop under the names and behaviour of asyncio's.

The native base comes first, so that what it has wins; everything else is
inherited from asyncio.SelectorEventLoop.
"""

import asyncio
import inspect
import os
import socket
import sys
import threading
from asyncio import constants, events, format_helpers, sslproto
from asyncio.base_events import _format_handle  # type: ignore[attr-defined]
from asyncio.log import logger
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from . import _native
from ._datagram import DatagramEndpoints
from ._loop_views import LoopSelector, ReadyView, ScheduledView
from ._names import NameLookup
from ._pool import ThreadPoolExecutor
from ._servers import ServerLoop
from ._signals import SignalLoop
from ._sock import SockMethods
from ._subprocess import SubprocessLoop
from ._tasks import enable as enable_tasks
from ._watchdog import watch_over, watch_over_by_environment


if "debug" in inspect.signature(format_helpers._format_callback_source).parameters:

    def _format_source(loop: Any, callback: Any, args: Any) -> str:
        return format_helpers._format_callback_source(callback, args, debug=loop.get_debug())  # type: ignore[call-arg]

else:  # before 3.13 arguments were shown always

    def _format_source(loop: Any, callback: Any, args: Any) -> str:
        return format_helpers._format_callback_source(callback, args)


def _report_callback_error(handle: Any, exc: BaseException) -> None:
    """Tell the loop's exception handler what a handle's callback raised."""
    loop = handle._loop
    source = _format_source(loop, handle._callback, handle._args)
    context = {"message": f"Exception in callback {source}", "exception": exc, "handle": handle}
    if handle._source_traceback:
        context["source_traceback"] = handle._source_traceback
    loop.call_exception_handler(context)


_native._init_loop(_report_callback_error)
_native._init_streams()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_native._disown_loops)


def _set_up(loop: Any) -> None:
    """What run_forever() does first, before 3.13 gave it a method of its own."""
    loop._set_coroutine_origin_tracking(loop._debug)
    loop._old_agen_hooks = sys.get_asyncgen_hooks()
    loop._thread_id = threading.get_ident()
    sys.set_asyncgen_hooks(
        firstiter=loop._asyncgen_firstiter_hook, finalizer=loop._asyncgen_finalizer_hook
    )
    events._set_running_loop(loop)


def _clean_up(loop: Any) -> None:
    """What run_forever() does last."""
    loop._stopping = False
    loop._thread_id = None
    events._set_running_loop(None)
    loop._set_coroutine_origin_tracking(False)
    sys.set_asyncgen_hooks(*loop._old_agen_hooks)


class EventLoop(
    _native.LoopBase, SockMethods, DatagramEndpoints, NameLookup, ServerLoop, SubprocessLoop, SignalLoop
):
    """An asyncio event loop; drop-in for ``asyncio.SelectorEventLoop``."""

    _turned_by_python = False  # _selector.select() was called

    def __init__(self) -> None:
        self._closed = True  # for the finalizer, if what follows fails
        self._open()
        super().__init__(LoopSelector(self))
        watch_over_by_environment(self)

    @property
    def _ready(self) -> ReadyView:
        return ReadyView(self)

    @_ready.setter
    def _ready(self, value: Any) -> None:
        """The base class makes a deque; the queue is native."""

    @property
    def _scheduled(self) -> ScheduledView:
        return ScheduledView(self)

    @_scheduled.setter
    def _scheduled(self, value: Any) -> None:
        """The base class makes a list; the heap is native."""

    def watchdog(self, seconds: float | None) -> None:
        """Log a warning when a callback blocks the loop for longer than `seconds`.

        It is logged to "asyncio" while the callback blocks, with the running task and
        the stack of the loop's thread; once for each such callback. None or 0 switches
        it off. The environment variable TREADLE_WATCHDOG sets it for new loops.
        ValueError for a negative number; RuntimeError if the loop is closed.
        """
        watch_over(self, seconds)

    def run_forever(self) -> None:
        """Run until stop() is called."""
        self._check_closed()
        self._check_running()  # type: ignore[attr-defined]
        try:
            self._run_forever_setup()
            self._run_until_stopped()
        finally:
            self._run_forever_cleanup()

    if sys.version_info < (3, 13):
        _run_forever_setup = _set_up
        _run_forever_cleanup = _clean_up

    def _make_socket_transport(
        self,
        sock: Any,
        protocol: Any,
        waiter: Any = None,
        *,
        extra: Any = None,
        server: Any = None,
        context: Any = None,
    ) -> Any:
        """Return the transport of a connected socket: native, if it is a plain socket."""
        self._ensure_fd_no_transport(sock)
        if type(sock) is socket.socket:
            return self._make_stream_transport(sock, protocol, waiter, extra, server, context)
        more = {} if context is None else {"context": context}
        return super()._make_socket_transport(  # type: ignore[misc]
            sock, protocol, waiter, extra=extra, server=server, **more
        )

    def _make_ssl_transport(
        self,
        rawsock: Any,
        protocol: Any,
        sslcontext: Any,
        waiter: Any = None,
        *,
        server_side: bool = False,
        server_hostname: Any = None,
        extra: Any = None,
        server: Any = None,
        ssl_handshake_timeout: Any = constants.SSL_HANDSHAKE_TIMEOUT,
        ssl_shutdown_timeout: Any = constants.SSL_SHUTDOWN_TIMEOUT,
        context: Any = None,
    ) -> Any:
        """Return the transport of a TLS connection over rawsock."""
        self._ensure_fd_no_transport(rawsock)
        ssl_protocol = sslproto.SSLProtocol(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        self._make_socket_transport(
            rawsock, ssl_protocol, extra=extra, server=server, context=context
        )
        return ssl_protocol._app_transport

    def _start_serving(
        self,
        protocol_factory: Any,
        sock: Any,
        sslcontext: Any = None,
        server: Any = None,
        backlog: int = 100,
        ssl_handshake_timeout: Any = constants.SSL_HANDSHAKE_TIMEOUT,
        ssl_shutdown_timeout: Any = constants.SSL_SHUTDOWN_TIMEOUT,
        context: Any = None,
    ) -> None:
        """Accept connections from a listening socket: natively, unless TLS is wanted."""
        if sslcontext is None and self._accept_from(
            protocol_factory, sock, server, backlog, context
        ):
            return
        more = () if context is None else (context,)
        super()._start_serving(  # type: ignore[misc]
            protocol_factory,
            sock,
            sslcontext,
            server,
            backlog,
            ssl_handshake_timeout,
            ssl_shutdown_timeout,
            *more,
        )

    def _stop_serving(self, sock: Any) -> None:
        self._stop_accepting(sock.fileno())
        super()._stop_serving(sock)  # type: ignore[misc]

    async def _sendfile_native(self, transp: Any, file: Any, offset: int, count: Any) -> int:
        if not isinstance(transp, _native.StreamTransport):
            return await super()._sendfile_native(  # type: ignore[misc, no-any-return]
                transp, file, offset, count
            )
        resume_reading = transp.is_reading()
        transp.pause_reading()
        try:
            await transp._make_empty_waiter()
            transp._release_fd()
            return await self.sock_sendfile(transp._sock, file, offset, count, fallback=False)
        finally:
            transp._reclaim_fd()
            transp._reset_empty_waiter()
            if resume_reading:
                transp.resume_reading()

    def _run_in_executor(
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Do what run_in_executor() does not do natively."""
        if executor is None:
            self._check_closed()
            self._check_default_executor()  # type: ignore[attr-defined]
            executor = self._default_executor
            if executor is None:
                executor = ThreadPoolExecutor(thread_name_prefix="asyncio")
                self._default_executor = executor
        if not isinstance(executor, ThreadPoolExecutor):
            return asyncio.SelectorEventLoop.run_in_executor(self, executor, func, *args)
        self._check_closed()
        if self._debug:
            self._check_callback(func, "run_in_executor")  # type: ignore[attr-defined]
        return self._wrap_other_future(executor.submit(func, *args))

    def _wrap_other_future(self, future: Any) -> asyncio.Future[Any]:
        return asyncio.wrap_future(future, loop=self)

    def _run_handle(self, handle: Any) -> None:
        """Run a handle in debug mode, or one that is not ours."""
        if handle._cancelled:
            return
        if not self._debug:
            handle._run()
            return
        try:
            self._current_handle = handle
            start = self.time()
            handle._run()
            took = self.time() - start
            if took >= self.slow_callback_duration:
                self._count_slow()
                logger.warning("Executing %s took %.3f seconds", _format_handle(handle), took)
        finally:
            self._current_handle = None

    def _note_duration(self, owner: object, took: float) -> None:
        """In debug mode: native code that looks after a descriptor ran this many seconds."""
        if took >= self.slow_callback_duration:
            self._count_slow()
            logger.warning("Executing %r took %.3f seconds", owner, took)


enable_tasks(EventLoop)


def new_event_loop() -> EventLoop:
    """Return a new EventLoop."""
    return EventLoop()

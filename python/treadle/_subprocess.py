"""Subprocesses: asyncio's transport, with an exit watch of the loop's own.

Each child is watched by a pidfd, or, where the system has none to give, by a thread
that waits. No child watcher is needed and SIGCHLD is left alone, so any thread's loop
can have children. A child that outlives its loop is reaped by a thread.
"""

import asyncio
import itertools
import os
import subprocess
import sys
import threading
from asyncio import unix_events
from asyncio.log import logger
from collections.abc import Callable
from typing import Any

from . import _native
from ._popen import Popen

_StandardPopen = subprocess.Popen
_thread_numbers = itertools.count(1)


def _adopt_streams(protocol: Any) -> None:
    """Make the streams of a process native."""
    for stream in (protocol.stdin, protocol.stdout, protocol.stderr):
        if stream is not None:
            _native._adopt_stream(stream)


class SubprocessTransport(unix_events._UnixSubprocessTransport):  # type: ignore[name-defined,misc]
    """asyncio's transport for a child process."""

    _proc: "subprocess.Popen[bytes] | None"
    _pipes: dict[int, Any]

    def _start(
        self, args: Any, shell: bool, stdin: Any, stdout: Any, stderr: Any, bufsize: int, **kwargs: Any
    ) -> None:
        # a replacement of subprocess.Popen is used as asyncio would use it
        popen = Popen if subprocess.Popen is _StandardPopen else subprocess.Popen
        self._proc = popen(
            args, shell=shell, stdin=stdin, stdout=stdout, stderr=stderr,
            universal_newlines=False, bufsize=bufsize, **kwargs,
        )

    async def _connect_pipes(self, waiter: "asyncio.Future[None] | None") -> None:
        proc = self._proc
        assert proc is not None
        await super()._connect_pipes(waiter)
        protocol = self._protocol
        if type(protocol) is asyncio.subprocess.SubprocessStreamProtocol:
            # behind its connection_made(), which makes the streams
            self._loop.call_soon(_adopt_streams, protocol)
        for fd, raw in enumerate((proc.stdin, proc.stdout, proc.stderr)):
            if raw is None:
                continue
            pipe = self._pipes.get(fd)
            if pipe is None:
                raw.close()  # connecting it, or an earlier one, has failed
            elif self._closed:
                pipe.pipe.close()  # close() came before it was connected

    def close(self) -> None:
        """Close the pipes; kill the process if it still runs."""
        if self._loop is not None and self._loop.is_closed():
            self._pipes = {}  # their transports cannot be closed any more
        super().close()


class _Child:
    """A process that is to be reaped, and who wants to know about it."""

    def __init__(self, transport: SubprocessTransport) -> None:
        self.transport: SubprocessTransport | None = transport
        self.process: Any = transport._proc
        self.parent = os.getpid()
        self.pidfd = -1
        self.waiter: asyncio.Future[None] | None = None

    def open(self) -> bool:
        """Get a pidfd; without one only a thread can wait."""
        try:
            self.pidfd = os.pidfd_open(self.process.pid)
        except (AttributeError, OSError):
            return False
        return True

    def wait(self) -> None:
        """Block until the process has exited; it remains to be reaped."""
        try:
            if self.pidfd >= 0:
                os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOWAIT)
            else:
                os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        except ChildProcessError:
            pass  # somebody else has reaped it

    def reap(self) -> int:
        """Take the exit status of the process, which has exited, unless its Popen has it."""
        self.close()
        process = self.process
        with process._waitpid_lock:
            if process.returncode is None:
                process.returncode = self._take_status()
        return int(process.returncode)

    def _take_status(self) -> int:
        pid = self.process.pid
        try:
            _, status = os.waitpid(pid, 0)
        except ChildProcessError:
            logger.warning(
                "child process pid %d exit status already read:  will report returncode 255", pid
            )
            return 255
        return int(unix_events.waitstatus_to_exitcode(status))  # type: ignore[attr-defined]

    def close(self) -> None:
        """Close the pidfd."""
        pidfd, self.pidfd = self.pidfd, -1
        if pidfd >= 0:
            os.close(pidfd)


def _start_thread(run: Callable[[_Child], object], child: _Child) -> None:
    name = f"treadle-waitpid-{next(_thread_numbers)}"
    threading.Thread(target=run, name=name, args=(child,), daemon=True).start()


def _wait_and_reap(child: _Child) -> None:
    child.wait()
    child.reap()


class SubprocessLoop(asyncio.SelectorEventLoop):
    """subprocess_exec() and subprocess_shell() of EventLoop."""

    def __init__(self, selector: Any = None) -> None:
        super().__init__(selector)
        self._children: set[_Child] = set()

    async def _make_subprocess_transport(
        self, protocol: Any, args: Any, shell: bool, stdin: Any, stdout: Any, stderr: Any,
        bufsize: int, extra: Any = None, **kwargs: Any,
    ) -> SubprocessTransport:
        waiter = self.create_future()
        transport = SubprocessTransport(
            self, protocol, args, shell, stdin, stdout, stderr, bufsize,
            waiter=waiter, extra=extra, **kwargs,
        )
        child = self._watch_child(transport)
        try:
            await waiter
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            transport.close()
            if child.transport is not None:
                # not transport._wait(): before 3.14 that waits for the pipes as well
                child.waiter = self.create_future()
                await child.waiter
            raise
        return transport

    def _watch_child(self, transport: SubprocessTransport) -> _Child:
        child = _Child(transport)
        try:
            if child.open():
                self._add_reader(child.pidfd, self._child_exited, child)  # type: ignore[attr-defined]
            else:
                _start_thread(self._wait_in_thread, child)
        except BaseException:
            transport.close()  # kills it
            _wait_and_reap(child)
            raise
        self._children.add(child)
        return child

    def _child_exited(self, child: _Child) -> None:
        self._children.discard(child)
        if child.pidfd >= 0:
            self._remove_reader(child.pidfd)  # type: ignore[attr-defined]
        returncode = child.reap()
        transport, child.transport = child.transport, None
        if transport is not None:
            transport._process_exited(returncode)
        if child.waiter is not None and not child.waiter.done():
            child.waiter.set_result(None)

    def _wait_in_thread(self, child: _Child) -> None:
        child.wait()
        try:
            self.call_soon_threadsafe(self._child_exited, child)
        except RuntimeError:  # the loop is closed
            child.reap()

    def close(self) -> None:
        """Close the loop; a thread reaps each child that still runs, when it exits."""
        super().close()
        while self._children:
            child = self._children.pop()
            child.transport = None
            if child.parent != os.getpid() or sys.is_finalizing():
                # the child of the process that was forked; or no thread starts any more (on 3.11 one would wait for it)
                child.close()
                continue
            try:
                _start_thread(_wait_and_reap, child)
            except RuntimeError:
                child.close()  # the interpreter exits

"""Signal handlers of a loop: asyncio's, without a self-pipe for loops that have none,
and with the wakeup descriptor given back to whom it was taken from.
"""

import asyncio
import contextlib
import os
import signal
import socket
import weakref
from collections.abc import Callable
from typing import TypeVarTuple, Unpack

Ts = TypeVarTuple("Ts")


def _identity(fd: int) -> tuple[int, int, int] | None:
    """What tells an open descriptor from a later one that has its number."""
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return fd, status.st_dev, status.st_ino


class _Displaced:
    """A wakeup descriptor that a loop has replaced by its own."""

    def __init__(self, fd: int) -> None:
        self._identity = _identity(fd)
        self._process = os.getpid()

    def fd(self) -> int:
        """Return it, or -1 if it has been closed; in a forked child it is the parent's."""
        if self._identity is None or self._process != os.getpid():
            return -1
        fd = self._identity[0]
        return fd if _identity(fd) == self._identity else -1


# The loops that signals have been written to.
_takers: "weakref.WeakSet[SignalLoop]" = weakref.WeakSet()


def _after_fork_in_child() -> None:
    """Signals of a child are none of the parent's loop's business; asyncio sees to it from 3.12 on."""
    if _takers:
        _takers.clear()
        with contextlib.suppress(ValueError):
            signal.set_wakeup_fd(-1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


class SignalLoop(asyncio.SelectorEventLoop):
    """asyncio's loop with a self-pipe that is made when it is first asked for.

    Only signal handlers need it: Python writes the number of a signal into it.
    """

    _self_pipe: tuple[socket.socket, socket.socket] | None = None
    _displaced: _Displaced | None = None
    _signal_handlers: dict[int, asyncio.Handle]

    # ---- the self-pipe

    def _make_self_pipe(self) -> None:
        """The base class asks for one in __init__()."""

    def _ends(self) -> tuple[socket.socket, socket.socket] | tuple[None, None]:
        if self._self_pipe is None:
            if self.is_closed():
                return None, None
            ends = socket.socketpair()
            for end in ends:
                end.setblocking(False)
            self._add_reader(ends[0].fileno(), self._read_from_self)  # type: ignore[attr-defined]
            self._self_pipe = ends
        return self._self_pipe

    @property
    def _ssock(self) -> socket.socket | None:
        return self._ends()[0]

    @property
    def _csock(self) -> socket.socket | None:
        return self._ends()[1]

    def _close_self_pipe(self) -> None:
        ends, self._self_pipe = self._self_pipe, None
        if ends is not None:
            self._remove_reader(ends[0].fileno())  # type: ignore[attr-defined]
            for end in ends:
                end.close()

    # ---- the wakeup descriptor

    def _own_wakeup_fd(self) -> int:
        return -1 if self._self_pipe is None else self._self_pipe[1].fileno()

    def _take_wakeup_fd(self) -> int | None:
        """Have signals written to the self-pipe; return the descriptor there was.

        None, and nothing is changed, where that cannot be: not in the main thread.
        """
        end = self._csock
        if end is None:
            return None
        try:
            before = signal.set_wakeup_fd(end.fileno())
        except ValueError:
            return None
        if before != end.fileno():
            self._displaced = _Displaced(before)
        _takers.add(self)
        return before

    def _give_back_wakeup_fd(self, current: int | None) -> None:
        """Undo _take_wakeup_fd() if `current` is ours; else leave that to its owner."""
        if current is None:
            return
        if current == self._own_wakeup_fd():
            current = -1 if self._displaced is None else self._displaced.fd()
            self._displaced = None
            _takers.discard(self)
        try:
            signal.set_wakeup_fd(current)
        except (ValueError, OSError):  # it blocks, or was closed this moment
            signal.set_wakeup_fd(-1)

    def _drop_wakeup_fd(self) -> int | None:
        """Have signals written nowhere; return the descriptor there was, as above."""
        try:
            return signal.set_wakeup_fd(-1)
        except ValueError:
            return None

    # ---- handlers

    def add_signal_handler(
        self, sig: int, callback: Callable[[Unpack[Ts]], object], *args: Unpack[Ts]
    ) -> None:
        """Have the loop call callback(*args) when the process gets the signal `sig`.

        As asyncio's; the wakeup descriptor that there was (signal.set_wakeup_fd())
        is put back when the last handler goes.
        """
        before = self._take_wakeup_fd()
        try:
            super().add_signal_handler(sig, callback, *args)
        except BaseException:
            if not self._signal_handlers:
                self._give_back_wakeup_fd(self._own_wakeup_fd() if before is not None else None)
            raise

    def remove_signal_handler(self, sig: int) -> bool:
        """Remove the handler of `sig`; return whether there was one."""
        if len(self._signal_handlers) > 1 or sig not in self._signal_handlers:
            return super().remove_signal_handler(sig)
        current = self._drop_wakeup_fd()
        try:
            return super().remove_signal_handler(sig)
        finally:
            self._give_back_wakeup_fd(current)

    def close(self) -> None:
        """Close the loop; see asyncio.loop.close()."""
        if self._signal_handlers and not self.is_running():
            # while its number is still ours
            self._give_back_wakeup_fd(self._drop_wakeup_fd())
        super().close()


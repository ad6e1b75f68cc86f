"""Datagram transports: asyncio's own, whose receiving and sending is native.

The native side also holds the attributes that both sides use; what asyncio's class does
with them (closing, errors, flow control) it does as on its own loop.
"""

import asyncio
import sys
import warnings
from asyncio.selector_events import _SelectorDatagramTransport  # type: ignore[attr-defined]
from collections.abc import Callable
from socket import socket
from typing import TYPE_CHECKING, Any

from . import _native

# What is queued counts for so much more than its data, from the version on that also
# sends empty datagrams.
_HEADER_SIZE = getattr(
    _SelectorDatagramTransport, "_header_size", 8 if sys.version_info >= (3, 13) else 0
)


def _native_attribute(name: str) -> Any:
    def get(self: Any) -> Any:
        return getattr(self._native, name)

    def set(self: Any, value: Any) -> None:
        setattr(self._native, name, value)

    return property(get, set)


class DatagramTransport(_SelectorDatagramTransport):  # type: ignore[misc]
    """An asyncio.DatagramTransport."""

    _native: _native.Datagram
    _sock = _native_attribute("sock")
    _protocol = _native_attribute("protocol")
    _address = _native_attribute("address")
    _buffer = _native_attribute("buffer")
    _buffer_size = _native_attribute("buffer_size")
    _conn_lost = _native_attribute("conn_lost")
    _closing = _native_attribute("closing")
    _paused = _native_attribute("paused")

    def __init__(
        self, loop: Any, sock: socket, protocol: Any, address: Any, waiter: Any, extra: Any
    ) -> None:
        native = loop._open_datagram(self, sock)
        if native is None:
            raise NotImplementedError
        self._native = native
        native.header_size = _HEADER_SIZE
        native.sends_empty = _HEADER_SIZE != 0
        super().__init__(loop, sock, protocol, address, waiter, extra)
        native.connected = bool(self._extra["peername"])
        self.sendto = native.sendto  # type: ignore[method-assign]  # found before the one below

    def sendto(self, data: Any, addr: Any = None) -> None:
        """Send a datagram to addr, or to the remote address of the endpoint."""
        self._native.sendto(data, addr)

    def _add_reader(self, fd: int, callback: Any, *args: Any) -> None:
        if self.is_reading():
            self._native.start()

    def _read_ready(self) -> None:
        self._native.receive()

    def _sendto_ready(self) -> None:
        self._native.flush()

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        self._native.stop()
        try:
            super()._call_connection_lost(exc)
        finally:
            self._native.close()

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if not hasattr(self, "_native"):
            return
        self._native.stop()
        super().__del__(_warn)
        self._native.close()


class DatagramEndpoints(asyncio.SelectorEventLoop):
    """The part of EventLoop that makes datagram transports."""

    if TYPE_CHECKING:
        _ensure_fd_no_transport: Callable[..., None]

    def _make_datagram_transport(
        self, sock: socket, protocol: Any, address: Any = None, waiter: Any = None, extra: Any = None
    ) -> Any:
        self._ensure_fd_no_transport(sock)
        try:
            return DatagramTransport(self, sock, protocol, address, waiter, extra)
        except NotImplementedError:
            return super()._make_datagram_transport(  # type: ignore[misc]
                sock, protocol, address, waiter, extra
            )

"""The sock_*() coroutines: a native try, and a wait for as long as the socket is not ready.

What the native side leaves alone (subclasses of socket.socket, debug mode, odd arguments)
goes to asyncio's own coroutines.
"""

import asyncio
from asyncio import Future
from collections.abc import Callable
from socket import socket
from typing import TYPE_CHECKING, Any


class SockMethods(asyncio.SelectorEventLoop):
    """The sock_*() methods of EventLoop."""

    if TYPE_CHECKING:  # LoopBase's; see src/loop/sock.c
        _sock_try_recv: Callable[..., Any]
        _sock_try_recv_into: Callable[..., Any]
        _sock_try_recvfrom: Callable[..., Any]
        _sock_try_recvfrom_into: Callable[..., Any]
        _sock_try_sendall: Callable[..., Any]
        _sock_try_sendto: Callable[..., Any]
        _sock_try_accept: Callable[..., Any]
        _sock_wait_writable: Callable[..., Any]

    async def sock_recv(self, sock: socket, n: int) -> bytes:
        """Receive up to n bytes; b"" at the end of a stream."""
        r = self._sock_try_recv(sock, n)
        while type(r) is Future:
            await r
            r = self._sock_try_recv(sock, n)
        if r is NotImplemented:
            return await super().sock_recv(sock, n)
        return r  # type: ignore[no-any-return]

    async def sock_recv_into(self, sock: socket, buf: Any) -> int:
        """Receive into a buffer; return how many bytes."""
        r = self._sock_try_recv_into(sock, buf)
        while type(r) is Future:
            await r
            r = self._sock_try_recv_into(sock, buf)
        if r is NotImplemented:
            return await super().sock_recv_into(sock, buf)
        return r  # type: ignore[no-any-return]

    async def sock_recvfrom(self, sock: socket, bufsize: int) -> tuple[bytes, Any]:
        """Receive a datagram of up to bufsize bytes; return it and its sender's address."""
        r = self._sock_try_recvfrom(sock, bufsize)
        while type(r) is Future:
            await r
            r = self._sock_try_recvfrom(sock, bufsize)
        if r is NotImplemented:
            return await super().sock_recvfrom(sock, bufsize)
        return r  # type: ignore[no-any-return]

    async def sock_recvfrom_into(self, sock: socket, buf: Any, nbytes: int = 0) -> tuple[int, Any]:
        """Receive a datagram into a buffer; return how many bytes, and its sender's address."""
        n = nbytes or len(buf)
        r = self._sock_try_recvfrom_into(sock, buf, n)
        while type(r) is Future:
            await r
            r = self._sock_try_recvfrom_into(sock, buf, n)
        if r is NotImplemented:
            return await super().sock_recvfrom_into(sock, buf, nbytes)
        return r  # type: ignore[no-any-return]

    async def sock_sendall(self, sock: socket, data: Any) -> None:
        """Send all of data."""
        position = self._sock_try_sendall(sock, data, 0)
        if position is None:
            return
        if position is NotImplemented:
            return await super().sock_sendall(sock, data)
        with memoryview(data) as view, view.cast("B") as octets:
            while position is not None:
                await self._sock_wait_writable(sock)
                before = position
                position = self._sock_try_sendall(sock, octets, before)
                if position is NotImplemented:  # debug mode has been switched on
                    return await super().sock_sendall(sock, octets[before:])

    async def sock_sendto(self, sock: socket, data: Any, address: Any) -> int:
        """Send a datagram to address; return how many bytes."""
        r = self._sock_try_sendto(sock, data, address)
        while type(r) is Future:
            await r
            r = self._sock_try_sendto(sock, data, address)
        if r is NotImplemented:
            return await super().sock_sendto(sock, data, address)
        return r  # type: ignore[no-any-return]

    async def sock_accept(self, sock: socket) -> tuple[socket, Any]:
        """Accept a connection; return its socket, not blocking, and the peer's address."""
        r = self._sock_try_accept(sock)
        while type(r) is Future:
            await r
            r = self._sock_try_accept(sock)
        if r is NotImplemented:
            return await super().sock_accept(sock)
        return r  # type: ignore[no-any-return]

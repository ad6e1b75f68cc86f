"""The sock_*() coroutines: a native try, and a wait for as long as the socket is not ready.

What the native side leaves alone (subclasses of socket.socket, debug mode, odd arguments)
goes to asyncio's own coroutines.
"""

import asyncio
import errno
import inspect
import io
import os
from asyncio import Future, SendfileNotAvailableError, unix_events
from collections.abc import Callable
from socket import AF_INET, AF_INET6, socket
from typing import TYPE_CHECKING, Any

MOST_AT_ONCE = 1 << 20  # bytes of a file that are sent before others get their turn
_sendfile = getattr(os, "sendfile", None)
_TELLS_HOW_MUCH = "total_sent" in inspect.signature(
    asyncio.SelectorEventLoop._sock_sendfile_update_filepos  # type: ignore[attr-defined]
).parameters


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
        _sock_try_connect: Callable[..., Any]
        _sock_try_sendfile: Callable[..., Any]
        _sock_wait_writable: Callable[..., Any]

    async def sock_recv(self, sock: socket, n: int) -> bytes:
        """Receive up to n bytes; b"" at the end of a stream."""
        while isinstance(r := self._sock_try_recv(sock, n), Future):
            await r
        return await super().sock_recv(sock, n) if r is NotImplemented else r

    async def sock_recv_into(self, sock: socket, buf: Any) -> int:
        """Receive into a buffer; return how many bytes."""
        while isinstance(r := self._sock_try_recv_into(sock, buf), Future):
            await r
        return await super().sock_recv_into(sock, buf) if r is NotImplemented else r

    async def sock_recvfrom(self, sock: socket, bufsize: int) -> tuple[bytes, Any]:
        """Receive a datagram of up to bufsize bytes; return it and its sender's address."""
        while isinstance(r := self._sock_try_recvfrom(sock, bufsize), Future):
            await r
        return await super().sock_recvfrom(sock, bufsize) if r is NotImplemented else r

    async def sock_recvfrom_into(self, sock: socket, buf: Any, nbytes: int = 0) -> tuple[int, Any]:
        """Receive a datagram into a buffer; return how many bytes, and its sender's address."""
        n = nbytes or len(buf)
        while isinstance(r := self._sock_try_recvfrom_into(sock, buf, n), Future):
            await r
        return await super().sock_recvfrom_into(sock, buf, nbytes) if r is NotImplemented else r

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
        while isinstance(r := self._sock_try_sendto(sock, data, address), Future):
            await r
        return await super().sock_sendto(sock, data, address) if r is NotImplemented else r

    async def sock_accept(self, sock: socket) -> tuple[socket, Any]:
        """Accept a connection; return its socket, not blocking, and the peer's address."""
        while isinstance(r := self._sock_try_accept(sock), Future):
            await r
        return await super().sock_accept(sock) if r is NotImplemented else r

    async def sock_connect(self, sock: socket, address: Any) -> None:
        """Connect to address; a host name is looked up first."""
        error = self._sock_try_connect(sock, address)
        if error is NotImplemented and self._may_look_up(sock):
            address = await self._resolve(sock, address)
            error = self._sock_try_connect(sock, address)
        if error is NotImplemented:
            return await super().sock_connect(sock, address)
        if error is not None:
            error = await error
            if error:
                raise OSError(error, f"Connect call failed {address}")

    def _may_look_up(self, sock: socket) -> bool:
        """Whether an address for the socket may be a name, and the socket one for native code."""
        if self._debug or type(sock) is not socket or sock.gettimeout() != 0:  # type: ignore[attr-defined]
            return False
        return sock.family in (AF_INET, AF_INET6)

    async def _resolve(self, sock: socket, address: Any) -> Any:
        found = await self._ensure_resolved(  # type: ignore[attr-defined]
            address, family=sock.family, type=sock.type, proto=sock.proto, loop=self
        )
        return found[0][4]

    async def _sock_sendfile_native(
        self, sock: socket, file: Any, offset: int, count: int | None
    ) -> int:
        """Send a file by the system's sendfile(); SendfileNotAvailableError if that cannot be done."""
        if getattr(unix_events.os, "sendfile", None) is not _sendfile:  # type: ignore[attr-defined]  # a program has its own
            return await super()._sock_sendfile_native(sock, file, offset, count)  # type: ignore[misc, no-any-return]
        fd, size = _look_at(file)
        if not (count or size):
            return 0
        self._ensure_fd_no_transport(sock)  # type: ignore[attr-defined]
        position, burst = offset, 0
        failure: BaseException | None = None
        while left := count - (position - offset) if count else size:
            try:
                sent = self._sock_try_sendfile(sock, fd, position, min(left, MOST_AT_ONCE))
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:
                failure = exc
                break
            if sent is NotImplemented:
                rest = left if count else None
                more: int = await super()._sock_sendfile_native(sock, file, position, rest)  # type: ignore[misc]
                return position - offset + more
            if isinstance(sent, Future):
                burst = 0
                await sent
                continue
            if sent == 0:
                break
            position += sent
            burst += sent
            if burst >= MOST_AT_ONCE and left > sent:
                burst = 0
                await asyncio.sleep(0)
        self._leave_file_at(fd, position, position - offset)
        if failure is None:
            return position - offset
        try:
            raise _explained(failure, position > offset)
        finally:
            failure = None  # it refers to this frame

    def _leave_file_at(self, fd: int, position: int, sent: int) -> None:
        """Set the file's position, under the conditions of this version's asyncio."""
        update: Callable[..., None] = self._sock_sendfile_update_filepos  # type: ignore[attr-defined]
        update(fd, position, *(sent,)[:_TELLS_HOW_MUCH])


def _look_at(file: Any) -> tuple[int, int]:
    """The descriptor and the size of a file to be sent."""
    try:
        fd = file.fileno()
    except (AttributeError, io.UnsupportedOperation):
        raise SendfileNotAvailableError("not a regular file")
    try:
        return fd, os.fstat(fd).st_size
    except OSError:
        raise SendfileNotAvailableError("not a regular file")


def _explained(error: BaseException, sent_some: bool) -> BaseException:
    """What asyncio raises for an error of sendfile()."""
    if not isinstance(error, OSError):
        return error
    if not sent_some:
        return SendfileNotAvailableError("os.sendfile call failed")
    if error.errno == errno.ENOTCONN:
        closed = ConnectionError("socket is not connected", errno.ENOTCONN)
        closed.__cause__ = error
        return closed
    return error

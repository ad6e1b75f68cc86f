"""Sockets that are no plain socket.socket, or not open: asyncio's coroutines know them."""

import asyncio
import errno
import socket
import ssl

import pytest
from support.sockets import run, turns


@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("sock_recv", (10,)),
        ("sock_recv_into", (bytearray(10),)),
        ("sock_recvfrom", (10,)),
        ("sock_recvfrom_into", (bytearray(10),)),
        ("sock_sendall", (b"x",)),
        ("sock_sendto", (b"x", ("127.0.0.1", 1))),
        ("sock_accept", ()),
    ],
)
def test_closed_and_wrong_sockets(loop, method, args):
    closed = socket.socket()
    closed.close()
    with pytest.raises(OSError) as raised:
        run(loop, getattr(loop, method)(closed, *args))
    assert raised.value.errno == errno.EBADF
    with pytest.raises(AttributeError):
        run(loop, getattr(loop, method)(object(), *args))
    context = ssl.create_default_context()
    with socket.socket() as plain, context.wrap_socket(plain, server_hostname="x") as wrapped:
        with pytest.raises(TypeError, match="SSLSocket"):
            run(loop, getattr(loop, method)(wrapped, *args))


def test_subclasses_keep_their_methods(loop):
    class Shouting(socket.socket):
        def recv(self, n, flags=0):
            return super().recv(n, flags).upper()

    async def main():
        plain, theirs = socket.socketpair()
        ours = Shouting(fileno=plain.detach())
        ours.setblocking(False)
        with ours, theirs:
            task = asyncio.create_task(loop.sock_recv(ours, 10))
            await turns()
            theirs.send(b"abc")
            assert await task == b"ABC"

    run(loop, main())

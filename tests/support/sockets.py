"""Sockets for tests of the loop."""

import asyncio
import socket


def tcp_pair():
    """As socket.socketpair(), over IPv4."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    for end in (ours, theirs):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ours, theirs


def new_pair(kind):
    """Two connected sockets that do not block, "UNIX" or "TCP"."""
    pair = socket.socketpair() if kind == "UNIX" else tcp_pair()
    for end in pair:
        end.setblocking(False)
    return pair


def run(loop, coroutine):
    """Run a coroutine for a bounded time."""
    return loop.run_until_complete(asyncio.wait_for(coroutine, 60))


async def turns(n=3):
    """Let the loop turn."""
    for _ in range(n):
        await asyncio.sleep(0)


async def serve_a_read(loop, ours, theirs):
    """Let a read on `ours` wait for data, and get it."""
    task = asyncio.create_task(loop.sock_recv(ours, 100))
    await turns()
    theirs.send(b"x")
    assert await task == b"x"

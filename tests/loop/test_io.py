"""Descriptors that native code looks after: who has one, who gives way, and numbers that are used again."""

import asyncio
import os
import socket

import pytest
from support.sockets import new_pair, run, serve_a_read, turns


class Collector(asyncio.Protocol):
    def __init__(self):
        self.data = b""

    def data_received(self, data):
        self.data += data


async def until(condition):
    while not condition():
        await asyncio.sleep(0)


def test_a_descriptor_has_one_transport(loop, pair):
    ours, theirs = pair

    async def main():
        transport, protocol = await loop.create_connection(Collector, sock=ours)
        for attempt in (
            lambda: loop.add_reader(ours, print),
            lambda: loop.add_writer(ours.fileno(), print),
            lambda: loop.remove_reader(ours),
        ):
            with pytest.raises(RuntimeError, match="is used by transport"):
                attempt()
        with pytest.raises(RuntimeError, match="is used by transport"):
            await loop.sock_sendall(ours, b"x" * (1 << 24))
        theirs.send(b"hello")  # the transport lives on
        await until(lambda: protocol.data == b"hello")
        transport.abort()
        await turns()
        loop.remove_reader(theirs)

    run(loop, main())


def test_a_waiting_socket_gives_way_to_a_transport(native, pair):
    ours, theirs = pair
    loop = native

    async def main():
        await serve_a_read(loop, ours, theirs)
        waiting = asyncio.create_task(loop.sock_recv(ours, 10))
        await turns()
        waiting.cancel()
        transport, protocol = await loop.create_connection(Collector, sock=ours)
        theirs.send(b"hello")
        await until(lambda: protocol.data == b"hello")
        transport.abort()
        await turns()

    run(loop, main())


def test_readers_and_writers_beside_a_waiting_socket(native, pair):
    ours, theirs = pair
    loop = native
    events = []

    async def main():
        await serve_a_read(loop, ours, theirs)
        loop.add_writer(ours, events.append, "writable")
        await until(lambda: events)
        loop.remove_writer(ours)
        theirs.send(b"a")
        assert await loop.sock_recv(ours, 10) == b"a"
        loop.add_reader(ours, events.append, "readable")
        theirs.send(b"b")
        await until(lambda: "readable" in events)
        loop.remove_reader(ours)
        assert await loop.sock_recv(ours, 10) == b"b"

    run(loop, main())


def test_numbers_used_again_by_everybody(loop):
    """A number is a transport's, then a reader's, a waiting socket's, a pipe's."""

    async def main():
        numbers = set()
        for _ in range(5):
            ours, theirs = new_pair("UNIX")
            numbers.add(ours.fileno())
            transport, protocol = await loop.create_connection(Collector, sock=ours)
            theirs.send(b"1")
            await until(lambda p=protocol: p.data)
            transport.abort()
            await turns()
            theirs.close()

            ours, theirs = new_pair("UNIX")
            seen = []
            loop.add_reader(ours, lambda o=ours, s=seen: s.append(o.recv(10)))
            theirs.send(b"2")
            await until(lambda s=seen: s)
            loop.remove_reader(ours)
            ours.close()
            theirs.close()

            ours, theirs = new_pair("UNIX")
            await serve_a_read(loop, ours, theirs)
            ours.close()
            theirs.close()

            reader, writer = os.pipe()
            transport, protocol = await loop.connect_read_pipe(Collector, open(reader, "rb", 0))
            os.write(writer, b"3")
            await until(lambda p=protocol: p.data)
            transport.close()
            await turns()
            os.close(writer)
        assert len(numbers) == 1

    run(loop, main())


def test_high_numbers(loop):
    """The table of descriptors grows with them."""
    resource = pytest.importorskip("resource")
    limit = min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 4096)
    ours, theirs = socket.socketpair()
    high = limit - 1
    os.dup2(ours.fileno(), high)
    ours.close()
    ours = socket.socket(fileno=high)
    ours.setblocking(False)
    with ours, theirs:
        run(loop, serve_a_read(loop, ours, theirs))


def test_a_loop_that_is_closed_with_open_transports(factory):
    loop = factory()
    ours, theirs = new_pair("TCP")
    transport, _ = run(loop, loop.create_connection(Collector, sock=ours))
    loop.close()
    with pytest.warns(ResourceWarning, match="unclosed"):
        del transport
        __import__("gc").collect()
    theirs.close()

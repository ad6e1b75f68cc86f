"""Protocols run in the context that was current where their connection, server or process was made."""

import asyncio
import contextvars
import signal
import socket
import sys

import pytest
from support.sides import until

var = contextvars.ContextVar("var", default="outer")


class Noting(asyncio.Protocol):
    """Notes the value that each callback finds, and sets another in each."""

    def __init__(self):
        self.seen = {"factory": var.get()}

    def note(self, name):
        self.seen.setdefault(name, var.get())

    def connection_made(self, transport):
        self.transport = transport
        self.note("connection_made")

    def data_received(self, data):
        self.note("data_received")

    def eof_received(self):
        self.note("eof_received")

    def pause_writing(self):
        self.note("pause_writing")

    def resume_writing(self):
        self.note("resume_writing")

    def connection_lost(self, error):
        self.note("connection_lost")


class NotingBuffered(Noting, asyncio.BufferedProtocol):
    data_received = None

    def get_buffer(self, size):
        self.note("get_buffer")
        return bytearray(100)

    def buffer_updated(self, size):
        self.note("buffer_updated")


@pytest.fixture(params=[Noting, NotingBuffered])
def protocol_class(request):
    return request.param


def check(protocol):
    """pause_writing() runs in the context of whoever writes, all else in that of whoever made the connection.

    But for resume_writing(): on asyncio in a copy of the writer's, on treadle as all else.
    """
    seen = dict(protocol.seen)
    assert seen.pop("pause_writing") == "elsewhere"
    assert seen.pop("resume_writing") in ("elsewhere", "inner")
    assert {name: value for name, value in seen.items() if value != "inner"} == {}


def data_callbacks(protocol):
    return {"get_buffer", "buffer_updated"} if isinstance(protocol, NotingBuffered) else {"data_received"}


@pytest.fixture(params=["tcp", "unix"])
def listener(request, tmp_path):
    if request.param == "tcp":
        sock = socket.create_server(("127.0.0.1", 0))
    else:
        sock = socket.create_server(str(tmp_path / "socket"), family=socket.AF_UNIX)
    with sock:
        yield sock


async def exchange(protocol, peer):
    """Make it go through all that can happen to it; from a context where the value is another."""
    var.set("elsewhere")
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(peer, b"data")
    await until(lambda: data_callbacks(protocol) <= set(protocol.seen))
    while "pause_writing" not in protocol.seen:
        protocol.transport.write(b"x" * 100_000)
    while "resume_writing" not in protocol.seen:
        await loop.sock_recv(peer, 1 << 16)
    peer.shutdown(socket.SHUT_WR)
    while await loop.sock_recv(peer, 1 << 16):
        pass
    await until(lambda: "connection_lost" in protocol.seen)
    assert var.get() == "elsewhere"


async def connect(loop, sock, protocol_class):
    if sock.family == socket.AF_UNIX:
        return await loop.create_unix_connection(protocol_class, sock=sock)
    return await loop.create_connection(protocol_class, sock=sock)


def test_connection(run, loop, listener, protocol_class):
    async def main():
        var.set("inner")
        sock = socket.socket(listener.family)
        sock.connect(listener.getsockname())
        peer, _ = listener.accept()
        peer.setblocking(False)
        with peer:
            _, protocol = await connect(loop, sock, protocol_class)
            await exchange(protocol, peer)
        check(protocol)
        assert {"factory", "connection_made", "eof_received", "connection_lost"} <= set(protocol.seen)

    run(main)


def test_accepted_connection(run, loop, listener, protocol_class):
    async def main():
        var.set("inner")
        with socket.socket(listener.family) as peer:
            peer.setblocking(False)
            await loop.sock_connect(peer, listener.getsockname())
            accepted, _ = listener.accept()
            _, protocol = await loop.connect_accepted_socket(protocol_class, accepted)
            await exchange(protocol, peer)
        check(protocol)

    run(main)


def test_server(run, loop, listener, protocol_class):
    protocols = []

    def factory():
        protocols.append(protocol_class())
        return protocols[-1]

    async def main():
        var.set("inner")
        create = loop.create_unix_server if listener.family == socket.AF_UNIX else loop.create_server
        async with await create(factory, sock=listener.dup()):
            var.set("elsewhere")
            with socket.socket(listener.family) as peer:
                peer.setblocking(False)
                await loop.sock_connect(peer, listener.getsockname())
                await until(lambda: protocols and "connection_made" in protocols[0].seen)
                await exchange(protocols[0], peer)
        check(protocols[0])

    run(main)


def test_changes_do_not_leave_a_callback_s_context(run, loop):
    """What data_received() sets is there the next time: all callbacks of a connection share one context."""

    class Counting(asyncio.Protocol):
        counts = ()

        def data_received(self, data):
            var.set((*(var.get() if isinstance(var.get(), tuple) else ()), len(data)))
            self.counts = var.get()

    async def main():
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.setblocking(False)
            transport, protocol = await loop.create_connection(Counting, sock=ours)
            for number in range(1, 4):
                await loop.sock_sendall(theirs, b"x" * number)
                await until(lambda: len(protocol.counts) == number)
            assert protocol.counts == (1, 2, 3)
            assert var.get() == "outer"
            transport.close()

    run(main)


def test_datagrams(run, loop):
    class Datagrams(asyncio.DatagramProtocol):
        def __init__(self):
            self.seen = {"factory": var.get()}

        def connection_made(self, transport):
            self.seen["made"] = var.get()

        def datagram_received(self, data, address):
            self.seen["received"] = var.get()

        def connection_lost(self, error):
            self.seen["lost"] = var.get()

    async def main():
        var.set("inner")
        transport, protocol = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
        var.set("elsewhere")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"x", transport.get_extra_info("sockname"))
        await until(lambda: "received" in protocol.seen)
        expected = dict(protocol.seen)
        transport.close()
        await until(lambda: "lost" in protocol.seen)
        assert set(expected.values()) == {"inner"}

    run(main)


def test_process(run, loop):
    class Process(asyncio.SubprocessProtocol):
        def __init__(self):
            self.seen = {"factory": var.get()}

        def connection_made(self, transport):
            self.seen["made"] = var.get()

        def pipe_data_received(self, fd, data):
            self.seen["data"] = var.get()

        def pipe_connection_lost(self, fd, error):
            self.seen["pipe lost"] = var.get()

        def process_exited(self):
            self.seen["exited"] = var.get()

        def connection_lost(self, error):
            self.seen["lost"] = var.get()

    async def main():
        asyncio.set_event_loop(loop)  # for child watchers before 3.12
        try:
            var.set("inner")
            transport, protocol = await loop.subprocess_exec(Process, "cat")
            var.set("elsewhere")
            transport.get_pipe_transport(0).write(b"x")
            await until(lambda: "data" in protocol.seen)
            transport.get_pipe_transport(0).close()
            await until(lambda: "lost" in protocol.seen)
            return protocol.seen
        finally:
            asyncio.set_event_loop(None)

    seen = run(main)
    assert {"factory", "made", "data", "pipe lost", "exited", "lost"} == set(seen)
    assert {seen[name] for name in ("factory", "made", "data", "pipe lost")} == {"inner"}, seen


def test_readers_and_signals(run, loop):
    """Each is called in a copy of the context it was added in."""
    async def main():
        seen = []
        var.set("inner")
        ours, theirs = socket.socketpair()
        with ours, theirs:
            loop.add_reader(ours, lambda: (seen.append(var.get()), loop.remove_reader(ours)))
            loop.add_writer(theirs, lambda: (seen.append(var.get()), loop.remove_writer(theirs)))
            loop.add_signal_handler(signal.SIGUSR1, lambda: seen.append(var.get()))
            var.set("elsewhere")
            theirs.send(b"x")
            signal.raise_signal(signal.SIGUSR1)
            await until(lambda: len(seen) == 3)
            loop.remove_signal_handler(signal.SIGUSR1)
        assert set(seen) == {"inner"}

    run(main)


def test_executor_jobs(run, loop):
    """run_in_executor() passes no context, to_thread() does."""

    async def main():
        var.set("inner")
        assert await loop.run_in_executor(None, var.get) == "outer"
        assert await asyncio.to_thread(var.get) == "inner"
        await loop.shutdown_default_executor()

    if sys.flags.thread_inherit_context if hasattr(sys.flags, "thread_inherit_context") else False:
        pytest.skip("threads inherit contexts here")
    run(main)

"""Which streams are native, and that nobody else's are touched."""

import asyncio
import contextlib
import os
import socket
import sys
import weakref

import pytest
import treadle
from support.streaming import Ends, is_native, serve


def connect(loop, protocol):
    """(transport, socket at the other end)"""
    ours, peer = socket.socketpair()
    transport, _ = loop.run_until_complete(loop.create_connection(lambda: protocol, sock=ours))
    return transport, peer


def exchange(loop, reader, peer, data=b"line\n"):
    peer.sendall(data)
    return loop.run_until_complete(asyncio.wait_for(reader.readline(), 10))


def test_a_protocol_made_by_hand(loop):
    reader = asyncio.StreamReader(loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport, peer = connect(loop, protocol)
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    assert is_native(reader) == isinstance(loop, treadle.EventLoop)
    assert exchange(loop, reader, peer) == b"line\n"
    loop.run_until_complete(writer.drain())
    writer.close()
    peer.close()
    loop.run_until_complete(writer.wait_closed())


@pytest.mark.parametrize("which", ["reader", "protocol"])
def test_subclasses(loop, which):
    """Their methods are called as ever."""
    calls = []

    class Reader(asyncio.StreamReader):
        def feed_data(self, data):
            calls.append(data)
            super().feed_data(data)

    class Protocol(asyncio.StreamReaderProtocol):
        def data_received(self, data):
            calls.append(data)
            super().data_received(data)

    reader = (Reader if which == "reader" else asyncio.StreamReader)(loop=loop)
    protocol = (Protocol if which == "protocol" else asyncio.StreamReaderProtocol)(reader, loop=loop)
    transport, peer = connect(loop, protocol)
    assert not is_native(reader)
    assert exchange(loop, reader, peer) == b"line\n"
    assert calls == [b"line\n"]
    transport.abort()
    peer.close()


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("method", ["feed_data", "data_received"])
def test_methods_set_on_instances(loop, method, late):
    calls = []
    reader = asyncio.StreamReader(loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    owner = reader if method == "feed_data" else protocol
    original = getattr(owner, method)

    def replacement(data):
        calls.append(data)
        getattr(type(owner), method)(owner, data)

    if not late:
        setattr(owner, method, replacement)
    transport, peer = connect(loop, protocol)
    assert original is not None
    if late:
        assert exchange(loop, reader, peer, b"early\n") == b"early\n"
        setattr(owner, method, replacement)
    assert exchange(loop, reader, peer) == b"line\n"
    delattr(owner, method)
    assert exchange(loop, reader, peer, b"again\n") == b"again\n"
    assert calls == [b"line\n"]
    transport.abort()
    peer.close()


@pytest.mark.parametrize(
    ("owner", "name"), [("StreamReader", "feed_data"), ("StreamReader", "readline"), ("StreamReaderProtocol", "data_received")]
)
def test_patched_classes(loop, monkeypatch, owner, name):
    calls = []
    cls = getattr(asyncio, owner)
    original = getattr(cls, name)

    def patched(self, *args):
        calls.append(name)
        return original(self, *args)

    monkeypatch.setattr(cls, name, patched)
    ends = Ends.__new__(Ends)
    ours, peer = socket.socketpair()
    reader, writer = loop.run_until_complete(asyncio.open_connection(sock=ours))
    assert not is_native(reader)
    assert exchange(loop, reader, peer) == b"line\n"
    assert calls == [name]
    monkeypatch.undo()
    ends = Ends(loop)
    assert is_native(ends.reader) == isinstance(loop, treadle.EventLoop)
    ends.close()
    writer.close()
    peer.close()


def test_another_reader_for_the_protocol(ends):
    """Data goes where the protocol says now."""
    other = asyncio.StreamReader(loop=ends.loop)
    protocol = ends.writer.transport.get_protocol()
    protocol._stream_reader_wr = weakref.ref(other)
    assert exchange(ends.loop, other, ends.peer) == b"line\n"
    assert not ends.reader._buffer
    protocol._stream_reader_wr = None
    ends.peer.sendall(b"nobody")
    ends.turn(10)
    assert not other._buffer and not ends.reader._buffer


def test_another_protocol_for_the_transport(ends):
    class Protocol(asyncio.Protocol):
        def __init__(self):
            self.data = b""

        def data_received(self, data):
            self.data += data

    async def arrival():
        while protocol.data != b"to the other":
            await asyncio.sleep(0.001)

    transport, protocol = ends.writer.transport, Protocol()
    first = transport.get_protocol()
    transport.set_protocol(protocol)
    ends.peer.sendall(b"to the other")
    ends.run(arrival())
    assert not ends.reader._buffer
    transport.set_protocol(first)
    assert exchange(ends.loop, ends.reader, ends.peer) == b"line\n"


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_callbacks_of_servers(loop, kind):
    got = []

    def note(reader, writer):
        protocol = writer.transport.get_protocol()
        got.append((is_native(reader), is_native(writer), protocol._client_connected_cb is handle))

    async def coroutine(reader, writer):
        note(reader, writer)
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()

    def plain(reader, writer):
        note(reader, writer)
        writer.write(b"PLAIN\n")
        writer.close()

    handle = plain if kind == "plain" else coroutine

    async def main():
        server, port = await serve(handle)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"plain\n")
        answer = await reader.read()
        writer.close()
        server.close()
        await server.wait_closed()
        return answer

    assert loop.run_until_complete(asyncio.wait_for(main(), 10)) == b"PLAIN\n"
    ours = isinstance(loop, treadle.EventLoop)
    assert got == [(ours, ours, True)]


@pytest.mark.parametrize("kind", ["coroutine", "plain"])
def test_callbacks_that_fail(loop, kind):
    reported = []
    loop.set_exception_handler(lambda _, context: reported.append(context))

    async def coroutine(reader, writer):
        raise KeyError("handler")

    def plain(reader, writer):
        raise KeyError("handler")

    if kind == "plain" and sys.version_info[:2] != (3, 14):
        pytest.skip("what a plain callback raises is reported as of the callback connection_made()")

    async def main():
        server, port = await serve(plain if kind == "plain" else coroutine)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        while not reported:
            await asyncio.sleep(0.001)
        writer.close()
        server.close()
        await asyncio.sleep(0.01)

    loop.run_until_complete(asyncio.wait_for(main(), 10))
    assert [context["message"] for context in reported] == ["Unhandled exception in client_connected_cb"]
    assert isinstance(reported[0]["exception"], KeyError)


def test_unix_servers(loop, tmp_path):
    path = str(tmp_path / "socket")
    natives = []

    async def echo(reader, writer):
        natives.append(is_native(reader) and is_native(writer))
        async for line in reader:
            writer.write(line)
            await writer.drain()
        writer.close()

    async def main():
        server = await asyncio.start_unix_server(echo, path)
        reader, writer = await asyncio.open_unix_connection(path)
        natives.append(is_native(reader))
        writer.writelines([b"a\n", b"b\n"])
        writer.write_eof()
        got = await reader.read()
        writer.close()
        await writer.wait_closed()
        server.close()
        return got

    assert loop.run_until_complete(asyncio.wait_for(main(), 10)) == b"a\nb\n"
    assert natives == [isinstance(loop, treadle.EventLoop)] * 2


def test_a_server_that_stops_at_once(loop):
    """Connections whose callback never ran leave no trace."""

    async def main():
        server, port = await serve(lambda reader, writer: None)
        with contextlib.closing(socket.create_connection(("127.0.0.1", port))):
            server.close()
        await asyncio.sleep(0.01)

    loop.run_until_complete(main())


def test_writers_of_clients(loop):
    """open_connection() makes its writer in Python; it is found when it is made."""

    async def answer(reader, writer):
        writer.write(await reader.readline())
        writer.close()

    async def client(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"line\n")
        await writer.drain()
        assert await reader.readline() == b"line\n"
        writer.close()
        return is_native(reader), is_native(writer)

    async def main():
        server, port = await serve(answer)
        found = await asyncio.gather(*(client(port) for _ in range(20)))
        server.close()
        return set(found)

    ours = isinstance(loop, treadle.EventLoop)
    assert loop.run_until_complete(asyncio.wait_for(main(), 10)) == {(ours, ours)}


def test_writers_by_hand(loop):
    """A subclass stays what it is, and futures of others are not confused with a writer's."""

    class Writer(asyncio.StreamWriter):
        pass

    ends = Ends(loop)
    for _ in range(300):
        loop.create_future()
    parts = ends.writer.transport, ends.writer._protocol, ends.reader, loop
    mine = Writer(*parts)
    assert type(mine) is Writer
    late = asyncio.StreamWriter(*parts)
    assert not is_native(late)
    late.write(b"x")
    assert ends.peer.recv(1) == b"x"
    ends.close()


def test_pipes(loop):
    """A reader of a pipe, as programs make one for their standard input."""
    source, sink = os.pipe()

    async def main():
        reader = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(source, "rb", 0))
        os.write(sink, b"one\ntwo\nthree")
        os.close(sink)
        got = [line async for line in reader]
        transport.close()
        return got, is_native(reader)

    native = isinstance(loop, treadle.EventLoop)
    assert loop.run_until_complete(asyncio.wait_for(main(), 10)) == ([b"one\n", b"two\n", b"three"], native)


def test_processes(loop):
    program = "import sys\nfor line in sys.stdin: print(line.upper(), end='', flush=True)\nprint('end', file=sys.stderr)"

    async def main():
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )
        for line in b"one\n", b"two\n":
            process.stdin.write(line)
            await process.stdin.drain()
            assert await process.stdout.readline() == line.upper()
        natives = {is_native(stream) for stream in (process.stdin, process.stdout, process.stderr)}
        rest = await process.communicate(b"three\n")
        return rest, natives

    if not isinstance(loop, treadle.EventLoop) and sys.version_info < (3, 12):
        asyncio.get_child_watcher().attach_loop(loop)
        asyncio.set_event_loop(loop)
    try:
        found = loop.run_until_complete(asyncio.wait_for(main(), 30))
    finally:
        asyncio.set_event_loop(None)
    assert found == ((b"THREE\n", b"end\n"), {isinstance(loop, treadle.EventLoop)})


def test_adopting_by_hand(ends):
    from treadle import _native

    assert _native._adopt_stream(5) is False
    reader = asyncio.StreamReader(loop=ends.loop)
    reader.feed_data(b"a\nb")
    assert _native._adopt_stream(reader) is True and _native._adopt_stream(reader) is True
    assert ends.run(reader.readline()) == b"a\n"


def test_in_the_middle_of_a_read(ends):
    """A reader that asyncio's code waits for becomes ours meanwhile."""
    from treadle import _native

    async def main():
        reader = asyncio.StreamReader()
        tasks = asyncio.create_task(reader.readline())
        await asyncio.sleep(0)
        assert _native._adopt_stream(reader)
        reader.feed_data(b"li")
        await asyncio.sleep(0)
        reader.feed_data(b"ne\nrest")
        return await tasks, bytes(reader._buffer)

    assert ends.run(main()) == (b"line\n", b"rest")


def test_many_connections(loop):
    """Of all sizes of data, each answered with what it got."""

    async def echo(reader, writer):
        size = int(await reader.readline())
        writer.write(await reader.readexactly(size))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def client(port, size):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        data = bytes(i * 7 % 251 for i in range(size % 251)) * (size // 251 + 1)
        writer.write(b"%d\n" % len(data) + data)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer == data

    async def main():
        server, port = await serve(echo)
        answers = await asyncio.gather(*(client(port, 3**i) for i in range(12)))
        server.close()
        await server.wait_closed()
        return answers

    assert loop.run_until_complete(asyncio.wait_for(main(), 30)) == [True] * 12

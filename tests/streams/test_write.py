"""The writer that a server's callback gets, and the one of a client."""

import asyncio
import socket

import pytest
from support.streaming import Ends, is_native, serve


@pytest.fixture(params=["server", "client"])
def side(request, loop):
    """(reader, writer) of `loop`, and a socket at the other end."""
    if request.param == "client":
        ends = Ends(loop)
        yield ends
        ends.close()
        return
    ends = object.__new__(Ends)
    ends.loop = loop
    found = loop.create_future()

    async def main():
        server, port = await serve(lambda *pair: found.set_result(pair))
        ends.peer = socket.create_connection(("127.0.0.1", port))
        ends.peer.settimeout(10)
        ends.reader, ends.writer = await found
        return server

    server = loop.run_until_complete(main())
    yield ends
    ends.close()
    server.close()
    ends.turn()


def test_class(native, side):
    assert isinstance(side.writer, asyncio.StreamWriter) and type(side.writer).__name__ == "StreamWriter"
    assert is_native(side.reader)


def test_writing(side):
    side.writer.write(b"one")
    side.writer.write(data=b" two")
    side.writer.write(bytearray(b" three"))
    side.writer.writelines([b" ", b"four"])
    side.run(side.writer.drain())
    side.writer.write_eof()
    side.turn()
    got = b""
    while piece := side.peer.recv(100):
        got += piece
    assert got == b"one two three four"
    for wrong in ("text", None, 5):
        with pytest.raises(TypeError):
            side.writer.write(wrong)
    with pytest.raises(TypeError):
        side.writer.write()
    with pytest.raises(RuntimeError, match=r"write_eof\(\)"):
        side.writer.write(b"x")


def test_drain_waits(side):
    """Until the other end has read enough."""
    side.writer.transport.set_write_buffer_limits(high=1000)

    async def main():
        side.writer.write(b"x" * 8_000_000)
        draining = asyncio.create_task(side.writer.drain())
        await asyncio.sleep(0.01)
        assert not draining.done()
        side.peer.setblocking(False)
        size = 0
        while not draining.done():
            size += len(await side.loop.sock_recv(side.peer, 1 << 20))
            await asyncio.sleep(0)
        await draining
        return size

    assert side.run(main()) > 1_000_000
    side.writer.transport.abort()


def test_drain_is_cancelled(side):
    side.writer.transport.set_write_buffer_limits(high=1000)

    async def main():
        side.writer.write(b"x" * 8_000_000)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(side.writer.drain(), 0.01)
        return list(side.writer._protocol._drain_waiters)

    assert side.run(main()) == []
    side.writer.transport.abort()


def test_drain_after_the_end(side):
    side.peer.close()

    async def main():
        with pytest.raises(ConnectionError):
            while True:
                side.writer.write(b"x" * 1000)
                await side.writer.drain()
        return side.writer.is_closing()

    assert side.run(main()) is True


def test_drain_raises_what_the_reader_has(side):
    side.reader.set_exception(KeyError("seen"))
    with pytest.raises(KeyError, match="seen"):
        side.run(side.writer.drain())


def test_drain_without_a_reader(side):
    side.writer._reader = None
    assert side.run(side.writer.drain()) is None


def test_drain_is_a_coroutine(side):
    operation = side.writer.drain()
    assert asyncio.iscoroutine(operation) and operation.__qualname__ == "StreamWriter.drain"

    async def main():
        await operation
        await asyncio.gather(side.writer.drain(), side.writer.drain())
        return await asyncio.wait_for(side.writer.drain(), 1)

    assert side.run(main()) is None


def test_drain_takes_no_turn(side):
    async def main():
        ran = []
        side.loop.call_soon(ran.append, 1)
        side.writer.write(b"x")
        await side.writer.drain()
        return list(ran)

    assert side.run(main()) == []


def test_closing(side):
    assert not side.writer.is_closing() and side.writer.can_write_eof()
    assert side.writer.get_extra_info("socket").family in (socket.AF_INET, socket.AF_UNIX)
    assert side.writer.get_extra_info("nothing", 5) == 5

    async def main():
        side.writer.close()
        assert side.writer.is_closing()
        await side.writer.wait_closed()
        with pytest.raises(ConnectionResetError, match="Connection lost"):
            await side.writer.drain()

    side.run(main())
    assert side.peer.recv(1) == b""


def test_another_transport(side):
    """What is assigned to `_transport` is what is used from then on, as after start_tls()."""

    class Transport:
        def __init__(self):
            self.calls = []

        def write(self, data):
            self.calls.append(data)

        def is_closing(self):
            self.calls.append("is_closing")
            return False

    mine = Transport()
    real, side.writer._transport = side.writer._transport, mine
    side.writer.write(b"x")
    assert not side.writer.is_closing()
    side.run(side.writer.drain())
    side.writer._transport = real
    assert mine.calls == [b"x", "is_closing", "is_closing"]


def test_another_protocol(side):
    """drain() asks the protocol that the writer has."""
    asked = []

    class Protocol:
        async def _drain_helper(self):
            asked.append(self)

    mine = Protocol()
    real, side.writer._protocol = side.writer._protocol, mine
    side.run(side.writer.drain())
    side.writer._protocol = real

    async def helper():
        asked.append("helper")

    real._drain_helper = helper
    side.run(side.writer.drain())
    assert asked == [mine, "helper"]


def test_repr(side):
    assert repr(side.writer).startswith("<StreamWriter transport=<")
    assert repr(side.writer).endswith(">>>")


def test_without_attributes(side):
    vars(side.writer).pop("_protocol")
    with pytest.raises(AttributeError):
        side.run(side.writer.drain())
    transport = vars(side.writer).pop("_transport")
    with pytest.raises(AttributeError):
        side.writer.write(b"x")
    with pytest.raises(AttributeError):
        side.writer.is_closing()
    side.writer._transport = transport
    side.writer.write(b"x")
    assert side.peer.recv(1) == b"x"
    transport.abort()
    side.writer._protocol = transport.get_protocol()

"""Pipe transports that write: what does not fit, limits, readers that leave."""

import asyncio
import errno
import os

import pytest
import treadle
from support.pipes import LOST, Recorder, connected_writer, fill, run

BROKEN = ("lost", BrokenPipeError)


def test_writing(run):
    async def main():
        transport, protocol, reader = await connected_writer()
        assert isinstance(transport, asyncio.WriteTransport)
        assert isinstance(transport, asyncio.Transport)  # as asyncio's own
        assert transport.can_write_eof()
        transport.write(b"a")
        transport.write(bytearray(b"b"))
        transport.write(memoryview(b"xcx")[1:2])
        transport.writelines([b"d", bytearray(b"e")])
        transport.write(b"")
        assert transport.get_write_buffer_size() == 0
        assert reader.read(100) == b"abcde"
        transport.close()
        assert transport.is_closing()
        assert await protocol.lost is None
        assert protocol.calls == ["made", LOST]
        assert reader.read(100) == b""
        reader.close()
        transport.close()
        transport.write_eof()

    run(main())


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_more_than_fits(run, kind):
    blob = os.urandom(1 << 20)

    async def main():
        transport, protocol, reader = await connected_writer()
        data = bytearray(blob) if kind is bytearray else kind(blob)
        transport.write(data)
        if kind is bytearray:
            data[:] = bytes(len(data))  # a copy was made
        transport.write(b"end")
        assert 0 < transport.get_write_buffer_size() < len(blob) + 3
        assert protocol.calls == ["made", "pause"]
        transport.close()
        assert protocol.calls == ["made", "pause"]
        assert await read_until(protocol.lost.done, reader) == blob + b"end"
        assert await protocol.lost is None
        assert protocol.calls == ["made", "pause", "resume", LOST]
        reader.close()

    run(main())


async def read_until(condition, reader):
    """Read what there is until the condition holds."""
    received = bytearray()
    os.set_blocking(reader.fileno(), False)
    while not condition():
        received += reader.read(1 << 20) or b""
        await asyncio.sleep(0)
    return received + (reader.read(1 << 20) or b"")


def test_write_buffer_limits(run):
    async def main():
        transport, protocol, reader = await connected_writer()
        assert transport.get_write_buffer_limits() == (16384, 65536)
        transport.set_write_buffer_limits(high=1 << 30)
        fill(transport)
        assert "pause" not in protocol.calls
        transport.set_write_buffer_limits(high=100, low=20)
        assert transport.get_write_buffer_limits() == (20, 100)
        transport.write(b"y" * 101)
        assert protocol.calls == ["made", "pause"]
        await read_until(lambda: "resume" in protocol.calls, reader)
        assert transport.get_write_buffer_size() == 0
        with pytest.raises(ValueError, match="must be >="):
            transport.set_write_buffer_limits(high=1, low=2)
        transport.abort()
        await protocol.lost
        reader.close()

    run(main())


def test_abort(run):
    async def main():
        transport, protocol, reader = await connected_writer()
        fill(transport)
        transport.abort()
        assert transport.is_closing()
        assert transport.get_write_buffer_size() == 0
        assert await protocol.lost is None
        reader.close()

    run(main())


def test_writes_after_the_end(run, caplog):
    async def main():
        transport, protocol, reader = await connected_writer()
        transport.close()
        for _ in range(7):
            transport.write(b"x")
        await protocol.lost
        transport.write(b"x")
        assert reader.read(10) == b""
        reader.close()

    run(main())
    assert caplog.text.count("pipe closed by peer or os.write(pipe, data) raised exception.") == 3


@pytest.mark.parametrize("data", ["text", 1, None, [b"x"]], ids=repr)
def test_write_of_the_wrong_type(run, data):
    async def main():
        transport, protocol, reader = await connected_writer()
        with pytest.raises(AssertionError) as caught:
            transport.write(data)
        assert caught.value.args == (repr(data),)
        transport.close()
        await protocol.lost
        reader.close()

    run(main())


def test_write_of_a_buffer_that_is_not_contiguous(loop):
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))

    async def main():
        transport, protocol, reader = await connected_writer()
        transport.write(memoryview(b"abcdef")[::2])
        assert isinstance(await protocol.lost, BufferError)
        (context,) = contexts
        assert context["message"] == "Fatal write error on pipe transport"
        reader.close()

    loop.run_until_complete(main())


@pytest.mark.parametrize("queued", [False, True])
def test_the_reader_leaves(run, queued):
    async def main():
        transport, protocol, reader = await connected_writer()
        if queued:
            fill(transport)
        reader.close()
        exc = await protocol.lost
        assert (type(exc) is BrokenPipeError) is queued
        assert transport.is_closing()

    run(main())


def test_a_write_to_a_reader_that_left(run):
    async def main():
        transport, protocol, reader = await connected_writer()
        reader.close()
        transport.write(b"x")
        assert transport.is_closing()
        exc = await protocol.lost
        assert exc.errno == errno.EPIPE
        assert protocol.calls == ["made", BROKEN]

    run(main())


def test_close_in_resume_writing(run, loop):
    class Closing(Recorder):
        def resume_writing(self):
            super().resume_writing()
            self.transport.abort()

    async def main():
        transport, protocol, reader = await connected_writer(Closing)
        fill(transport)
        transport.write(b"x" * 65536)
        await read_until(protocol.lost.done, reader)
        assert protocol.calls == ["made", "pause", "resume", LOST]
        reader.close()

    if not isinstance(loop, treadle.EventLoop):
        pytest.skip("asyncio's transport calls connection_lost() twice")
    run(main())


def test_write_in_resume_writing(run):
    class Writing(Recorder):
        def resume_writing(self):
            super().resume_writing()
            if self.calls.count("resume") == 1:
                self.transport.write(b"again" * 50000)

    async def main():
        transport, protocol, reader = await connected_writer(Writing)
        fill(transport)
        transport.write(b"x" * 65536)
        received = await read_until(lambda: protocol.calls.count("resume") == 2, reader)
        transport.close()
        await protocol.lost
        assert received.endswith(b"xagain" + b"again" * 49999)
        reader.close()

    run(main())

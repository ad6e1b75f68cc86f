"""Pipes: connect_read_pipe() and connect_write_pipe(), on pipes, sockets and terminals."""

import asyncio
import os
import socket
import tempfile
import tty

import pytest
from support.sides import Recorder, until


def open_pipe():
    reading, writing = os.pipe()
    return open(reading, "rb", 0), open(writing, "wb", 0)


def test_reading(run, loop):
    async def main():
        reading, writing = open_pipe()
        transport, protocol = await loop.connect_read_pipe(Recorder, reading)
        assert transport.get_extra_info("pipe") is reading and not os.get_blocking(reading.fileno())
        writing.write(b"1")
        await until(lambda: protocol.data == b"1")
        writing.write(b"2345")
        await until(lambda: protocol.data == b"12345")
        writing.close()
        assert await protocol.lost is None
        assert protocol.calls == ["made", "data", "eof", "lost"] and reading.closed
        assert transport.get_extra_info("pipe") is reading

    run(main)


def test_much_to_read(run, loop):
    async def main():
        reading, writing = open_pipe()
        transport, protocol = await loop.connect_read_pipe(Recorder, reading)
        writer, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, writing)
        writer.write(b"x" * 5_000_000)
        writer.write_eof()
        assert await protocol.lost is None
        assert protocol.data == b"x" * 5_000_000

    run(main)


def test_pausing(run, loop):
    async def main():
        reading, writing = open_pipe()
        with writing:
            transport, protocol = await loop.connect_read_pipe(Recorder, reading)
            assert transport.is_reading()
            transport.pause_reading()
            assert not transport.is_reading()
            writing.write(b"x")
            await asyncio.sleep(0.01)
            assert protocol.data == b""
            transport.resume_reading()
            await until(lambda: protocol.data == b"x")
            transport.close()
            await protocol.lost

    run(main)


def test_terminal_output(run, loop):
    async def main():
        master, slave = os.openpty()
        tty.setraw(slave)
        transport, protocol = await loop.connect_read_pipe(Recorder, open(master, "rb", 0))
        os.write(slave, b"1")
        await until(lambda: protocol.data == b"1")
        os.write(slave, b"2345")
        await until(lambda: protocol.data == b"12345")
        os.close(slave)
        # Linux says EIO where the other side of a terminal is gone
        error = await protocol.lost
        assert error is None or isinstance(error, OSError)

    run(main)


def test_writing(run, loop):
    async def main():
        reading, writing = open_pipe()
        with reading:
            transport, protocol = await loop.connect_write_pipe(Recorder, writing)
            transport.write(b"1")
            assert reading.read(10) == b"1"
            transport.writelines([b"23", bytearray(b"4"), memoryview(b"5")])
            await asyncio.sleep(0)
            assert reading.read(10) == b"2345"
            assert transport.get_extra_info("pipe") is writing
            transport.close()
            assert await protocol.lost is None and protocol.calls == ["made", "lost"]
            assert writing.closed and reading.read() == b""

    run(main)


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_reader_that_goes(run, loop, kind):
    async def main():
        if kind == "pipe":
            reading, writing = open_pipe()
        else:
            reading, theirs = socket.socketpair()
            writing = open(theirs.detach(), "wb", 0)
        transport, protocol = await loop.connect_write_pipe(Recorder, writing)
        transport.write(b"x")
        reading.close()
        error = await protocol.lost
        assert error is None or isinstance(error, (BrokenPipeError, ConnectionResetError))
        assert protocol.calls == ["made", "lost"]

    run(main)


def test_full_pipe_whose_reader_goes(run, loop):
    async def main():
        reading, writing = open_pipe()
        transport, protocol = await loop.connect_write_pipe(Recorder, writing)
        while not protocol.paused:
            transport.write(b"x" * 32768)
        transport.write(b"x" * 32768)
        reading.close()
        error = await protocol.lost
        assert isinstance(error, BrokenPipeError) or error is None

    run(main)


def test_flow_control(run, loop):
    async def main():
        reading, writing = open_pipe()
        with reading:
            transport, protocol = await loop.connect_write_pipe(Recorder, writing)
            transport.set_write_buffer_limits(high=100_000)
            written = 0
            while not protocol.paused:
                transport.write(b"x" * 32768)
                written += 32768
            os.set_blocking(reading.fileno(), False)
            received = 0
            while received < written:
                received += len(reading.read(65536) or b"")
                await asyncio.sleep(0)
            await until(lambda: not protocol.paused)
            transport.close()
            await protocol.lost

    run(main)


def test_terminal_input(run, loop):
    async def main():
        master, slave = os.openpty()
        tty.setraw(slave)
        transport, protocol = await loop.connect_write_pipe(Recorder, open(slave, "wb", 0))
        transport.write(b"12345")
        await asyncio.sleep(0)
        assert os.read(master, 100) == b"12345"
        transport.close()
        await protocol.lost
        os.close(master)

    run(main)


def test_files_are_no_pipes(run, loop):
    async def main():
        with tempfile.TemporaryFile("w+b", 0) as file:
            with pytest.raises(ValueError, match="Pipe transport is"):
                await loop.connect_read_pipe(Recorder, file)
            with pytest.raises(ValueError, match="Pipe transport is"):
                await loop.connect_write_pipe(Recorder, file)

    run(main)


def test_streams_on_pipes(run, loop):
    async def main():
        reading, writing = open_pipe()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), reading)
        transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, writing)
        writer = asyncio.StreamWriter(transport, protocol, None, loop)
        for number in range(100):
            writer.write(b"line %d\n" % number)
            await writer.drain()
        transport.close()
        assert [line async for line in reader] == [b"line %d\n" % number for number in range(100)]

    run(main)

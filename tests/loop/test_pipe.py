"""Pipe transports: connect_read_pipe() and connect_write_pipe()."""

import asyncio
import errno
import gc
import os
import pty
import socket
import tty

import pytest
from support.pipes import Recorder, connected_reader, connected_writer, open_pipe, run, turns, until


def test_sockets(run, loop):
    async def main():
        left, right = socket.socketpair()
        transport, protocol = await loop.connect_read_pipe(Recorder, left)
        sender, sent = await loop.connect_write_pipe(Recorder, right)
        sender.write(b"abc")
        await until(lambda: protocol.data)
        sender.close()
        await protocol.lost
        await sent.lost
        assert left.fileno() == right.fileno() == -1

    run(main())


def test_a_terminal_read_and_written_by_one_descriptor(run, loop):
    async def main():
        master, slave = pty.openpty()
        tty.setraw(slave)
        file = open(slave, "r+b", 0)  # noqa: SIM115
        reader, received = await loop.connect_read_pipe(Recorder, file)
        writer, sent = await loop.connect_write_pipe(Recorder, file)
        os.write(master, b"in")
        await until(lambda: len(received.data) == 2)
        writer.write(b"out")
        assert os.read(master, 10) == b"out"
        writer.close()
        await sent.lost
        reader.close()
        await received.lost
        assert file.closed
        os.close(master)

    run(main())


def test_the_other_end_of_a_terminal_is_closed(run, loop):
    async def main():
        master, slave = pty.openpty()
        transport, protocol = await loop.connect_read_pipe(Recorder, open(master, "rb", 0))  # noqa: SIM115
        os.write(slave, b"x")
        await until(lambda: protocol.data)
        os.close(slave)
        exc = await protocol.lost
        assert exc is None or exc.errno == errno.EIO

    run(main())


def test_files_and_directories_are_no_pipes(run, loop, tmp_path):
    async def main():
        with open(tmp_path / "file", "w+b", 0) as file:
            with pytest.raises(ValueError, match=r"^Pipe transport is for pipes/sockets only\.$"):
                await loop.connect_read_pipe(Recorder, file)
            with pytest.raises(
                ValueError, match="^Pipe transport is only for pipes, sockets and character devices$"
            ):
                await loop.connect_write_pipe(Recorder, file)
            assert not file.closed

    run(main())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of asyncio's
def test_what_is_no_file(run, loop):
    async def main():
        with pytest.raises(AttributeError, match="fileno"):
            await loop.connect_read_pipe(Recorder, 5)
        reader, writer = open_pipe()
        number = reader.fileno()
        writer.close()
        os.close(number)
        with pytest.raises(OSError) as caught:
            await loop.connect_read_pipe(Recorder, reader)
        assert caught.value.errno == errno.EBADF
        with pytest.raises(OSError):
            reader.close()

    run(main())


def test_streams(run, loop):
    async def main():
        reader_file, writer_file = open_pipe()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), reader_file)
        transport, protocol = await loop.connect_write_pipe(
            asyncio.streams.FlowControlMixin, writer_file
        )
        writer = asyncio.StreamWriter(transport, protocol, None, loop)

        async def produce():
            for _ in range(100):
                writer.write(b"line\n" * 1000)
                await writer.drain()
            writer.close()

        _, data = await asyncio.gather(produce(), reader.read())
        assert data == b"line\n" * 100000

    run(main())


def test_a_cancelled_connect_closes_the_pipe(run, loop):
    async def main():
        for connect in (loop.connect_read_pipe, loop.connect_write_pipe):
            reader, writer = open_pipe()
            pipe, other = (reader, writer) if connect == loop.connect_read_pipe else (writer, reader)
            task = loop.create_task(connect(Recorder, pipe))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await turns()
            assert pipe.closed
            other.close()

    run(main())


@pytest.mark.parametrize("connect", [connected_reader, connected_writer])
def test_unclosed(factory, connect):
    loop = factory()
    transport, protocol, other = loop.run_until_complete(connect())
    pipe = transport.get_extra_info("pipe")
    loop.close()
    with pytest.warns(ResourceWarning, match=r"unclosed transport <\w+ fd=\d+ open>"):
        del transport, protocol
        gc.collect()
    assert pipe.closed
    other.close()


def test_dropped_while_it_waits_for_nothing(run):
    """A transport that is not watched is collected like any object."""

    async def main():
        transport, protocol, writer = await connected_reader()
        transport.pause_reading()
        pipe = transport.get_extra_info("pipe")
        with pytest.warns(ResourceWarning, match="unclosed transport"):
            del transport, protocol
            gc.collect()
        assert pipe.closed
        writer.close()

    run(main())


def test_close_on_a_closed_loop(factory):
    loop = factory()
    transport, protocol, writer = loop.run_until_complete(connected_reader())
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        transport.close()
    with pytest.warns(ResourceWarning):
        del transport, protocol
        gc.collect()
    writer.close()


def test_connection_lost_that_raises(loop):
    class Raising(Recorder):
        def connection_lost(self, exc):
            super().connection_lost(exc)
            raise ZeroDivisionError

    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))

    async def main():
        transport, protocol, writer = await connected_reader(Raising)
        writer.close()
        await protocol.lost
        await turns()
        assert transport.get_extra_info("pipe").closed
        (context,) = contexts
        assert isinstance(context["exception"], ZeroDivisionError)

    loop.run_until_complete(main())


def test_many_pipes_leave_nothing_behind(run):
    async def one():
        reader_file, writer_file = open_pipe()
        loop = asyncio.get_running_loop()
        _, received = await loop.connect_read_pipe(Recorder, reader_file)
        transport, sent = await loop.connect_write_pipe(Recorder, writer_file)
        transport.write(b"x" * 100000)
        transport.close()
        await received.lost
        await sent.lost
        assert len(received.data) == 100000

    async def main():
        await one()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            await asyncio.gather(*(one() for _ in range(10)))
        await turns()
        assert len(os.listdir("/proc/self/fd")) == before

    run(main())

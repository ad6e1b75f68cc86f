"""Pipe transports: connect_read_pipe() and connect_write_pipe()."""

import asyncio
import contextvars
import errno
import gc
import logging
import os
import pty
import socket
import threading
import tty

import pytest
import treadle


class Recorder(asyncio.Protocol):
    """Writes down what happens; `lost` is done at the end."""

    def __init__(self):
        self.calls = []
        self.data = bytearray()
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.calls.append("made")
        self.transport = transport

    def data_received(self, data):
        assert type(data) is bytes
        self.data += data

    def eof_received(self):
        self.calls.append("eof")

    def pause_writing(self):
        self.calls.append("pause")

    def resume_writing(self):
        self.calls.append("resume")

    def connection_lost(self, exc):
        self.calls.append(("lost", type(exc)))
        if not self.lost.done():
            self.lost.set_result(exc)


LOST = ("lost", type(None))
BROKEN = ("lost", BrokenPipeError)


def open_pipe():
    reader, writer = os.pipe()
    return open(reader, "rb", 0), open(writer, "wb", 0)


async def turns(n=3):
    for _ in range(n):
        await asyncio.sleep(0)


async def until(condition):
    while not condition():
        await asyncio.sleep(0)


async def connected_reader(protocol=Recorder):
    reader, writer = open_pipe()
    transport, protocol = await asyncio.get_running_loop().connect_read_pipe(protocol, reader)
    return transport, protocol, writer


async def connected_writer(protocol=Recorder):
    reader, writer = open_pipe()
    transport, protocol = await asyncio.get_running_loop().connect_write_pipe(protocol, writer)
    return transport, protocol, reader


@pytest.fixture
def run(loop):
    loop.set_exception_handler(lambda loop, context: loop.contexts.append(context))
    loop.contexts = []

    def run(main):
        return loop.run_until_complete(asyncio.wait_for(main, 60))

    yield run
    assert loop.contexts == []


# ---- reading -------------------------------------------------------------------------


def test_reading(run):
    async def main():
        transport, protocol, writer = await connected_reader()
        assert protocol.calls == ["made"]
        assert protocol.transport is transport
        assert isinstance(transport, asyncio.ReadTransport)
        assert transport.is_reading() and not transport.is_closing()
        assert transport.get_protocol() is protocol
        writer.write(b"abc")
        await until(lambda: protocol.data)
        assert protocol.data == b"abc"
        writer.close()
        assert await protocol.lost is None
        assert protocol.calls == ["made", "eof", LOST]
        assert transport.is_closing() and not transport.is_reading()
        transport.close()
        transport.pause_reading()
        transport.resume_reading()

    run(main())


def test_a_megabyte(run):
    blob = os.urandom(1 << 20)

    async def main():
        transport, protocol, writer = await connected_reader()
        thread = threading.Thread(target=lambda: (writer.write(blob), writer.close()))
        with writer:
            os.set_blocking(writer.fileno(), True)
            thread.start()
            await protocol.lost
        thread.join()
        return bytes(protocol.data)

    assert run(main()) == blob


def test_pause_and_resume_reading(run):
    async def main():
        transport, protocol, writer = await connected_reader()
        transport.pause_reading()
        transport.pause_reading()
        assert not transport.is_reading()
        writer.write(b"abc")
        await turns(10)
        assert not protocol.data
        transport.resume_reading()
        transport.resume_reading()
        await until(lambda: protocol.data)
        transport.pause_reading()
        writer.close()
        await turns(10)
        assert protocol.calls == ["made"]
        transport.resume_reading()
        await protocol.lost

    run(main())


def test_paused_before_it_starts(run):
    class Paused(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.pause_reading()

    async def main():
        transport, protocol, writer = await connected_reader(Paused)
        writer.write(b"abc")
        await turns(10)
        assert not protocol.data
        transport.resume_reading()
        await until(lambda: protocol.data)
        transport.close()
        await protocol.lost
        assert protocol.calls == ["made", LOST]
        writer.close()

    run(main())


def test_closed_in_connection_made(run):
    class Closing(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.close()

    async def main():
        for connect in (connected_reader, connected_writer):
            transport, protocol, other = await connect(Closing)
            await protocol.lost
            assert protocol.calls == ["made", LOST]
            other.close()

    run(main())


def test_data_after_a_change_of_protocol(run):
    async def main():
        transport, first, writer = await connected_reader()
        second = Recorder()
        transport.set_protocol(second)
        assert transport.get_protocol() is second
        writer.write(b"abc")
        writer.close()
        await second.lost
        assert (first.data, second.data) == (b"", b"abc")
        assert second.calls == ["eof", LOST]

    run(main())


def test_data_received_that_raises_closes_nothing(loop):
    class Raising(Recorder):
        def data_received(self, data):
            super().data_received(data)
            raise ZeroDivisionError

    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))

    async def main():
        transport, protocol, writer = await connected_reader(Raising)
        for n in (1, 2):
            writer.write(b"x")
            await until(lambda: len(contexts) == n)
            assert isinstance(contexts[-1]["exception"], ZeroDivisionError)
            assert contexts[-1]["message"].startswith("Exception in callback")
        writer.close()
        await protocol.lost
        assert protocol.data == b"xx"

    loop.run_until_complete(main())


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_data_received_that_ends_the_loop(loop, error):
    class Raising(Recorder):
        def data_received(self, data):
            raise error

    async def main():
        transport, protocol, writer = await connected_reader(Raising)
        with writer:
            writer.write(b"x")
            await protocol.lost

    task = loop.create_task(main())
    with pytest.raises(error):
        loop.run_until_complete(task)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    for transport in [op for op in gc.get_objects() if isinstance(op, Raising)]:
        transport.transport.close()
    loop.run_until_complete(turns())


def test_a_read_error(loop):
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))

    async def main():
        left, right = socket.socketpair()
        transport, protocol = await loop.connect_read_pipe(Recorder, left)
        transport.pause_reading()
        right.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        left.send(b"unread")
        right.close()
        transport.resume_reading()
        exc = await protocol.lost
        assert isinstance(exc, ConnectionResetError)
        (context,) = contexts
        assert context["message"] == "Fatal read error on pipe transport"
        assert context["exception"] is exc
        assert context["transport"] is transport
        assert context["protocol"] is protocol

    loop.run_until_complete(main())


# ---- writing -------------------------------------------------------------------------


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


def fill(transport):
    while transport.get_write_buffer_size() == 0:
        transport.write(b"x" * 65536)


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


# ---- other files ---------------------------------------------------------------------


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


# ---- what it tells ---------------------------------------------------------------------


def test_extra_info(run):
    async def main():
        for connect in (connected_reader, connected_writer):
            transport, protocol, other = await connect()
            pipe = transport.get_extra_info("pipe")
            assert pipe.fileno() >= 0 and pipe is not other
            assert transport.get_extra_info("peername") is None
            assert transport.get_extra_info("peername", "x") == "x"
            transport.close()
            await protocol.lost
            assert pipe.closed
            assert transport.get_extra_info("pipe") is pipe
            other.close()

    run(main())


def test_repr(run):
    async def main():
        transport, protocol, writer = await connected_reader()
        name, fd = type(transport).__name__, transport.get_extra_info("pipe").fileno()
        assert repr(transport) == f"<{name} fd={fd} polling>"
        transport.pause_reading()
        assert repr(transport) == f"<{name} fd={fd} idle>"
        transport.close()
        assert repr(transport) == f"<{name} closing fd={fd} idle>"
        await protocol.lost
        assert repr(transport) == f"<{name} closed fd={fd} closed>"
        writer.close()

        transport, protocol, reader = await connected_writer()
        name, fd = type(transport).__name__, transport.get_extra_info("pipe").fileno()
        assert repr(transport) == f"<{name} fd={fd} idle bufsize=0>"
        fill(transport)
        size = transport.get_write_buffer_size()
        assert repr(transport) == f"<{name} fd={fd} polling bufsize={size}>"
        transport.close()
        assert repr(transport) == f"<{name} closing fd={fd} polling bufsize={size}>"
        transport.abort()
        await protocol.lost
        assert repr(transport) == f"<{name} closed fd={fd} closed>"
        reader.close()

    run(main())


def test_repr_when_the_loop_is_closed(factory):
    loop = factory()
    transport, protocol, writer = loop.run_until_complete(connected_reader())
    fd = transport.get_extra_info("pipe").fileno()
    loop.close()
    assert repr(transport) == f"<{type(transport).__name__} fd={fd} open>"
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        del transport, protocol
        gc.collect()
    writer.close()


def test_debug_mode(loop, caplog):
    async def main():
        transport, protocol, writer = await connected_reader()
        transport.pause_reading()
        transport.resume_reading()
        writer.close()
        await protocol.lost
        transport, protocol, reader = await connected_writer()
        reader.close()
        await protocol.lost
        transport, protocol, reader = await connected_writer()
        transport.get_extra_info("pipe")
        reader.close()
        transport.write(b"x")
        await protocol.lost

    loop.set_debug(True)
    with caplog.at_level(logging.DEBUG, logger="asyncio"):
        loop.run_until_complete(main())
    for text in ("pauses reading", "resumes reading", "Fatal write error on pipe transport"):
        assert caplog.text.count(text) == 1
    assert caplog.text.count("was closed by peer") == 2


def test_callbacks_run_in_the_context_of_the_connection(run):
    variable = contextvars.ContextVar("variable", default="unset")

    class Looking(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            self.calls.append(variable.get())

        def data_received(self, data):
            self.calls.append(variable.get())

        def connection_lost(self, exc):
            self.calls.append(variable.get())
            super().connection_lost(exc)

    async def main():
        variable.set("set")
        transport, protocol, writer = await connected_reader(Looking)
        variable.set("changed")
        writer.write(b"x")
        await until(lambda: len(protocol.calls) == 3)
        writer.close()
        await protocol.lost
        assert protocol.calls == ["made", "set", "set", "eof", "set", LOST]

    run(main())


# ---- the end ---------------------------------------------------------------------------


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


def test_ours_are_native():
    async def main():
        transport, protocol, writer = await connected_reader()
        assert type(transport).__module__ == "treadle"
        writer.close()
        await protocol.lost
        with pytest.raises(TypeError, match="cannot create"):
            type(transport)()

    treadle.run(main())

"""Pipe transports that read: data, pauses, the end, errors."""

import asyncio
import gc
import os
import socket
import threading

import pytest
from support.pipes import LOST, Recorder, connected_reader, connected_writer, run, turns, until


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

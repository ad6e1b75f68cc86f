"""Datagram endpoints: what goes out, at once or by way of the queue."""

import asyncio
import errno
import logging
import socket
import sys

import pytest
from support.datagrams import Recorder, bound, crowded, endpoint, new_name
from support.sockets import run, turns

LOCAL = ("127.0.0.1", 0)
SENDS_EMPTY = sys.version_info >= (3, 13) or hasattr(
    asyncio.selector_events._SelectorDatagramTransport, "_header_size"
)
HEADER = getattr(
    asyncio.selector_events._SelectorDatagramTransport, "_header_size", 8 * SENDS_EMPTY
)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_kinds_of_data(loop, kind):
    async def main():
        with bound() as there:
            async with endpoint(local_addr=LOCAL) as protocol:
                protocol.transport.sendto(kind(b"data"), there.getsockname())
                assert there.recv(10) == b"data"

    run(loop, main())


@pytest.mark.parametrize("data", ["text", None, 7, [1]])
def test_wrong_data(loop, data):
    async def main():
        async with endpoint(local_addr=LOCAL) as protocol:
            with pytest.raises(TypeError) as raised:
                protocol.transport.sendto(data, ("127.0.0.1", 1))
            name = type(data).__name__
            expected = f"data argument must be a bytes-like object, not {name!r}"
            assert str(raised.value) == expected
            with pytest.raises(TypeError):
                protocol.transport.sendto()

    run(loop, main())


def test_empty(loop):
    async def main():
        with bound() as there:
            async with endpoint(local_addr=LOCAL) as protocol:
                protocol.transport.sendto(b"", there.getsockname())
                protocol.transport.sendto(b"x", there.getsockname())
                assert there.recv(10) == (b"" if SENDS_EMPTY else b"x")

    run(loop, main())


def test_names_are_looked_up(loop):
    async def main():
        with bound() as there:
            async with endpoint(local_addr=LOCAL) as protocol:
                protocol.transport.sendto(b"x", ("localhost", there.getsockname()[1]))
                assert there.recv(10) == b"x"

    run(loop, main())


def test_no_address(loop):
    """Not an OSError, so the end of the transport."""
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))

    async def main():
        async with endpoint(local_addr=LOCAL) as protocol:
            protocol.transport.sendto(b"x")
            await protocol.until(lambda self: self.lost)
            assert [type(exc) for exc in protocol.lost] == [TypeError]
            assert not protocol.errors

    run(loop, main())
    assert [report["message"] for report in reports] == [
        "Fatal write error on datagram transport"
    ]


def test_system_errors_are_told(loop):
    async def main():
        with bound() as there:
            async with endpoint(local_addr=LOCAL) as protocol:
                protocol.transport.sendto(bytes(70_000), there.getsockname())
                assert [exc.errno for exc in protocol.errors] == [errno.EMSGSIZE]
                protocol.transport.sendto(b"x", there.getsockname())
                assert there.recv(10) == b"x" and not protocol.lost

    run(loop, main())


def test_error_received_that_raises(loop):
    class Raising(Recorder):
        def error_received(self, exc):
            raise ValueError("mine")

    async def main():
        async with endpoint(Raising, local_addr=LOCAL) as protocol:
            with pytest.raises(ValueError, match="mine"):
                protocol.transport.sendto(bytes(70_000), ("127.0.0.1", 9))

    run(loop, main())


# ---- answers to a batch ----------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 40])
def test_answers(loop, n):
    """Several for each datagram, so that more are collected than fit."""

    class Answering(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            buffer = bytearray(data + b"a")
            self.transport.sendto(buffer, addr)
            buffer[:] = b"changed"
            self.transport.sendto(data + b"b", addr)
            assert self.transport.get_write_buffer_size() == 0

    async def main():
        with bound() as ours, bound() as sock:
            for i in range(n):
                ours.sendto(b"%d" % i, sock.getsockname())
            async with endpoint(Answering, sock=sock) as protocol:
                await protocol.got(n)
                await turns()
                assert [ours.recv(10) for _ in range(2 * n)] == [
                    b"%d%c" % (i, letter) for i in range(n) for letter in b"ab"
                ]
                assert not protocol.errors

    run(loop, main())


def test_errors_in_a_batch(loop):
    class Answering(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            self.transport.sendto(bytes(70_000) if data in (b"1", b"3") else data, addr)

    async def main():
        with bound() as ours, bound() as sock:
            for i in range(5):
                ours.sendto(b"%d" % i, sock.getsockname())
            async with endpoint(Answering, sock=sock) as protocol:
                await protocol.got(5)
                await turns()
                assert [ours.recv(10) for _ in range(3)] == [b"0", b"2", b"4"]
                assert [exc.errno for exc in protocol.errors] == [errno.EMSGSIZE] * 2

    run(loop, main())


@pytest.mark.parametrize("how", ["close", "abort"])
def test_ending_after_an_answer(loop, how):
    class Leaving(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            self.transport.sendto(b"bye", addr)
            getattr(self.transport, how)()

    async def main():
        with bound() as ours, bound() as sock:
            for _ in range(3):
                ours.sendto(b"x", sock.getsockname())
            async with endpoint(Leaving, sock=sock) as protocol:
                await protocol.until(lambda self: self.lost)
                assert protocol.lost == [None] and protocol.data == [b"x"]
                assert ours.recv(10) == b"bye"
                with pytest.raises(BlockingIOError):
                    ours.recv(10)

    run(loop, main())


# ---- the queue -------------------------------------------------------------------------


def forgets_headers(loop):
    """Whether this is asyncio's loop of 3.13.0, which counts headers up and never down."""
    stock = asyncio.selector_events._SelectorDatagramTransport
    return HEADER and not hasattr(stock, "_header_size") and type(loop).__module__ != "treadle._loop"


def fill(protocol, size=1000):
    """Send until the queue is in use; return how many were sent."""
    n = 0
    while protocol.transport.get_write_buffer_size() == 0:
        protocol.transport.sendto(b"%06d" % n + bytes(size - 6))
        n += 1
    return n


def numbers(parts):
    return [int(part[:6]) for part in parts]


async def drain(sock, n):
    parts = []
    while len(parts) < n:
        try:
            parts.append(sock.recv(2000))
        except BlockingIOError:
            await asyncio.sleep(0)
    return parts


def test_queue(loop):
    ours, theirs = crowded()

    async def main():
        async with endpoint(sock=ours) as protocol:
            n = fill(protocol)
            transport = protocol.transport
            assert transport.get_write_buffer_size() == 1000 + HEADER
            assert len(transport._buffer) == 1 and transport._buffer[0][1] is None
            assert loop._selector.get_map()[ours.fileno()].events == 3
            assert "write=<polling" in repr(transport)
            for i in range(100):
                transport.sendto(bytearray(b"%06d" % (n + i)) + bytes(994))
            assert transport.get_write_buffer_size() == 101 * (1000 + HEADER)
            assert protocol.told == ["made", "pause"]
            assert numbers(await drain(theirs, n + 100)) == list(range(n + 100))
            await turns()
            assert not transport._buffer
            if not forgets_headers(loop):
                assert transport.get_write_buffer_size() == 0
                assert protocol.told == ["made", "pause", "resume"]
            assert loop._selector.get_map()[ours.fileno()].events == 1

    with ours, theirs:
        run(loop, main())


def test_queue_to_addresses(loop):
    """Known ones, ones to be looked at by the socket module, and wrong ones."""
    ours, theirs = crowded()
    there = bound(socket.AF_UNIX, new_name())
    address = there.getsockname()

    async def main():
        async with endpoint(sock=sock) as protocol:
            transport = protocol.transport
            n = 0
            while transport.get_write_buffer_size() == 0:
                transport.sendto(b"%06d" % n + bytes(994), address)
                n += 1
            for target in (address, bytearray(address), b"\0nobody", address):
                transport.sendto(b"%06d" % n + bytes(994), target)
                n += 1
            got = numbers(await drain(there, n - 1))
            assert got == [i for i in range(n) if i != n - 2]
            assert [type(exc) for exc in protocol.errors] == [ConnectionRefusedError]
            assert not transport._buffer

    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with ours, theirs, there, sock:
        run(loop, main())


def test_close_sends_what_is_queued(loop):
    ours, theirs = crowded()

    async def main():
        async with endpoint(sock=ours) as protocol:
            n = fill(protocol) + 50
            for i in range(n - 50, n):
                protocol.transport.sendto(b"%06d" % i)
            protocol.transport.close()
            await turns(4)
            assert not protocol.lost and "closing" in repr(protocol.transport)
            assert numbers(await drain(theirs, n)) == list(range(n))
            await turns(4)
            assert protocol.lost == [None]

    with ours, theirs:
        run(loop, main())


def test_abort_drops_what_is_queued(loop):
    ours, theirs = crowded()

    async def main():
        async with endpoint(sock=ours) as protocol:
            n = fill(protocol)
            protocol.transport.abort()
            await turns(4)
            assert protocol.lost == [None]
            assert not protocol.transport._buffer
            assert numbers(await drain(theirs, n - 1)) == list(range(n - 1))
            with pytest.raises(BlockingIOError):
                theirs.recv(10)

    with ours, theirs:
        run(loop, main())


def test_abort_in_resume_writing(native):
    """asyncio's own calls connection_lost() twice here."""

    class Aborting(Recorder):
        def resume_writing(self):
            super().resume_writing()
            self.transport.abort()

    ours, theirs = crowded()

    async def main():
        async with endpoint(Aborting, sock=ours) as protocol:
            protocol.transport.set_write_buffer_limits(high=1)
            n = fill(protocol)
            protocol.transport.close()
            await drain(theirs, n)
            await protocol.until(lambda self: self.lost)
            await turns(4)
            assert protocol.told == ["made", "pause", "resume", "lost"]

    with ours, theirs:
        run(native, main())


def test_error_while_flushing(loop):
    ours, theirs = crowded()

    async def main():
        async with endpoint(sock=ours) as protocol:
            fill(protocol)
            theirs.close()
            await protocol.until(lambda self: self.errors)
            assert all(isinstance(exc, OSError) for exc in protocol.errors)
            await turns(10)
            assert not protocol.transport._buffer and not protocol.lost

    with ours, theirs:
        run(loop, main())


def test_limits(loop):
    ours, theirs = crowded()

    async def main():
        async with endpoint(sock=ours) as protocol:
            transport = protocol.transport
            transport.set_write_buffer_limits(high=0)
            fill(protocol)
            assert protocol.told == ["made", "pause"]
            with pytest.raises(ValueError):
                transport.set_write_buffer_limits(high=1, low=2)

    with ours, theirs:
        run(loop, main())


def test_sending_after_the_end(loop, caplog):
    async def main():
        with bound() as there:
            async with endpoint(remote_addr=there.getsockname()) as protocol:
                protocol.transport.abort()
                with caplog.at_level(logging.WARNING, "asyncio"):
                    for _ in range(8):
                        protocol.transport.sendto(b"x")
            with pytest.raises(BlockingIOError):
                there.recv(10)

    run(loop, main())
    assert [record.message for record in caplog.records] == [
        "socket.send() raised exception."
    ] * 4


def test_sending_after_the_end_to_anybody(native):
    async def main():
        with bound() as there:
            async with endpoint(local_addr=LOCAL) as protocol:
                protocol.transport.abort()
                await protocol.until(lambda self: self.lost)
                protocol.transport.sendto(b"x", there.getsockname())
            with pytest.raises(BlockingIOError):
                there.recv(10)

    run(native, main())


@pytest.mark.skipif(getattr(sys, "_is_gil_enabled", lambda: True)(), reason="the GIL is on")
def test_other_threads_are_refused(native):
    async def main():
        with bound() as there:
            async with endpoint(local_addr=LOCAL) as protocol:
                address = there.getsockname()
                with pytest.raises(RuntimeError, match="Non-thread-safe"):
                    await asyncio.to_thread(protocol.transport.sendto, b"x", address)

                async def receive():
                    return await native.sock_recv(there, 10)

                with pytest.raises(RuntimeError, match="Non-thread-safe"):
                    await asyncio.to_thread(receive().send, None)

    run(native, main())

"""Stream transports: writing, flow control, reading, half-closing, what they say of themselves."""

import asyncio
import gc
import socket
import sys
import weakref

import pytest
from support.sides import Recorder, until


@pytest.fixture(params=["tcp", "unix"])
def pair(request, loop, complaints):
    """Two connected transports with a Recorder each; the loop lives longer."""
    family = socket.AF_INET if request.param == "tcp" else socket.AF_UNIX

    async def make(protocol=Recorder):
        if family == socket.AF_UNIX:
            ends = socket.socketpair()
        else:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                one = socket.create_connection(listener.getsockname())
                ends = one, listener.accept()[0]
        ours, theirs = [await loop.create_connection(each, sock=end) for each, end in zip((protocol, Recorder), ends)]
        return (*ours, *theirs)

    return make


def test_order_of_calls(run, pair):
    async def main():
        ours, one, theirs, two = await pair()
        ours.write(b"a")
        ours.writelines([b"b", bytearray(b"c"), memoryview(b"d")])
        ours.write(b"")
        ours.close()
        assert await one.lost is None and await two.lost is None
        assert two.data == b"abcd" and two.calls == ["made", "data", "eof", "lost"] and one.calls == ["made", "lost"]

    run(main)


@pytest.mark.parametrize("data", ["text", 5, None, [b"x"]])
def test_only_bytes_are_written(run, pair, data):
    async def main():
        ours, *_ = await pair()
        with pytest.raises(TypeError):
            ours.write(data)
        ours.close()

    run(main)


@pytest.mark.parametrize("kind", [bytes, bytearray, lambda data: memoryview(bytearray(data))])
def test_buffers_are_the_caller_s_again_after_write(run, loop, pair, kind):
    if type(loop) is asyncio.SelectorEventLoop and sys.version_info >= (3, 12):
        pytest.skip("from 3.12 on asyncio sends what a waiting bytearray holds by then")

    async def main():
        ours, _, theirs, two = await pair()
        theirs.pause_reading()
        expected = b""
        for number in range(20):
            data = kind(bytes([number]) * 100_000)
            ours.write(data)
            expected += bytes([number]) * 100_000
            if not isinstance(data, bytes):
                data[:] = b"\xff" * 100_000
        theirs.resume_reading()
        ours.close()
        await two.lost
        assert two.data == expected

    run(main)


def test_many_small_and_large_writes(run, pair):
    async def main():
        ours, one, theirs, two = await pair()
        total = 0
        for number in range(2000):
            size = 1 + number * 37 % 3000
            ours.write(b"x" * size)
            total += size
            while one.paused:
                await asyncio.sleep(0)
        ours.writelines([b"y" * 10_000] * 200)
        total += 2_000_000
        ours.close()
        await two.lost
        assert len(two.data) == total

    run(main)


def test_flow_control(run, pair):
    async def main():
        ours, one, theirs, two = await pair()
        theirs.pause_reading()
        written = 0
        while not one.paused:
            ours.write(b"x" * 65536)
            written += 65536
        assert ours.get_write_buffer_size() > ours.get_write_buffer_limits()[1]
        await asyncio.sleep(0.02)
        assert one.paused
        theirs.resume_reading()
        await until(lambda: not one.paused)
        assert ours.get_write_buffer_size() <= ours.get_write_buffer_limits()[0]
        await until(lambda: len(two.data) == written)
        assert ours.get_write_buffer_size() == 0
        ours.close()
        await two.lost

    run(main)


def test_limits(run, pair):
    async def main():
        ours, *_ = await pair()
        assert ours.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
        ours.set_write_buffer_limits(low=16385)
        assert ours.get_write_buffer_limits() == (16385, 65540)
        ours.set_write_buffer_limits(high=1024)
        assert ours.get_write_buffer_limits() == (256, 1024)
        ours.set_write_buffer_limits(high=1024, low=128)
        assert ours.get_write_buffer_limits() == (128, 1024)
        ours.set_write_buffer_limits(0)
        assert ours.get_write_buffer_limits() == (0, 0)
        for wrong in ({"high": 0, "low": 1}, {"high": -1, "low": -2}):
            with pytest.raises(ValueError, match="must be >= low"):
                ours.set_write_buffer_limits(**wrong)
        ours.set_write_buffer_limits()
        assert ours.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
        ours.close()

    run(main)


def test_resume_writing_may_write(run, loop, pair):
    """To its own transport and to another, in the midst of a flush."""

    class Chatty(Recorder):
        other = None

        def resume_writing(self):
            super().resume_writing()
            self.transport.write(b"!")
            self.other.write(b"resumed")

    async def main():
        ours, one, theirs, two = await pair(Chatty)
        one.other = theirs
        ours.set_write_buffer_limits(1024, 1023)
        theirs.pause_reading()
        while not one.paused:
            ours.write(b" " * 65536)
        theirs.resume_reading()
        while one.paused:
            ours.write(b" ")
            await asyncio.sleep(0)
        await until(lambda: b"resumed" in one.data)
        await until(lambda: two.data.endswith(b"!"))
        ours.close()
        await two.lost

    run(main)


def test_half_close(run, pair):
    class Keeping(Recorder):
        def eof_received(self):
            super().eof_received()
            return True

    async def main():
        ours, one, theirs, two = await pair(Keeping)
        assert theirs.can_write_eof()
        theirs.write(b"question")
        theirs.write_eof()
        theirs.write_eof()
        await one.ended
        assert one.data == b"question" and not ours.is_closing()
        ours.write(b"answer")
        await until(lambda: two.data == b"answer")
        with pytest.raises(RuntimeError, match="write_eof"):
            theirs.write(b"more")
        ours.close()
        await two.lost
        assert two.calls == ["made", "data", "eof", "lost"]

    run(main)


def test_eof_after_what_is_queued(run, pair):
    async def main():
        ours, _, theirs, two = await pair()
        ours.write(b"x" * 3_000_000)
        ours.write_eof()
        assert await two.lost is None
        assert len(two.data) == 3_000_000

    run(main)


def test_close_sends_what_is_queued_abort_does_not(run, pair):
    async def main():
        ours, one, theirs, two = await pair()
        theirs.pause_reading()
        ours.write(b"x" * 5_000_000)
        ours.close()
        assert ours.is_closing() and ours.get_write_buffer_size() > 0
        theirs.resume_reading()
        await two.lost
        assert len(two.data) == 5_000_000

        ours, one, theirs, two = await pair()
        theirs.pause_reading()
        ours.write(b"x" * 5_000_000)
        ours.abort()
        assert await one.lost is None
        assert ours.get_write_buffer_size() == 0
        theirs.resume_reading()
        await two.lost
        assert len(two.data) < 5_000_000

    run(main)


def test_writing_after_the_end(run, pair, caplog):
    """Without an exception; after a few attempts there is a warning."""

    async def main():
        ours, one, theirs, two = await pair()
        theirs.abort()
        await one.lost
        for _ in range(10):
            ours.write(b"x")
        ours.close()
        ours.abort()
        assert one.calls[-1] == "lost"

    run(main)
    assert "socket.send() raised exception." in [record.getMessage() for record in caplog.records]


def test_pausing(run, pair):
    async def main():
        ours, one, theirs, two = await pair()
        assert theirs.is_reading()
        theirs.pause_reading()
        theirs.pause_reading()
        assert not theirs.is_reading()
        ours.write(b"x")
        await asyncio.sleep(0.02)
        assert two.data == b""
        theirs.resume_reading()
        theirs.resume_reading()
        assert theirs.is_reading()
        await until(lambda: two.data == b"x")
        theirs.abort()
        assert not theirs.is_reading()
        theirs.pause_reading()
        theirs.resume_reading()
        await one.lost

    run(main)


def test_pausing_before_reading_starts(run, pair):
    class Paused(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.pause_reading()

    async def main():
        ours, one, theirs, two = await pair(Paused)
        theirs.write(b"x")
        await asyncio.sleep(0.02)
        assert one.data == b"" and not ours.is_reading()
        ours.resume_reading()
        await until(lambda: one.data == b"x")
        ours.close()

    run(main)


def test_changing_protocols(run, pair):
    async def main():
        ours, one, theirs, two = await pair()
        other = Recorder()
        assert theirs.get_protocol() is two
        theirs.set_protocol(other)
        assert theirs.get_protocol() is other
        other.calls.append("made")
        ours.write(b"x")
        ours.close()
        await other.lost
        assert other.data == b"x" and two.calls == ["made"]

    run(main)


def test_changing_protocols_in_the_middle(run, pair):
    """From within data_received(), to one that takes buffers."""

    class Buffered(asyncio.BufferedProtocol):
        def __init__(self):
            self.data = b""
            self.buffer = bytearray(1000)

        def get_buffer(self, size):
            return self.buffer

        def buffer_updated(self, size):
            self.data += self.buffer[:size]

    class Switching(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.next = Buffered()
            self.transport.set_protocol(self.next)

    async def main():
        ours, one, theirs, two = await pair(Switching)
        theirs.write(b"first")
        await until(lambda: one.data == b"first")
        theirs.write(b"second")
        await until(lambda: one.next.data == b"second")
        ours.close()
        await two.lost

    run(main)


def test_extra_info(run, loop, pair):
    async def main():
        ours, one, theirs, two = await pair()
        sock = ours.get_extra_info("socket")
        assert sock is ours.get_extra_info("socket")
        sockname, peername = sock.getsockname(), sock.getpeername()
        assert ours.get_extra_info("sockname") == sockname and ours.get_extra_info("peername") == peername
        assert ours.get_extra_info("nothing") is None and ours.get_extra_info("nothing", 5) == 5
        for method in (loop.add_reader, loop.add_writer):
            for each in (sock, sock.fileno()):
                with pytest.raises(RuntimeError, match="is used by transport"):
                    method(each, print)
        for method in (loop.remove_reader, loop.remove_writer):
            for each in (sock, sock.fileno()):
                with pytest.raises(RuntimeError, match="is used by transport"):
                    method(each)
        ours.abort()
        await two.lost
        assert ours.get_extra_info("sockname") == sockname and ours.get_extra_info("peername") == peername

    run(main)


def test_kinds(run, pair):
    async def main():
        ours, *_ = await pair()
        assert isinstance(ours, asyncio.Transport)
        assert "fd=" in repr(ours)
        ours.close()
        assert "clos" in repr(ours)

    run(main)


@pytest.mark.parametrize("sizes", [[1], [1000], [100_000], [1, 7, 65536]])
def test_buffered_protocol(run, pair, sizes):
    class Buffered(asyncio.BufferedProtocol):
        def __init__(self):
            self.data = b""
            self.turn = 0
            self.lost = asyncio.get_running_loop().create_future()

        def get_buffer(self, hint):
            self.turn += 1
            self.buffer = bytearray(sizes[self.turn % len(sizes)])
            return self.buffer

        def buffer_updated(self, size):
            assert 0 < size <= len(self.buffer)
            self.data += self.buffer[:size]

        def connection_lost(self, error):
            self.lost.set_result(error)

    async def main():
        ours, one, theirs, two = await pair(Buffered)
        expected = bytes(range(256)) * (1 if sizes == [1] else 1000)
        theirs.write(expected)
        theirs.close()
        assert await one.lost is None
        assert one.data == expected

    run(main)


def raising(*arguments):
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("get_buffer", "buffer_updated", "error"),
    [
        (raising, None, ZeroDivisionError),
        (lambda self, hint: bytearray(), None, RuntimeError),
        (lambda self, hint: memoryview(bytearray()), None, RuntimeError),
        (lambda self, hint: bytearray(10), raising, ZeroDivisionError),
    ],
)
def test_buffered_protocol_that_fails(run, pair, complaints, get_buffer, buffer_updated, error):
    lost = []
    body = {"get_buffer": get_buffer, "buffer_updated": buffer_updated or (lambda self, size: None)}
    body["connection_lost"] = lambda self, error: lost.append(error)
    Broken = type("Broken", (asyncio.BufferedProtocol,), body)

    async def main():
        ours, one, theirs, two = await pair(Broken)
        theirs.write(b"x")
        await two.lost
        await until(lambda: lost)
        assert isinstance(lost[0], error)

    run(main)
    assert len(complaints) == 1 and isinstance(complaints[0]["exception"], error)


@pytest.mark.parametrize("callback", ["data_received", "eof_received"])
def test_protocol_that_fails(run, pair, complaints, callback):
    Broken = type("Broken", (Recorder,), {callback: raising})

    async def main():
        ours, one, theirs, two = await pair(Broken)
        theirs.write(b"x")
        theirs.write_eof()
        assert isinstance(await one.lost, ZeroDivisionError)
        await two.lost

    run(main)
    (context,) = complaints
    assert isinstance(context["exception"], ZeroDivisionError)
    assert context["transport"] is not None and isinstance(context["protocol"], Broken)


def test_end_with_more_than_was_read(run, loop, tmp_path):
    """The peer fills the buffer and closes: all of it comes, and then the end."""
    done = []

    class Small(asyncio.BufferedProtocol):
        def __init__(self):
            self.data, self.buffer = b"", bytearray(50)

        def connection_made(self, transport):
            transport.write(b"hello")

        def get_buffer(self, hint):
            return self.buffer

        def buffer_updated(self, size):
            self.data += self.buffer[:size]

        def eof_received(self):
            done.append("eof")

        def connection_lost(self, error):
            done.append((error, self.data))

    async def main():
        async with await loop.create_unix_server(Small, str(tmp_path / "socket")):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.setblocking(False)
                await loop.sock_connect(sock, str(tmp_path / "socket"))
                assert await loop.sock_recv(sock, 100) == b"hello"
                await loop.sock_sendall(sock, b"a" * 51)
            await until(lambda: len(done) == 2)
        assert done == ["eof", (None, b"a" * 51)]

    run(main)


@pytest.mark.parametrize("how", ["close", "abort"])
def test_nothing_is_kept(run, loop, pair, how):
    async def main():
        ours, one, theirs, two = await pair()
        gone = [weakref.ref(each) for each in (ours, one)]
        getattr(ours, how)()
        await one.lost
        await two.lost
        await asyncio.sleep(0)
        return gone

    gone = run(main)
    loop.run_until_complete(asyncio.sleep(0))
    gc.collect()
    assert [each() for each in gone] == [None, None]


def test_dropped_transport_warns(run, loop):
    ours, theirs = socket.socketpair()

    async def main():
        theirs.setblocking(False)
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        transport.pause_reading()
        await asyncio.sleep(0)

    with pytest.warns(ResourceWarning, match="unclosed transport"):
        run(main)
        gc.collect()
        loop.close()
        gc.collect()
    theirs.close()

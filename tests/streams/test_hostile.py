"""Code that does in callbacks what nobody does: nothing may crash, and what survives still works."""

import asyncio
import gc
import sys
import threading
import weakref

import pytest
import treadle
from support.streaming import Ends


class Meddler(treadle.EventLoop):
    """Does something to a reader whenever something is scheduled or a future is made."""

    meddle = None

    def call_soon(self, *args, **kwargs):
        if self.meddle is not None:
            action, self.meddle = self.meddle, None
            action()
        return super().call_soon(*args, **kwargs)

    def create_future(self):
        if self.meddle is not None:
            action, self.meddle = self.meddle, None
            action()
        return super().create_future()


def delete(name):
    def action(ends):
        delattr(ends.reader, name)

    return action


ACTIONS = {
    "drop state": lambda ends: vars(ends.reader).clear(),
    "new dict": lambda ends: setattr(ends.reader, "__dict__", {}),
    "other class": lambda ends: setattr(ends.reader, "__class__", asyncio.StreamReader),
    "delete buffer": delete("_buffer"),
    "delete transport": delete("_transport"),
    "delete loop": delete("_loop"),
    "delete waiter": delete("_waiter"),
    "other buffer": lambda ends: setattr(ends.reader, "_buffer", [1, 2, 3]),
    "empty buffer": lambda ends: ends.reader._buffer.clear(),
    "limit": lambda ends: setattr(ends.reader, "_limit", "x"),
    "abort": lambda ends: ends.writer.transport.abort(),
    "exception": lambda ends: ends.reader.set_exception(KeyError("meddled")),
    "eof": lambda ends: ends.reader.feed_eof(),
    "feed": lambda ends: ends.reader.feed_data(b"more\n"),
    "collect": lambda ends: gc.collect(),
    "protocol": lambda ends: ends.writer.transport.set_protocol(asyncio.Protocol()),
}


@pytest.fixture
def meddled():
    loop = Meddler()
    loop.set_exception_handler(lambda loop, context: None)
    ends = Ends(loop)
    yield ends
    loop.meddle = None
    ends.writer._protocol._transport = None
    ends.peer.close()
    for _ in range(3):
        ends.turn()
    loop.close()


async def attempt(awaitable):
    try:
        return await asyncio.wait_for(awaitable, 0.05)
    except (asyncio.TimeoutError, AttributeError, TypeError, RuntimeError, KeyError, ValueError, AssertionError, OSError, EOFError):
        return None


@pytest.mark.parametrize("when", ["woken", "waiting", "paused", "taken"])
@pytest.mark.parametrize("what", ACTIONS)
def test_meddling(meddled, what, when):
    ends = meddled
    loop = ends.loop
    transport = ends.writer.transport  # the writer's own may go

    def arm():
        loop.meddle = lambda: ACTIONS[what](ends)

    async def main():
        reader = ends.reader
        if when == "woken":
            task = asyncio.create_task(attempt(reader.readline()))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            arm()
            ends.peer.sendall(b"line\n")
            await task
        elif when == "waiting":
            arm()
            await attempt(reader.readexactly(5))
        elif when == "paused":
            reader._limit = 2
            real = transport

            class Transport:
                def __getattr__(self, name):
                    ACTIONS[what](ends)
                    return getattr(real, name)

            reader._transport = Transport()
            await attempt(self_feeding(reader))
        else:
            reader.feed_data(b"a\nb\nc")
            arm()
            await attempt(reader.readline())
            await attempt(reader.read(100))
        await attempt(reader.read(1))
        await attempt(ends.writer.drain())

    async def self_feeding(reader):
        reader.feed_data(b"0123456789")
        return await reader.readexactly(10)

    loop.run_until_complete(main())
    transport.abort()


def test_a_future_of_another_kind(meddled, monkeypatch):
    """create_future() may return anything."""
    ends = meddled

    class Odd:
        def __init__(self, kind):
            self.kind = kind

        def __await__(self):
            if self.kind == "raises":
                raise KeyError("odd")
            if self.kind == "not an iterator":
                return 5
            return iter(())

        def cancelled(self):
            raise KeyError("cancelled")

    async def main():
        for kind in "raises", "not an iterator":
            with monkeypatch.context() as patch, pytest.raises((KeyError, TypeError)):
                patch.setattr(Meddler, "create_future", lambda self, kind=kind: Odd(kind))
                await ends.reader.read(1)
            assert ends.reader._waiter is None
        ends.reader.feed_data(b"x")
        return await ends.reader.read(1)

    assert ends.loop.run_until_complete(main()) == b"x"


def test_waiters_of_other_kinds(ends):
    """What stands in `_waiter` is woken by its methods."""
    calls = []

    class Waiter:
        def cancelled(self):
            calls.append("cancelled")
            return False

        def set_result(self, value):
            calls.append(value)

    ends.reader._waiter = Waiter()
    ends.reader.feed_data(b"x")
    assert calls == ["cancelled", None] and ends.reader._waiter is None
    ends.reader._waiter = 5
    with pytest.raises(AttributeError):
        ends.reader.feed_data(b"y")
    assert ends.reader._buffer == b"xy"


def test_a_buffer_that_bites_when_it_goes(ends):
    """Setting an attribute drops what was there, which may look at the reader."""
    seen = []

    class Biter:
        def __del__(self):
            seen.append((ends.reader._limit, bytes(ends.reader._buffer)))
            ends.reader.feed_data(b"!")

    ends.reader._exception = Biter()
    ends.reader._exception = None
    gc.collect()
    assert seen == [(2**16, b"")]
    assert ends.run(ends.reader.read(5)) == b"!"


def test_awaited_by_itself(ends):
    """An operation that is driven while it runs refuses."""
    reader = ends.reader

    class Transport:
        def resume_reading(self):
            try:
                operation.send(None)
            except ValueError as error:
                said.append(str(error))

    said = []
    reader._limit = 4
    real, reader._transport = reader._transport, Transport()
    reader._paused = True
    reader.feed_data(b"abcdef")
    operation = reader.readexactly(4)
    with pytest.raises(StopIteration) as caught:
        operation.send(None)
    assert caught.value.value == b"abcd"
    reader._transport = real
    assert said == ["coroutine already executing"]


def test_a_cycle_through_an_operation(ends):
    """The collector finds a task that only the reader it waits for refers to."""

    class Marker:
        pass

    async def waiting(marker):
        await ends_of["reader"].read(1)

    ends_of = {"reader": asyncio.StreamReader(loop=ends.loop)}
    marker = Marker()
    ref = weakref.ref(marker)

    async def main():
        reader = ends_of["reader"]
        reader.__class__ = type(ends.reader)
        reader.__init__(loop=ends.loop)
        coroutine = waiting(marker)
        coroutine.send(None)
        reader.mine = coroutine

    ends.run(main())
    marker = None
    ends_of.clear()
    gc.collect()
    assert ref() is None


def test_many_leave_nothing(native, ends):
    """Memory does not grow with the number of operations, however they end."""

    async def main(count):
        reader = ends.reader
        for i in range(count):
            reader.feed_data(b"some line\n" * 3)
            await reader.readline()
            await reader.readexactly(10)
            await reader.readuntil(b"\n")
            task = asyncio.ensure_future(reader.read(1))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await ends.writer.drain()

    ends.run(main(500))
    gc.collect()
    before = sys.getallocatedblocks()
    ends.run(main(3000), limit=60)
    gc.collect()
    assert sys.getallocatedblocks() - before < 500


def test_other_threads(native):
    """Misuse from other threads loses data or raises; it does not corrupt memory."""
    ends = Ends(native)
    stop = threading.Event()
    reader = ends.reader

    def feed():
        while not stop.is_set():
            try:
                reader.feed_data(b"0123456789\n" * 5)
            except Exception:
                pass

    def take():
        while not stop.is_set():
            for make in (lambda: reader.read(7), reader.readline, lambda: reader.readexactly(3), lambda: reader.readuntil(b"5")):
                operation = make()
                try:
                    operation.send(None)
                except (StopIteration, Exception):
                    pass
                operation.close()

    def look():
        while not stop.is_set():
            try:
                len(reader._buffer), reader.at_eof(), repr(reader)
                reader._buffer = bytearray(b"new\n")
                reader._limit = 1 << 16
                reader._waiter = None
                reader._paused = False
            except Exception:
                pass

    reader._transport = None
    threads = [threading.Thread(target=each) for each in (feed, take, take, look, look)]
    for thread in threads:
        thread.start()
    stop.wait(0.7)
    stop.set()
    for thread in threads:
        thread.join(30)
    reader._transport = ends.writer.transport
    ends.close()

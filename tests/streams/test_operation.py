"""What a reading method returns is a coroutine in all that asyncio and others ask of one."""

import asyncio
import gc
import inspect
import sys
import warnings
import weakref

import pytest


def test_it_counts_as_a_coroutine(ends):
    operation = ends.reader.read(10)
    assert asyncio.iscoroutine(operation) and inspect.isawaitable(operation)
    assert (operation.__name__, operation.__qualname__) == ("read", "StreamReader.read")
    assert repr(operation).startswith("<coroutine object StreamReader.read at 0x")
    operation.close()
    operation.close()


def test_nothing_happens_before_it_is_awaited(ends):
    ends.send(b"abcdef")

    async def main():
        first, second = ends.reader.readexactly(2), ends.reader.readexactly(3)
        wrong = ends.reader.readexactly(-1)
        got = [await second, await first]
        with pytest.raises(ValueError, match="less than zero"):
            await wrong
        return got

    assert ends.run(main()) == [b"abc", b"de"]


def test_it_is_awaited_once(ends):
    ends.send(b"ab")

    async def main():
        operation = ends.reader.read(1)
        assert await operation == b"a"
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            await operation
        operation = ends.reader.readexactly(5)
        task = asyncio.create_task(operation)
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="coroutine is being awaited already"):
            await operation
        ends.peer.sendall(b"cdef")
        return await task

    assert ends.run(main()) == b"bcdef"


def test_never_awaited(ends):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ends.reader.readline()
        gc.collect()
    said = [str(each.message) for each in caught if each.category is RuntimeWarning]
    assert said == ["coroutine 'StreamReader.readline' was never awaited"]


@pytest.mark.parametrize("how", ["wait_for", "gather", "task", "shield", "timeout"])
def test_in_asyncios_hands(ends, how):
    if how == "timeout" and not hasattr(asyncio, "timeout"):
        pytest.skip("no asyncio.timeout()")

    async def awaited():
        if how == "wait_for":
            return await asyncio.wait_for(ends.reader.readline(), 5)
        if how == "gather":
            return (await asyncio.gather(ends.reader.readline(), asyncio.sleep(0)))[0]
        if how == "task":
            return await asyncio.create_task(ends.reader.readline(), name="reader")
        if how == "shield":
            return await asyncio.shield(ends.reader.readline())
        async with asyncio.timeout(5):
            return await ends.reader.readline()

    async def main():
        ends.loop.call_later(0.01, ends.peer.sendall, b"line\n")
        return await awaited()

    assert ends.run(main()) == b"line\n"


@pytest.mark.parametrize("delay", [0, 1, 2])
def test_cancellation(ends, delay):
    """At every await; what comes later is for the next."""

    async def main():
        task = asyncio.create_task(ends.reader.readexactly(4))
        for _ in range(delay):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ends.reader._waiter is None
        ends.peer.sendall(b"data")
        return await ends.reader.readexactly(4)

    assert ends.run(main()) == b"data"


def test_cancelled_when_woken(ends):
    """The cancellation wins, and the data stays."""

    async def main():
        task = asyncio.create_task(ends.reader.read(4))
        await asyncio.sleep(0)
        ends.reader.feed_data(b"data")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await ends.reader.read(4)

    assert ends.run(main()) == b"data"


def test_timeouts_lose_nothing(ends):
    async def main():
        for _ in range(3):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(ends.reader.readexactly(3), 0.002)
        ends.peer.sendall(b"abc")
        return await asyncio.wait_for(ends.reader.readexactly(3), 5)

    assert ends.run(main()) == b"abc"


def test_driven_by_hand(ends):
    """send(), throw() and close() as a coroutine has them."""

    async def main():
        reader = ends.reader
        operation = reader.read(5)
        with pytest.raises(TypeError, match="can't send non-None value to a just-started coroutine"):
            operation.send(1)
        future = operation.send(None)
        assert future is reader._waiter and asyncio.isfuture(future)
        with pytest.raises(KeyError, match="thrown"):
            operation.throw(KeyError("thrown"))
        assert reader._waiter is None
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            operation.send(None)

        operation = reader.read(5)
        operation.send(None)
        operation.close()
        assert reader._waiter is None

        operation = reader.read(5)
        with pytest.raises(ValueError, match="early"):
            operation.throw(ValueError("early"))

        operation = reader.read(5)
        operation.send(None)
        reader.feed_data(b"value")
        with pytest.raises(StopIteration) as caught:
            operation.send(None)
        assert caught.value.value == b"value"

        operation = reader.read(5)
        operation.send(None)
        with pytest.raises(RuntimeError, match="await wasn't used with future"):
            operation.send(None)
        for wrong in (), (1,):
            operation = reader.read(5)
            with pytest.raises(TypeError):
                operation.throw(*wrong)
            operation.close()

    ends.run(main())


def test_values_are_not_kept(native, ends):
    """What a read has returned is gone when nobody has it, though its exception serves again."""

    async def main():
        got = []
        for i in range(50):
            ends.reader.feed_data(b"%d\n" % i)
            got.append(await ends.reader.readline())
        return got

    assert ends.run(main()) == [b"%d\n" % i for i in range(50)]


def test_caught_by_hand_and_by_the_interpreter(ends):
    """A StopIteration that somebody keeps is not the one of a later read."""

    async def main():
        kept = []
        for i in range(20):
            ends.reader.feed_data(b"abcd")
            if i % 2:
                iterator = ends.reader.read(2).__await__()
                try:
                    next(iterator)
                except StopIteration as stop:
                    kept.append(stop)
            else:
                assert await ends.reader.read(2) == b"ab"
            assert await ends.reader.read(2) == b"cd"
        return [stop.value for stop in kept]

    assert ends.run(main()) == [b"ab"] * 10


def test_traced(ends):
    """With a tracing function the interpreter takes other ways to call a coroutine."""
    ends.send(b"a\nb\nc\n")
    seen = []

    def trace(frame, event, arg):
        seen.append(event)
        return trace

    async def main():
        got = []
        sys.settrace(trace)
        sys._getframe().f_trace = trace
        try:
            for _ in range(3):
                got.append(await ends.reader.readline())
        finally:
            sys.settrace(None)
        return got

    assert ends.run(main()) == [b"a\n", b"b\n", b"c\n"] and seen


def test_nothing_is_left(native, ends):
    """Operations that end in every way leave no reference to what they held."""

    class Thing(bytes):
        pass

    async def main():
        refs = []
        for _ in range(20):
            separator = Thing(b"#")
            refs.append(weakref.ref(separator)) if Thing.__weakrefoffset__ else None
            task = asyncio.create_task(ends.reader.readuntil(b"#"))
            await asyncio.sleep(0)
            refs.append(weakref.ref(task))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            del task, separator
        await asyncio.sleep(0)
        gc.collect()
        return [ref for ref in refs if ref() is not None]

    assert ends.run(main()) == []


def test_dropped_while_it_waits(ends):
    """A coroutine that is thrown away stops waiting, as asyncio's does."""

    async def main():
        operation = ends.reader.read(1)
        operation.send(None)
        assert ends.reader._waiter is not None
        del operation
        gc.collect()
        return ends.reader._waiter

    assert ends.run(main()) is None

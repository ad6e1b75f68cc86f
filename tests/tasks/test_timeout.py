"""timeout() and timeout_at(): asyncio's and treadle's."""

import asyncio
import gc
import inspect
import weakref

import pytest
import treadle


@pytest.fixture(params=[asyncio, treadle], ids=["asyncio's", "treadle's"])
def kit(request):
    """Where the functions come from."""
    return request.param


def scheduled(loop, seconds):
    """The timers that are due in `seconds` at least and were not cancelled."""
    return [timer for timer in loop._scheduled if not timer.cancelled() and timer.when() > loop.time() + seconds]


def test_in_time(run, kit):
    async def main():
        loop = asyncio.get_running_loop()
        before = loop.time()
        scope = kit.timeout(1000)
        assert repr(scope) == "<Timeout [created]>" and not scope.expired()
        assert before + 1000 <= scope.when() <= loop.time() + 1000
        async with scope as entered:
            assert entered is scope and isinstance(scope, asyncio.Timeout)
            assert repr(scope) == f"<Timeout [active] when={round(scope.when(), 3)}>"
            assert len(scheduled(loop, 900)) == 1
            await asyncio.sleep(0)
        assert repr(scope) == "<Timeout [finished]>" and not scope.expired()
        assert scheduled(loop, 900) == []

    run(main)


@pytest.mark.parametrize("delay", [0.005, 0, -1])
def test_too_late(run, kit, delay):
    async def main():
        task = asyncio.current_task()
        with pytest.raises(TimeoutError) as caught:
            async with kit.timeout(delay) as scope:
                await asyncio.sleep(1000)
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)
        assert caught.value.__context__ is caught.value.__cause__
        assert scope.expired() and repr(scope) == "<Timeout [expired]>"
        assert task.cancelling() == 0
        await asyncio.sleep(0)

    run(main)


def test_never(run, kit):
    async def main():
        async with kit.timeout(None) as scope:
            assert scope.when() is None and repr(scope) == "<Timeout [active] when=None>"
            await asyncio.sleep(0)
        async with kit.timeout_at(None):
            pass

    run(main)


def test_at(run, kit):
    async def main():
        loop = asyncio.get_running_loop()
        when = loop.time() + 0.005
        with pytest.raises(TimeoutError):
            async with kit.timeout_at(when) as scope:
                assert scope.when() is when
                await asyncio.sleep(1000)
        with pytest.raises(TimeoutError):
            async with kit.timeout_at(when=1):  # long ago
                await asyncio.sleep(1000)

    run(main)


def test_rescheduled(run, kit):
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            async with kit.timeout(1000) as scope:
                scope.reschedule(None)
                assert scope.when() is None and not scheduled(loop, 900)
                scope.reschedule(when=loop.time() + 2000)
                assert len(scheduled(loop, 900)) == 1
                scope.reschedule(int(loop.time()) - 1)
                await asyncio.sleep(1000)
        with pytest.raises(RuntimeError, match="Cannot change state of expired Timeout"):
            scope.reschedule(1)
        with pytest.raises(RuntimeError, match="Timeout has not been entered"):
            kit.timeout(1).reschedule(1)

    run(main)


def test_entered_twice(run, kit):
    async def main():
        async with kit.timeout(1000) as scope:
            with pytest.raises(RuntimeError, match="Timeout has already been entered"):
                async with scope:
                    pytest.fail("entered")
        with pytest.raises(RuntimeError, match="Timeout has already been entered"):
            await scope.__aenter__()

    run(main)


def test_outside_of_a_task(loop, kit):
    def callback(answer):
        coroutine = kit.timeout(1).__aenter__()
        try:
            coroutine.send(None)
        except RuntimeError as error:
            answer.set_result(str(error))

    answer = loop.create_future()
    loop.call_soon(callback, answer)
    assert loop.run_until_complete(answer) == "Timeout should be used inside a task"


def test_without_a_loop(kit):
    with pytest.raises(RuntimeError, match="no running event loop"):
        kit.timeout(1)
    assert kit.timeout_at(1).when() == 1


def test_wrong_arguments(run, kit):
    async def main():
        with pytest.raises(TypeError):
            kit.timeout("1")
        for wrong in "1", object():
            with pytest.raises(TypeError):
                async with kit.timeout_at(wrong):
                    pytest.fail("entered")
        for call in kit.timeout, kit.timeout_at, kit.Timeout:
            for args in (), (1, 2):
                with pytest.raises(TypeError):
                    call(*args)

    run(main)
    assert str(inspect.signature(kit.timeout)).replace(" ", "").startswith("(delay")
    assert str(inspect.signature(kit.timeout_at)).replace(" ", "").startswith("(when")


def test_cancelled_from_outside(run, kit):
    async def main():
        async def body():
            async with kit.timeout(1000):
                await asyncio.sleep(1000)

        task = asyncio.create_task(body())
        await asyncio.sleep(0)
        task.cancel("stop")
        with pytest.raises(asyncio.CancelledError, match="stop"):
            await task
        assert task.cancelling() == 1
        assert scheduled(asyncio.get_running_loop(), 900) == []

    run(main)


def test_cancelled_from_outside_when_it_expires(run, kit):
    async def main():
        async def body():
            async with kit.timeout(0):
                task.cancel()
                await asyncio.sleep(1000)

        task = asyncio.create_task(body())
        with pytest.raises((asyncio.CancelledError, TimeoutError)):
            await task
        return task.cancelled(), task.cancelling()

    assert run(main) == (True, 1)


def test_another_exception_when_it_expires(run, kit):
    """From 3.13 on the cancellation in its context becomes a TimeoutError."""

    async def main():
        with pytest.raises(ZeroDivisionError) as caught:
            async with kit.timeout(0):
                try:
                    await asyncio.sleep(1000)
                finally:
                    1 / 0
        return type(caught.value.__context__)

    handles_others = hasattr(asyncio.Timeout, "_insert_timeout_error")
    assert run(main) is (TimeoutError if handles_others else asyncio.CancelledError)


def test_nested(run, kit):
    async def main():
        outer = inner = None
        with pytest.raises(TimeoutError):
            async with kit.timeout(0.005) as outer:
                async with kit.timeout(1000) as inner:
                    await asyncio.sleep(1000)
        assert outer.expired() and not inner.expired()
        async with kit.timeout(1000) as outer:
            with pytest.raises(TimeoutError):
                async with kit.timeout(0.005) as inner:
                    await asyncio.sleep(1000)
        assert inner.expired() and not outer.expired()

    run(main)


def test_swallowed(run, kit):
    """A body that swallows the cancellation leaves the block without an exception."""

    async def main():
        async with kit.timeout(0) as scope:
            with pytest.raises(asyncio.CancelledError):
                await asyncio.sleep(1000)
        assert scope.expired() and asyncio.current_task().cancelling() == 0

    run(main)


def test_by_hand(run, kit):
    """As contextlib.AsyncExitStack does it."""

    async def main():
        scope = kit.timeout(1000)
        assert await scope.__aenter__() is scope
        assert await scope.__aexit__(exc_type=None, exc_val=None, exc_tb=None) is None
        assert repr(scope) == "<Timeout [finished]>"
        coroutine = kit.timeout(1000).__aenter__()
        assert asyncio.iscoroutine(coroutine) and coroutine.__name__ == "__aenter__"
        with pytest.raises(StopIteration):
            coroutine.send(None)

    run(main)


def test_in_debug_mode(run, kit):
    async def main():
        asyncio.get_running_loop().set_debug(True)
        async with kit.timeout(1000):
            await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            async with kit.timeout(0.001):
                await asyncio.sleep(1000)

    run(main)


def test_asks_the_methods_that_replaced_the_loops(run, loop, kit):
    asked = []

    async def main():
        call_at = loop.call_at
        loop.call_at = lambda when, *args, **kwargs: asked.append(when) or call_at(when, *args, **kwargs)
        async with kit.timeout(1000) as scope:
            assert asked == [scope.when()]
        del loop.call_at
        loop.time = lambda: 5.0
        assert kit.timeout(2).when() == 7.0
        del loop.time

    run(main)


def test_dropped_with_its_coroutine(run, kit):
    async def main():
        async def body():
            async with kit.timeout(1000) as scope:
                seen.append(weakref.ref(scope))
                del scope
                await asyncio.sleep(1000)

        seen = []
        coroutine = body()
        task = asyncio.create_task(coroutine)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        del task, coroutine
        gc.collect()
        assert scheduled(asyncio.get_running_loop(), 900) == []
        assert seen[0]() is None

    run(main)


def test_is_freed_at_once(run, kit):
    async def main():
        async def body():
            async with kit.timeout(1000) as scope:
                return weakref.ref(scope)

        gc.disable()
        try:
            seen = await body()
            await asyncio.sleep(0)
            return seen() is None
        finally:
            gc.enable()

    assert run(main)

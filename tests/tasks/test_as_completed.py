"""as_completed(): the same bodies on asyncio's and on treadle's, on loops of both."""

import asyncio
import gc
import sys

import pytest
from support.awaitables import Foreign, fails, value

LONG = 3600
BOTH_WAYS = sys.version_info >= (3, 13)


@pytest.mark.parametrize("timeout", [None, LONG, 1.5])
@pytest.mark.parametrize("collection", [list, tuple, set, iter])
def test_results_as_they_come(run, functions, timeout, collection):
    async def main():
        awaitables = collection([value(3, 30), value(1, 2), asyncio.ensure_future(value(2, 15))])
        return [await each for each in functions.as_completed(awaitables, timeout=timeout)]

    assert run(main) == [1, 2, 3]


def test_async_for(run, functions):
    if not BOTH_WAYS:
        pytest.skip("async for came with 3.13")

    async def main():
        task, future = asyncio.ensure_future(value(1, 2)), asyncio.Future()
        asyncio.get_running_loop().call_later(0.01, future.set_result, 2)
        found = [each async for each in functions.as_completed([future, task, value(0)])]
        assert found[1:] == [task, future] and [each.result() for each in found] == [0, 1, 2]

    run(main)


def test_the_same_more_than_once(run, functions):
    async def main():
        coro, task = value("coro"), asyncio.ensure_future(value("task", 4))
        found = [await each for each in functions.as_completed([coro, task, coro, task, Foreign()])]
        assert sorted(found) == ["coro", "foreign", "task"]

    run(main)


def test_exceptions(run, functions):
    async def main():
        error = ZeroDivisionError()
        first, second = functions.as_completed([fails(error), value(1, 5)])
        with pytest.raises(ZeroDivisionError) as caught:
            await first
        assert caught.value is error and await second == 1

    run(main)


def test_timeouts(run, functions):
    async def main():
        quick, never = asyncio.ensure_future(value(1)), asyncio.Future()
        first, second = functions.as_completed([quick, never], timeout=0.01)
        assert await first == 1
        with pytest.raises(TimeoutError):
            await second
        assert not never.cancelled() and "_handle_completion" not in repr(never)
        assert "_on_completion" not in repr(never)

    run(main)


def test_timeout_of_async_for(run, functions):
    if not BOTH_WAYS:
        pytest.skip("async for came with 3.13")

    async def main():
        found = []
        with pytest.raises(TimeoutError):
            async for each in functions.as_completed([value(1), asyncio.Future()], timeout=0.01):
                found.append(await each)
        assert found == [1]

    run(main)


def test_awaited_in_any_order(run, functions):
    async def main():
        waiting = list(functions.as_completed([value(1, 1), value(2, 9), value(3, 19)]))
        found = await asyncio.gather(*reversed(waiting))
        assert found == [1, 2, 3]

    run(main)


def test_a_cancelled_wait_loses_nothing(run, functions):
    async def main():
        future = asyncio.Future()
        first, second = functions.as_completed([future, value(2, 9)])
        waits = asyncio.ensure_future(first)
        await value(None, 2)
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
        assert await second == 2

    run(main)


def test_nothing(run, functions):
    async def main():
        assert list(functions.as_completed([])) == []
        if BOTH_WAYS:
            assert [each async for each in functions.as_completed([])] == []

    run(main)


def test_one_awaitable_is_none(run, functions):
    async def main():
        coro = value(1)
        message = "expects an iterable of awaitables, not " if BOTH_WAYS else "expect an iterable of futures, not "
        for bad in (asyncio.Future(), coro):
            with pytest.raises(TypeError) as caught:
                list(functions.as_completed(bad))
            assert str(caught.value) == message + type(bad).__name__
        coro.close()
        with pytest.raises(TypeError):
            list(functions.as_completed([1]))
        with pytest.raises(TypeError):
            functions.as_completed([coro], 1)

    run(main)


def test_who_awaits_them(run, functions):
    if not hasattr(asyncio, "future_add_to_awaited_by"):
        pytest.skip("futures know who awaits them from 3.14 on")

    async def main():
        me = asyncio.current_task()
        quick, never = asyncio.ensure_future(value(1, 2)), asyncio.Future()
        first, second = functions.as_completed([quick, never], timeout=0.01)
        assert quick._asyncio_awaited_by == never._asyncio_awaited_by == {me}
        await first
        assert quick._asyncio_awaited_by is None and never._asyncio_awaited_by == {me}
        with pytest.raises(TimeoutError):
            await second
        assert not never._asyncio_awaited_by

    run(main)


def test_what_is_not_awaited_is_warned_of(run, functions):
    async def main():
        first, second = functions.as_completed([value(1), value(2, 3)])
        assert await first == 1
        with pytest.warns(RuntimeWarning, match="was never awaited"):
            del second
            gc.collect()
        await value(None, 5)

    run(main)


def test_debug_mode(run, loop, functions):
    loop.set_debug(True)

    async def main():
        assert [await each for each in functions.as_completed([value(1), value(2, 5)])] == [1, 2]

    run(main)

"""sleep(): asyncio's and treadle's."""

import asyncio
import collections.abc
import gc
import inspect
import math
import pickle
import warnings
from unittest import mock

import pytest
import treadle


@pytest.fixture(params=[asyncio.sleep, treadle.sleep], ids=["asyncio's", "treadle's"])
def sleep(request):
    return request.param


def test_gives_the_result(run, sleep):
    async def main():
        assert await sleep(0) is None
        assert await sleep(-1, "a") == "a"
        assert await sleep(0, result="b") == "b"
        assert await sleep(delay=0.001, result=("c",)) == ("c",)
        assert await sleep(0.001) is None

    run(main)


def test_zero_lets_others_run_once(run, sleep):
    async def main():
        seen = []

        async def other(name):
            for _ in range(3):
                seen.append(name)
                await sleep(0)

        await asyncio.gather(other("a"), other("b"))
        assert seen == ["a", "b"] * 3

    run(main)


def test_never_early(run, sleep):
    async def main():
        loop = asyncio.get_running_loop()
        for delay in 0.001, 0.0101:
            before = loop.time()
            await sleep(delay)
            assert loop.time() - before >= delay - loop._clock_resolution

    run(main)


def test_in_order_of_time(run, sleep):
    async def main():
        seen = []

        async def one(delay):
            seen.append(await sleep(delay, delay))

        await asyncio.gather(*[one(delay) for delay in (0.03, 0.01, 0.02)])
        assert seen == [0.01, 0.02, 0.03]

    run(main)


@pytest.mark.parametrize("delay", [0, 10])
def test_cancelled(run, sleep, delay):
    async def main():
        task = asyncio.create_task(sleep(delay))
        await asyncio.sleep(0)
        if delay == 0 and task.done():
            pytest.fail("it has not given up its turn")
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await task
        loop = asyncio.get_running_loop()
        assert all(handle.cancelled() for handle in loop._scheduled if handle.when() < loop.time() + 20)

    run(main)


def test_not_a_number(run, sleep):
    async def main():
        if "isnan" in asyncio.sleep.__code__.co_names:
            with pytest.raises(ValueError, match="NaN"):
                await sleep(math.nan)
        with pytest.raises(TypeError):
            await sleep("1")
        with pytest.raises(TypeError):
            await sleep(None)

    run(main)


def test_arguments(sleep):
    for args, kwargs in ((), {}), ((1, 2, 3), {}), ((1,), {"delay": 1}), ((1,), {"loop": None}):
        with pytest.raises(TypeError):
            sleep(*args, **kwargs)


def test_other_numbers(run, sleep):
    class Number:
        def __init__(self, value):
            self.value = value

        def __le__(self, other):
            return self.value <= other

        def __float__(self):
            return self.value

        def __radd__(self, other):
            return self.value + other

    async def main():
        assert await sleep(Number(0), 1) == 1
        assert await sleep(Number(0.001), 2) == 2

    run(main)


def test_in_debug_mode(run, sleep):
    async def main():
        asyncio.get_running_loop().set_debug(True)
        assert await sleep(0, 1) == 1
        assert await sleep(0.001, 2) == 2

    run(main)


def test_calls_what_was_put_in_place_of_the_loops_methods(run, loop, sleep):
    called = []
    call_later = loop.call_later

    def replaced(*args, **kwargs):
        called.append(args[0])
        return call_later(*args, **kwargs)

    async def main():
        loop.call_later = replaced
        await sleep(0.0012)
        del loop.call_later
        await sleep(0.001)

    run(main)
    assert called == [0.0012]


def test_does_nothing_before_it_is_awaited(run, loop, sleep):
    coroutine = sleep(0.001, "made before the loop ran")
    assert run(lambda: coroutine) == "made before the loop ran"
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        coroutine.send(None)


def test_without_a_loop(sleep):
    coroutine = sleep(1)
    with pytest.raises(RuntimeError, match="no running event loop"):
        coroutine.send(None)


def test_is_a_coroutine(run, sleep):
    coroutine = sleep(0)
    assert asyncio.iscoroutine(coroutine) and isinstance(coroutine, collections.abc.Coroutine)
    assert "coroutine object sleep at" in repr(coroutine)
    assert coroutine.__name__ == coroutine.__qualname__ == "sleep"
    assert not coroutine.cr_running
    coroutine.close()

    async def main():
        task = asyncio.create_task(sleep(1), name="sleeper")
        await asyncio.sleep(0)
        assert "name='sleeper'" in repr(task) and len(task.get_stack()) <= 1
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    run(main)


def test_call_graph(run, sleep):
    if not hasattr(asyncio, "format_call_graph"):
        pytest.skip("the call graph came with 3.14")

    async def sleeper():
        await sleep(1000)

    async def main():
        tasks = [asyncio.create_task(sleeper()), asyncio.create_task(sleep(1000))]
        await asyncio.sleep(0)
        assert "sleeper()" in asyncio.format_call_graph(tasks[0])
        assert "Task" in asyncio.format_call_graph(tasks[1])
        for task in tasks:
            task.cancel()

    run(main)


def test_one_that_is_never_awaited_is_warned_of(sleep):
    with pytest.warns(RuntimeWarning, match="coroutine 'sleep' was never awaited"):
        sleep(1)
        gc.collect()


def test_one_that_is_dropped_gives_its_timer_up(run, sleep):
    async def main():
        coroutine = sleep(100)
        future = coroutine.send(None)
        assert asyncio.isfuture(future) and future._asyncio_future_blocking
        coroutine.close()
        loop = asyncio.get_running_loop()
        assert all(handle.cancelled() for handle in loop._scheduled if handle.when() > loop.time() + 90)
        coroutine = sleep(100)
        coroutine.send(None)
        with pytest.raises(RuntimeError, match="await wasn't used with future"):
            coroutine.send(None)

    run(main)


def test_passes_for_a_coroutine_function(sleep):
    assert inspect.iscoroutinefunction(sleep)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert asyncio.iscoroutinefunction(sleep)
    assert str(inspect.signature(sleep)) == "(delay, result=None)"
    assert sleep.__name__ == "sleep" and sleep.__doc__.startswith("Coroutine that completes")
    assert pickle.loads(pickle.dumps(sleep)) is sleep
    with mock.patch(f"{sleep.__module__}.sleep") as mocked:
        assert isinstance(mocked, mock.AsyncMock)


def test_no_garbage(run, sleep):
    async def main():
        for _ in range(3):
            await sleep(0)
            await sleep(0.001)
        gc.collect()
        gc.disable()
        try:
            for _ in range(100):
                await sleep(0)
                await sleep(0.0001)
            assert gc.collect() == 0
        finally:
            gc.enable()

    run(main)


def test_names_of_modules():
    """The function's module is where one finds it, that of its class a string as well."""
    assert treadle.sleep.__module__ == "treadle"
    assert type(treadle.sleep).__module__ == "treadle._native"

"""wait_for(): the same bodies on asyncio's and on treadle's, on loops of both."""

import asyncio
import gc
import inspect
import sys
import weakref

import pytest
from support.awaitables import Foreign, fails, value

LONG = 3600
IN_TASK = sys.version_info >= (3, 12)  # before, what is awaited is a task of its own


def done_future(of):
    future = asyncio.Future()
    future.set_result(of)
    return future


@pytest.mark.parametrize("timeout", [None, LONG, float(LONG), 10**30])
def test_results(run, functions, timeout):
    async def main():
        assert await functions.wait_for(value(1), timeout) == 1
        assert await functions.wait_for(value(2, 3), timeout) == 2
        assert await functions.wait_for(done_future(3), timeout) == 3
        assert await functions.wait_for(asyncio.ensure_future(value(4, 3)), timeout) == 4
        assert await functions.wait_for(Foreign(), timeout) == "foreign"
        assert await functions.wait_for(functions.wait_for(value(5, 2), timeout), timeout=timeout) == 5

    if timeout == 10**30 and not IN_TASK:
        pytest.skip("before 3.12 so long a timeout is as good as any")
    run(main)


def test_exceptions(run, functions):
    async def main():
        error = ZeroDivisionError("why")
        for awaitable in (fails(error), fails(error, 3), asyncio.ensure_future(fails(error, 3))):
            with pytest.raises(ZeroDivisionError) as caught:
                await functions.wait_for(awaitable, LONG)
            assert caught.value is error
        failed = asyncio.Future()
        failed.set_exception(error)
        with pytest.raises(ZeroDivisionError, match="why"):
            await functions.wait_for(failed, LONG)

    run(main)


@pytest.mark.parametrize("of", ["coroutine", "task", "future", "wait_for"])
def test_timeouts(run, functions, of):
    async def main():
        inner = asyncio.Future()
        kinds = {
            "coroutine": lambda: asyncio.sleep(LONG),
            "task": lambda: asyncio.ensure_future(asyncio.sleep(LONG)),
            "future": lambda: inner,
            "wait_for": lambda: functions.wait_for(inner, LONG),
        }
        awaited = kinds[of]()
        with pytest.raises(TimeoutError) as caught:
            await functions.wait_for(awaited, 0.01)
        assert type(caught.value.__cause__) is asyncio.CancelledError
        assert caught.value.args == () and caught.value.__context__ is caught.value.__cause__
        assert asyncio.current_task().cancelling() == 0
        if of != "coroutine":
            assert inner.cancelled() or awaited.cancelled()

    run(main)


@pytest.mark.parametrize("timeout", [0, -1, 0.0])
def test_no_time(run, functions, timeout):
    async def main():
        assert await functions.wait_for(done_future(1), timeout) == 1
        with pytest.raises(TimeoutError):
            await functions.wait_for(asyncio.sleep(LONG), timeout)

    run(main)


def test_cancelled_from_outside(run, functions):
    async def main():
        inner = asyncio.ensure_future(asyncio.sleep(LONG))
        task = asyncio.ensure_future(functions.wait_for(inner, LONG))
        await value(None, 3)
        task.cancel("because")
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert inner.cancelled() and task.cancelled()
        assert caught.value.args == ("because",) or not IN_TASK

    run(main)


def test_what_does_not_want_to_be_cancelled(run, functions):
    """What it returns in the end counts, though the time was over."""

    async def stubborn():
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            return "all the same"

    async def main():
        assert await functions.wait_for(stubborn(), 0.01) == "all the same"
        assert asyncio.current_task().cancelling() == 0

    run(main)


def test_another_exception_than_that_of_cancelling(run, functions):
    async def breaks():
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            raise ZeroDivisionError("on the way") from None

    async def breaks_in_a_group():
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            raise ExceptionGroup("several", [KeyError("one")])

    async def main():
        with pytest.raises(ZeroDivisionError) as caught:
            await functions.wait_for(breaks(), 0.01)
        noted = type(caught.value.__context__)
        with pytest.raises(ExceptionGroup) as group:
            await functions.wait_for(breaks_in_a_group(), 0.01)
        return noted, type(group.value.__context__)

    expected = TimeoutError if sys.version_info >= (3, 13) else asyncio.CancelledError
    assert run(main) == (expected, expected)


def test_cancelled_and_too_late_at_once(run, functions):
    """Who asked the task to cancel has the last word."""

    async def main():
        async def wait():
            await functions.wait_for(asyncio.sleep(LONG), 0.01)

        task = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.005, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)


def test_the_timer_keeps_nothing(run, functions):
    async def main():
        gone = []

        async def leaves():
            class Thing:
                pass

            thing = Thing()
            gone.append(weakref.ref(thing))
            return thing

        await functions.wait_for(leaves(), LONG)
        await asyncio.sleep(0)
        gc.collect()
        assert gone[0]() is None

    run(main)


def test_where_no_task_runs(loop, functions):
    if not IN_TASK:
        pytest.skip("before 3.12 any coroutine could wait so")
    raised = []

    def step():
        coro = functions.wait_for(inner, LONG)
        try:
            coro.send(None)
        except RuntimeError as error:
            raised.append(str(error))

    inner = value(1)
    loop.call_soon(step)
    loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(asyncio.sleep(0))
    inner.close()
    assert raised == ["Timeout should be used inside a task"]


def test_a_coroutine_that_is_awaited_already(run, functions):
    async def main():
        coro = value(1, 5)
        task = asyncio.ensure_future(functions.wait_for(coro, LONG))
        await value(None, 2)
        with pytest.raises(RuntimeError):
            await functions.wait_for(coro, LONG)
        task.cancel()
        await asyncio.wait([task])

    if not IN_TASK:
        pytest.skip("before 3.12 each wait makes a task of its own")
    run(main)


def test_arguments(run, functions):
    async def main():
        with pytest.raises(TypeError, match="timeout"):
            await functions.wait_for(asyncio.Future())
        with pytest.raises(TypeError):
            await functions.wait_for(1, 1)
        with pytest.raises(TypeError):
            await functions.wait_for(asyncio.Future(), "1")
        assert await functions.wait_for(fut=done_future(1), timeout=1) == 1

    run(main)


def test_it_is_a_coroutine_function(functions):
    assert inspect.iscoroutinefunction(functions.wait_for)
    assert list(inspect.signature(functions.wait_for).parameters) == ["fut", "timeout"]
    coro = functions.wait_for(None, None)
    assert asyncio.iscoroutine(coro) and inspect.isawaitable(coro)
    coro.close()


def test_dropped_while_it_waits(run, functions):
    async def main():
        closed = []

        async def inner():
            try:
                await asyncio.Future()
            finally:
                closed.append(True)

        coro = functions.wait_for(inner(), LONG)
        coro.send(None)
        coro.close()
        assert closed == [True]

    if not IN_TASK:
        pytest.skip("before 3.12 what is awaited is a task of its own")
    run(main)


def test_debug_mode(run, loop, functions):
    loop.set_debug(True)

    async def main():
        assert await functions.wait_for(value(1, 2), LONG) == 1
        with pytest.raises(TimeoutError):
            await functions.wait_for(asyncio.sleep(LONG), 0.01)

    run(main)

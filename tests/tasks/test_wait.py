"""wait(): the same bodies on asyncio's and on treadle's, on loops of both."""

import asyncio
import inspect

import pytest
from support.awaitables import fails, value

LONG = 3600
MODES = [asyncio.ALL_COMPLETED, asyncio.FIRST_COMPLETED, asyncio.FIRST_EXCEPTION]


def tasks(*turns):
    return [asyncio.ensure_future(value(n, n)) for n in turns]


@pytest.mark.parametrize("timeout", [None, LONG, 1.5])
@pytest.mark.parametrize("collection", [list, tuple, set, frozenset, iter, dict.fromkeys])
def test_all(run, functions, timeout, collection):
    async def main():
        all = tasks(3, 0, 1)
        done, pending = await functions.wait(collection(all), timeout=timeout)
        assert type(done) is type(pending) is set
        assert done == set(all) and pending == set()

    run(main)


def test_the_first(run, functions):
    async def main():
        all = tasks(20, 1, 30)
        done, pending = await functions.wait(all, return_when=asyncio.FIRST_COMPLETED)
        assert done == {all[1]} and pending == {all[0], all[2]}
        assert "_on_completion" not in repr(all[0])
        done, pending = await functions.wait(pending)
        assert done == {all[0], all[2]} and not pending

    run(main)


def test_the_first_that_fails(run, functions):
    async def main():
        quick, slow = tasks(0, 30)
        cancelled = asyncio.Future()
        cancelled.cancel()
        bad = asyncio.ensure_future(fails(KeyError(), 4))
        all = [quick, slow, cancelled, bad]
        done, pending = await functions.wait(all, return_when=asyncio.FIRST_EXCEPTION)
        assert done == {quick, bad, cancelled} and pending == {slow}
        await slow

    run(main)


@pytest.mark.parametrize("mode", MODES)
def test_timeouts(run, functions, mode):
    async def main():
        quick, never = *tasks(1), asyncio.Future()
        done, pending = await functions.wait([never], timeout=0.01, return_when=mode)
        assert done == set() and pending == {never} and not never.cancelled()
        done, pending = await functions.wait([never], timeout=0, return_when=mode)
        assert done == set() and pending == {never}
        await quick

    run(main)


@pytest.mark.parametrize("mode", MODES)
def test_done_before(run, functions, mode):
    async def main():
        futures = [asyncio.Future() for _ in range(2)]
        for future in futures:
            future.set_result(None)
        done, pending = await functions.wait(futures, return_when=mode)
        assert done == set(futures) and not pending

    run(main)


def test_the_same_more_than_once(run, functions):
    async def main():
        task = tasks(2)[0]
        assert await functions.wait([task, task, task]) == ({task}, set())

    run(main)


def test_cancelling(run, functions):
    async def main():
        all = tasks(30, 40)
        waiting = asyncio.ensure_future(functions.wait(all, timeout=LONG))
        await value(None, 2)
        waiting.cancel("because")
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not any(task.cancelled() for task in all)
        assert not any("_on_completion" in repr(task) for task in all)
        done, pending = await functions.wait(all)
        assert not pending

    run(main)


def test_in_what_turn_it_ends(run, functions):
    log = []

    async def tick():
        for turn in range(8):
            log.append(turn)
            await asyncio.sleep(0)

    async def main():
        ticking = asyncio.ensure_future(tick())
        await functions.wait(tasks(2))
        log.append("waited")
        await ticking

    run(main)
    assert log.index("waited") == 5


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (TypeError, "expect a list of futures, not "),
        (ValueError, "Set of Tasks/Futures is empty."),
        (ValueError, "Invalid return_when value: -1"),
        (TypeError, "Passing coroutines is forbidden, use tasks explicitly."),
    ],
)
def test_bad_arguments(run, functions, error, message):
    async def main():
        coro = value(1)
        arguments = {"expect": (coro, {}), "Set of": ([], {}), "Invali": ([coro], {"return_when": -1})}
        futures, keywords = arguments.get(message[:6], ([coro, asyncio.Future()], {}))
        with pytest.raises(error) as caught:
            await functions.wait(futures, **keywords)
        assert str(caught.value).startswith(message)
        coro.close()

    run(main)


def test_keywords_only(run, functions):
    async def main():
        with pytest.raises(TypeError):
            await functions.wait([asyncio.Future()], 1)
        with pytest.raises(TypeError):
            await functions.wait()

    run(main)


def test_subclasses_of_futures(run, loop, functions):
    class Mine(asyncio.Future):
        pass

    async def main():
        futures = [Mine(loop=loop), asyncio.futures._PyFuture(loop=loop), loop.create_future()]
        for future in futures:
            loop.call_soon(future.set_result, None)
        done, pending = await functions.wait(futures)
        assert done == set(futures) and not pending

    run(main)


def test_who_awaits_them(run, functions):
    if not hasattr(asyncio, "future_add_to_awaited_by"):
        pytest.skip("futures know who awaits them from 3.14 on")

    async def main():
        quick, slow = tasks(2, 20)
        waiting = asyncio.ensure_future(functions.wait([quick, slow], return_when=asyncio.FIRST_COMPLETED))
        await value(None, 1)
        assert quick._asyncio_awaited_by == slow._asyncio_awaited_by == {waiting}
        await waiting
        assert quick._asyncio_awaited_by is slow._asyncio_awaited_by is None
        await slow

    run(main)


def test_it_is_a_coroutine_function(functions):
    assert inspect.iscoroutinefunction(functions.wait)
    assert list(inspect.signature(functions.wait).parameters) == ["fs", "timeout", "return_when"]


def test_debug_mode(run, loop, functions):
    loop.set_debug(True)

    async def main():
        done, pending = await functions.wait(tasks(1, 2))
        assert len(done) == 2 and not pending

    run(main)

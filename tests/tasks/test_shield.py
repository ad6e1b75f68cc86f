"""shield(): the same bodies on asyncio's and on treadle's, on loops of both."""

import asyncio
import gc

import pytest
from support.awaitables import Foreign, fails, value


def test_results(run, functions):
    async def main():
        assert await functions.shield(value(1)) == 1
        assert await functions.shield(asyncio.ensure_future(value(2, 3))) == 2
        assert await functions.shield(Foreign()) == "foreign"
        done = asyncio.Future()
        done.set_result(3)
        assert functions.shield(done) is done and await functions.shield(arg=done) == 3

    run(main)


def test_exceptions(run, functions):
    async def main():
        error = ZeroDivisionError()
        with pytest.raises(ZeroDivisionError) as caught:
            await functions.shield(fails(error, 2))
        assert caught.value is error

    run(main)


def test_cancelling_the_outer_one(run, functions, complaints):
    async def main():
        inner = asyncio.ensure_future(value(1, 5))
        outer = functions.shield(inner)
        assert outer is not inner and outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        assert not inner.done() and await inner == 1

    run(main)
    assert complaints == []


def test_cancelling_who_waits(run, functions):
    async def main():
        inner = asyncio.ensure_future(value(1, 10))

        async def wait():
            await functions.shield(inner)

        task = asyncio.ensure_future(wait())
        await value(None, 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await inner == 1

    run(main)


def test_cancelling_the_inner_one(run, functions):
    async def main():
        inner = asyncio.ensure_future(value(1, 5))
        outer = functions.shield(inner)
        inner.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        assert outer.cancelled()

    run(main)


def test_what_fails_after_the_outer_one_was_cancelled(loop, functions, complaints):
    """Newer versions report it, once, however many shields there were."""
    reported = hasattr(asyncio.tasks, "_log_on_exception")

    async def main():
        inner = asyncio.ensure_future(fails(ZeroDivisionError(), 5))
        for _ in range(2):
            functions.shield(inner).cancel()
        await value(None, 2)
        while not inner.done():
            await asyncio.sleep(0)
        await value(None, 3)

    loop.run_until_complete(main())
    gc.collect()
    messages = [context["message"] for context in complaints]
    if reported:
        assert messages == ["ZeroDivisionError exception in shielded future"]
    else:
        assert messages in ([], ["Task exception was never retrieved"])


def test_both_are_cancelled(run, functions, complaints):
    async def main():
        inner = asyncio.ensure_future(value(1, 5))
        outer = functions.shield(inner)
        outer.cancel()
        inner.cancel()
        await asyncio.wait([inner])
        assert inner.cancelled() and outer.cancelled()

    run(main)
    assert complaints == []


def test_subclasses_of_futures(run, loop, functions):
    class Mine(asyncio.Future):
        pass

    async def main():
        for make in (Mine, asyncio.futures._PyFuture):
            inner = make(loop=loop)
            outer = functions.shield(inner)
            inner.set_result("mine")
            assert await outer == "mine"
            inner = make(loop=loop)
            outer = functions.shield(inner)
            outer.cancel()
            await value(None, 2)
            assert not inner.done() and "_inner_done_callback" not in repr(inner)

    run(main)


def test_who_awaits_the_inner_one(run, functions):
    if not hasattr(asyncio, "future_add_to_awaited_by"):
        pytest.skip("futures know who awaits them from 3.14 on")

    async def main():
        me, inner = asyncio.current_task(), asyncio.ensure_future(value(1, 5))
        outer = functions.shield(inner)
        assert inner._asyncio_awaited_by == {me}
        await outer
        assert inner._asyncio_awaited_by is None
        inner = asyncio.ensure_future(value(1, 5))
        functions.shield(inner).cancel()
        await value(None, 2)
        assert inner._asyncio_awaited_by is None and await inner == 1

    run(main)


def test_without_a_running_loop(loop, functions):
    inner = loop.create_future()
    outer = functions.shield(inner)
    inner.set_result(1)
    assert loop.run_until_complete(outer) == 1


@pytest.mark.parametrize("bad", [1, None, [], "text"])
def test_what_cannot_be_awaited(run, functions, bad):
    async def main():
        with pytest.raises(TypeError, match="An asyncio.Future, a coroutine or an awaitable"):
            functions.shield(bad)

    run(main)


def test_arguments(run, functions):
    async def main():
        with pytest.raises(TypeError):
            functions.shield()
        with pytest.raises(TypeError):
            functions.shield(1, 2)

    run(main)


def test_debug_mode(run, loop, functions):
    loop.set_debug(True)

    async def main():
        assert await functions.shield(value(1, 2)) == 1

    run(main)

"""What a pool's future says is what asyncio's says."""

import asyncio
import concurrent.futures

import pytest
from support import start_thread
from support.bridging import Failure, run


@pytest.mark.parametrize("debug", [False, True], ids=["normal", "debug mode"])
def test_wrapped_result(impl, debug):
    async def main():
        future = impl.Future()
        wrapped = asyncio.wrap_future(future)
        assert asyncio.isfuture(wrapped) and not wrapped.done()
        start_thread(future.set_result, 42)
        return await wrapped

    assert run(main(), debug) == 42


@pytest.mark.parametrize("debug", [False, True], ids=["normal", "debug mode"])
def test_wrapped_exception(impl, debug):
    async def main():
        future, error = impl.Future(), Failure("f")
        wrapped = asyncio.wrap_future(future)
        start_thread(future.set_exception, error)
        with pytest.raises(Failure) as caught:
            await wrapped
        assert caught.value is error

    run(main(), debug)


def test_wrapping_a_done_future(impl):
    async def main():
        done, failed, cancelled = impl.Future(), impl.Future(), impl.Future()
        done.set_result(1)
        failed.set_exception(Failure())
        cancelled.cancel()
        assert await asyncio.wrap_future(done) == 1
        with pytest.raises(Failure):
            await asyncio.wrap_future(failed)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wrap_future(cancelled)

    run(main())


def test_executor_exceptions_become_asyncio_ones(impl):
    async def main():
        for error, expected in (
            (concurrent.futures.CancelledError("c"), asyncio.CancelledError),
            (concurrent.futures.InvalidStateError("i"), asyncio.InvalidStateError),
            (TimeoutError("t"), TimeoutError),
        ):
            future = impl.Future()
            wrapped = asyncio.wrap_future(future)
            future.set_exception(error)
            with pytest.raises(expected):
                await wrapped

    run(main())


def test_cancelling_the_future_cancels_the_asyncio_side(impl):
    async def main():
        future = impl.Future()
        wrapped = asyncio.wrap_future(future)
        start_thread(future.cancel)
        with pytest.raises(asyncio.CancelledError):
            await wrapped
        assert wrapped.cancelled()

    run(main())


def test_gather_returns_exceptions(impl, make_pool):
    pool = make_pool(2)

    async def main():
        loop = asyncio.get_running_loop()
        work = [loop.run_in_executor(pool, divmod, 1, n % 2) for n in range(10)]
        return await asyncio.gather(*work, return_exceptions=True)

    outcomes = run(main())
    assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError, tuple] * 5

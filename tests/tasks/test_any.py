"""Futures of all kinds, given to every function: what has no known layout is used by its methods."""

import asyncio

import pytest


class Slotted(asyncio.Future):
    __slots__ = ()


class Duck:
    """What asyncio takes for a future, and no more."""

    _asyncio_future_blocking = False

    def __init__(self, loop):
        self._inner = asyncio.Future(loop=loop)
        self._loop = loop

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def add_done_callback(self, callback, *, context=None):
        self._inner.add_done_callback(lambda inner: callback(self), context=context)

    def __await__(self):
        return self._inner.__await__()


KINDS = {
    "future": lambda loop: asyncio.Future(loop=loop),
    "loop's": lambda loop: loop.create_future(),
    "subclass": lambda loop: type("Mine", (asyncio.Future,), {})(loop=loop),
    "slotted": lambda loop: Slotted(loop=loop),
    "python": lambda loop: asyncio.futures._PyFuture(loop=loop),
    "duck": Duck,
}


@pytest.fixture(params=KINDS)
def make(request, loop):
    return lambda: KINDS[request.param](loop)


def test_results(run, loop, functions, make):
    async def main():
        future = make()
        loop.call_soon(future.set_result, 1)
        assert await functions.gather(future) == [1]
        future = make()
        loop.call_soon(future.set_result, 2)
        assert await functions.shield(future) == 2
        future = make()
        loop.call_soon(future.set_result, 3)
        assert await functions.wait_for(future, 60) == 3
        future = make()
        loop.call_soon(future.set_result, 4)
        assert await functions.wait([future]) == ({future}, set())
        future = make()
        loop.call_soon(future.set_result, 5)
        assert [await each for each in functions.as_completed([future])] == [5]

    run(main)


def test_exceptions(run, loop, functions, make):
    error = KeyError("why")

    def failing():
        future = make()
        loop.call_soon(future.set_exception, error)
        return future

    async def main():
        for awaitable in (
            functions.gather(failing()),
            functions.shield(failing()),
            functions.wait_for(failing(), 60),
            next(iter(functions.as_completed([failing()]))),
        ):
            with pytest.raises(KeyError) as caught:
                await awaitable
            assert caught.value is error
        future = failing()
        other = make()
        done, pending = await functions.wait([future, other], return_when=asyncio.FIRST_EXCEPTION)
        assert done == {future} and pending == {other} and future.exception() is error
        assert await functions.gather(failing(), return_exceptions=True) == [error]

    run(main)


def test_cancelled(run, loop, functions, make):
    def cancelled():
        future = make()
        loop.call_soon(future.cancel)
        return future

    async def main():
        for awaitable in (
            functions.gather(cancelled()),
            functions.shield(cancelled()),
            functions.wait_for(cancelled(), 60),
            next(iter(functions.as_completed([cancelled()]))),
        ):
            with pytest.raises(asyncio.CancelledError):
                await awaitable
        assert [type(each) for each in await functions.gather(cancelled(), return_exceptions=True)] == [
            asyncio.CancelledError
        ]

    run(main)


def test_cancelling(run, functions, make):
    async def main():
        future = make()
        gathered = functions.gather(future)
        assert gathered.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gathered
        assert future.cancelled()
        future = make()
        with pytest.raises(TimeoutError):
            await functions.wait_for(future, 0.01)
        assert future.cancelled()

    run(main)

"""Awaiting futures and tasks: as asyncio's own iterators do it."""

import asyncio
import collections.abc
import gc
import weakref

import pytest

import treadle

KINDS = {
    "stock": lambda loop: asyncio.Future(loop=loop),
    "native": lambda loop: treadle.LoopFuture(loop=loop),
    "subclass": lambda loop: type("Mine", (treadle.LoopFuture,), {})(loop=loop),
}
VALUES = [None, True, 1, 2**80, 1.5, "text", (1, 2), (), StopIteration(3), ValueError("a value")]


@pytest.fixture
def loop():
    loop = treadle.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture(params=KINDS)
def future(request, loop):
    return KINDS[request.param](loop)


def is_exhausted(iterator):
    """Not asked of asyncio's own: some versions crash."""
    return not type(iterator).__module__.startswith("treadle") or [
        outcome(next, iterator),
        outcome(iterator.send, None),
    ] == [("raised", StopIteration, ())] * 2


def outcome(function, *args):
    try:
        return ("returned", function(*args))
    except BaseException as error:
        return ("raised", type(error), error.args)


@pytest.mark.parametrize("how", ["iter", "await"])
@pytest.mark.parametrize("value", VALUES, ids=[str(i) for i in range(len(VALUES))])
def test_results(future, value, how):
    iterator = iter(future) if how == "iter" else future.__await__()
    assert next(iterator) is future and future._asyncio_future_blocking
    future.set_result(value)
    with pytest.raises(StopIteration) as stop:
        next(iterator) if how == "iter" else iterator.send("ignored")
    assert stop.value.value is value
    assert is_exhausted(iterator)


@pytest.mark.parametrize("value", VALUES, ids=[str(i) for i in range(len(VALUES))])
def test_results_of_an_await(loop, future, value):
    async def main():
        loop.call_soon(future.set_result, value)
        assert await future is value
        assert await future is value

    loop.run_until_complete(main())


def test_results_of_tasks(loop):
    async def give(value):
        return value

    async def main():
        for value in VALUES:
            assert await loop.create_task(give(value)) is value

    loop.run_until_complete(main())


def test_exceptions_keep_their_traceback_and_get_a_context(loop, future):
    error = ValueError("no")

    async def main():
        loop.call_soon(future.set_exception, error)
        try:
            raise KeyError("first")
        except KeyError as first:
            with pytest.raises(ValueError) as caught:
                await future
            assert caught.value is error and error.__context__ is first
        assert error.__traceback__ is not None

    loop.run_until_complete(main())


def test_cancellation(loop, future):
    async def main():
        loop.call_soon(future.cancel, "why")
        with pytest.raises(asyncio.CancelledError, match="^why$"):
            await future

    loop.run_until_complete(main())


def test_yielded_twice(future):
    iterator = iter(future)
    next(iterator)
    with pytest.raises(RuntimeError, match="^await wasn't used with future$"):
        next(iterator)


def test_close(future):
    iterator = iter(future)
    next(iterator)
    assert iterator.close() is None
    assert is_exhausted(iterator)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("ends", [True, False])
def test_throw(loop, ends):
    """Whatever is thrown in, the same comes of it as with asyncio's own."""
    raised = KeyError("in")
    given = (
        [(KeyError,), (raised,), (KeyError, "in"), (KeyError, raised), (TypeError("mine"),), (StopIteration(1),)]
        if ends
        else [(), (1,), (int,), (raised, "more"), (KeyError, "in", 1), (1, 2, 3, 4)]
    )
    for args in given:
        seen = []
        for kind in KINDS.values():
            future = kind(loop)
            iterator = iter(future)
            next(iterator)
            seen.append(outcome(iterator.throw, *args))
            if ends:
                assert is_exhausted(iterator)
            else:
                future.set_result("done")
                assert outcome(next, iterator) == ("raised", StopIteration, ("done",))
        assert seen[0] == seen[1] == seen[2]


def test_uninitialized():
    future = treadle.LoopFuture.__new__(treadle.LoopFuture)
    with pytest.raises(RuntimeError, match="^Future object is not initialized.$"):
        iter(future)


def test_what_it_is(future):
    iterator = iter(future)
    assert isinstance(iterator, collections.abc.Generator)
    assert iter(iterator) is iterator


def test_it_is_not_made_by_hand(loop):
    with pytest.raises(TypeError):
        type(iter(loop.create_future()))()


@pytest.mark.parametrize("kind", KINDS)
def test_collected_in_a_cycle(loop, kind):
    future = KINDS[kind](loop)
    future.add_done_callback([iter(future)].append)
    gone = weakref.ref(future)
    del future
    gc.collect()
    assert gone() is None

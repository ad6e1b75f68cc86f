"""gather(): the same bodies on asyncio's and on treadle's, on loops of both."""

import asyncio
import contextvars
import functools
import gc
import sys
import weakref

import pytest
import treadle
from support.awaitables import Foreign, fails, value

late = functools.partial(value, turns=3)


def test_results_in_the_order_of_the_arguments(run, functions):
    async def main():
        assert await functions.gather(value(1, 5), value(2), late(3), Foreign(4)) == [1, 2, 3, 4]

    run(main)


@pytest.mark.parametrize("count", [1, 2, 17, 2000])
def test_many(run, functions, count):
    async def main():
        assert await functions.gather(*[value(n) for n in range(count)]) == list(range(count))

    run(main)


def test_one_argument_more_than_once(run, functions):
    async def main():
        future = asyncio.ensure_future(late("future"))
        coro, foreign = value("coro"), Foreign("foreign")
        assert await functions.gather(coro, future, coro, future) == ["coro", "future"] * 2
        assert await functions.gather(foreign, future, foreign) == ["foreign", "future", "foreign"]

    run(main)


def test_arguments_that_are_equal(run, functions):
    class Same(Foreign):
        def __eq__(self, other):
            return isinstance(other, Same)

        def __hash__(self):
            return 1

    async def main():
        assert await functions.gather(Same(1), value(2), Same(3)) == [1, 2, 1]

    run(main)


def test_the_first_exception(run, functions):
    async def main():
        slow = asyncio.ensure_future(value("slow", 20))
        error = ZeroDivisionError("first")
        with pytest.raises(ZeroDivisionError) as caught:
            await functions.gather(slow, fails(error, 2), fails(ValueError("later"), 4))
        assert caught.value is error and not slow.done()
        assert await slow == "slow"

    run(main)


def test_exceptions_among_the_results(run, functions):
    async def main():
        errors = [ZeroDivisionError(), KeyError("key")]
        found = await functions.gather(value(1), *map(fails, errors), return_exceptions=True)
        assert found == [1, *errors]

    run(main)


def test_nobody_complains_of_exceptions_that_came_second(run, functions, complaints):
    async def main():
        with pytest.raises(ZeroDivisionError):
            await functions.gather(fails(ZeroDivisionError(), 1), fails(ValueError(), 4))
        await value(None, 10)
        gc.collect()
        assert complaints == []

    run(main)


def test_a_child_is_cancelled(run, functions):
    async def main():
        children = [asyncio.ensure_future(late(n)) for n in range(3)]
        gathered = functions.gather(*children)
        children[1].cancel("because")
        with pytest.raises(asyncio.CancelledError) as caught:
            await gathered
        assert caught.value.args == ("because",)
        assert not gathered.cancelled() and type(gathered.exception()) is asyncio.CancelledError

    run(main)


@pytest.mark.parametrize("message", [None, "because"])
def test_a_cancelled_child_among_the_results(run, functions, message):
    async def main():
        children = [asyncio.ensure_future(value(0)), asyncio.Future(), asyncio.ensure_future(late(2))]
        children[1].cancel(message)
        first, second, third = await functions.gather(*children, return_exceptions=True)
        assert (first, third) == (0, 2) and type(second) is asyncio.CancelledError
        assert second.args == ("" if message is None else message,)

    run(main)


@pytest.mark.parametrize("return_exceptions", [False, True])
def test_cancelling_what_is_gathered(run, functions, return_exceptions):
    async def main():
        done = asyncio.ensure_future(value(1))
        children = [asyncio.ensure_future(value(n, 20)) for n in range(2)]
        gathered = functions.gather(done, *children, return_exceptions=return_exceptions)
        await asyncio.sleep(0)
        assert gathered.cancel("because") and not gathered.done()
        with pytest.raises(asyncio.CancelledError):
            await gathered
        assert all(child.cancelled() for child in children) and done.result() == 1
        assert not gathered.cancel()

    run(main)


def test_cancelling_who_waits(run, functions):
    async def main():
        children = [asyncio.ensure_future(value(n, 20)) for n in range(2)]

        async def wait():
            await functions.gather(*children)

        task = asyncio.ensure_future(wait())
        await late(None)
        task.cancel("because")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert all(child.cancelled() for child in children)

    run(main)


def test_futures_of_several_loops(run, functions, kind):
    other = kind.loop()

    async def main():
        future, foreign = asyncio.Future(), kind.Future(loop=other)
        with pytest.raises(ValueError, match="The future belongs to a different loop"):
            functions.gather(future, foreign)

    run(main)
    other.close()


@pytest.mark.parametrize("bad", [1, "text", {}, None, lambda: None])
def test_what_cannot_be_awaited(run, functions, bad):
    async def main():
        with pytest.raises(TypeError):
            functions.gather(asyncio.Future(), bad)

    run(main)


def test_keywords(run, functions):
    async def main():
        coro = value(1)
        with pytest.raises(TypeError, match=r"gather\(\) got an unexpected keyword argument 'loop'"):
            functions.gather(coro, loop=None)
        coro.close()

    run(main)


def test_nothing(run, functions):
    async def main():
        gathered = functions.gather()
        assert gathered.done() and await gathered == []

    run(main)


def test_without_a_running_loop(loop, functions):
    futures = [loop.create_future() for _ in range(2)]
    gathered = functions.gather(*futures)
    for n, future in enumerate(futures):
        future.set_result(n)
    assert loop.run_until_complete(gathered) == [0, 1]


def test_done_before(run, functions):
    """From 3.12 on nothing is waited for if all are done; before, it takes a turn."""

    async def main():
        futures = [asyncio.Future() for _ in range(2)]
        for n, future in enumerate(futures):
            future.set_result(n)
        gathered = functions.gather(*futures)
        assert gathered.done() is (sys.version_info >= (3, 12))
        assert await gathered == [0, 1]

    run(main)


def test_eager_tasks(run, loop, functions):
    if sys.version_info < (3, 12):
        pytest.skip("eager tasks came with 3.12")
    loop.set_task_factory(asyncio.eager_task_factory)

    async def main():
        gathered = functions.gather(value(1), value(2))
        assert gathered.done() and await gathered == [1, 2]
        assert await functions.gather(value(1), late(2)) == [1, 2]
        with pytest.raises(ZeroDivisionError):
            await functions.gather(late(1), fails(ZeroDivisionError()))

    run(main)


def test_a_task_factory(run, loop, functions):
    made = []

    def factory(loop, coro, **kwargs):
        made.append(asyncio.Task(coro, loop=loop, **kwargs))
        return made[-1]

    async def main():
        made.clear()
        assert await functions.gather(value(1), value(2)) == [1, 2] and len(made) == 2

    loop.set_task_factory(factory)
    run(main)


def test_subclasses_of_futures(run, loop, functions):
    asked = []

    class Mine(asyncio.Future):
        def exception(self):
            asked.append("exception")
            return super().exception()

        def result(self):
            asked.append("result")
            return super().result()

    async def main():
        future = Mine(loop=loop)
        loop.call_soon(future.set_result, "mine")
        assert await functions.gather(future, value(1)) == ["mine", 1]
        assert asked == ["exception", "exception", "result"]

    run(main)


def test_futures_written_in_python(run, loop, functions):
    async def main():
        futures = [asyncio.futures._PyFuture(loop=loop) for _ in range(2)]
        gathered = functions.gather(*futures, return_exceptions=True)
        futures[0].set_result("python")
        futures[1].cancel("because")
        first, second = await gathered
        assert first == "python" and type(second) is asyncio.CancelledError

    run(main)


def test_in_what_turn_it_ends(run, loop, functions):
    log = []

    async def tick():
        for turn in range(8):
            log.append(turn)
            await asyncio.sleep(0)

    async def main():
        ticking = asyncio.ensure_future(tick())
        await functions.gather(value(1), value(2, 2))
        log.append("gathered")
        await ticking

    run(main)
    assert log.index("gathered") == 5


def test_context(run, functions):
    var = contextvars.ContextVar("var", default=0)

    async def look():
        before = var.get()
        var.set(2)
        return before

    async def main():
        var.set(1)
        assert await functions.gather(look(), look()) == [1, 1] and var.get() == 1

    run(main)


def test_debug_mode(run, loop, functions):
    loop.set_debug(True)

    async def main():
        gathered = functions.gather(value(1), late(2))
        assert gathered._source_traceback and await gathered == [1, 2]

    run(main)


def test_how_it_looks(run, functions):
    async def main():
        future = asyncio.Future()
        gathered = functions.gather(future)
        assert repr(gathered).startswith("<_GatheringFuture pending") and isinstance(gathered, asyncio.Future)
        assert "cb=[gather.<locals>._done_callback()" in repr(future)
        assert gathered._children == [future] and not gathered._cancel_requested
        gathered.attribute = 1
        assert weakref.ref(gathered)() is gathered and gathered.attribute == 1
        assert gathered.cancel() and gathered._cancel_requested

    run(main)


def test_who_awaits_the_children(run, functions):
    if not hasattr(asyncio, "future_add_to_awaited_by"):
        pytest.skip("futures know who awaits them from 3.14 on")

    async def main():
        me = asyncio.current_task()
        slow, quick = asyncio.ensure_future(value(1, 20)), asyncio.ensure_future(fails(KeyError()))
        gathered = functions.gather(slow, quick)
        assert slow._asyncio_awaited_by == quick._asyncio_awaited_by == {me}
        with pytest.raises(KeyError):
            await gathered
        left = {me} if not hasattr(asyncio.tasks, "_discard_awaited_by") else None
        assert slow._asyncio_awaited_by == left and quick._asyncio_awaited_by is None
        await slow

    run(main)


def test_a_callback_that_is_replaced_while_gathering(run, loop, functions):
    """The loop's call_soon() may be anybody's: the children's news come by it."""
    seen = []
    original = loop.call_soon

    def call_soon(callback, *args, context=None):
        seen.append(callback)
        return original(callback, *args, context=context)

    async def main():
        loop.call_soon = call_soon
        try:
            assert await functions.gather(value(1), late(2)) == [1, 2]
        finally:
            del loop.call_soon

    run(main)
    assert sum("_done_callback" in getattr(each, "__qualname__", "") for each in seen) == 2


def test_no_reference_is_left(run, functions):
    class Thing:
        pass

    async def main():
        async def make():
            thing = Thing()
            gone.append(weakref.ref(thing))
            return thing

        gone = []
        await functions.gather(make(), make(), make())
        await asyncio.sleep(0)  # the step that it woke refers to it
        gc.collect()
        assert [ref() for ref in gone] == [None] * 3

    run(main)


def test_garbage_that_never_ended(loop, functions, complaints):
    futures = [loop.create_future()]
    gathered = functions.gather(*futures)
    futures.append(gathered)
    futures[0].cycle = futures
    gone = weakref.ref(gathered)
    del futures, gathered
    gc.collect()
    assert gone() is None and complaints == []


def test_where_the_functions_are():
    from treadle import _functions, aio

    for name in ("gather", "shield", "wait_for"):
        assert getattr(treadle, name) is getattr(aio, name) is getattr(_functions, name)
    assert aio.wait is _functions.wait and aio.as_completed is _functions.as_completed
    assert aio.wait is not treadle.wait and aio.as_completed is not treadle.as_completed

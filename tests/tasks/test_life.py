"""How tasks and futures come and go."""

import asyncio
import contextvars
import gc
import os
import sys
import weakref

import pytest
import treadle


async def nothing():
    return "done"


def test_dead_ones_leave_nothing_to_the_next(run, loop):
    """Memory is used again: nothing of the former one may show."""

    async def main():
        for number in range(20):
            future = loop.create_future()
            if number % 3 == 0:
                future.attribute = number
            task = loop.create_task(nothing(), name=f"number {number}")
            if number % 4 == 0:
                task.attribute = number
            reference = weakref.ref(task) if number % 5 == 0 else None
            assert task._callbacks is None and not task.done() and task.cancelling() == 0
            assert not future.done() and future._callbacks is None
            future.add_done_callback(lambda future: None)
            future.set_result(number)
            assert await task == "done" and await future == number
            task.add_done_callback(lambda task: None)
            await asyncio.sleep(0)
            del task, future
            assert reference is None or reference() is None
        for _ in range(20):
            future, task = loop.create_future(), loop.create_task(nothing())
            assert not hasattr(future, "attribute") and not hasattr(task, "attribute")
            assert weakref.getweakrefcount(future) == 0
            await task

    run(main)


def test_destroyed_while_pending(loop, complaints):
    async def forever(loop):
        await loop.create_future()

    task = loop.create_task(forever(loop), name="lost")
    loop.run_until_complete(asyncio.sleep(0))
    reference = weakref.ref(task)
    del task
    gc.collect()
    assert [context["message"] for context in complaints] == ["Task was destroyed but it is pending!"]
    assert complaints[0]["task"].get_name() == "lost"
    complaints.clear()
    gc.collect()
    assert reference() is None and not asyncio.all_tasks(loop)


def test_exceptions_nobody_asked_for(loop, complaints):
    async def fails():
        raise ZeroDivisionError

    future = loop.create_future()
    future.set_exception(ZeroDivisionError())
    task = loop.create_task(fails())
    loop.run_until_complete(asyncio.sleep(0))
    del future, task
    gc.collect()
    assert sorted(context["message"] for context in complaints) == [
        "Future exception was never retrieved",
        "Task exception was never retrieved",
    ]


def test_resurrection(loop, kind):
    kept = []

    class Phoenix(kind.Task):
        def __del__(self):
            kept.append(self)

    task = Phoenix(nothing(), loop=loop)
    loop.run_until_complete(task)
    del task
    gc.collect()
    assert len(kept) == 1 and kept[0].result() == "done"
    kept.clear()


def test_many_leave_no_reference(loop):
    """As many tasks as TREADLE_TASKS_MADE says, and more futures, ended in all ways; afterwards there are no more objects
    and no more memory in blocks than before, and nothing refers to what all of them were given."""

    class Shared:
        """What every task holds: in its result, its exception, its context, its name's place and its coroutine."""

    async def work(future, shared):
        variable.set(shared)
        if future is None:
            raise ZeroDivisionError(shared)
        await future
        return shared

    async def one_round():
        future, never = loop.create_future(), loop.create_future()
        loop.call_soon(future.set_result, shared)
        awaited = [loop.create_task(work(future, shared)) for _ in range(2)]
        lost = [loop.create_task(work(None, shared)), asyncio.Task(work(never, shared), loop=loop, name="lost")]
        unborn = loop.create_task(work(never, shared))
        unborn.cancel("before it began")
        outer = asyncio.gather(*awaited, *lost, unborn, return_exceptions=True)
        await asyncio.sleep(0)
        lost[1].cancel("while it waits")
        await asyncio.shield(awaited[0])
        results = await outer
        assert results[:2] == [shared, shared] and [type(each) for each in results[2:]] == EXCEPTIONS
        assert never.cancelled()

    async def many(count):
        for _ in range(count):
            await asyncio.gather(*[one_round() for _ in range(20)])

    def counts():
        gc.collect()
        return len(gc.get_objects()), sys.getallocatedblocks(), sys.getrefcount(shared)

    EXCEPTIONS = [ZeroDivisionError, asyncio.CancelledError, asyncio.CancelledError]
    variable, shared = contextvars.ContextVar("variable"), Shared()
    # asyncio's own are looked at as well, but not for long
    count = int(os.environ.get("TREADLE_TASKS_MADE", "100000")) // (1 if isinstance(loop, treadle.EventLoop) else 10)
    loop.run_until_complete(many(10))
    before = counts()
    loop.run_until_complete(many(count // (20 * 6)))  # five tasks of a round, and the one that runs it
    objects, blocks, references = (after - earlier for after, earlier in zip(counts(), before, strict=True))
    # an object lost in one task of a thousand would leave more than that
    assert abs(objects) < 50 and blocks < 500 and abs(references) < 5, (objects, blocks, references)


def test_subclasses(run, loop, kind):
    class Task(kind.Task):
        pass

    class Future(kind.Future):
        pass

    async def main():
        future = Future(loop=loop)
        future.note = 1

        async def wait():
            return await future

        task = Task(wait(), loop=loop)
        await asyncio.sleep(0)
        future.set_result("sub")
        assert await task == "sub"

    run(main)


def test_uninitialized(kind):
    future, task = kind.Future.__new__(kind.Future), kind.Task.__new__(kind.Task)
    with pytest.raises(RuntimeError, match="not initialized"):
        future.set_result(None)
    with pytest.raises(RuntimeError, match="not initialized"):
        future.get_loop()
    assert not task.done()
    del future, task
    gc.collect()


def test_names_of_classes():
    """As asyncio's in messages; under their own names in the package."""
    assert treadle.Task.__name__ == "Task" and treadle.LoopFuture.__name__ == "Future"
    assert issubclass(treadle.Task, asyncio.Task) and issubclass(treadle.LoopFuture, asyncio.Future)

"""What acquire(), wait() and the like return, as far as it is like a coroutine."""

import asyncio
import gc
import inspect
import warnings

import pytest
import treadle


def test_it_passes_for_a_coroutine(run, kit):
    async def main():
        lock = kit.Lock()
        coroutine = lock.acquire()
        assert asyncio.iscoroutine(coroutine) and inspect.isawaitable(coroutine)
        assert coroutine.__qualname__ == "Lock.acquire" and coroutine.__name__ == "acquire"
        assert not lock.locked()  # it has not begun
        task = asyncio.create_task(coroutine)
        assert "Lock.acquire()" in repr(task)
        assert task.get_coro() is coroutine
        assert await task is True
        lock.release()
        assert await asyncio.wait_for(lock.acquire(), 5) is True
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(lock.acquire(), 0.01)
        lock.release()
        assert await asyncio.shield(lock.acquire()) is True

    run(main)


def test_awaited_twice(run, kit):
    async def main():
        coroutine = kit.Lock().acquire()
        await coroutine
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            await coroutine

    run(main)


def test_never_awaited(kit):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kit.Event().wait()
        gc.collect()
    assert [str(each.message) for each in caught] == ["coroutine 'Event.wait' was never awaited"]


def test_closed_before_it_began(kit):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        coroutine = kit.Event().wait()
        coroutine.close()
        coroutine.close()
        del coroutine
        gc.collect()


def test_stepped_by_hand(run, kit):
    async def main():
        lock = kit.Lock()
        with pytest.raises(StopIteration) as stop:
            lock.acquire().send(None)
        assert stop.value.value is True
        coroutine = lock.acquire()
        with pytest.raises(TypeError, match="can't send non-None value to a just-started"):
            coroutine.send(1)
        future = coroutine.send(None)
        assert future._asyncio_future_blocking and not future.done()
        with pytest.raises(RuntimeError, match="await wasn't used with future"):
            coroutine.send(None)
        assert not lock._waiters
        with pytest.raises(RuntimeError, match="cannot reuse"):
            coroutine.send(None)

    run(main)


@pytest.mark.parametrize("error", [ValueError("thrown"), asyncio.CancelledError("why")])
def test_thrown_into(run, kit, error):
    async def main():
        lock = kit.Lock()
        await lock.acquire()
        coroutine = lock.acquire()
        coroutine.send(None)
        with pytest.raises(type(error)) as caught:
            coroutine.throw(error)
        assert caught.value is error and not lock._waiters
        fresh = lock.acquire()
        with pytest.raises(type(error)):
            fresh.throw(error)

    run(main)


def test_thrown_a_class():
    coroutine = treadle.Lock().acquire()
    with pytest.raises(KeyError):
        coroutine.throw(KeyError)
    with pytest.raises(TypeError, match="exceptions must be classes or instances deriving from BaseException"):
        coroutine.throw(3)
    with pytest.raises(TypeError, match="throw expected 1 to 3 arguments"):
        coroutine.throw()


def test_closed_while_it_waits(run):
    """asyncio's loses the lock: it passes it on for a CancelledError only."""

    async def main():
        lock = treadle.Lock()
        await lock.acquire()
        first, second = lock.acquire(), asyncio.create_task(lock.acquire())
        first.send(None)
        await asyncio.sleep(0)
        lock.release()  # granted to the first
        first.close()
        assert await asyncio.wait_for(second, 5) is True

    run(main)


def test_dropped_while_it_waits(run):
    """asyncio's loses the lock: it passes it on for a CancelledError only."""

    async def main():
        lock = treadle.Lock()
        await lock.acquire()
        first, second = lock.acquire(), asyncio.create_task(lock.acquire())
        first.send(None)
        await asyncio.sleep(0)
        lock.release()
        del first
        gc.collect()
        assert await asyncio.wait_for(second, 5) is True

    run(main)


@pytest.mark.parametrize("item", [True, 0, 1.5, 1 << 80, (1, 2), StopIteration(3), None, "text", b"bytes"])
def test_results_of_every_kind(run, kit, item):
    """One exception object may serve for several: what is caught by hand stays as it is."""

    async def main():
        queue = kit.Queue()
        for _ in range(3):
            queue.put_nowait(item)
            assert await queue.get() is item
        caught = []
        for _ in range(2):
            queue.put_nowait(item)
            coroutine = queue.get()
            try:
                next(coroutine.__await__())
            except StopIteration as stop:
                caught.append(stop)
        queue.put_nowait(7)
        assert await queue.get() == 7
        assert [stop.value for stop in caught] == [item, item] and caught[0] is not caught[1]

    run(main)


def test_no_loop(kit):
    lock = kit.Lock()
    assert pytest.raises(StopIteration, lock.acquire().send, None).value.value is True
    with pytest.raises((RuntimeError, AttributeError)):
        lock.acquire().send(None)


def test_a_task_factory_and_eager_tasks_see_it(run, kit):
    if not hasattr(asyncio, "eager_task_factory"):
        pytest.skip("eager tasks came with 3.12")

    async def main():
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        lock = kit.Lock()
        assert asyncio.create_task(lock.acquire()).done()
        waiting = asyncio.create_task(lock.acquire())
        assert not waiting.done()
        lock.release()
        assert await waiting is True

    run(main)


def test_a_task_in_python_may_run_it(run, kit):
    async def main():
        event = kit.Event()
        loop = asyncio.get_running_loop()
        task = asyncio.tasks._PyTask(event.wait(), loop=loop)
        await asyncio.sleep(0)
        event.set()
        assert await task is True

    run(main)


@pytest.mark.parametrize("where", ["class", "instance"])
def test_the_loop_is_asked_for_its_futures(factory, kit, where):
    """Tracers put a create_future() in the place of the loop's."""
    made = []

    def create_future(self):
        made.append(base(self))
        return made[-1]

    loop = factory()
    base = type(loop).create_future
    if where == "class":
        loop.close()
        loop = type("Traced", (type(loop),), {"create_future": create_future})()
    else:
        loop.create_future = create_future.__get__(loop)

    async def main():
        event = kit.Event()
        waiting = asyncio.ensure_future(event.wait())
        await asyncio.sleep(0)
        assert waiting._fut_waiter in made
        event.set()
        if where == "instance":
            loop.time = loop.time  # something else is put there
            del loop.create_future
        await waiting
        waiting = asyncio.ensure_future(kit.Event().wait())
        await asyncio.sleep(0)
        assert (waiting._fut_waiter in made) is (where == "class")
        waiting.cancel()

    loop.run_until_complete(main())
    loop.close()

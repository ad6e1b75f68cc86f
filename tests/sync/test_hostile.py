"""Loops, futures and items that do the unexpected: errors perhaps, crashes and lost wake-ups never."""

import asyncio
import gc
import sys
import threading
import weakref

import pytest
import treadle
from support.waiting import dies


class Meddling(treadle.EventLoop):
    """Does something of the test's whenever a callback is scheduled."""

    meddle = None

    def call_soon(self, *args, **kwargs):
        if self.meddle is not None:
            meddle, self.meddle = self.meddle, None
            meddle()
            self.meddle = meddle
        return super().call_soon(*args, **kwargs)


@pytest.fixture
def meddling():
    with asyncio.Runner(loop_factory=Meddling) as runner:
        yield runner


def test_waiters_that_come_while_an_event_is_set(meddling):
    async def main():
        event, late = treadle.Event(), []
        loop = asyncio.get_running_loop()
        tasks = [asyncio.create_task(event.wait()) for _ in range(10)]
        await asyncio.sleep(0)

        def meddle():
            event.clear()
            coroutine = event.wait()
            coroutine.send(None)
            late.append(coroutine)

        loop.meddle = meddle
        event.set()
        loop.meddle = None
        assert await asyncio.wait_for(asyncio.gather(*tasks), 10) == [True] * 10
        event.set()
        for each in late:
            each.close()

    meddling.run(main())


def test_releases_within_releases(meddling):
    async def main():
        lock, errors = treadle.Lock(), []
        loop = asyncio.get_running_loop()
        await lock.acquire()
        tasks = [asyncio.create_task(lock.acquire()) for _ in range(5)]
        await asyncio.sleep(0)

        def meddle():
            try:
                lock.release()
            except RuntimeError as error:
                errors.append(error)

        loop.meddle = meddle
        lock.release()
        loop.meddle = None
        for task in tasks:
            await asyncio.wait_for(task, 10)
            lock.release()
        assert errors and not lock.locked()

    meddling.run(main())


def test_waiters_that_are_dropped_while_others_are_told(meddling):
    async def main():
        queue = treadle.Queue()
        waiting = []
        for _ in range(6):
            coroutine = queue.get()
            coroutine.send(None)
            waiting.append(coroutine)
        tasks = [asyncio.create_task(queue.get()) for _ in range(2)]
        await asyncio.sleep(0)
        asyncio.get_running_loop().meddle = waiting.clear
        for number in range(8):
            queue.put_nowait(number)
        asyncio.get_running_loop().meddle = None
        del coroutine
        gc.collect()
        assert len(set(await asyncio.wait_for(asyncio.gather(*tasks), 10))) == 2

    meddling.run(main())


class BadFuture(asyncio.Future):
    """Its methods raise, when told to."""

    bad = ""

    def done(self):
        if self.bad == "done":
            raise ValueError("done")
        return super().done()

    def set_result(self, result):
        if self.bad == "set_result":
            raise ValueError("set_result")
        super().set_result(result)


@pytest.mark.parametrize("method", ["done", "set_result"])
def test_futures_whose_methods_raise(run, method):
    async def main():
        loop = asyncio.get_running_loop()
        loop.create_future = lambda: BadFuture(loop=loop)
        lock = treadle.Lock()
        await lock.acquire()
        coroutine = lock.acquire()
        future = coroutine.send(None)
        future.bad = method
        with pytest.raises(ValueError, match=method):
            lock.release()
        future.bad = ""
        coroutine.close()
        assert await asyncio.wait_for(lock.acquire(), 10) is True

    run(main)


@pytest.mark.parametrize("future", [None, 3, object()])
def test_futures_that_are_none(run, future):
    async def main():
        loop = asyncio.get_running_loop()
        lock = treadle.Lock()
        await lock.acquire()
        loop.create_future = lambda: future
        with pytest.raises((AttributeError, TypeError, RuntimeError)):
            await lock.acquire()
        del loop.create_future
        lock.release()
        assert await lock.acquire() is True

    run(main)


def test_items_that_use_the_queue_when_they_die(run):
    async def main():
        queue, log = treadle.Queue(), []

        class Item:
            def __del__(self):
                log.append(queue.qsize())
                queue.put_nowait("from the grave")

        for _ in range(3):
            queue.put_nowait(Item())
        queue.get_nowait()
        queue.shutdown  # still open: they may put
        gc.collect()
        assert len(log) == 1
        while queue.get_nowait() != "from the grave":
            pass
        assert len(log) == 3

    run(main)


def test_init_twice_and_never():
    queue = treadle.Queue(1)
    queue.put_nowait(1)
    queue.__init__(5)
    assert queue.empty() and queue.maxsize == 5
    for cls in treadle.Queue, treadle.LifoQueue, treadle.PriorityQueue:
        bare = cls.__new__(cls)
        assert bare.qsize() == 0
        for attempt in lambda bare=bare: bare.put_nowait(1), bare.get_nowait:
            with pytest.raises(AttributeError):
                attempt()
        repr(bare)
    with pytest.raises(RuntimeError, match="__init__"):
        treadle.Condition.__new__(treadle.Condition).notify()
    treadle.Barrier.__new__(treadle.Barrier).wait().close()


def test_nothing_is_left_of_many_operations(run):
    """Neither what was put, nor who waited, nor references to what everybody has."""

    class Item:
        pass

    def rounds(count):
        async def main():
            lock, queue, event = treadle.Lock(), treadle.Queue(1), treadle.Event()

            async def user():
                async with lock:
                    await asyncio.sleep(0)

            for _ in range(count):
                tasks = [asyncio.create_task(each) for each in (user(), user(), queue.get(), event.wait())]
                await asyncio.sleep(0)
                queue.put_nowait(Item())
                event.set()
                event.clear()
                tasks[1].cancel()
                await asyncio.wait(tasks)
            return weakref.ref(tasks[2].result())

        return run(main)

    def instances():
        gc.collect()
        return sum(type(each).__name__ in ("SyncCoroutine", "Grant") for each in gc.get_objects())

    last = rounds(20)
    assert dies(last)
    before, singles = instances(), [sys.getrefcount(each) for each in (treadle.Lock, treadle.Queue)]
    assert dies(rounds(2000))
    assert instances() <= before
    after = [sys.getrefcount(each) for each in (treadle.Lock, treadle.Queue)]
    assert all(abs(now - then) < 50 for now, then in zip(after, singles, strict=True))


def test_everything_from_everywhere():
    """What threads may do at once to the same objects: no crash, and nobody hangs."""
    lock, queue, event = treadle.Lock(), treadle.Queue(3), treadle.Event()
    semaphore, stop = treadle.Semaphore(2), threading.Event()
    errors = []

    def hammer(number):
        try:
            for turn in range(400):
                kind = (turn * 7 + number) % 6
                if kind == 0 and lock.acquire_sync(0.001):
                    lock.release()
                elif kind == 1 and semaphore.acquire_sync(0.001):
                    semaphore.release()
                elif kind == 2:
                    event.set()
                    event.clear()
                elif kind == 3:
                    queue.put_sync(turn, 0.001)
                elif kind == 4:
                    queue.get_sync(0.001)
                else:
                    repr(queue), repr(lock), queue._getters, event.wait_sync(0.0005)
        except (asyncio.QueueEmpty, asyncio.QueueFull):
            pass
        except BaseException as error:
            errors.append(error)

    async def async_hammer(number):
        for turn in range(200):
            try:
                kind = (turn * 5 + number) % 4
                if kind == 0:
                    async with lock:
                        await asyncio.sleep(0)
                elif kind == 1:
                    async with semaphore:
                        pass
                elif kind == 2:
                    await asyncio.wait_for(queue.get(), 0.001)
                else:
                    await asyncio.wait_for(queue.put(turn), 0.001)
            except asyncio.TimeoutError:
                pass

    async def main():
        await asyncio.gather(*map(async_hammer, range(4)))

    threads = [threading.Thread(target=hammer, args=[n]) for n in range(3)]
    threads += [threading.Thread(target=lambda run=run: run(main())) for run in (treadle.run, asyncio.run)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(120)
    stop.set()
    assert not any(each.is_alive() for each in threads) and not errors
    assert lock.acquire_sync(10) and semaphore.acquire_sync(10) and semaphore.acquire_sync(10)
    assert semaphore._value == 0 and not lock._waiters and not queue._getters and not queue._putters

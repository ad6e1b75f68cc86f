"""Queue, LifoQueue and PriorityQueue: what does not wait, subclasses, attributes."""

import asyncio
import threading

import pytest
import treadle

KINDS = ["Queue", "LifoQueue", "PriorityQueue"]


@pytest.fixture(params=KINDS)
def make(kit, request):
    return getattr(kit, request.param)


def test_nowait(make):
    queue = make(2)
    assert queue.empty() and not queue.full() and queue.qsize() == 0 and queue.maxsize == 2
    queue.put_nowait(1)
    queue.put_nowait(2)
    assert queue.full() and queue.qsize() == 2
    with pytest.raises(asyncio.QueueFull):
        queue.put_nowait(3)
    assert sorted([queue.get_nowait(), queue.get_nowait()]) == [1, 2]
    with pytest.raises(asyncio.QueueEmpty):
        queue.get_nowait()


def test_order(kit):
    def drained(name):
        queue = getattr(kit, name)()
        for item in 3, 1, 2:
            queue.put_nowait(item)
        return [queue.get_nowait() for _ in range(3)]

    assert drained("Queue") == [3, 1, 2]
    assert drained("LifoQueue") == [2, 1, 3]
    assert drained("PriorityQueue") == [1, 2, 3]


def test_repr(make):
    queue = make(3)
    queue.put_nowait(1)
    queue.put_nowait(2)
    name = make.__name__
    items = list(queue._queue)
    assert repr(queue) == f"<{name} at {id(queue):#x} maxsize=3 _queue={items} tasks=2>"
    assert str(queue) == f"<{name} maxsize=3 _queue={items} tasks=2>"


def test_maxsize(make):
    for unlimited in 0, -1, -0.5:
        queue = make(unlimited)
        for number in range(50):
            queue.put_nowait(number)
        assert not queue.full() and queue.maxsize == unlimited
    queue = make(maxsize=1.5)
    queue.put_nowait(1)
    queue.put_nowait(2)
    with pytest.raises(asyncio.QueueFull):
        queue.put_nowait(3)
    make(float("inf")).put_nowait(1)


def test_items_are_an_ordinary_container(make):
    queue = make()
    for item in 2, 1:
        queue.put_nowait(item)
    queue._queue.clear()
    assert queue.empty()
    queue._queue = ["a"]  # a list in place of a deque, too
    assert queue.qsize() == 1


def test_task_done(make):
    queue = make()
    queue.put_nowait(1)
    queue.task_done()
    with pytest.raises(ValueError, match=r"^task_done\(\) called too many times$"):
        queue.task_done()


def test_generic(make):
    assert make[int].__origin__ is make


def test_it_passes_for_asyncios():
    for name in KINDS:
        made = getattr(treadle, name)()
        assert isinstance(made, getattr(asyncio, name)) and isinstance(made, treadle.Queue)


def test_a_subclass_with_another_order(run, kit):
    class Unique(kit.Queue):
        def _init(self, maxsize):
            self._queue = set()
            self.limit_seen = maxsize

        def _put(self, item):
            self._queue.add(item)

        def _get(self):
            return self._queue.pop()

    async def main():
        queue = Unique(2)
        assert queue.limit_seen == 2
        await queue.put(1)
        await queue.put(1)
        assert queue.qsize() == 1
        assert await queue.get() == 1
        getter = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.put_nowait(5)
        assert await getter == 5

    run(main)


def test_a_subclass_that_replaces_the_nowait_methods(run, kit):
    calls = []

    class Traced(kit.Queue):
        def put_nowait(self, item):
            calls.append(("put", item))
            super().put_nowait(item)

        def get_nowait(self):
            item = super().get_nowait()
            calls.append(("get", item))
            return item

    async def main():
        queue = Traced(1)
        await queue.put(1)
        putter = asyncio.create_task(queue.put(2))
        await asyncio.sleep(0)
        assert [await queue.get(), await queue.get()] == [1, 2]
        getter = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        await queue.put(3)
        assert await getter == 3
        await putter

    run(main)
    assert calls == [(way, item) for item in (1, 2, 3) for way in ("put", "get")]


def test_comparisons_that_fail_or_use_the_queue(kit):
    class Odd:
        def __init__(self, queue):
            self.queue = queue

        def __lt__(self, other):
            if self.queue is None:
                raise KeyError("no order")
            self.queue.qsize()
            self.queue.put_nowait(7) if self.queue.qsize() < 4 else None
            return True

        __gt__ = __lt__

    queue = kit.PriorityQueue()
    queue.put_nowait(Odd(None))
    with pytest.raises(KeyError):
        queue.put_nowait(Odd(None))
    other = kit.Queue()
    queue = kit.PriorityQueue()
    queue.put_nowait(Odd(other))
    queue.put_nowait(Odd(other))
    assert queue.qsize() == 2 and other.qsize() >= 1


def test_a_heap_that_threads_share():
    queue, lists = treadle.PriorityQueue(), []

    class Number:
        def __init__(self, value):
            self.value = value

        def __lt__(self, other):
            return self.value < other.value

    def work(start):
        for number in range(start, start + 300):
            queue.put_nowait(Number(number * 7919 % 1000))
        lists.append([queue.get_nowait().value for _ in range(300)])

    threads = [threading.Thread(target=work, args=[1000 * n]) for n in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert queue.empty()
    everything = sorted(value for values in lists for value in values)
    assert everything == sorted(number * 7919 % 1000 for n in range(3) for number in range(1000 * n, 1000 * n + 300))


@pytest.mark.parametrize("immediate", [False, True])
def test_shutdown(run, make, immediate):
    if not hasattr(make, "shutdown") or (make.__module__.startswith("asyncio") and not hasattr(asyncio, "QueueShutDown")):
        pytest.skip("asyncio's queues can be shut down from 3.13 on")

    async def main():
        queue = make(1)
        queue.put_nowait(1)
        putter = asyncio.create_task(queue.put(2))
        joiner = asyncio.create_task(queue.join())
        await asyncio.sleep(0)
        queue.shutdown(immediate)
        assert str(queue).endswith(" shutdown>")
        with pytest.raises(treadle.QueueShutDown):
            await putter
        if immediate:
            await joiner
        else:
            assert await queue.get() == 1
            queue.task_done()
            await joiner
        for attempt in queue.get_nowait, lambda: queue.put_nowait(1):
            with pytest.raises(treadle.QueueShutDown):
                attempt()
        with pytest.raises(treadle.QueueShutDown):
            await queue.get()
        with pytest.raises(treadle.QueueShutDown):
            await queue.put(1)

    run(main)


def test_shutdown_wakes_getters(run):
    async def main():
        queue = treadle.Queue()
        getters = [asyncio.create_task(queue.get()) for _ in range(3)]
        thread = asyncio.create_task(asyncio.to_thread(queue.get_sync))
        await asyncio.sleep(0.02)
        queue.shutdown()
        outcomes = await asyncio.gather(*getters, thread, return_exceptions=True)
        assert [type(each) for each in outcomes] == [treadle.QueueShutDown] * 4

    run(main)
    assert treadle.QueueShutDown.__doc__

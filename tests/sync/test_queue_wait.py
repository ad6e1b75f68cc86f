"""Putting and taking that wait: order, cancellation, threads and loops together."""

import asyncio
import threading

import pytest
import treadle
from support.waiting import eventually


def test_getters_in_order(run, kit):
    async def main():
        queue, order = kit.Queue(), []

        async def getter(name):
            order.append((name, await queue.get()))

        tasks = [asyncio.create_task(getter(name)) for name in "abc"]
        await asyncio.sleep(0)
        assert "_getters[3]" in repr(queue)
        for number in range(3):
            queue.put_nowait(number)
        await asyncio.wait(tasks)
        assert order == [("a", 0), ("b", 1), ("c", 2)]

    run(main)


def test_a_woken_getter_may_come_too_late(run, kit):
    async def main():
        queue = kit.Queue()
        getter = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.put_nowait(1)
        assert queue.get_nowait() == 1  # as asyncio has it
        await asyncio.sleep(0)
        assert not getter.done()
        queue.put_nowait(2)
        assert await getter == 2

    run(main)


@pytest.mark.parametrize("turns", [0, 1])
def test_a_cancelled_getter_loses_nothing(run, kit, turns):
    async def main():
        queue = kit.Queue()
        first, second = (asyncio.create_task(queue.get()) for _ in range(2))
        await asyncio.sleep(0)
        if turns:
            first.cancel()
        queue.put_nowait("item")
        first.cancel()
        assert await asyncio.wait_for(second, 5) == "item"
        assert first.cancelled()

    run(main)


def test_a_cancelled_putter_makes_room(run, kit):
    async def main():
        queue = kit.Queue(1)
        await queue.put(0)
        first, second = (asyncio.create_task(queue.put(number)) for number in (1, 2))
        await asyncio.sleep(0)
        assert "_putters[2]" in repr(queue)
        assert queue.get_nowait() == 0
        first.cancel()
        await asyncio.wait_for(second, 5)
        assert queue.get_nowait() == 2 and queue.empty()

    run(main)


def test_join(run, kit):
    async def main():
        queue = kit.Queue()
        await queue.join()
        queue.put_nowait(1)
        joiners = [asyncio.create_task(queue.join()) for _ in range(2)]
        await asyncio.sleep(0)
        assert not joiners[0].done()
        queue.get_nowait()
        queue.task_done()
        assert await asyncio.gather(*joiners) == [None, None]

    run(main)


def pump(queue, items):
    for item in items:
        queue.put_sync(item)


@pytest.mark.parametrize("maxsize", [0, 1, 3])
def test_thread_loop_thread(run, maxsize):
    there, back, items = treadle.Queue(maxsize), treadle.Queue(maxsize), range(500)
    got = []

    async def main():
        threads = [
            threading.Thread(target=pump, args=[there, items]),
            threading.Thread(target=lambda: got.extend(back.get_sync(30) for _ in items)),
        ]
        for each in threads:
            each.start()
        for _ in items:
            await back.put(await there.get())
        await asyncio.to_thread(lambda: [each.join() for each in threads])

    run(main)
    assert got == list(items)


def test_everybody_at_once():
    """Threads and loops of two makes put and take; every item comes once."""
    queue, each_puts, got, lock = treadle.Queue(2), 100, [], threading.Lock()

    def thread_put(start):
        pump(queue, range(start, start + each_puts))

    def thread_get():
        for _ in range(each_puts):
            item = queue.get_sync(30)
            with lock:
                got.append(item)

    async def put(start):
        for number in range(start, start + each_puts):
            await queue.put(number)

    async def get():
        for _ in range(each_puts):
            item = await queue.get()
            with lock:
                got.append(item)

    async def both(start):
        await asyncio.gather(put(start), get())

    threads = [
        threading.Thread(target=thread_put, args=[0]),
        threading.Thread(target=thread_get),
        threading.Thread(target=lambda: treadle.run(both(1000))),
        threading.Thread(target=lambda: asyncio.run(both(2000))),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [start + n for start in (0, 1000, 2000) for n in range(each_puts)]
    assert queue.empty()


def test_what_is_promised_is_kept(run):
    """A thread that comes for an item does not take that of a coroutine which has waited."""
    queue, got = treadle.Queue(), []

    async def main():
        getter = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        thread = threading.Thread(target=lambda: got.append(queue.get_sync(30)))
        helper = threading.Thread(target=queue.put_nowait, args=["first"])
        helper.start()
        helper.join()  # promised to the coroutine, which cannot run yet
        assert queue.qsize() == 1
        thread.start()
        assert eventually(lambda: "_getters[1]" in repr(queue))
        with pytest.raises(asyncio.QueueEmpty):
            queue.get_nowait()
        assert await getter == "first"
        queue.put_nowait("second")
        await asyncio.to_thread(thread.join)

    run(main)
    assert got == ["second"]


def test_timeouts():
    queue = treadle.Queue(1)
    with pytest.raises(asyncio.QueueEmpty):
        queue.get_sync(0)
    with pytest.raises(asyncio.QueueEmpty):
        queue.get_sync(timeout=0.01)
    queue.put_sync(1)
    with pytest.raises(asyncio.QueueFull):
        queue.put_sync(2, timeout=0)
    with pytest.raises(asyncio.QueueFull):
        queue.put_sync(2, 0.01)
    assert queue.join_sync(0) is False and queue.join_sync(0.01) is False
    assert queue.get_sync(5) == 1
    threading.Timer(0.02, queue.task_done).start()
    assert queue.join_sync() is True
    assert "_getters" not in repr(queue) and "_putters" not in repr(queue)


def test_in_a_coroutine(run):
    async def main():
        queue = treadle.Queue(1)
        for attempt in queue.get_sync, lambda: queue.put_sync(1), queue.join_sync:
            with pytest.raises(RuntimeError, match="would block the event loop"):
                attempt()
        queue.put_sync(1, timeout=0)
        assert queue.get_sync(timeout=0) == 1
        treadle.Queue().put_sync(1)  # never waits

    run(main)


def test_a_getter_that_is_closed_passes_on(run):
    async def main():
        queue = treadle.Queue()
        first, second = queue.get(), asyncio.create_task(queue.get())
        first.send(None)
        await asyncio.sleep(0)
        queue.put_nowait("item")
        first.close()
        assert await asyncio.wait_for(second, 5) == "item"

    run(main)

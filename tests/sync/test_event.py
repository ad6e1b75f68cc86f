"""Event."""

import asyncio
import threading

import pytest
import treadle


def test_set_wakes_all(run, kit):
    async def main():
        event = kit.Event()
        tasks = [asyncio.create_task(event.wait()) for _ in range(3)]
        await asyncio.sleep(0)
        assert repr(event).endswith("[unset, waiters:3]>")
        event.set()
        assert event.is_set() and await asyncio.gather(*tasks) == [True] * 3
        assert repr(event).endswith("[set]>")
        assert await event.wait() is True

    run(main)


def test_those_who_waited_go_on_though_it_is_cleared(run, kit):
    async def main():
        event = kit.Event()
        early = asyncio.create_task(event.wait())
        await asyncio.sleep(0)
        event.set()
        event.clear()
        late = asyncio.create_task(event.wait())
        assert await early is True
        assert not late.done()
        late.cancel()

    run(main)


def test_cancelled_waiters_leave(run, kit):
    async def main():
        event = kit.Event()
        task = asyncio.create_task(event.wait())
        await asyncio.sleep(0)
        task.cancel()
        event.set()
        await asyncio.wait([task])
        assert task.cancelled() and not event._waiters

    run(main)


def test_set_by_a_thread(run):
    async def main():
        event = treadle.Event()
        tasks = [asyncio.create_task(event.wait()) for _ in range(100)]
        await asyncio.sleep(0)
        threading.Timer(0.01, event.set).start()
        assert await asyncio.gather(*tasks) == [True] * 100

    run(main)


def test_set_for_threads_and_two_loops():
    event, came, ready = treadle.Event(), [], threading.Barrier(4)

    def thread():
        ready.wait()
        came.append(event.wait_sync(30))

    async def main():
        ready.wait()
        came.append(await event.wait())

    threads = [threading.Thread(target=thread)]
    for run in treadle.run, asyncio.run:
        threads.append(threading.Thread(target=lambda run=run: run(main())))
    for each in threads:
        each.start()
    ready.wait()
    event.set()
    for each in threads:
        each.join()
    assert came == [True] * 3


def test_wait_sync():
    event = treadle.Event()
    assert event.wait_sync(0) is False
    assert event.wait_sync(timeout=0.01) is False
    event.set()
    assert event.wait_sync() is True


def test_wait_sync_in_a_coroutine_is_refused(run):
    async def main():
        event = treadle.Event()
        with pytest.raises(RuntimeError, match=r"wait_sync\(\) would block the event loop"):
            event.wait_sync()
        assert event.wait_sync(timeout=0) is False

    run(main)

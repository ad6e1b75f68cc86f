"""RLock."""

import asyncio
import threading

import pytest
import treadle


def test_a_task_may_lock_it_again(run):
    async def main():
        lock = treadle.RLock()
        async with lock:
            async with lock:
                assert await lock.acquire() is True
                assert "locked, count:3, owner:<Task" in repr(lock)
                lock.release()
            assert lock.locked()
        assert not lock.locked() and repr(lock).endswith("[unlocked]>")

    run(main)


def test_another_task_waits(run):
    async def main():
        lock, order = treadle.RLock(), []

        async def user(name):
            async with lock, lock:
                order.append(name)
                await asyncio.sleep(0)
                order.append(name)

        await asyncio.gather(*map(user, range(3)))
        assert order == [0, 0, 1, 1, 2, 2]

    run(main)


def test_only_the_owner_releases(run):
    async def main():
        lock = treadle.RLock()
        with pytest.raises(RuntimeError, match="^cannot release un-acquired lock$"):
            lock.release()
        await lock.acquire()

        async def other():
            lock.release()

        with pytest.raises(RuntimeError, match="^cannot release un-acquired lock$"):
            await asyncio.create_task(other())
        lock.release()

    run(main)


def test_threads():
    lock, total = treadle.RLock(), 0

    def work():
        nonlocal total
        for _ in range(200):
            with lock, lock:
                before = total
                assert lock.acquire_sync(0)
                total = before + 1
                lock.release()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert total == 600 and not lock.locked()


def test_in_a_coroutine(run):
    async def main():
        lock = treadle.RLock()
        with pytest.raises(RuntimeError, match="would block the event loop"):
            lock.acquire_sync()
        async with lock:
            with lock:  # it is ours: nothing to wait for
                assert lock.acquire_sync() is True
                lock.release()
        assert not lock.locked()

    run(main)


def test_a_cancelled_waiter(run):
    async def main():
        lock = treadle.RLock()
        await lock.acquire()
        first, second = (asyncio.create_task(lock.acquire()) for _ in range(2))
        await asyncio.sleep(0)
        lock.release()
        first.cancel()
        assert await second is True
        assert "owner:<Task finished" in repr(lock)

    run(main)

"""Semaphore and BoundedSemaphore."""

import asyncio
import threading

import pytest
import treadle


def test_value_and_repr(run, kit):
    async def main():
        semaphore = kit.Semaphore(2)
        assert repr(semaphore).endswith("[unlocked, value:2]>")
        assert await semaphore.acquire() is True
        assert await semaphore.acquire() is True
        assert semaphore.locked() and repr(semaphore).endswith("[locked]>")
        task = asyncio.create_task(semaphore.acquire())
        await asyncio.sleep(0)
        assert repr(semaphore).endswith("[locked, waiters:1]>")
        semaphore.release()
        assert await task is True
        semaphore.release()
        assert semaphore._value == 1

    run(main)


def test_bad_values(kit):
    with pytest.raises(ValueError, match="^Semaphore initial value must be >= 0$"):
        kit.Semaphore(-1)
    with pytest.raises(TypeError):
        kit.Semaphore("1")
    with pytest.raises(TypeError, match="unexpected keyword argument 'loop'"):
        kit.Semaphore(loop=None)


def test_bounded(kit):
    semaphore = kit.BoundedSemaphore(1)
    with pytest.raises(ValueError, match="^BoundedSemaphore released too many times$"):
        semaphore.release()
    assert isinstance(semaphore, kit.Semaphore)


def test_a_cancelled_grant_passes_on(run, kit):
    async def main():
        semaphore = kit.Semaphore(0)
        first, second = (asyncio.create_task(semaphore.acquire()) for _ in range(2))
        await asyncio.sleep(0)
        semaphore.release()
        first.cancel()
        assert await asyncio.wait_for(second, 5) is True
        assert semaphore._value == 0

    run(main)


def test_cancelled_waiters_get_nothing(run, kit):
    async def main():
        semaphore, order = kit.Semaphore(0), []

        async def user(name):
            await semaphore.acquire()
            order.append(name)

        tasks = [asyncio.create_task(user(name)) for name in range(4)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        tasks[2].cancel()
        semaphore.release()
        semaphore.release()
        await asyncio.wait(tasks)
        assert order == [1, 3]
        assert semaphore._value == 0

    run(main)


def test_nobody_overtakes_a_granted_waiter(run, kit):
    async def main():
        semaphore = kit.Semaphore(0)
        task = asyncio.create_task(semaphore.acquire())
        await asyncio.sleep(0)
        semaphore.release()
        semaphore.release()
        assert semaphore.locked()
        late = asyncio.create_task(semaphore.acquire())
        await asyncio.wait([task, late])
        assert semaphore._value == 0

    run(main)


def test_threads_and_coroutines_share_the_value(run):
    semaphore, inside, most, lock = treadle.BoundedSemaphore(3), 0, 0, threading.Lock()

    def enter(step):
        nonlocal inside, most
        with lock:
            inside += step
            most = max(most, inside)

    def thread():
        for _ in range(200):
            with semaphore:
                enter(1)
                enter(-1)

    async def coroutine():
        for _ in range(100):
            async with semaphore:
                enter(1)
                await asyncio.sleep(0)
                enter(-1)

    async def main():
        threads = [threading.Thread(target=thread) for _ in range(3)]
        for each in threads:
            each.start()
        await asyncio.gather(*(coroutine() for _ in range(4)))
        await asyncio.to_thread(lambda: [each.join() for each in threads])

    run(main)
    assert most <= 3 and semaphore._value == 3


def test_acquire_sync():
    semaphore = treadle.Semaphore(1)
    assert semaphore.acquire_sync(timeout=60) is True
    assert semaphore.acquire_sync(timeout=0) is False
    assert semaphore.acquire_sync(timeout=0.01) is False
    threading.Timer(0.02, semaphore.release).start()
    assert semaphore.acquire_sync() is True

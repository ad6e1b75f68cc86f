"""Lock: in a loop as asyncio's; across threads and loops."""

import asyncio
import threading

import pytest
import treadle
from support.waiting import eventually


def test_first_come_first_served(run, kit):
    async def main():
        lock, order = kit.Lock(), []

        async def user(number):
            async with lock:
                order.append(number)
                await asyncio.sleep(0)

        await asyncio.gather(*map(user, range(5)))
        assert order == [0, 1, 2, 3, 4]
        assert not lock.locked()

    run(main)


def test_unlocked_until_the_next_takes_it(run, kit):
    async def main():
        lock = kit.Lock()
        assert await lock.acquire() is True
        task = asyncio.create_task(lock.acquire())
        await asyncio.sleep(0)
        lock.release()
        assert not lock.locked()
        with pytest.raises(RuntimeError, match="^Lock is not acquired.$"):
            lock.release()
        late = asyncio.create_task(lock.acquire())
        assert await task is True
        assert lock.locked() and not late.done()
        lock.release()
        assert await late is True

    run(main)


def test_a_grant_to_a_cancelled_task_passes_on(run, kit):
    async def main():
        lock = kit.Lock()
        await lock.acquire()
        first, second = (asyncio.create_task(lock.acquire()) for _ in range(2))
        await asyncio.sleep(0)
        lock.release()
        first.cancel()
        assert await second is True
        assert first.cancelled() and lock.locked()

    run(main)


def test_a_cancelled_waiter_is_passed_over(run, kit):
    async def main():
        lock = kit.Lock()
        await lock.acquire()
        first, second = (asyncio.create_task(lock.acquire()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        lock.release()
        assert await second is True

    run(main)


def test_overtaking_those_who_are_all_cancelled(run, kit):
    async def main():
        lock = kit.Lock()
        await lock.acquire()
        task = asyncio.create_task(lock.acquire())
        await asyncio.sleep(0)
        task.cancel()
        lock.release()
        assert await lock.acquire() is True
        await asyncio.wait([task])
        assert task.cancelled() and lock.locked()

    run(main)


def test_repr(run, kit):
    async def main():
        lock = kit.Lock()
        assert repr(lock).endswith(" [unlocked]>") and " object at 0x" in repr(lock)
        await lock.acquire()
        assert repr(lock).endswith(" [locked]>")
        task = asyncio.create_task(lock.acquire())
        await asyncio.sleep(0)
        assert repr(lock).endswith(" [locked, waiters:1]>")
        assert len(lock._waiters) == 1
        task.cancel()

    run(main)


def test_a_subclass_with_an_acquire_of_its_own(run, kit):
    calls = []

    class Traced(kit.Lock):
        async def acquire(self):
            calls.append("acquire")
            return await super().acquire()

        def release(self):
            calls.append("release")
            super().release()

    async def main():
        async with Traced() as nothing:
            assert nothing is None

    run(main)
    assert calls == ["acquire", "release"]


def test_methods_that_are_put_on_an_instance(run, kit):
    calls = []

    async def main():
        lock = kit.Lock()
        acquire, release = lock.acquire, lock.release

        async def traced():
            calls.append("acquire")
            return await acquire()

        async with lock:
            lock.release = lambda: (calls.append("release"), release())
        async with lock:
            lock.acquire = traced
        async with lock:
            del lock.release
        assert not lock.locked()

    run(main)
    assert calls == ["release", "release", "acquire"]


def test_it_is_an_asyncio_lock():
    lock = treadle.Lock()
    lock.note = "as any object's"
    assert isinstance(lock, asyncio.Lock) and lock.note


def test_threads_and_coroutines_exclude_each_other(run):
    lock, inside, most, rounds = treadle.Lock(), 0, 0, 300

    def enter():
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        inside -= 1

    def thread():
        for _ in range(rounds):
            with lock:
                enter()

    async def coroutine():
        for _ in range(rounds):
            async with lock:
                enter()
                await asyncio.sleep(0)
                enter()

    async def main():
        threads = [threading.Thread(target=thread) for _ in range(2)]
        for each in threads:
            each.start()
        await asyncio.gather(coroutine(), coroutine())
        await asyncio.to_thread(lambda: [each.join() for each in threads])

    run(main)
    assert most == 1 and not lock.locked()


def test_one_queue_for_threads_and_coroutines(run):
    lock, order = treadle.Lock(), []

    def thread(name):
        with lock:
            order.append(name)

    async def coroutine(name):
        async with lock:
            order.append(name)

    async def until_waiting(count):
        await asyncio.to_thread(eventually, lambda: f"waiters:{count}]" in repr(lock))

    async def main():
        assert lock.acquire_sync(0)
        waiters = []
        for number in range(6):
            if number % 2:
                waiters.append(threading.Thread(target=thread, args=[number]))
                waiters[-1].start()
            else:
                waiters.append(asyncio.create_task(coroutine(number)))
            await until_waiting(number + 1)
        lock.release()
        await asyncio.gather(*waiters[::2])
        await asyncio.to_thread(lambda: [each.join() for each in waiters[1::2]])

    run(main)
    assert order == list(range(6))


def test_acquire_sync():
    lock = treadle.Lock()
    assert lock.acquire_sync() is True
    assert lock.acquire_sync(timeout=0) is False
    assert lock.acquire_sync(0.01) is False
    lock.release()
    assert lock.acquire_sync(timeout=60) is True
    with pytest.raises(TypeError, match="timeout must be a number of seconds"):
        lock.acquire_sync("soon")


def test_with_in_a_coroutine_is_refused(run):
    async def main():
        lock = treadle.Lock()
        for attempt in lock.__enter__, lock.acquire_sync, lambda: lock.acquire_sync(1):
            with pytest.raises(RuntimeError, match="would block the event loop"):
                attempt()
        assert not lock.locked()
        assert lock.acquire_sync(timeout=0) is True

    run(main)

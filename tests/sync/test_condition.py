"""Condition."""

import asyncio
import threading

import pytest
import treadle
from support.waiting import eventually


def waiting(thing, count):
    return eventually(lambda: f"waiters:{count}]" in repr(thing))


def test_notify(run, kit):
    async def main():
        condition, order = kit.Condition(), []

        async def waiter(name):
            async with condition:
                assert await condition.wait() is True
                order.append(name)

        tasks = [asyncio.create_task(waiter(name)) for name in "abc"]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert repr(condition).endswith("[unlocked, waiters:3]>")
        async with condition:
            condition.notify()
        await tasks[0]
        assert order == ["a"]
        async with condition:
            condition.notify_all()
        await asyncio.gather(*tasks)
        assert order == ["a", "b", "c"] and not condition.locked()

    run(main)


def test_not_locked(run, kit):
    async def main():
        condition = kit.Condition()
        with pytest.raises(RuntimeError, match="^cannot wait on un-acquired lock$"):
            await condition.wait()
        for method in condition.notify, condition.notify_all:
            with pytest.raises(RuntimeError, match="^cannot notify on un-acquired lock$"):
                method()

    run(main)


def test_wait_for(run, kit):
    async def main():
        condition, value = kit.Condition(), 0

        async def waiter():
            async with condition:
                return await condition.wait_for(lambda: value > 1 and "done")

        task = asyncio.create_task(waiter())
        for _ in range(3):
            await asyncio.sleep(0)
            async with condition:
                value += 1
                condition.notify()
        assert await task == "done"
        async with condition:
            with pytest.raises(ZeroDivisionError):
                await condition.wait_for(lambda: 1 / 0)

    run(main)


def test_cancelled_while_it_gets_the_lock_again(run, kit):
    async def main():
        condition = kit.Condition()

        async def waiter():
            async with condition:
                await condition.wait()

        task = asyncio.create_task(waiter())
        await asyncio.sleep(0)
        await condition.acquire()
        condition.notify()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()  # it has to have the lock first
        condition.release()
        await asyncio.wait([task])
        assert task.cancelled() and not condition.locked()

    run(main)


def test_a_notification_that_a_cancelled_task_had_passes_on(run):
    """As asyncio has it from 3.13 on."""

    async def main():
        condition = treadle.Condition()

        async def waiter():
            async with condition:
                await condition.wait()

        first, second = (asyncio.create_task(waiter()) for _ in range(2))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        async with condition:
            condition.notify()
        first.cancel()
        await asyncio.wait_for(second, 5)
        assert first.cancelled()

    run(main)


def test_a_lock_of_ones_own(run, kit):
    async def main():
        lock = kit.Lock()
        condition = kit.Condition(lock)
        async with condition:
            assert lock.locked() and condition._lock is lock

    run(main)


def test_on_a_lock_of_asyncios(run):
    async def main():
        condition = treadle.Condition(asyncio.Lock())
        async with condition:
            condition.notify()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(condition.wait(), 0.01)
        with pytest.raises(TypeError, match="make the Condition with a treadle.Lock"):
            condition.__enter__()

    run(main)
    with pytest.raises(TypeError, match="a Condition needs a Lock"):
        treadle.Condition(treadle.RLock())


def test_threads_and_coroutines(run):
    condition, tokens, taken = treadle.Condition(), 0, []

    def thread(name):
        nonlocal tokens
        with condition:
            assert condition.wait_for_sync(lambda: tokens > 0, 30) is True
            tokens -= 1
            taken.append(name)

    async def coroutine(name):
        nonlocal tokens
        async with condition:
            await condition.wait_for(lambda: tokens > 0)
            tokens -= 1
            taken.append(name)

    async def main():
        nonlocal tokens
        threads = [threading.Thread(target=thread, args=[n]) for n in range(3)]
        for each in threads:
            each.start()
        tasks = [asyncio.create_task(coroutine(n)) for n in range(3, 6)]
        for _ in range(6):
            await asyncio.sleep(0.001)
            async with condition:
                tokens += 1
                condition.notify()
        await asyncio.gather(*tasks)
        await asyncio.to_thread(lambda: [each.join() for each in threads])

    run(main)
    assert sorted(taken) == list(range(6)) and tokens == 0


def test_wait_sync_in_time_and_not():
    condition = treadle.Condition()
    with condition:
        assert condition.wait_sync(0.01) is False
        assert condition.locked()

        def notifier():
            with condition:
                condition.notify()

        thread = threading.Thread(target=notifier)
        thread.start()
        assert condition.wait_sync(30) is True
        assert condition.wait_for_sync(lambda: 0, 0.01) == 0
    thread.join()
    assert not condition.locked()
    with pytest.raises(RuntimeError, match="cannot wait on un-acquired lock"):
        condition.wait_sync()

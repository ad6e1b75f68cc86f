"""Those who wait in other loops: how they are told, and what becomes of grants that nobody takes."""

import asyncio
import gc
import threading

import pytest
import treadle
from support.waiting import eventually


def waiting(thing, count):
    return eventually(lambda: f"waiters:{count}]" in repr(thing))


class LoopThread:
    """A loop that runs in a thread."""

    def __init__(self, factory):
        self.loop = factory()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    def submit(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def stop(self):
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join()

    def close(self):
        self.stop()
        for task in asyncio.all_tasks(self.loop):
            task._log_destroy_pending = False  # left behind on purpose
        self.loop.close()


@pytest.fixture
def loops(factory):
    both = [LoopThread(factory), LoopThread(treadle.new_event_loop)]
    yield both
    for each in both:
        each.close()


async def use(lock, rounds, log):
    for _ in range(rounds):
        async with lock:
            log.append(threading.get_ident())
            if len(log) % 7 == 0:
                await asyncio.sleep(0)


def test_two_loops_share_a_lock(loops):
    lock, log = treadle.Lock(), []
    futures = [each.submit(use(lock, 200, log)) for each in loops for _ in range(3)]
    for each in futures:
        each.result(30)
    assert len(log) == 1200 and len(set(log)) == 2 and not lock.locked()


def test_a_waiter_in_a_loop_that_was_closed_gets_nothing(loops):
    lock = treadle.Lock()
    lock.acquire_sync()
    task = loops[0].submit(lock.acquire())
    assert waiting(lock, 1)
    loops[0].close()
    lock.release()
    with treadle.ThreadPoolExecutor(1) as pool:
        assert pool.submit(lock.acquire_sync, 20).result(30) is True
    assert not task.done()


def test_a_grant_that_a_closing_loop_drops_passes_on(loops):
    """It was posted to the loop, which never ran again."""
    lock = treadle.Lock()
    lock.acquire_sync()
    keep = loops[0].submit(lock.acquire())
    assert waiting(lock, 1)
    loops[0].stop()
    lock_thread = threading.Thread(target=lock.release)
    lock_thread.start()
    lock_thread.join()
    got = []
    other = threading.Thread(target=lambda: got.append(lock.acquire_sync(20)))
    other.start()
    assert waiting(lock, 2)
    loops[0].loop.close()
    while other.is_alive():
        other.join(0.01)
        gc.collect()  # without a GIL, what another thread has made dies late
    assert got == [True] and not keep.done()


def test_cancelled_after_the_grant_was_posted(loops):
    semaphore = treadle.Semaphore(0)
    ours = loops[0]
    blocker = threading.Event()

    async def main():
        task = asyncio.create_task(semaphore.acquire())
        await asyncio.sleep(0)
        entered.set()
        blocker.wait(20)  # the grant is posted meanwhile
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    entered = threading.Event()
    result = ours.submit(main())
    assert entered.wait(20)
    semaphore.release()
    assert not semaphore.acquire_sync(0)
    blocker.set()
    assert result.result(20) is True
    assert semaphore.acquire_sync(20) is True


def test_a_loop_of_another_make():
    uvloop = pytest.importorskip("uvloop")
    loop = LoopThread(uvloop.new_event_loop)
    lock, log = treadle.Lock(), []
    try:
        futures = [loop.submit(use(lock, 100, log)) for _ in range(3)]
        for _ in range(100):
            with lock:
                log.append(0)
        for each in futures:
            each.result(30)
    finally:
        loop.close()
    assert len(log) == 400


def test_futures_of_another_make(run):
    """A loop whose create_future() makes futures written in Python."""

    async def main():
        loop = asyncio.get_running_loop()
        loop.create_future = lambda: asyncio.futures._PyFuture(loop=loop)
        lock = treadle.Lock()
        await lock.acquire()
        tasks = [asyncio.create_task(lock.acquire()) for _ in range(2)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        lock.release()
        assert await tasks[1] is True

    run(main)

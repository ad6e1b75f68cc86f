"""Barrier."""

import asyncio
import threading

import pytest
import treadle


def test_all_pass_together(run, kit):
    async def main():
        barrier = kit.Barrier(3)
        assert repr(barrier).endswith("[filling, waiters:0/3]>")
        tasks = [asyncio.create_task(barrier.wait()) for _ in range(2)]
        await asyncio.sleep(0)
        assert barrier.n_waiting == 2 and not barrier.broken
        async with barrier as index:
            assert index == 2
        assert sorted(await asyncio.gather(*tasks)) == [0, 1]
        assert barrier.n_waiting == 0

    run(main)


def test_rounds(run, kit):
    async def main():
        barrier, log = kit.Barrier(3), []

        async def runner():
            for number in range(4):
                await barrier.wait()
                log.append(number)

        await asyncio.gather(*(runner() for _ in range(3)))
        assert log == sorted(log)

    run(main)


def test_abort_and_reset(run, kit):
    async def main():
        barrier = kit.Barrier(2)
        task = asyncio.create_task(barrier.wait())
        await asyncio.sleep(0)
        await barrier.abort()
        with pytest.raises(asyncio.BrokenBarrierError, match="Abort or reset of barrier"):
            await task
        assert barrier.broken and repr(barrier).endswith("[broken]>")
        with pytest.raises(asyncio.BrokenBarrierError, match="Barrier aborted"):
            await barrier.wait()
        await barrier.reset()
        assert not barrier.broken
        task = asyncio.create_task(barrier.wait())
        await asyncio.sleep(0)
        await barrier.reset()
        with pytest.raises(asyncio.BrokenBarrierError):
            await task
        assert len(await asyncio.gather(barrier.wait(), barrier.wait())) == 2

    run(main)


def test_a_cancelled_one_is_not_counted(run, kit):
    async def main():
        barrier = kit.Barrier(2)
        task = asyncio.create_task(barrier.wait())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert barrier.n_waiting == 0
        assert sorted(await asyncio.gather(barrier.wait(), barrier.wait())) == [0, 1]

    run(main)


def test_bad_parties(kit):
    with pytest.raises(ValueError, match="parties must be >"):
        kit.Barrier(0)
    with pytest.raises(TypeError, match="parties"):
        kit.Barrier()


def test_threads_and_coroutines(run):
    barrier, indices, lock = treadle.Barrier(4), [], threading.Lock()

    def note(index):
        with lock:
            indices.append(index)

    def thread():
        for _ in range(20):
            note(barrier.wait_sync(30))

    async def coroutine():
        for _ in range(20):
            note(await barrier.wait())

    async def main():
        threads = [threading.Thread(target=thread) for _ in range(2)]
        for each in threads:
            each.start()
        await asyncio.gather(coroutine(), coroutine())
        await asyncio.to_thread(lambda: [each.join() for each in threads])

    run(main)
    assert sorted(indices) == sorted([*range(4)] * 20)


def test_in_threads_a_timeout_breaks_it():
    barrier = treadle.Barrier(2)
    with pytest.raises(asyncio.BrokenBarrierError):
        barrier.wait_sync(0.01)
    assert barrier.broken
    barrier.reset_sync()
    assert not barrier.broken
    with pytest.raises(asyncio.BrokenBarrierError):
        barrier.wait_sync(0)
    barrier.reset_sync()
    threading.Timer(0.02, barrier.abort_sync).start()
    with pytest.raises(asyncio.BrokenBarrierError):
        barrier.wait_sync()

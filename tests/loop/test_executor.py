"""run_in_executor() with each kind of executor."""

import asyncio
import concurrent.futures
import threading

import pytest
import treadle


@pytest.mark.parametrize("kind", [None, treadle.ThreadPoolExecutor, concurrent.futures.ThreadPoolExecutor])
def test_result_and_exception(loop, kind):
    async def main():
        executor = kind and kind(2)
        ident = await loop.run_in_executor(executor, threading.get_ident)
        assert ident != threading.get_ident()
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(executor, divmod, 1, 0)
        results = await asyncio.gather(*(loop.run_in_executor(executor, abs, -n) for n in range(100)))
        assert results == list(range(100))
        if executor:
            executor.shutdown()

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())


def test_after_shutdown_the_default_is_refused(loop):
    async def main():
        assert await asyncio.to_thread(abs, -1) == 1
        await loop.shutdown_default_executor()
        with pytest.raises(RuntimeError, match="shutdown"):
            loop.run_in_executor(None, abs, -1)

    loop.run_until_complete(main())


KINDS = [None, treadle.ThreadPoolExecutor, concurrent.futures.ThreadPoolExecutor]


@pytest.mark.parametrize("kind", KINDS)
def test_cancelling_what_has_not_started(loop, kind):
    """The call is not made; what runs already goes on, and nobody waits for it."""

    async def main():
        executor = kind(1) if kind else treadle.ThreadPoolExecutor(1)
        if kind is None:
            loop.set_default_executor(executor)
        gate, started, ran = threading.Event(), threading.Event(), []
        running = loop.run_in_executor(kind and executor, lambda: (started.set(), gate.wait(30)))
        waiting = loop.run_in_executor(kind and executor, ran.append, 1)
        while not started.is_set():
            await asyncio.sleep(0.001)
        assert waiting.cancel() and running.cancel()
        for future in (waiting, running):
            with pytest.raises(asyncio.CancelledError):
                await future
        await asyncio.sleep(0.01)  # asyncio's loop tells the executor a little later
        gate.set()
        assert await loop.run_in_executor(kind and executor, abs, -1) == 1
        assert ran == []
        executor.shutdown()

    loop.run_until_complete(main())


@pytest.mark.parametrize("kind", KINDS)
def test_a_timeout_around_a_job(loop, kind):
    async def main():
        gate = threading.Event()
        executor = kind and kind(1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(loop.run_in_executor(executor, gate.wait, 30), 0.01)
        gate.set()
        assert await loop.run_in_executor(executor, abs, -2) == 2
        if executor:
            executor.shutdown()

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())


def test_cancelling_to_thread(loop):
    async def main():
        gate, started = threading.Event(), threading.Event()
        task = asyncio.ensure_future(asyncio.to_thread(lambda: (started.set(), gate.wait(30))))
        while not started.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.set()

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())


def test_a_result_that_comes_after_close_is_dropped(loop):
    gate = threading.Event()
    with treadle.ThreadPoolExecutor(1) as executor:
        future = loop.run_in_executor(executor, gate.wait, 30)
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        gate.set()
    assert not future.done()


def test_no_result_is_lost(loop):
    """Results come one by one and in bursts, while the loop fetches them."""

    async def main():
        for n in (1, 2, 30, 1, 100) * 30:
            jobs = [loop.run_in_executor(None, abs, -i) for i in range(n)]
            assert await asyncio.wait_for(asyncio.gather(*jobs), 60) == list(range(n))

    loop.run_until_complete(main())

"""Results of jobs that land in a loop of treadle's: none is lost, late, or told to a loop that is closed."""

import asyncio
import gc
import threading
import weakref

import pytest
import treadle
from support import eventually, start_thread

LONG = 60.0


@pytest.fixture(params=["epoll", "poll"])
def loop(request, monkeypatch):
    monkeypatch.setenv("TREADLE_POLLER", request.param)
    loop = treadle.new_event_loop()
    yield loop
    loop.close()


def run(loop, coroutine):
    return loop.run_until_complete(asyncio.wait_for(coroutine, LONG))


def test_results_of_several_pools_in_turn(loop, make_native_pool):
    pools = [make_native_pool(2) for _ in range(3)]

    async def main():
        for _ in range(20):
            jobs = [loop.run_in_executor(pools[i % 3], divmod, i, 7) for i in range(60)]
            assert await asyncio.gather(*jobs) == [divmod(i, 7) for i in range(60)]

    run(loop, main())


def test_a_pool_that_is_dropped_while_its_job_runs(loop, native, gate):
    pool = native.ThreadPoolExecutor(1)

    async def main(pool):
        job = loop.run_in_executor(pool, gate.wait)
        pool.shutdown(wait=False)
        del pool
        gc.collect()
        loop.call_later(0.01, gate.open)
        return await job

    coroutine = main(pool)
    del pool
    run(loop, coroutine)


def test_futures_of_no_pool(loop, native):
    async def main():
        futures = [native.Future() for _ in range(100)]
        wrapped = [asyncio.wrap_future(future) for future in futures]

        def finish(some):
            for future in some:
                future.set_result(id(future))

        threads = [start_thread(finish, futures[i::4]) for i in range(4)]
        assert await asyncio.gather(*wrapped) == [id(future) for future in futures]
        for thread in threads:
            thread.join(LONG)

    run(loop, main())


def test_who_has_given_up_is_not_told(loop, make_native_pool, gate):
    pool = make_native_pool(1)
    complaints = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))

    async def main():
        jobs = [loop.run_in_executor(pool, gate.wait), loop.run_in_executor(pool, int)]
        await asyncio.sleep(0.01)
        assert all(job.cancel() for job in jobs)
        gate.open()
        assert await loop.run_in_executor(pool, str) == ""
        assert all(job.cancelled() for job in jobs)

    run(loop, main())
    assert complaints == []


@pytest.mark.parametrize("how", ["close", "drop"])
def test_a_loop_that_is_gone_hears_nothing_and_is_freed(native, make_native_pool, gate, how):
    pool = make_native_pool(1)
    loop = native.new_event_loop()
    seen = weakref.ref(loop)

    async def main():
        loop.run_in_executor(pool, gate.wait)
        loop.run_in_executor(pool, int)

    loop.run_until_complete(main())
    if how == "close":
        loop.close()
        gate.open()
        assert pool.submit(int).result(LONG) == 0
    else:
        gate.open()
        assert pool.submit(int).result(LONG) == 0
        loop.close()
    del loop, main
    assert eventually(lambda: gc.collect() >= 0 and seen() is None)


class Fussy(asyncio.Future):
    """Raises where it is told its result."""

    error = ValueError

    def set_result(self, result):
        raise self.error(result)


def test_an_asyncio_future_that_raises(loop, make_native_pool, monkeypatch):
    """The handler hears of it, and the others get their results."""
    pool = make_native_pool(1)
    complaints = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))

    async def main():
        source = treadle.Future()
        fussy = Fussy(loop=loop)
        monkeypatch.setattr(loop, "create_future", lambda: fussy)
        asyncio.wrap_future(source)
        monkeypatch.undo()
        good = [loop.run_in_executor(pool, abs, -i) for i in range(3)]
        pool.submit(source.set_result, 5)
        more = [loop.run_in_executor(pool, abs, -i) for i in range(3)]
        assert await asyncio.gather(*good, *more) == [0, 1, 2, 0, 1, 2]
        while not complaints:
            await asyncio.sleep(0)
        (context,) = complaints
        assert isinstance(context["exception"], ValueError)
        fussy.cancel()

    run(loop, main())


def test_one_wake_for_many(loop, make_native_pool, gate):
    """Results that come while the loop is busy are taken in one go."""
    pool = make_native_pool(1)

    async def main():
        jobs = [loop.run_in_executor(pool, abs, -i) for i in range(500)]
        done = pool.submit(int)
        assert done.result(LONG) == 0  # all of them are done; the loop has not turned
        before = loop.stats()["turns"]
        assert await asyncio.gather(*jobs) == list(range(500))
        return loop.stats()["turns"] - before

    assert run(loop, main()) < 20


def test_loops_in_threads_get_their_own(native, make_native_pool):
    pool = make_native_pool(2)

    async def main(number):
        loop = asyncio.get_running_loop()
        for i in range(50):
            assert await loop.run_in_executor(pool, divmod, number, i + 1) == divmod(number, i + 1)
        return threading.get_ident()

    threads = [start_thread(native.run, main(n)) for n in range(4)]
    for thread in threads:
        thread.join(LONG)
    assert [thread.outcome[0] for thread in threads] == [thread.ident for thread in threads]

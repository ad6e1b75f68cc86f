"""Results on their way into a stock loop: many, to several loops, to loops that are closed."""

import asyncio
import gc
import threading
import time

from support import Gate, eventually, start_thread
from support.bridging import LONG, close_with_a_result_under_way, run


def test_loop_closed_before_the_outcome(impl, caplog):
    future = impl.Future()

    async def main():
        return asyncio.wrap_future(future)

    loop = asyncio.new_event_loop()
    wrapped = loop.run_until_complete(main())
    loop.close()
    future.set_result(1)
    assert future.result() == 1 and not wrapped.done()


def test_wrapped_in_several_loops_at_once(impl):
    future, gate = impl.Future(), Gate()

    def one_loop():
        async def main():
            wrapped = asyncio.wrap_future(future)
            gate.entered += 1
            return await wrapped

        return run(main())

    threads = []
    for number in range(4):
        threads.append(start_thread(one_loop))
        gate.until_entered(number + 1)
    future.set_result("everywhere")
    for thread in threads:
        thread.join(LONG)
        assert thread.outcome == ("everywhere", None)


def test_many_at_once(impl, make_pool):
    pool = make_pool(4)

    async def main():
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(pool, pow, n, 2) for n in range(1000)))

    assert run(main()) == [n * n for n in range(1000)]


def test_one_after_the_other(impl, make_pool):
    pool = make_pool(1)

    async def main():
        loop = asyncio.get_running_loop()
        return [await loop.run_in_executor(pool, pow, n, 2) for n in range(300)]

    assert run(main()) == [n * n for n in range(300)]


def test_loop_closed_while_a_job_runs(impl, make_pool, gate):
    pool = make_pool(1)
    loop = asyncio.new_event_loop()

    async def main():
        loop.run_in_executor(pool, gate.wait)
        while not gate.entered:
            await asyncio.sleep(0.001)

    loop.run_until_complete(main())
    loop.close()
    gate.open()
    assert pool.submit(int).result(LONG) == 0  # the worker survived having nobody to tell


def test_closing_loops_while_jobs_finish(impl, make_pool):
    pool = make_pool(2)
    for delay in (0, 0.0001, 0.0003, 0.001, 0.003) * 4:
        loop = asyncio.new_event_loop()

        async def main(loop=loop, delay=delay):
            for _ in range(20):
                loop.run_in_executor(pool, time.sleep, delay)
            await asyncio.sleep(delay)

        loop.run_until_complete(main())
        loop.close()
    assert pool.submit(int).result(LONG) == 0


def test_closed_loops_are_not_kept_alive_by_results_under_way(impl, make_pool):
    pool = make_pool(1)
    loops = [close_with_a_result_under_way(pool) for _ in range(20)]

    async def main():  # a new loop on the pool: whatever is kept for old ones can go now
        return await asyncio.get_running_loop().run_in_executor(pool, int)

    assert run(main()) == 0
    # At most the one that the pool served last may be kept until there is another.
    assert eventually(lambda: gc.collect() >= 0 and sum(loop() is not None for loop in loops) <= 1)


def test_several_loops_in_several_threads_share_a_pool(impl, make_pool):
    pool = make_pool(3)

    def one_loop(base):
        async def main():
            loop = asyncio.get_running_loop()
            here = threading.get_ident()
            results = await asyncio.gather(*(loop.run_in_executor(pool, pow, base, n) for n in range(200)))
            assert threading.get_ident() == here
            return results

        return run(main())

    threads = [start_thread(one_loop, base) for base in (2, 3, 5)]
    for base, thread in zip((2, 3, 5), threads):
        thread.join(LONG)
        assert thread.outcome == ([base**n for n in range(200)], None)


def test_debug_mode_accepts_results_from_workers(impl, make_pool, caplog):
    # In debug mode the loop complains about calls from a wrong thread; results must come the right way.
    pool = make_pool(2)

    async def main():
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = LONG
        return await asyncio.gather(*(loop.run_in_executor(pool, pow, n, 2) for n in range(100)))

    assert run(main(), debug=True) == [n * n for n in range(100)]
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]

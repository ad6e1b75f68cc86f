"""Executor futures in asyncio: wrap_future, run_in_executor and to_thread, on the stock event loop."""

import asyncio
import concurrent.futures
import contextvars
import gc
import inspect
import os
import threading
import time
import weakref

import pytest
from support import Gate, dies, eventually, run_script, start_thread

LONG = 60.0

variable = contextvars.ContextVar("variable", default="default")


def run(coroutine, debug=False):
    async def limited():
        return await asyncio.wait_for(coroutine, LONG)

    return asyncio.run(limited(), debug=debug)


class Failure(Exception):
    pass


def fail(text="failed"):
    raise Failure(text)


# --- wrap_future ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("debug", [False, True], ids=["normal", "debug mode"])
def test_wrapped_result(impl, debug):
    async def main():
        future = impl.Future()
        wrapped = asyncio.wrap_future(future)
        assert asyncio.isfuture(wrapped) and not wrapped.done()
        start_thread(future.set_result, 42)
        return await wrapped

    assert run(main(), debug) == 42


@pytest.mark.parametrize("debug", [False, True], ids=["normal", "debug mode"])
def test_wrapped_exception(impl, debug):
    async def main():
        future, error = impl.Future(), Failure("f")
        wrapped = asyncio.wrap_future(future)
        start_thread(future.set_exception, error)
        with pytest.raises(Failure) as caught:
            await wrapped
        assert caught.value is error

    run(main(), debug)


def test_wrapping_a_done_future(impl):
    async def main():
        done, failed, cancelled = impl.Future(), impl.Future(), impl.Future()
        done.set_result(1)
        failed.set_exception(Failure())
        cancelled.cancel()
        assert await asyncio.wrap_future(done) == 1
        with pytest.raises(Failure):
            await asyncio.wrap_future(failed)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wrap_future(cancelled)

    run(main())


def test_executor_exceptions_become_asyncio_ones(impl):
    async def main():
        for error, expected in (
            (concurrent.futures.CancelledError("c"), asyncio.CancelledError),
            (concurrent.futures.InvalidStateError("i"), asyncio.InvalidStateError),
            (TimeoutError("t"), TimeoutError),
        ):
            future = impl.Future()
            wrapped = asyncio.wrap_future(future)
            future.set_exception(error)
            with pytest.raises(expected):
                await wrapped

    run(main())


def test_cancelling_the_asyncio_side_cancels_the_future(impl):
    async def main():
        future = impl.Future()
        wrapped = asyncio.wrap_future(future)
        wrapped.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wrapped
        await asyncio.sleep(0)  # the news travels through the loop
        assert future.cancelled()

    run(main())


def test_cancelling_the_future_cancels_the_asyncio_side(impl):
    async def main():
        future = impl.Future()
        wrapped = asyncio.wrap_future(future)
        start_thread(future.cancel)
        with pytest.raises(asyncio.CancelledError):
            await wrapped
        assert wrapped.cancelled()

    run(main())


def test_running_future_ignores_the_cancellation(impl):
    async def main():
        future = impl.Future()
        wrapped = asyncio.wrap_future(future)
        future.set_running_or_notify_cancel()
        wrapped.cancel()
        await asyncio.sleep(0)
        assert future.running() and wrapped.cancelled()
        future.set_result(1)
        await asyncio.sleep(0.01)
        assert future.result() == 1 and wrapped.cancelled()

    run(main())


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


def test_callbacks_of_a_wrapped_future_run_on_the_loop(impl):
    async def main():
        future, seen = impl.Future(), []
        wrapped = asyncio.wrap_future(future)
        wrapped.add_done_callback(lambda _: seen.append(threading.get_ident()))
        start_thread(future.set_result, None)
        await wrapped
        await asyncio.sleep(0)
        assert seen == [threading.get_ident()]

    run(main())


def test_concurrent_future_of_a_coroutine(impl):
    # The other way round: run_coroutine_threadsafe gives out a standard future; ours waits for both together.
    loop = asyncio.new_event_loop()
    thread = start_thread(loop.run_forever)

    async def answer():
        return 42

    try:
        theirs = asyncio.run_coroutine_threadsafe(answer(), loop)
        ours = impl.Future()
        ours.set_result(1)
        done, pending = impl.wait([theirs, ours], LONG)
        assert done == {theirs, ours} and not pending and theirs.result() == 42
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(LONG)
        loop.close()


def test_wrapped_future_is_not_kept_alive(impl):
    async def main():
        future = impl.Future()
        reference = weakref.ref(future)
        wrapped = asyncio.wrap_future(future)
        start_thread(future.set_result, 1).join()
        assert await wrapped == 1
        del future
        return reference

    assert dies(run(main()))


# --- run_in_executor --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("debug", [False, True], ids=["normal", "debug mode"])
def test_run_in_executor(impl, make_pool, debug):
    pool = make_pool(2, thread_name_prefix="bridge")

    async def main():
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(pool, pow, 2, 10) == 1024
        assert (await loop.run_in_executor(pool, threading.current_thread)).name.startswith("bridge_")
        with pytest.raises(Failure, match="failed"):
            await loop.run_in_executor(pool, fail)

    run(main(), debug)


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


def test_gather_returns_exceptions(impl, make_pool):
    pool = make_pool(2)

    async def main():
        loop = asyncio.get_running_loop()
        work = [loop.run_in_executor(pool, divmod, 1, n % 2) for n in range(10)]
        return await asyncio.gather(*work, return_exceptions=True)

    outcomes = run(main())
    assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError, tuple] * 5


def test_as_default_executor(impl):
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_default_executor(impl.ThreadPoolExecutor(2, thread_name_prefix="default"))
        name = await loop.run_in_executor(None, lambda: threading.current_thread().name)
        assert name.startswith("default_")
        assert (await asyncio.to_thread(lambda: threading.current_thread().name)).startswith("default_")

    run(main())  # asyncio.run shuts the default executor down


def test_cancelling_a_queued_job(impl, make_pool, gate):
    pool = make_pool(1)
    ran = []

    async def main():
        loop = asyncio.get_running_loop()
        busy = loop.run_in_executor(pool, gate.wait, "busy")
        queued = loop.run_in_executor(pool, ran.append, 1)
        await asyncio.sleep(0.01)
        queued.cancel()
        with pytest.raises(asyncio.CancelledError):
            await queued
        await asyncio.sleep(0)  # the news travels through the loop
        gate.open()
        assert await busy == "busy"

    run(main())
    pool.shutdown()
    assert ran == []


def test_cancelling_a_running_job_lets_it_finish(impl, make_pool, gate):
    pool, done = make_pool(1), []

    def job():
        gate.wait()
        done.append(1)

    async def main():
        work = asyncio.get_running_loop().run_in_executor(pool, job)
        while not gate.entered:
            await asyncio.sleep(0.001)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    run(main())
    assert not done
    gate.open()
    assert eventually(lambda: done == [1])


def test_timeout_around_a_job(impl, make_pool, gate):
    pool = make_pool(1)

    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await asyncio.get_running_loop().run_in_executor(pool, gate.wait)

    run(main())


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


def close_with_a_result_under_way(pool):
    """A loop that is closed after the result of a job was handed to it and before it has looked."""
    loop = asyncio.new_event_loop()

    async def main():
        loop.run_in_executor(pool, int)

    loop.run_until_complete(main())
    pool.submit(int).result(LONG)
    pool.submit(int).result(LONG)
    loop.close()
    return weakref.ref(loop)


def test_closed_loops_are_not_kept_alive_by_results_under_way(impl, make_pool):
    pool = make_pool(1)
    loops = [close_with_a_result_under_way(pool) for _ in range(20)]

    async def main():  # a new loop on the pool: whatever is kept for old ones can go now
        return await asyncio.get_running_loop().run_in_executor(pool, int)

    assert run(main()) == 0
    # At most the one that the pool served last may be kept until there is another.
    assert eventually(lambda: gc.collect() >= 0 and sum(loop() is not None for loop in loops) <= 1)


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs /proc")
def test_closed_loops_leave_no_descriptors(impl, make_pool):
    pool = make_pool(1)

    def use():
        for _ in range(10):
            close_with_a_result_under_way(pool)
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    use()
    counts = [use() for _ in range(4)]
    assert counts[-1] <= counts[0] + 3, counts


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


def test_loop_idle_in_its_selector_is_woken(impl, make_pool, gate):
    pool = make_pool(1)

    async def main():
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(pool, gate.wait, "woken")
        threading.Timer(0.2, gate.open).start()
        return await work

    assert run(main()) == "woken"


def test_shutdown_of_the_pool_while_the_loop_waits(impl, make_pool, gate):
    pool = make_pool(1)

    async def main():
        loop = asyncio.get_running_loop()
        busy = loop.run_in_executor(pool, gate.wait, 1)
        queued = [loop.run_in_executor(pool, int) for _ in range(5)]
        while not gate.entered:
            await asyncio.sleep(0.001)
        pool.shutdown(wait=False, cancel_futures=True)
        for work in queued:
            with pytest.raises(asyncio.CancelledError):
                await work
        gate.open()
        assert await busy == 1
        with pytest.raises(RuntimeError, match="cannot schedule new futures"):
            loop.run_in_executor(pool, int)

    run(main())


def test_ctrl_c_in_a_loop_that_waits_for_a_job(impl):
    source = f"""
        import asyncio, os, signal, threading
        import {impl.module.__name__} as futures
        signal.signal(signal.SIGINT, signal.default_int_handler)
        release = threading.Event()
        async def main():
            pool = futures.ThreadPoolExecutor(1)
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
            try:
                await asyncio.get_running_loop().run_in_executor(pool, release.wait, 30)
            finally:
                release.set()
        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            print("interrupted")
    """
    assert run_script(source).strip() == "interrupted"


# --- to_thread --------------------------------------------------------------------------------------------------------


def test_to_thread(native):
    async def main():
        assert await native.to_thread(pow, 2, 10) == 1024
        assert await native.to_thread(dict, a=1, func=2) == {"a": 1, "func": 2}
        assert await native.to_thread(threading.get_ident) != threading.get_ident()
        with pytest.raises(Failure):
            await native.to_thread(fail)

    run(main())


def test_to_thread_is_a_coroutine_function_like_the_standard_one(native):
    assert inspect.iscoroutinefunction(native.to_thread)
    with pytest.raises(TypeError):
        asyncio.run(native.to_thread())


def test_to_thread_copies_the_context(native):
    def change():
        seen = variable.get()
        variable.set("changed in the thread")
        return seen

    async def main():
        variable.set("from the task")
        assert await native.to_thread(change) == "from the task"
        assert variable.get() == "from the task"
        return await asyncio.gather(*(in_context(number) for number in range(20)))

    async def in_context(number):
        variable.set(number)
        return await native.to_thread(variable.get)

    assert run(main()) == list(range(20))


def test_to_thread_in_parallel(native):
    barrier = threading.Barrier(3)

    async def main():
        await asyncio.gather(*(native.to_thread(barrier.wait, LONG) for _ in range(3)))

    run(main())


def test_to_thread_can_be_cancelled_and_timed_out(native, gate):
    async def main():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(native.to_thread(gate.wait), 0.02)
        gate.open()

    run(main())


def test_to_thread_from_several_loops(native):
    def one_loop(number):
        async def main():
            return [await native.to_thread(pow, number, 2) for _ in range(50)]

        return run(main())

    threads = [start_thread(one_loop, number) for number in range(3)]
    for number, thread in enumerate(threads):
        thread.join(LONG)
        assert thread.outcome == ([number**2] * 50, None)

"""Executor futures in asyncio: wrap_future, run_in_executor and to_thread, on the stock event loop."""

import asyncio
import contextvars
import inspect
import threading
import weakref

import pytest
from support import dies, eventually, start_thread
from support.bridging import Failure, LONG, run

variable = contextvars.ContextVar("variable", default="default")


def fail(text="failed"):
    raise Failure(text)


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

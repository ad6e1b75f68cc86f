"""The thread pool: hand-off costs against concurrent.futures, and scaling with cores.

A function named `time_*` takes the executor class and returns the cost of one task.  The pool is
started, and the same operation done a few times, before the clock runs.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections.abc import Callable, Coroutine
from typing import Any

import ccompiler
import cores
import memory_of_queue
import native_job
import resident
import treadle
from harness import Row, Sample, Side, Stopwatch, Unit

Executor = concurrent.futures.ThreadPoolExecutor
ExecutorClass = type[Executor]
TimeFunction = Callable[[ExecutorClass, int], Sample]

WORKERS = 4
GATHERED = 1000
NAP = 0.001
SPIN_STEPS = 20_000


def noop() -> None:
    """The least a task can do."""


def identity(value: int) -> int:
    """The least a mapped function can do."""
    return value


def nap() -> None:
    """A task that waits."""
    time.sleep(NAP)


def spin(seed: int) -> int:
    """A millisecond or so of pure Python that shares nothing with other threads.

    Only small integers, which are immortal, appear as constants: any other constant would have
    its reference count fought over by all threads on a free-threaded 3.13, and that would be a
    figure about the interpreter.
    """
    value = seed
    for step in range(SPIN_STEPS):
        value = (value * 31 + step) % 251
    return value


def time_submit_result(executor: ExecutorClass, tasks: int) -> Sample:
    """submit(noop).result(), one at a time."""
    with executor(WORKERS) as pool:
        submit = pool.submit
        for _ in range(tasks // 10):
            submit(noop).result()
        with Stopwatch(tasks) as watch:
            for _ in range(tasks):
                submit(noop).result()
    return watch.sample()


def time_burst_wait(executor: ExecutorClass, tasks: int) -> Sample:
    """Submit all, then concurrent.futures.wait for all."""
    with executor(WORKERS) as pool:
        concurrent.futures.wait([pool.submit(noop) for _ in range(tasks // 10)])
        with Stopwatch(tasks) as watch:
            futures = [pool.submit(noop) for _ in range(tasks)]
            waiting = concurrent.futures.wait(futures)
        assert len(waiting.done) == tasks
    return watch.sample()


def time_burst_results(executor: ExecutorClass, tasks: int) -> Sample:
    """Submit all, then take the result of each."""
    with executor(WORKERS) as pool:
        concurrent.futures.wait([pool.submit(noop) for _ in range(tasks // 10)])
        with Stopwatch(tasks) as watch:
            futures = [pool.submit(noop) for _ in range(tasks)]
            for future in futures:
                future.result()
    return watch.sample()


def time_as_completed(executor: ExecutorClass, tasks: int) -> Sample:
    """Submit all, then go through the standard as_completed."""
    with executor(WORKERS) as pool:
        concurrent.futures.wait([pool.submit(noop) for _ in range(tasks // 10)])
        with Stopwatch(tasks) as watch:
            futures = [pool.submit(noop) for _ in range(tasks)]
            seen = sum(1 for _ in concurrent.futures.as_completed(futures))
        assert seen == tasks
    return watch.sample()


def time_map(executor: ExecutorClass, tasks: int) -> Sample:
    """map a function that does nothing, and take all results."""
    with executor(WORKERS) as pool:
        list(pool.map(identity, range(tasks // 10)))
        with Stopwatch(tasks) as watch:
            results = list(pool.map(identity, range(tasks)))
        assert results[-1] == tasks - 1 and len(results) == tasks
    return watch.sample()


def time_run_in_executor(executor: ExecutorClass, tasks: int) -> Sample:
    """The stock asyncio loop awaits one job after the other."""

    async def main(pool: Executor) -> Sample:
        loop = asyncio.get_running_loop()
        for _ in range(tasks // 10):
            await loop.run_in_executor(pool, noop)
        with Stopwatch(tasks) as watch:
            for _ in range(tasks):
                await loop.run_in_executor(pool, noop)
        return watch.sample()

    with executor(WORKERS) as pool:
        return _on_stock_loop(main(pool))


def time_gather(executor: ExecutorClass, tasks: int) -> Sample:
    """The stock asyncio loop gathers a thousand jobs, again and again."""
    batches = max(1, tasks // GATHERED)

    async def batch(pool: Executor) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(pool, noop) for _ in range(GATHERED)))

    async def main(pool: Executor) -> Sample:
        await batch(pool)
        with Stopwatch(batches * GATHERED) as watch:
            for _ in range(batches):
                await batch(pool)
        return watch.sample()

    with executor(WORKERS) as pool:
        return _on_stock_loop(main(pool))


def time_sleeps(executor: ExecutorClass, tasks: int) -> Sample:
    """Tasks that sleep: nothing to win, and nothing may be lost."""
    with executor(WORKERS) as pool:
        concurrent.futures.wait([pool.submit(nap) for _ in range(2 * WORKERS)])
        with Stopwatch(tasks) as watch:
            concurrent.futures.wait([pool.submit(nap) for _ in range(tasks)])
    return watch.sample()


def time_cpu_map(workers: int, tasks: int) -> Sample:
    """treadle: map a pure-Python function that computes."""
    with treadle.ThreadPoolExecutor(workers) as pool:
        list(pool.map(spin, range(2 * workers)))
        with Stopwatch(tasks) as watch:
            results = list(pool.map(spin, range(tasks)))
        assert results[1] == spin(1)
    return watch.sample()


def time_native(workers: int, tasks: int) -> Sample:
    """treadle: C jobs over a buffer each, wholly without the GIL."""
    function = native_job.function()
    buffers = [bytearray(range(256)) * 16 for _ in range(tasks)]
    with treadle.ThreadPoolExecutor(workers) as pool:
        expected = pool.submit_native(function, buffers[0]).result()
        concurrent.futures.wait([pool.submit_native(function, buffers[0]) for _ in range(workers)])
        with Stopwatch(tasks) as watch:
            futures = [pool.submit_native(function, buffer) for buffer in buffers]
            results = {future.result() for future in futures}
        assert results == {expected}
    return watch.sample()


def rows(quick: bool) -> list[Row]:
    """All rows; `quick` divides the work by ten."""
    tasks = 2_000 if quick else 20_000
    return [
        _against_stdlib(
            "submit-result", "submit(noop).result(), one at a time", 4, time_submit_result, tasks
        ),
        _against_stdlib("burst-wait", f"burst of {tasks:,}, then wait", 6, time_burst_wait, tasks),
        _against_stdlib(
            "burst-results",
            f"burst of {tasks:,}, then each result()",
            15,
            time_burst_results,
            tasks,
        ),
        _against_stdlib(
            "as-completed", f"standard as_completed over {tasks:,}", 4, time_as_completed, tasks
        ),
        _against_stdlib("map", f"map over {tasks:,} items", 30, time_map, tasks),
        _against_stdlib(
            "run-in-executor",
            "asyncio run_in_executor, one at a time",
            2,
            time_run_in_executor,
            tasks // 4,
        ),
        _against_stdlib(
            "gather", "asyncio gather of 1,000 run_in_executor", 2.5, time_gather, tasks // 2
        ),
        _against_stdlib("sleeps", "200 sleeps of 1 ms", 1, time_sleeps, 200, tolerance=0.02),
        _scaling(
            "cpu-map",
            "free-threaded: CPU-bound map, 2 workers to 1",
            1.8,
            time_cpu_map,
            20 if quick else 200,
            cores.why_no_python_on_second(),
        ),
        _scaling(
            "native",
            "native jobs (submit_native), 2 workers to 1",
            1.9,
            time_native,
            8 if quick else 80,
            _why_no_native(),
        ),
        _memory(10_000 if quick else 100_000),
    ]


def _against_stdlib(
    key: str, title: str, target: float, run: TimeFunction, tasks: int, tolerance: float = 0.0
) -> Row:
    return Row(
        key=key,
        title=title,
        target=target,
        baseline=Side("stdlib", lambda: run(Executor, tasks)),
        subject=Side("treadle", lambda: run(treadle.ThreadPoolExecutor, tasks)),
        tolerance=tolerance,
    )


def _scaling(
    key: str,
    title: str,
    target: float,
    run: Callable[[int, int], Sample],
    tasks: int,
    unavailable: str | None,
) -> Row:
    return Row(
        key=key,
        title=title,
        target=target,
        baseline=Side("1 worker", lambda: run(1, tasks)),
        subject=Side("2 workers", lambda: run(2, tasks)),
        unavailable=unavailable,
    )


def _memory(tasks: int) -> Row:
    return Row(
        key="memory",
        title=f"memory of {tasks:,} queued submits, for one",
        target=2,
        baseline=Side("stdlib", lambda: Sample(memory_of_queue.in_child("stdlib", tasks))),
        subject=Side("treadle", lambda: Sample(memory_of_queue.in_child("treadle", tasks))),
        unit=Unit.BYTES,
        unavailable=resident.why_not(),
    )


def _why_no_native() -> str | None:
    return cores.why_no_second() or ccompiler.why_not()


def _on_stock_loop(main: Coroutine[Any, Any, Sample]) -> Sample:
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(main)

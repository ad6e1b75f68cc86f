"""The process pool: what a task costs, against concurrent.futures, multiprocessing.Pool and loky.

Two workers.  A function named `time_*` takes a way of making a pool and returns the cost of one
task.  Workers are forked except where starting them is what is measured; they run, and the same
operation has been done a few times, before the clock runs.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import importlib.util
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import resident
import treadle
from harness import Row, Sample, Side, Stopwatch
from treadle._demo.machine import usable_cores
from treadle._zygote import stop_zygotes
from units import Unit

WORKERS = 2
PRIME_LIMIT = 30_000
HAS_NUMPY = importlib.util.find_spec("numpy") is not None
HAS_LOKY = importlib.util.find_spec("loky") is not None
SAFE_METHOD = "forkserver"


def noop() -> None:
    """The least a task can do."""


def identity(value: Any) -> Any:
    """The least a mapped function can do."""
    return value


def length(value: Any) -> int:
    """Takes much, gives little."""
    return len(value)


def count_primes(limit: int) -> int:
    """Pure Python, one core."""
    return sum(all(n % d for d in range(2, int(n**0.5) + 1)) for n in range(2, limit))


class Waiting(Protocol):
    """A future, as far as these programs go."""

    def result(self) -> Any:
        """Wait for it."""


class Pool(Protocol):
    """What every side has."""

    def submit(self, fn: Callable[..., Any], *args: Any) -> Waiting:
        """Hand in one task."""

    def map(self, fn: Callable[..., Any], items: Iterable[Any], chunksize: int) -> Iterable[Any]:
        """Results in order."""


class MultiprocessingPool:
    """multiprocessing.Pool with the methods of an executor."""

    class Result:
        """A future of apply_async()."""

        def __init__(self, waiting: Any) -> None:
            self._waiting = waiting

        def result(self) -> Any:
            """Wait for it."""
            return self._waiting.get()

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def submit(self, fn: Callable[..., Any], *args: Any) -> Result:
        """Hand in one task."""
        return self.Result(self._pool.apply_async(fn, args))

    def map(self, fn: Callable[..., Any], items: Iterable[Any], chunksize: int) -> Any:
        """Results in order."""
        return self._pool.map(fn, items, chunksize)


MakePool = Callable[[], contextlib.AbstractContextManager[Any]]
TimeFunction = Callable[[MakePool, int], Sample]


def stdlib_pool(workers: int = WORKERS, method: str = "fork") -> Any:
    """The pool that ours stands in for."""
    context = multiprocessing.get_context(method)
    return concurrent.futures.ProcessPoolExecutor(workers, context)


def treadle_pool(workers: int = WORKERS, method: str = "fork") -> Any:
    """Ours."""
    return treadle.ProcessPoolExecutor(workers, multiprocessing.get_context(method))


def zygote_pool(workers: int = 1) -> Any:
    """Ours, with its own start method."""
    return treadle.ProcessPoolExecutor(workers, "zygote")


@contextlib.contextmanager
def multiprocessing_pool() -> Iterator[MultiprocessingPool]:
    """The older pool of the standard library."""
    with multiprocessing.get_context("fork").Pool(WORKERS) as pool:
        yield MultiprocessingPool(pool)


@contextlib.contextmanager
def loky_pool() -> Iterator[Any]:
    """loky's, which starts workers its own way."""
    import loky

    pool = loky.ProcessPoolExecutor(WORKERS)
    try:
        yield pool
    finally:
        pool.shutdown(kill_workers=True)


def warm(pool: Pool) -> None:
    """Have all workers started and used."""
    for waiting in [pool.submit(identity, i) for i in range(200)]:
        waiting.result()


def time_submit_result(make: MakePool, tasks: int) -> Sample:
    """One task at a time."""
    with make() as pool:
        warm(pool)
        with Stopwatch(tasks) as watch:
            for _ in range(tasks):
                pool.submit(noop).result()
    return watch.sample()


def time_burst(make: MakePool, tasks: int) -> Sample:
    """Submit all, then take the result of each."""
    with make() as pool:
        warm(pool)
        with Stopwatch(tasks) as watch:
            futures = [pool.submit(noop) for _ in range(tasks)]
            for future in futures:
                future.result()
    return watch.sample()


def time_map(chunksize: int) -> TimeFunction:
    """map() with so many items at a time."""

    def run(make: MakePool, tasks: int) -> Sample:
        with make() as pool:
            warm(pool)
            with Stopwatch(tasks) as watch:
                results = list(pool.map(identity, range(tasks), chunksize=chunksize))
            assert results == list(range(tasks))
        return watch.sample()

    return run


def time_bytes(make: MakePool, tasks: int) -> Sample:
    """10 KB of bytes out and back, all at once."""
    data = bytes(10_000)
    with make() as pool:
        warm(pool)
        with Stopwatch(tasks) as watch:
            futures = [pool.submit(identity, data) for _ in range(tasks)]
            for future in futures:
                assert len(future.result()) == len(data)
    return watch.sample()


def time_array(megabytes: int, function: Callable[[Any], Any]) -> TimeFunction:
    """A numpy array to a worker, one at a time, and what `function` makes of it back."""

    def run(make: MakePool, tasks: int) -> Sample:
        import numpy

        array = numpy.zeros(megabytes << 20, numpy.uint8)
        with make() as pool:
            warm(pool)
            for _ in range(2):
                pool.submit(function, array).result()
            with Stopwatch(tasks) as watch:
                for _ in range(tasks):
                    pool.submit(function, array).result()
        return watch.sample()

    return run


def time_start(make: MakePool, tasks: int) -> Sample:
    """From nothing to the first result."""
    with Stopwatch(tasks) as watch:
        for _ in range(tasks):
            with make() as pool:
                pool.submit(noop).result()
    return watch.sample()


def meet(barrier: Any) -> None:
    """The initializer of a worker that is not ready before the others are."""
    barrier.wait(60)


def time_cold_start() -> Sample:
    """From nothing, also no zygote, to the first result."""
    stop_zygotes()
    return time_start(zygote_pool, 1)


def time_further_workers(workers: int) -> Sample:
    """Of a zygote that is there; the first result waits for them all."""
    with zygote_pool() as pool:
        pool.submit(noop).result()
    barrier = treadle.ZygoteContext().Barrier(workers)
    pool = treadle.ProcessPoolExecutor(workers, "zygote", initializer=meet, initargs=(barrier,))
    with pool, Stopwatch(workers) as watch:
        for waiting in [pool.submit(noop) for _ in range(workers)]:
            waiting.result()
    return watch.sample()


def private_memory() -> Sample:
    """Of an idle worker that has had some tasks."""
    with zygote_pool() as pool:
        warm(pool)
        (pid,) = pool._processes
        return Sample(resident.private(pid))


def time_primes(make: MakePool, tasks: int) -> Sample:
    """Pure Python that keeps every worker busy."""
    with make() as pool:
        warm(pool)
        with Stopwatch(tasks) as watch:
            found = list(pool.map(count_primes, [PRIME_LIMIT] * tasks, chunksize=1))
        assert len(set(found)) == 1
    return watch.sample()


def rows(quick: bool) -> list[Row]:
    """All rows; `quick` divides the work by ten."""
    tasks = 500 if quick else 5_000
    numpy = None if HAS_NUMPY else "needs numpy"
    arrays = 2 if quick else 10
    return [
        _against_all(
            "submit-result", "submit(noop).result(), one at a time", 10, time_submit_result, tasks // 2
        ),
        _against_all("burst", f"burst of {tasks:,}, then each result()", 9, time_burst, tasks),
        _against_all("map-1", f"map over {tasks:,} items, chunksize 1", 8, time_map(1), tasks),
        _against_all(
            "map-100",
            f"map over {tasks * 20:,} items, chunksize 100",
            1.5,
            time_map(100),
            tasks * 20,
        ),
        _against_stdlib("bytes", "10 KB of bytes out and back, burst", 10, time_bytes, tasks // 5),
        _against_stdlib(
            "array-in", "8 MB array in", 8, time_array(8, length), arrays, unavailable=numpy
        ),
        _against_stdlib(
            "array", "8 MB array out and back", 8, time_array(8, identity), arrays, unavailable=numpy
        ),
        _against_stdlib(
            "array-64",
            "64 MB array out and back",
            8,
            time_array(64, identity),
            1 if quick else 3,
            unavailable=numpy,
        ),
        Row(
            key="start",
            title=f"start to first result, {SAFE_METHOD}",
            target=1,
            baseline=Side("stdlib", lambda: time_start(lambda: stdlib_pool(1, SAFE_METHOD), 3)),
            subject=Side("treadle", lambda: time_start(lambda: treadle_pool(1, SAFE_METHOD), 3)),
        ),
        *_promises(),
        Row(
            key="primes",
            title="CPU-bound Python, 2 workers to 1",
            target=1.9,
            baseline=Side("1 worker", lambda: time_primes(lambda: treadle_pool(1), tasks // 250)),
            subject=Side("2 workers", lambda: time_primes(lambda: treadle_pool(2), tasks // 250)),
            unavailable="needs two cores" if usable_cores() < 2 else None,
        ),
        Row(
            key="crowd",
            title=f"burst of {4 * tasks:,}, 64 workers to 8",
            target=1,
            baseline=Side("8 workers", lambda: time_burst(lambda: treadle_pool(8), 4 * tasks)),
            subject=Side("64 workers", lambda: time_burst(lambda: treadle_pool(64), 4 * tasks)),
        ),
    ]


def _promises() -> list[Row]:
    """What may cost so much at most, whatever others need."""
    memory = None if (resident.PROC / "self/smaps_rollup").exists() else "needs /proc/self/smaps_rollup"
    return [
        Row(
            key="start-zygote",
            title="start to first result, zygote",
            target=1,
            baseline=Side("promise", lambda: Sample(0.045)),
            subject=Side("treadle", time_cold_start),
        ),
        Row(
            key="further-worker",
            title="start of each of 4 further workers, zygote",
            target=1,
            baseline=Side("promise", lambda: Sample(0.005)),
            subject=Side("treadle", lambda: time_further_workers(4)),
        ),
        Row(
            key="worker-memory",
            title="private memory of an idle worker, zygote",
            target=1,
            baseline=Side("promise", lambda: Sample(12 << 20)),
            subject=Side("treadle", private_memory),
            unit=Unit.BYTES,
            unavailable=memory,
        ),
    ]


def _against_stdlib(
    key: str,
    title: str,
    target: float,
    run: TimeFunction,
    tasks: int,
    unavailable: str | None = None,
) -> Row:
    return Row(
        key=key,
        title=title,
        target=target,
        baseline=Side("stdlib", lambda: run(stdlib_pool, tasks)),
        subject=Side("treadle", lambda: run(treadle_pool, tasks)),
        unavailable=unavailable,
    )


def _against_all(key: str, title: str, target: float, run: TimeFunction, tasks: int) -> Row:
    return Row(
        key=key,
        title=title,
        target=target,
        baseline=Side("stdlib", lambda: run(stdlib_pool, tasks)),
        peers=(
            Side("mp.Pool", lambda: run(multiprocessing_pool, tasks)),
            Side(
                "loky",
                lambda: run(loky_pool, tasks),
                unavailable=None if HAS_LOKY else "needs loky",
            ),
        ),
        subject=Side("treadle", lambda: run(treadle_pool, tasks)),
    )

"""Runs a scenario again and again while the n-th allocation fails, for n = 1, 2, 3, ...; started by test_faults.py.

    fault_program.py malloc SCENARIO      fails the extension's own calls of malloc, calloc and realloc (needs LD_PRELOAD)
    fault_program.py python SCENARIO      fails CPython's allocator, in whatever code the n-th allocation is

A scenario may end in MemoryError, in whole or in one of its futures. It may not lose a result, hang, crash, raise something
else, or leave the pool unusable. Prints one JSON object: rounds, and how many of them had a MemoryError.
"""

import ctypes
import gc
import json
import logging
import sys
import threading
import time

import treadle
from treadle import _native

WAIT = 20.0  # seconds after which a result counts as lost
WORKERS = 2


class MallocFaults:
    """Failures of the extension's own allocations; knows when a scenario makes fewer than n."""

    def __init__(self):
        self._library = ctypes.CDLL(None)
        self._library.failing_malloc_watch.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
        low, high = mapping_of(_native.__file__)
        self._library.failing_malloc_watch(low, high)

    def arm(self, number):
        self._library.failing_malloc_arm(ctypes.c_long(number))

    def disarm(self):
        reached = self._library.failing_malloc_seen()
        self._library.failing_malloc_arm(ctypes.c_long(0))
        return reached


def mapping_of(path):
    """The first and last address of a loaded file."""
    with open("/proc/self/maps") as maps:
        ranges = [line.split()[0].split("-") for line in maps if line.rstrip().endswith(path)]
    return int(ranges[0][0], 16), int(ranges[-1][1], 16)


class PythonFaults:
    """Failures of CPython's allocator."""

    def __init__(self):
        import _testcapi

        self._set, self._remove = _testcapi.set_nomemory, _testcapi.remove_mem_hooks

    def arm(self, number):
        self._set(number - 1, number)

    def disarm(self):
        self._remove()
        return None


# --- scenarios: each is given a pool whose workers run already --------------------------------------------------------


def outcome(future):
    """Wait for a future that may have failed for lack of memory."""
    try:
        return future.result(WAIT)
    except MemoryError:
        return None


# Nothing fancy in here: CPython itself crashes when a lambda or generator expression cannot be allocated (3.12.1, 3.13.0), and when list.append(f()) cannot make the list longer (3.15.0).


def plainly(pool, number):
    return pool.submit(abs, number)


def with_options(pool, number):
    return pool.options(priority=number % 7, context=True).submit(abs, number)


def submit_each(pool, count, submit_one):
    """Submit `count` jobs; each of those that were accepted must come to an end."""
    futures = [None] * count
    try:
        for number in range(count):
            futures[number] = submit_one(pool, number)
    finally:
        for number, future in enumerate(futures):
            if future is not None:
                assert outcome(future) in (None, number)


def submit(pool):
    submit_each(pool, 20, plainly)


def submit_many(pool):
    submit_each(pool, 3000, plainly)


def priorities_and_contexts(pool):
    submit_each(pool, 200, with_options)


def submit_with_keywords(pool):
    assert outcome(pool.submit(dict, a=1, b=2)) in (None, {"a": 1, "b": 2})


def callbacks(pool):
    seen = []
    future = pool.submit(abs, -1)
    try:
        future.add_done_callback(seen.append)
        future.add_done_callback(seen.append)
    finally:
        outcome(future)


def looked_into(pool):
    future = treadle.Future()
    try:
        future._waiters, future._done_callbacks, future._condition, repr(future)
    finally:
        future.set_result(1)
        assert future.result(WAIT) == 1


def wait(pool):
    futures = [pool.submit(abs, number) for number in range(10)]
    assert treadle.wait(futures, WAIT).not_done == set()
    assert treadle.wait(futures + [treadle.Future()], 0.001).done == set(futures)


def as_completed(pool):
    futures = [pool.submit(abs, number) for number in range(10)]
    assert len(list(treadle.as_completed(futures, WAIT))) == 10


def map_ordered(pool):
    assert list(pool.map(abs, range(-30, 0), timeout=WAIT)) == list(range(30, 0, -1))


def map_buffered(pool):
    assert list(pool.map(abs, range(-30, 0), timeout=WAIT, buffersize=4, chunksize=2)) == list(range(30, 0, -1))


def map_unordered(pool):
    assert sorted(pool.map_unordered(abs, range(30), timeout=WAIT)) == list(range(30))


def map_closed(pool):
    iterator = pool.map(abs, range(100), timeout=WAIT)
    try:
        next(iterator)
    finally:
        iterator.close()


def statistics(pool):
    assert pool.stats()["workers"] == WORKERS


def timeouts(pool):
    try:
        treadle.Future().result(0.001)
    except TimeoutError:
        pass


def cancellations(pool):
    futures = [pool.submit(abs, number) for number in range(10)]
    for future in futures:
        if not future.cancel():
            outcome(future)


def new_pool(pool):
    """Only for failures inside the extension: a failure while CPython starts a thread can block CPython itself."""
    with treadle.ThreadPoolExecutor(2) as short:
        outcome(short.submit(abs, -1))


def new_pool_unused(pool):
    treadle.ThreadPoolExecutor(2, idle_timeout=1.0).shutdown()


# --- the loop ---------------------------------------------------------------------------------------------------------


def occupied_pool():
    """A pool whose workers have all started."""
    pool = treadle.ThreadPoolExecutor(WORKERS)
    barrier = threading.Barrier(WORKERS)
    for future in [pool.submit(barrier.wait, WAIT) for _ in range(WORKERS)]:
        future.result(WAIT)
    return pool


def one_round(faults, scenario, pool, number):
    """Whether there was a MemoryError, and how many allocations there were if that is known."""
    faults.arm(number)
    try:
        scenario(pool)
        failed = False
    except MemoryError:
        failed = True
    finally:
        reached = faults.disarm()
    return failed, reached


def check_usable(pool):
    assert pool.submit(abs, -1).result(WAIT) == 1
    assert sum(pool.map(abs, range(20), timeout=WAIT)) == 190
    for thread in pool._threads:
        assert thread.is_alive(), "a worker died"


def main(kind, name, seconds=6.0, most=2000):
    logging.disable(logging.CRITICAL)
    sys.unraisablehook = lambda unraisable: None
    faults = MallocFaults() if kind == "malloc" else PythonFaults()
    scenario = globals()[name]
    with occupied_pool() as pool:
        scenario(pool)  # what is made once in a process is made here
    rounds = failures = quiet = 0
    deadline = time.monotonic() + float(seconds)
    for number in range(1, most):
        with occupied_pool() as pool:
            failed, reached = one_round(faults, scenario, pool, number)
            check_usable(pool)
        rounds, failures = rounds + 1, failures + failed
        quiet = 0 if failed else quiet + 1
        # Known or likely: the scenario makes fewer allocations than `number`.
        if (reached is not None and reached < number) or quiet > 60 or time.monotonic() > deadline:
            break
    gc.collect()
    print(json.dumps({"rounds": rounds, "failures": failures}))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What map() gives: results in order, timeouts, early ends, errors at their place."""

import collections
import gc
import inspect
import itertools
import math
import threading
import time
import weakref

import pytest
from support import Gate, dies, eventually, start_thread
from support.mapping import Failure, LONG, fail_on, native_map


def test_signature_keeps_the_standard_parameters(impl):
    parameters = inspect.signature(impl.ThreadPoolExecutor.map).parameters
    assert [name for name in ("timeout", "chunksize") if name in parameters] == ["timeout", "chunksize"]
    assert parameters["timeout"].default is None and parameters["chunksize"].default == 1


@pytest.mark.parametrize("count", [0, 1, 2, 3, 100, 5000])
def test_results_in_order(impl, make_pool, count):
    assert list(make_pool(3).map(pow, range(count), itertools.repeat(2))) == [n * n for n in range(count)]


def test_shortest_iterable_decides(impl, make_pool):
    assert list(make_pool(2).map(pow, [2, 3, 4], itertools.count())) == [1, 3, 16]
    assert list(make_pool(2).map(max, [1, 2], [], [3])) == []


def test_no_iterables(impl, make_pool):
    pool = make_pool(1)
    assert list(pool.map(print)) == []
    with pytest.raises(TypeError):
        pool.map()


def test_result_is_an_iterator(impl, make_pool):
    iterator = make_pool(2).map(abs, [-1, -2])
    assert isinstance(iterator, collections.abc.Iterator) and iter(iterator) is iterator
    assert next(iterator) == 1 and next(iterator) == 2
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(iterator)


def test_exception_at_its_place_and_the_end_after_it(impl, make_pool):
    iterator = make_pool(2).map(fail_on(2), range(5))
    assert next(iterator) == 0 and next(iterator) == 1
    with pytest.raises(Failure, match="2"):
        next(iterator)
    with pytest.raises(StopIteration):
        next(iterator)


def test_stop_iteration_from_the_function_is_no_silent_end(impl, make_pool):
    def stop(value):
        raise StopIteration(value)

    with pytest.raises((RuntimeError, StopIteration)) as caught:
        next(make_pool(1).map(stop, [1]))
    assert isinstance(caught.value, RuntimeError) or caught.value.args == (1,)


@pytest.mark.parametrize("fatal", [SystemExit, KeyboardInterrupt])
def test_base_exceptions_from_the_function(impl, make_pool, fatal):
    def body(value):
        raise fatal(value)

    pool = make_pool(1)
    with pytest.raises(fatal):
        list(pool.map(body, [1, 2]))
    assert pool.submit(int).result(LONG) == 0


@pytest.mark.parametrize("timeout", [0, 0.0, -1, 0.02])
def test_timeout(impl, make_pool, gate, timeout):
    iterator = make_pool(1).map(gate.wait, range(3), timeout=timeout)
    with pytest.raises(TimeoutError):
        next(iterator)
    with pytest.raises(StopIteration):
        next(iterator)


def test_timeout_yields_what_is_there_first(impl, make_pool, gate):
    def wait_on_two(value):
        return gate.wait(value) if value == 2 else value

    iterator = make_pool(2).map(wait_on_two, range(3), timeout=1.0)
    assert next(iterator) == 0 and next(iterator) == 1
    with pytest.raises(TimeoutError):
        next(iterator)


def test_timeout_counts_from_the_call(impl, make_pool, gate):
    iterator = make_pool(1).map(gate.wait, range(2), timeout=0.05)
    time.sleep(0.1)
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        next(iterator)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("timeout", ["1", [], object()])
def test_timeouts_of_other_types(impl, make_pool, timeout):
    with pytest.raises(TypeError):
        list(make_pool(1).map(abs, [1], timeout=timeout))


def test_timeout_cancels_the_rest(impl, make_pool):
    gate, seen = Gate(), []

    def body(value):
        seen.append(value)
        return gate.wait(value)

    pool = make_pool(1)
    iterator = pool.map(body, range(100), timeout=0.05)
    with pytest.raises(TimeoutError):
        next(iterator)
    del iterator
    gate.open()
    pool.shutdown()
    assert len(seen) < 50


def cancel_rest(how, iterator):
    if how == "close":
        iterator.close()
    elif how == "error":
        with pytest.raises(Failure):
            list(iterator)


@pytest.mark.parametrize("how", ["close", "drop", "error"])
def test_early_end_cancels_the_rest(impl, make_pool, how):
    gate, seen = Gate(), []

    def body(value):
        seen.append(value)
        if value == 1:
            if how == "error":
                gate.entered += 1
                raise Failure
            gate.wait()
        if value > 1:
            gate.wait()
        return value

    pool = make_pool(2)
    iterator = pool.map(body, range(200))
    assert next(iterator) == 0
    gate.until_entered()
    cancel_rest(how, iterator)
    del iterator
    gate.open()
    pool.shutdown()
    assert len(seen) <= 20


def test_dropping_a_map_that_was_never_stepped_runs_it_all(impl, make_pool):
    # A generator that never started has no `finally` to run: work that was handed over is done.
    pool, seen = make_pool(2), []
    pool.map(seen.append, range(100))
    gc.collect()
    pool.shutdown()
    assert sorted(seen) == list(range(100))


def test_results_are_not_kept_by_the_iterator(impl, make_pool):
    class Thing:
        pass

    for thing in make_pool(2).map(lambda _: Thing(), range(20)):
        reference = weakref.ref(thing)
        del thing
        assert dies(reference)


def test_executor_is_not_kept_alive_by_the_iterator(impl):
    pool = impl.ThreadPoolExecutor(1)
    reference = weakref.ref(pool)
    iterator = pool.map(abs, range(-5, 0))
    threads = list(pool._threads)
    del pool
    assert eventually(lambda: gc.collect() >= 0 and reference() is None)
    assert list(iterator) == [5, 4, 3, 2, 1]
    for thread in threads:
        thread.join(LONG)


def test_one_map_stepped_by_several_threads(native_map):
    iterator, lock = native_map(3)(abs, range(1000)), threading.Lock()

    def take():
        taken = []
        while True:
            with lock:
                value = next(iterator, None)
            if value is None:
                return taken
            taken.append(value)

    threads = [start_thread(take) for _ in range(4)]
    taken = []
    for thread in threads:
        thread.join(LONG)
        taken += thread.outcome[0]
    assert sorted(taken) == list(range(1000))


def test_unordered_timeout(make_native_pool, gate):
    iterator = make_native_pool(1).map_unordered(gate.wait, range(3), timeout=0.02)
    with pytest.raises(TimeoutError):
        next(iterator)


def test_unordered_early_close_cancels_the_rest(make_native_pool, gate):
    seen = []

    def body(value):
        seen.append(value)
        return value if value == 0 else gate.wait(value)

    pool = make_native_pool(2)
    iterator = pool.map_unordered(body, range(1000))
    assert next(iterator) == 0
    iterator.close()
    gate.open()
    pool.shutdown()
    assert len(seen) < 100


def test_nan_timeout_does_not_hang(native_map, gate):
    iterator = native_map(1)(gate.wait, range(2), timeout=math.nan)
    with pytest.raises((TimeoutError, ValueError)):
        next(iterator)

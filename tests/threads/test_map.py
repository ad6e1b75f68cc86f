"""map and map_unordered: order, laziness, bounds, timeouts, early ends, errors, progress."""

import collections
import gc
import inspect
import io
import itertools
import math
import sys
import threading
import time
import weakref
from concurrent.futures import CancelledError

import pytest
from support import Gate, dies, eventually, start_thread

LONG = 60.0
HAS_BUFFERSIZE = sys.version_info >= (3, 14)


class Failure(Exception):
    pass


def fail_on(bad):
    def function(value):
        if value == bad:
            raise Failure(value)
        return value

    return function


@pytest.fixture(params=["map", "map_unordered"])
def native_map(request, make_native_pool):
    """A function that makes a pool and gives its `map` or `map_unordered`."""

    def make(*args, **kwargs):
        return getattr(make_native_pool(*args, **kwargs), request.param)

    return make


# --- what the standard map promises ----------------------------------------------------------------------------------


def test_signature_keeps_the_standard_parameters(impl):
    parameters = inspect.signature(impl.ThreadPoolExecutor.map).parameters
    assert [name for name in ("timeout", "chunksize") if name in parameters] == ["timeout", "chunksize"]
    assert parameters["timeout"].default is None and parameters["chunksize"].default == 1


@pytest.mark.parametrize("count", [0, 1, 2, 3, 100, 5000])
def test_results_in_order(impl, make_pool, count):
    assert list(make_pool(3).map(pow, range(count), itertools.repeat(2))) == [n * n for n in range(count)]


@pytest.mark.parametrize("chunksize", [1, 2, 3, 7, 100, 10**9, 0, -1])
def test_chunksize_changes_no_result(impl, make_pool, chunksize):
    assert list(make_pool(3).map(abs, range(-50, 0), chunksize=chunksize)) == list(range(50, 0, -1))


def test_shortest_iterable_decides(impl, make_pool):
    assert list(make_pool(2).map(pow, [2, 3, 4], itertools.count())) == [1, 3, 16]
    assert list(make_pool(2).map(max, [1, 2], [], [3])) == []


def test_no_iterables(impl, make_pool):
    pool = make_pool(1)
    assert list(pool.map(print)) == []
    with pytest.raises(TypeError):
        pool.map()


def test_starts_before_the_first_step(impl, make_pool):
    pool, seen = make_pool(1), []
    pool.map(seen.append, range(10))
    pool.shutdown(wait=True)
    assert sorted(seen) == list(range(10))


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


def test_iterable_that_raises_at_the_start(impl, make_pool):
    def broken():
        raise Failure("start")
        yield

    with pytest.raises(Failure, match="start"):
        list(make_pool(1).map(abs, broken()))


def test_iterable_that_raises_midway(impl, make_pool):
    def broken():
        yield from range(5)
        raise Failure("midway")

    pool = make_pool(2)
    with pytest.raises(Failure, match="midway"):
        list(pool.map(abs, broken()))
    assert pool.submit(int).result(LONG) == 0


@pytest.mark.parametrize("bad", [42, None])
def test_things_that_cannot_be_iterated(impl, make_pool, bad):
    with pytest.raises(TypeError, match="iter"):
        list(make_pool(1).map(abs, bad))


def test_something_that_cannot_be_called(impl, make_pool):
    with pytest.raises(TypeError, match="not callable"):
        list(make_pool(1).map(42, [1]))


def test_after_shutdown(impl, make_pool):
    pool = make_pool(1)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="^cannot schedule new futures after shutdown$"):
        list(pool.map(abs, [1]))


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


def test_arguments_are_not_kept_by_the_pool(impl, make_pool):
    class Thing:
        pass

    things = [Thing() for _ in range(5)]
    references = [weakref.ref(thing) for thing in things]
    assert len(list(make_pool(2).map(id, things))) == 5
    things.clear()
    assert all(dies(reference) for reference in references)


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


def test_several_maps_at_once(impl, make_pool):
    pool = make_pool(3)
    maps = [pool.map(pow, range(200), itertools.repeat(exponent)) for exponent in range(5)]
    for exponent, iterator in reversed(list(enumerate(maps))):
        assert list(iterator) == [n**exponent for n in range(200)]


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


def test_runs_side_by_side(impl, make_pool):
    # Work must be spread over all workers, however the items are grouped: every item waits for all the others.
    for size in (2, 3, 5, 8):
        barrier = threading.Barrier(size)
        assert sorted(make_pool(size).map(lambda _: barrier.wait(LONG), range(size))) == list(range(size))


def test_a_long_item_does_not_hold_back_the_rest(impl, make_pool, gate):
    done = []

    def body(value):
        if value == 0:
            gate.wait()
        done.append(value)

    pool = make_pool(2)
    pool.map(body, range(500))
    assert eventually(lambda: len(done) == 499), f"{499 - len(done)} items wait behind the long one"
    gate.open()


def test_submit_and_map_share_the_workers(impl, make_pool):
    pool = make_pool(2)
    squares = pool.map(pow, range(300), itertools.repeat(2))
    futures = [pool.submit(pow, n, 3) for n in range(300)]
    assert list(squares) == [n * n for n in range(300)]
    assert [future.result(LONG) for future in futures] == [n**3 for n in range(300)]


def test_shutdown_with_cancel_ends_a_map(impl, make_pool, gate):
    pool = make_pool(1)
    iterator = pool.map(gate.wait, range(10))
    gate.until_entered()
    pool.shutdown(wait=False, cancel_futures=True)
    gate.open()
    assert next(iterator) == 0
    with pytest.raises(CancelledError):
        next(iterator)


def test_overridden_submit_is_used_by_map(impl):
    class Counting(impl.ThreadPoolExecutor):
        calls = 0

        def submit(self, fn, /, *args, **kwargs):
            type(self).calls += 1
            return super().submit(fn, *args, **kwargs)

    with Counting(2) as pool:
        assert list(pool.map(abs, range(-10, 0))) == list(range(10, 0, -1))
    assert Counting.calls == 10


def test_submit_replaced_on_the_instance_is_used_by_map(impl, make_pool):
    pool, calls = make_pool(1), []
    original = pool.submit

    def submit(fn, /, *args, **kwargs):
        calls.append(args)
        return original(fn, *args, **kwargs)

    pool.submit = submit
    assert list(pool.map(abs, [-1, -2])) == [1, 2] and calls == [(-1,), (-2,)]


# --- buffersize -------------------------------------------------------------------------------------------------------


@pytest.fixture
def buffered_map(impl, make_pool):
    """A function that makes a pool whose map takes `buffersize`."""
    if not impl.native and not HAS_BUFFERSIZE:
        pytest.skip("the standard map has no buffersize before 3.14")
    return lambda *args: make_pool(*args).map


@pytest.mark.parametrize("buffersize", [1, 2, 5, 100, 10**6])
def test_buffersize_changes_no_result(impl, buffered_map, buffersize):
    assert list(buffered_map(2)(pow, range(50), itertools.repeat(2), buffersize=buffersize)) == [n * n for n in range(50)]


@pytest.mark.parametrize("buffersize", [1, 3, 10])
def test_buffersize_is_an_exact_bound(impl, buffered_map, buffersize):
    pulled = []

    def source():
        for number in itertools.count():
            pulled.append(number)
            yield number

    iterator = buffered_map(2)(abs, source(), buffersize=buffersize)
    time.sleep(0.02)
    assert len(pulled) == buffersize
    for step in range(20):
        assert next(iterator) == step
        assert len(pulled) <= buffersize + step + 1
    time.sleep(0.02)
    assert len(pulled) == buffersize + 20


def test_buffersize_with_an_endless_source_ends_when_closed(impl, buffered_map):
    pulled = itertools.count()
    iterator = buffered_map(2)(abs, pulled, buffersize=4)
    assert list(itertools.islice(iterator, 1000)) == list(range(1000))
    iterator.close()
    assert next(pulled) <= 1000 + 4 + 1


@pytest.mark.parametrize("bad, error", [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("1", TypeError)])
def test_bad_buffersize(impl, buffered_map, bad, error):
    with pytest.raises(error, match="buffersize must be"):
        buffered_map(1)(abs, [1], buffersize=bad)


def test_buffersize_none_is_no_bound(impl, buffered_map):
    assert list(buffered_map(1)(abs, range(10), buffersize=None)) == list(range(10))


def test_buffersize_source_that_raises_midway(impl, buffered_map):
    def broken():
        yield from range(6)
        raise Failure("midway")

    iterator, seen = buffered_map(1)(abs, broken(), buffersize=2), []
    with pytest.raises(Failure, match="midway"):
        for value in iterator:
            seen.append(value)
    assert seen == list(range(len(seen))) and len(seen) >= 4


# --- what is our own --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 2, 1000])
@pytest.mark.parametrize("options", [{}, {"buffersize": 3}, {"chunksize": 7}, {"buffersize": 10, "chunksize": 4}], ids=str)
def test_every_item_once(native_map, count, options):
    assert sorted(native_map(3)(abs, range(count), **options)) == list(range(count))


def test_unordered_gives_the_fast_ones_first(make_native_pool, gate):
    def body(value):
        return gate.wait(value) if value == 0 else value

    iterator = make_native_pool(2).map_unordered(body, range(50))
    assert sorted(next(iterator) for _ in range(49)) == list(range(1, 50))
    gate.open()
    assert list(iterator) == [0]


def test_unordered_with_buffersize_never_holds_more(make_native_pool):
    pulled, iterator = [], None

    def source():
        for number in range(100):
            pulled.append(number)
            yield number

    iterator = make_native_pool(2).map_unordered(abs, source(), buffersize=5)
    seen = []
    for value in iterator:
        seen.append(value)
        assert len(pulled) <= len(seen) + 5
    assert sorted(seen) == list(range(100))


def test_unordered_raises_what_the_function_raises(make_native_pool):
    with pytest.raises(Failure):
        list(make_native_pool(2).map_unordered(fail_on(3), range(10)))


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


@pytest.mark.parametrize("bad, error", [(0, ValueError), (-5, ValueError), ("2", TypeError), (1.5, TypeError)])
def test_bad_sizes(native_map, bad, error):
    with pytest.raises(error, match="buffersize"):
        native_map(1)(abs, [1], buffersize=bad)
    with pytest.raises(TypeError):
        native_map(1)(abs, [1], chunksize="2")


def test_unknown_keywords(native_map):
    with pytest.raises(TypeError):
        native_map(1)(abs, [1], nonsense=1)


def test_nan_timeout_does_not_hang(native_map, gate):
    iterator = native_map(1)(gate.wait, range(2), timeout=math.nan)
    with pytest.raises((TimeoutError, ValueError)):
        next(iterator)


def test_slow_source_starts_work_at_once(native_map):
    # The first item runs while the source is still making the second: otherwise this would never end.
    first_ran = threading.Event()

    def source():
        yield 1
        assert first_ran.wait(LONG), "the first item waits for the source to end"
        yield 2

    def body(value):
        first_ran.set()
        return value

    assert sorted(native_map(2)(body, source())) == [1, 2]


def test_endless_source_uses_bounded_memory(native_map):
    pulled = []

    def source():
        for number in itertools.count():
            pulled.append(None)
            yield number

    iterator = native_map(2)(bytes, (10_000 for _ in source()), buffersize=16)
    for _ in range(2000):
        assert len(next(iterator)) == 10_000
        assert len(pulled) <= 2000 + 17
    iterator.close()


def test_source_is_read_by_the_caller_only(native_map):
    readers = set()

    def source():
        for number in range(100):
            readers.add(threading.get_ident())
            yield number

    assert sorted(native_map(3)(abs, source(), buffersize=4)) == list(range(100))
    assert readers == {threading.get_ident()}


def test_map_inside_map(native_map):
    apply = native_map(2)

    def row(number):
        return sum(apply(abs, range(number)))

    assert sorted(apply(row, range(8))) == sorted(sum(range(n)) for n in range(8))


# --- progress ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def tqdm(monkeypatch):
    tqdm = pytest.importorskip("tqdm", reason="tqdm is not installed").tqdm
    monkeypatch.setattr(tqdm, "monitor_interval", 0)  # no thread of its own
    return tqdm


def test_progress_with_a_bar_of_ones_own(native_map, tqdm):
    bar = tqdm(total=50, file=io.StringIO())
    assert sorted(native_map(2)(abs, range(50), progress=bar)) == list(range(50))
    assert bar.n == 50


def test_progress_true_makes_a_bar(native_map, tqdm, capsys):
    assert sorted(native_map(2)(abs, range(30), progress=True)) == list(range(30))
    assert "30" in capsys.readouterr().err


def test_progress_false_shows_nothing(native_map, capsys):
    assert sorted(native_map(2)(abs, range(30), progress=False)) == list(range(30))
    assert capsys.readouterr().err == ""


def test_progress_stops_where_the_consumer_stops(make_native_pool, tqdm):
    bar = tqdm(total=50, file=io.StringIO())
    iterator = make_native_pool(2).map(abs, range(50), progress=bar)
    for _ in range(10):
        next(iterator)
    iterator.close()
    assert 10 <= bar.n <= 50


def test_progress_without_tqdm_is_a_clear_error(native_map, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    for name in [name for name in sys.modules if name.startswith("tqdm.")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match="tqdm"):
        native_map(1)(abs, [1], progress=True)


@pytest.mark.parametrize("bad", [42, "yes"])
def test_progress_that_is_no_bar(native_map, bad):
    with pytest.raises(TypeError, match="progress"):
        native_map(1)(abs, [1], progress=bad)

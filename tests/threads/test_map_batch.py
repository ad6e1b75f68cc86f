"""What map() takes: sources, chunks, bounds."""

import itertools
import sys
import threading
import time
import weakref

import pytest
from support import dies, eventually
from support.mapping import Failure, LONG, native_map

HAS_BUFFERSIZE = sys.version_info >= (3, 14)


@pytest.mark.parametrize("chunksize", [1, 2, 3, 7, 100, 10**9, 0, -1])
def test_chunksize_changes_no_result(impl, make_pool, chunksize):
    assert list(make_pool(3).map(abs, range(-50, 0), chunksize=chunksize)) == list(range(50, 0, -1))


def test_starts_before_the_first_step(impl, make_pool):
    pool, seen = make_pool(1), []
    pool.map(seen.append, range(10))
    pool.shutdown(wait=True)
    assert sorted(seen) == list(range(10))


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


def test_arguments_are_not_kept_by_the_pool(impl, make_pool):
    class Thing:
        pass

    things = [Thing() for _ in range(5)]
    references = [weakref.ref(thing) for thing in things]
    assert len(list(make_pool(2).map(id, things))) == 5
    things.clear()
    assert all(dies(reference) for reference in references)


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


@pytest.mark.parametrize("bad, error", [(0, ValueError), (-5, ValueError), ("2", TypeError), (1.5, TypeError)])
def test_bad_sizes(native_map, bad, error):
    with pytest.raises(error, match="buffersize"):
        native_map(1)(abs, [1], buffersize=bad)
    with pytest.raises(TypeError):
        native_map(1)(abs, [1], chunksize="2")


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

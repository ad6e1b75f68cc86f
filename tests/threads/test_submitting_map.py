"""Subclasses that do something in submit(), or in their workers' contexts, mean it for map() too."""

import gc
import itertools
import weakref

import pytest
import treadle
from concurrent.futures import thread as standard


class Counting(treadle.ThreadPoolExecutor):
    submitted = 0

    def submit(self, fn, /, *args, **kwargs):
        self.submitted += 1
        return super().submit(fn, *args, **kwargs)


@pytest.mark.parametrize("method", ["map", "map_unordered"])
def test_every_item_goes_through_submit(method):
    with Counting(2) as pool:
        results = list(getattr(pool, method)(pow, range(10), itertools.repeat(2)))
        assert pool.submitted == 10
    assert sorted(results) == [n * n for n in range(10)]


@pytest.mark.parametrize("method", ["map", "map_unordered"])
def test_buffersize_bounds_what_is_submitted(method):
    with Counting(2) as pool:
        results = getattr(pool, method)(abs, itertools.count(), buffersize=3)
        for taken in range(5):
            assert pool.submitted <= 3 + taken
            next(results)
        results.close()


def test_order_errors_and_cancelling():
    def work(n):
        if n == 3:
            raise ValueError(n)
        return n

    with Counting(1) as pool:
        results = pool.map(work, range(100))
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="3"):
            next(results)
        assert list(results) == []


def test_timeout():
    import threading

    gate = threading.Event()
    with Counting(1) as pool:
        for method in (pool.map, pool.map_unordered):
            results = method(lambda _: gate.wait(), range(3), timeout=0.01)
            with pytest.raises(TimeoutError):
                next(results)
        gate.set()


def test_the_iterator_does_not_keep_the_pool():
    pool = Counting(1)
    results = pool.map(abs, itertools.count(), buffersize=2)
    reference = weakref.ref(pool)
    del pool
    gc.collect()
    assert reference() is None
    assert list(results) == [0, 1]


@pytest.mark.skipif(not hasattr(standard, "WorkerContext"), reason="worker contexts came with 3.14")
def test_worker_contexts_of_a_subclass_are_used():
    class Context(standard.WorkerContext):
        def run(self, task):
            fn, args, kwargs = task
            return "in context", fn(*args, **kwargs)

    class Pool(treadle.ThreadPoolExecutor):
        @classmethod
        def prepare_context(cls, initializer, initargs):
            return Context.prepare(initializer, initargs)

    with Pool(2, inline_waits=True) as pool:
        assert pool.submit(abs, -1).result(60) == ("in context", 1)
        assert list(pool.map(abs, [-1, -2])) == [("in context", 1), ("in context", 2)]
        assert sorted(pool.map_unordered(abs, [-1, -2])) == [("in context", 1), ("in context", 2)]
    reference = weakref.ref(pool)
    gc.disable()
    try:
        del pool
        assert reference() is None, "the pool is part of a reference cycle"
    finally:
        gc.enable()

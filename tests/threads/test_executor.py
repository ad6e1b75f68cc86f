"""ThreadPoolExecutor as an object: construction, attributes, submit(), collection; the same as the standard one."""

import concurrent.futures
import gc
import inspect
import os
import sys
import threading
import weakref

import pytest
from support import Gate, eventually
from support.tasks import LONG, echo


def test_is_a_standard_executor(impl, make_pool):
    assert issubclass(impl.ThreadPoolExecutor, concurrent.futures.ThreadPoolExecutor)
    pool = make_pool()
    assert isinstance(pool, concurrent.futures.Executor)
    assert impl.ThreadPoolExecutor.__name__ == "ThreadPoolExecutor"


def test_standard_parameters_come_first(impl):
    ours = list(inspect.signature(impl.ThreadPoolExecutor).parameters)
    assert ours[:4] == ["max_workers", "thread_name_prefix", "initializer", "initargs"]


def test_default_number_of_workers(impl, make_pool):
    processors = getattr(os, "process_cpu_count", os.cpu_count)()
    assert make_pool()._max_workers == make_pool(None)._max_workers == min(32, processors + 4)


def test_attributes_of_a_fresh_pool(impl, make_pool):
    pool = make_pool(3, "name", print, (1, 2))
    assert pool._max_workers == 3 and pool._thread_name_prefix == "name"
    assert pool._threads == set() and isinstance(pool._threads, set)
    assert pool._work_queue.qsize() == 0
    assert pool._shutdown is False and pool._broken is False


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="the standard class keeps them in a worker context from 3.14 on")
def test_initializer_attributes(impl, make_pool):
    pool = make_pool(1, initializer=print, initargs=(1, 2))
    assert pool._initializer is print and pool._initargs == (1, 2)
    assert make_pool(1)._initializer is None


def test_initializer_attributes_on_every_version(native, make_native_pool):
    pool = make_native_pool(1, initializer=print, initargs=(1, 2))
    assert pool._initializer is print and pool._initargs == (1, 2)


@pytest.mark.parametrize("number", [0, -1, -100, 0.0, False])
def test_too_few_workers(impl, number):
    with pytest.raises(ValueError, match="^max_workers must be greater than 0$"):
        impl.ThreadPoolExecutor(max_workers=number)


@pytest.mark.parametrize("number", ["4", [], object(), b"1", 1j])
def test_number_of_workers_of_another_type(impl, number):
    with pytest.raises(TypeError):
        impl.ThreadPoolExecutor(max_workers=number)


@pytest.mark.parametrize("initializer", [42, "print", ()])
def test_initializer_that_cannot_be_called(impl, initializer):
    with pytest.raises(TypeError, match="^initializer must be a callable$"):
        impl.ThreadPoolExecutor(initializer=initializer)


def test_unknown_arguments(impl):
    with pytest.raises(TypeError):
        impl.ThreadPoolExecutor(1, "", None, (), 5)
    with pytest.raises(TypeError):
        impl.ThreadPoolExecutor(nonsense=1)


def test_keywords_of_our_own(native, make_native_pool):
    make_native_pool(1, idle_timeout=1.5, daemon=False, context=True, inline_waits=True)
    make_native_pool(1, idle_timeout=None)
    for bad in ("1", [], -1.0):
        with pytest.raises((TypeError, ValueError)):
            native.ThreadPoolExecutor(1, idle_timeout=bad)


def test_many_workers_are_not_started_before_they_are_needed(impl, make_pool):
    pool = make_pool(10_000)
    assert pool.submit(int).result(LONG) == 0
    assert len(pool._threads) == 1


def test_subclass_with_its_own_constructor(impl):
    class Pool(impl.ThreadPoolExecutor):
        def __init__(self, label):
            super().__init__(1, thread_name_prefix=label)
            self.label = label
            self.count = 0

        def submit(self, fn, /, *args, **kwargs):
            self.count += 1
            return super().submit(fn, *args, **kwargs)

    with Pool("sub") as pool:
        assert pool.submit(pow, 2, 3).result() == 8
        assert list(pool.map(abs, [-1, -2])) == [1, 2]
        assert (pool.label, pool.count) == ("sub", 3)


def test_instances_take_attributes_and_weak_references(impl, make_pool):
    pool = make_pool(1)
    pool.note = "n"
    assert pool.note == "n" and weakref.ref(pool)() is pool


def test_submit(impl, make_pool):
    pool = make_pool(2)
    future = pool.submit(pow, 2, 8)
    assert isinstance(future, concurrent.futures.Future) and future.result(LONG) == 256
    assert isinstance(future, impl.Future)


def test_submit_demands_a_function(impl, make_pool):
    pool = make_pool(1)
    with pytest.raises(TypeError):
        pool.submit()
    with pytest.raises(TypeError):
        pool.submit(fn=echo)
    with pytest.raises(TypeError):
        pool.submit(arg=1)


def test_pool_in_a_cycle_is_collected(impl):
    pool = impl.ThreadPoolExecutor(1)
    pool.itself = pool
    reference, thread = weakref.ref(pool), pool.submit(threading.current_thread).result(LONG)
    del pool
    gc.collect()
    assert eventually(lambda: gc.collect() >= 0 and reference() is None)
    thread.join(LONG)
    assert not thread.is_alive()


def test_pool_with_pending_work_is_collected_after_running_it(impl):
    gate = Gate()
    pool = impl.ThreadPoolExecutor(2)
    futures = [pool.submit(gate.wait, n) for n in range(10)]
    threads = list(pool._threads)
    del pool
    gc.collect()
    gate.open()
    assert [future.result(LONG) for future in futures] == list(range(10))
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()


def test_last_reference_to_the_pool_goes_in_its_own_worker(impl):
    for _ in range(30):
        gate = Gate()
        pool = impl.ThreadPoolExecutor(1)
        future = pool.submit(lambda pool, gate=gate: gate.wait(), pool)
        threads = list(pool._threads)
        gate.until_entered()
        del pool
        gate.open()
        assert future.result(LONG) is None
        threads[0].join(LONG)
        assert not threads[0].is_alive()


def test_counting_prefixes_is_shared_with_nothing_broken(impl, make_pool):
    pools = [make_pool(1) for _ in range(20)]
    assert len({pool._thread_name_prefix for pool in pools}) == 20

"""Workers: threads, names, initializers, callbacks; the same as the standard ones."""

import concurrent.futures
import concurrent.futures.thread
import ctypes
import logging
import re
import sys
import threading
import time

import pytest
from support import Gate, eventually, threads_named
from support.tasks import Failure, LONG, fail, processor_seconds

WITH_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()


def test_workers_are_real_threads(impl, make_pool):
    pool = make_pool(1, thread_name_prefix="real")
    thread = pool.submit(threading.current_thread).result(LONG)
    assert type(thread) is threading.Thread and thread in pool._threads and thread in threading.enumerate()
    assert thread.is_alive() and thread.daemon is False and thread.name == "real_0"
    assert thread.ident == pool.submit(threading.get_ident).result(LONG)
    assert thread.native_id == pool.submit(threading.get_native_id).result(LONG)
    assert threading._active[thread.ident] is thread


def test_names(impl, make_pool, gate):
    pool = make_pool(4, thread_name_prefix="Special")
    for _ in range(4):
        pool.submit(gate.wait)
    gate.until_entered(4)
    assert sorted(thread.name for thread in pool._threads) == [f"Special_{n}" for n in range(4)]
    assert len(threads_named("Special_")) == 4


def test_default_names_are_unique_to_the_pool(impl, make_pool):
    first, second = make_pool(1), make_pool(1)
    names = [pool.submit(lambda: threading.current_thread().name).result(LONG) for pool in (first, second)]
    numbers = [re.fullmatch(r"ThreadPoolExecutor-(\d+)_0", name)[1] for name in names]
    assert int(numbers[1]) == int(numbers[0]) + 1
    assert first._thread_name_prefix == f"ThreadPoolExecutor-{numbers[0]}"


def test_saturation(impl, make_pool, gate):
    pool = make_pool(4)
    futures = [pool.submit(gate.wait) for _ in range(60)]
    assert len(pool._threads) == 4
    gate.until_entered(4)
    time.sleep(0.02)
    assert gate.entered == 4
    gate.open()
    assert concurrent.futures.wait(futures, LONG).not_done == set()
    assert len(pool._threads) == 4


@pytest.mark.skipif(not WITH_GIL, reason="without the GIL a worker may not be idle yet when its result is seen")
def test_idle_workers_are_reused(impl, make_pool):
    pool = make_pool(8)
    for number in range(20):
        assert pool.submit(abs, -number).result(LONG) == number
        time.sleep(0.002)  # until the worker is idle
    assert len(pool._threads) <= 2


def test_threads_run_side_by_side(impl, make_pool):
    barrier = threading.Barrier(5)
    pool = make_pool(5)
    futures = [pool.submit(barrier.wait, LONG) for _ in range(5)]
    assert sorted(future.result(LONG) for future in futures) == list(range(5))


def test_thread_local_storage(impl, make_pool):
    local = threading.local()

    def count():
        local.count = getattr(local, "count", 0) + 1
        return threading.get_ident(), local.count

    pool = make_pool(3)
    counts = {}
    for future in [pool.submit(count) for _ in range(300)]:
        ident, number = future.result(LONG)
        counts.setdefault(ident, []).append(number)
    assert len(counts) <= 3
    assert all(sorted(numbers) == list(range(1, len(numbers) + 1)) for numbers in counts.values())


def test_profilers_and_tracers_see_the_workers(impl, make_pool):
    names = []
    threading.setprofile(lambda frame, event, argument: names.append(frame.f_code.co_name))
    try:
        pool = make_pool(1)
        pool.submit(fail).exception(LONG)
        pool.shutdown()
    finally:
        threading.setprofile(None)
    assert "fail" in names


def test_excepthook_is_not_called_for_tasks(impl, make_pool, monkeypatch):
    calls = []
    monkeypatch.setattr(threading, "excepthook", calls.append)
    pool = make_pool(2)
    for error in (Failure, SystemExit, KeyboardInterrupt):

        def body(error=error):
            raise error

        assert isinstance(pool.submit(body).exception(LONG), error)
    pool.shutdown()
    assert calls == []


def test_stack_size_setting_is_honoured(impl, make_pool):
    before = threading.stack_size(16 * 1024 * 1024)
    try:
        assert make_pool(1).submit(threading.stack_size).result(LONG) == 16 * 1024 * 1024
    finally:
        threading.stack_size(before)


def test_asynchronous_exception_hits_the_running_task(impl, make_pool):
    # What libraries that stop threads from outside do.
    started = threading.Event()

    def body():
        started.set()
        while True:
            time.sleep(0.001)

    pool = make_pool(1)
    ident = pool.submit(threading.get_ident).result(LONG)
    future = pool.submit(body)
    assert started.wait(LONG)
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(Failure)) == 1
    assert isinstance(future.exception(LONG), Failure)
    assert pool.submit(int).result(LONG) == 0


def test_idle_workers_use_no_processor_time(native, make_native_pool, gate):
    pool = make_native_pool(4)
    futures = [pool.submit(gate.wait) for _ in range(4)]
    gate.until_entered(4)
    gate.open()
    native.wait(futures, LONG)
    time.sleep(0.05)
    assert processor_seconds(lambda: time.sleep(0.5)) < 0.1


def test_initializer_runs_once_in_each_worker(impl, make_pool, gate):
    seen = []

    def initialize(*arguments):
        seen.append((threading.get_ident(), arguments))

    pool = make_pool(3, initializer=initialize, initargs=(1, "two"))
    assert seen == []
    futures = [pool.submit(gate.wait) for _ in range(6)]
    gate.until_entered(3)
    gate.open()
    concurrent.futures.wait(futures, LONG)
    assert len(seen) == 3 == len({ident for ident, _ in seen})
    assert all(arguments == (1, "two") for _, arguments in seen)


def test_initializer_runs_before_the_first_task(impl, make_pool):
    local = threading.local()

    def initialize():
        local.ready = True

    pool = make_pool(2, initializer=initialize)
    assert all(pool.map(lambda _: local.ready, range(50)))


@pytest.mark.parametrize("error", [Failure, SystemExit, KeyboardInterrupt])
def test_failing_initializer_breaks_the_pool(impl, make_pool, caplog, error):
    gate = Gate()

    def initialize():
        gate.wait()
        raise error("in the initializer")

    caplog.set_level(logging.CRITICAL, "concurrent.futures")
    pool = make_pool(2, initializer=initialize)
    futures = [pool.submit(int) for _ in range(5)]
    gate.open()
    for future in futures:
        with pytest.raises(concurrent.futures.thread.BrokenThreadPool) as caught:
            future.result(LONG)
        assert str(caught.value) == "A thread initializer failed, the thread pool is not usable anymore"
    assert eventually(lambda: pool._broken)
    assert pool._broken == "A thread initializer failed, the thread pool is not usable anymore"
    with pytest.raises(concurrent.futures.BrokenExecutor, match="^A thread initializer failed"):
        pool.submit(int)
    with pytest.raises(concurrent.futures.BrokenExecutor):
        list(pool.map(int, [1]))
    pool.shutdown()
    record = next(r for r in caplog.records if r.name == "concurrent.futures")
    assert record.getMessage() == "Exception in initializer:" and record.levelno == logging.CRITICAL
    assert isinstance(record.exc_info[1], error)


def test_broken_pool_has_an_exception_of_its_own_for_each_future(native, make_native_pool, caplog):
    gate = Gate()

    def initialize():
        gate.wait()
        raise Failure

    pool = make_native_pool(1, initializer=initialize)
    futures = [pool.submit(int) for _ in range(3)]
    gate.open()
    assert len({id(future.exception(LONG)) for future in futures}) == 3
    assert native.BrokenThreadPool is concurrent.futures.thread.BrokenThreadPool


def test_callbacks_run_in_the_worker_or_at_once(impl, make_pool, gate):
    pool, idents = make_pool(1), []
    future = pool.submit(gate.wait)
    future.add_done_callback(lambda _: idents.append(threading.get_ident()))
    gate.open()
    future.result(LONG)
    assert eventually(lambda: len(idents) == 1)
    assert idents == [pool.submit(threading.get_ident).result(LONG)]
    future.add_done_callback(lambda _: idents.append(threading.get_ident()))
    assert idents[1] == threading.get_ident()


def test_callback_error_leaves_the_worker_alive(impl, make_pool, gate, caplog):
    pool = make_pool(1)
    future = pool.submit(gate.wait)
    future.add_done_callback(lambda _: fail("in the callback"))
    gate.open()
    assert pool.submit(int).result(LONG) == 0
    assert [record.getMessage() for record in caplog.records] == [f"exception calling callback for {future!r}"]


@pytest.mark.parametrize("fatal", [SystemExit, KeyboardInterrupt])
def test_fatal_callback_error_is_logged_and_the_pool_goes_on(native, make_native_pool, gate, caplog, fatal):
    # The standard pool loses the worker, and with it (here) every later task.
    def callback(future):
        raise fatal("in the callback")

    pool = make_native_pool(1)
    future = pool.submit(gate.wait, 7)
    future.add_done_callback(callback)
    gate.open()
    assert future.result(LONG) == 7
    assert pool.submit(int).result(LONG) == 0
    assert any(record.name == "concurrent.futures" and record.levelno == logging.CRITICAL for record in caplog.records)

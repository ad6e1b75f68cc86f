"""ThreadPoolExecutor: construction, submit, workers, initializers, errors; the same as the standard one."""

import concurrent.futures
import concurrent.futures.thread
import ctypes
import gc
import inspect
import itertools
import logging
import os
import re
import sys
import threading
import time
import weakref

import pytest
from support import Gate, dies, eventually, start_thread, threads_named

LONG = 60.0
WITH_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()


class Failure(Exception):
    pass


def fail(*arguments):
    raise Failure(*arguments)


def echo(*args, **kwargs):
    return args, kwargs


# --- construction -----------------------------------------------------------------------------------------------------


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


# --- submit -----------------------------------------------------------------------------------------------------------


def test_submit(impl, make_pool):
    pool = make_pool(2)
    future = pool.submit(pow, 2, 8)
    assert isinstance(future, concurrent.futures.Future) and future.result(LONG) == 256
    assert isinstance(future, impl.Future)


def test_submit_passes_all_arguments(impl, make_pool):
    pool = make_pool(1)
    assert pool.submit(echo).result() == ((), {})
    assert pool.submit(echo, 1, self=2, fn=3).result() == ((1,), {"self": 2, "fn": 3})
    assert pool.submit(echo, *range(50), **{f"k{n}": n for n in range(50)}).result() == (
        tuple(range(50)),
        {f"k{n}": n for n in range(50)},
    )
    assert pool.submit(echo, **{"not an identifier": 1, "args": 2, "kwargs": 3}).result()[1]["not an identifier"] == 1


def test_submit_demands_a_function(impl, make_pool):
    pool = make_pool(1)
    with pytest.raises(TypeError):
        pool.submit()
    with pytest.raises(TypeError):
        pool.submit(fn=echo)
    with pytest.raises(TypeError):
        pool.submit(arg=1)


@pytest.mark.parametrize("thing", [42, None, "print"])
def test_something_that_cannot_be_called_fails_when_run(impl, make_pool, thing):
    with pytest.raises(TypeError, match="not callable"):
        make_pool(1).submit(thing).result(LONG)


@pytest.mark.parametrize(
    "function, expected",
    [
        (len, 3),
        ([1, 2, 3].__len__, None),
        (type("C", (), {"__call__": lambda self, x: ("called", x)})(), ("called", (1, 2, 3))),
        (tuple, (1, 2, 3)),
        (lambda x: x[0], 1),
    ],
    ids=["builtin", "slot wrapper", "callable object", "class", "lambda"],
)
def test_kinds_of_callables(impl, make_pool, function, expected):
    pool = make_pool(1)
    if expected is None:
        assert pool.submit(function).result(LONG) == 3
    else:
        assert pool.submit(function, (1, 2, 3)).result(LONG) == expected


def test_first_in_first_out(impl, make_pool, gate):
    pool, order = make_pool(1), []
    pool.submit(gate.wait)
    futures = [pool.submit(order.append, number) for number in range(2000)]
    gate.open()
    futures[-1].result(LONG)
    assert order == list(range(2000))


def test_queue_size(impl, make_pool, gate):
    pool = make_pool(2)
    for _ in range(2):
        pool.submit(gate.wait)
    gate.until_entered(2)
    futures = [pool.submit(int) for _ in range(10)]
    assert pool._work_queue.qsize() == 10
    gate.open()
    concurrent.futures.wait(futures, LONG)
    assert pool._work_queue.qsize() == 0


def test_exception_of_a_task(impl, make_pool):
    future = make_pool(1).submit(fail, "a", 1)
    error = future.exception(LONG)
    assert type(error) is Failure and error.args == ("a", 1)
    with pytest.raises(Failure):
        future.result()


@pytest.mark.parametrize("fatal", [SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration, StopAsyncIteration])
def test_any_base_exception_of_a_task_goes_to_its_future(impl, make_pool, fatal):
    def body():
        raise fatal("from the task")

    pool = make_pool(1)
    future = pool.submit(body)
    assert type(future.exception(LONG)) is fatal
    with pytest.raises(fatal):
        future.result()
    # The worker goes on, and it is still the same one.
    assert pool.submit(int).result(LONG) == 0 and len(pool._threads) == 1


def test_sys_exit_in_a_task(impl, make_pool):
    pool = make_pool(1)
    assert pool.submit(sys.exit, 3).exception(LONG).code == 3
    assert pool.submit(int).result(LONG) == 0


def test_recursion_error_in_a_task(impl, make_pool):
    def recurse():
        return recurse()

    pool = make_pool(1)
    assert isinstance(pool.submit(recurse).exception(LONG), RecursionError)
    assert pool.submit(int).result(LONG) == 0


def test_traceback_of_a_task_shows_the_task(impl, make_pool):
    error = make_pool(1).submit(fail).exception(LONG)
    trace, names = error.__traceback__, []
    while trace:
        names.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    assert names[-1] == "fail"


def test_future_states_as_seen_from_outside(impl, make_pool, gate):
    pool = make_pool(1)
    running, pending = pool.submit(gate.wait, 1), pool.submit(int)
    gate.until_entered()
    assert running.running() and not running.done() and not running.cancel()
    assert not pending.running() and not pending.done()
    gate.open()
    assert running.result(LONG) == 1 and pending.result(LONG) == 0 and running.done()


def test_cancel_before_the_start(impl, make_pool, gate):
    pool, ran = make_pool(1), []
    pool.submit(gate.wait)
    futures = [pool.submit(ran.append, number) for number in range(100)]
    assert all(future.cancel() for future in futures[::2])
    gate.open()
    concurrent.futures.wait(futures, LONG)
    assert ran == list(range(1, 100, 2))
    assert [future.cancelled() for future in futures] == [True, False] * 50


def test_task_may_look_at_its_own_future(impl, make_pool, gate):
    pool, box = make_pool(1), []

    def body():
        gate.wait()
        return box[0].running(), box[0].done(), box[0].cancel()

    box.append(pool.submit(body))
    gate.open()
    assert box[0].result(LONG) == (True, False, False)


def test_submit_from_many_threads(impl, make_pool):
    pool = make_pool(4)

    def submit_many(base):
        return [pool.submit(pow, base + n, 2) for n in range(500)]

    threads = [start_thread(submit_many, base) for base in range(0, 4000, 500)]
    results = []
    for thread in threads:
        thread.join(LONG)
        results += [future.result(LONG) for future in thread.outcome[0]]
    assert results == [n * n for n in range(4000)]


def test_submit_from_a_callback(impl, make_pool):
    pool, done = make_pool(1), threading.Event()

    def again(future, left=50):
        if left == 0:
            done.set()
        else:
            pool.submit(int).add_done_callback(lambda f: again(f, left - 1))

    pool.submit(int).add_done_callback(again)
    assert done.wait(LONG)


# --- workers ----------------------------------------------------------------------------------------------------------


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


def test_an_idle_worker_never_leaves_items_to_a_busy_one(impl, make_pool):
    # Both items must run at once, whoever got them: repeated, with batches of every small size.
    for size in range(2, 9):
        pool = make_pool(size)
        for _ in range(10):
            barrier = threading.Barrier(size)
            futures = [pool.submit(barrier.wait, LONG) for _ in range(size)]
            assert sorted(future.result(LONG) for future in futures) == list(range(size))


def test_short_tasks_behind_a_long_one_are_not_held_back(impl, make_pool, gate):
    pool = make_pool(2)
    for _ in range(20):
        pool.submit(int)
    blocked = pool.submit(gate.wait)
    short = [pool.submit(int) for _ in range(200)]
    assert concurrent.futures.wait(short, LONG).not_done == set()
    assert not blocked.done()
    gate.open()


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


def test_thread_that_cannot_be_started(impl, make_pool, monkeypatch):
    def no_more(self):
        raise RuntimeError("can't start new thread")

    pool = make_pool(2)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_more)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            pool.submit(int)
    assert pool.submit(abs, -1).result(LONG) == 1


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


def processor_seconds(function):
    """Processor time of this process while `function` runs."""
    before = time.process_time()
    function()
    return time.process_time() - before


def test_idle_workers_use_no_processor_time(native, make_native_pool, gate):
    pool = make_native_pool(4)
    futures = [pool.submit(gate.wait) for _ in range(4)]
    gate.until_entered(4)
    gate.open()
    native.wait(futures, LONG)
    time.sleep(0.05)
    assert processor_seconds(lambda: time.sleep(0.5)) < 0.1


def test_waiting_for_a_long_task_uses_no_processor_time(native, make_native_pool):
    pool = make_native_pool(1)
    for wait in (
        lambda: pool.submit(time.sleep, 0.3).result(LONG),
        lambda: native.wait([pool.submit(time.sleep, 0.3)], LONG),
        lambda: list(native.as_completed([pool.submit(time.sleep, 0.3)], LONG)),
        lambda: list(pool.map(time.sleep, [0.3])),
    ):
        assert processor_seconds(wait) < 0.1


def seconds_beside_a_busy_worker(pool, rounds):
    """How long `rounds` tiny sleeps take here while a worker runs job after job."""
    stop = []

    def again():
        if not stop:
            pool.submit(again)

    pool.submit(again)
    time.sleep(0.01)
    started = time.monotonic()
    for _ in range(rounds):
        time.sleep(0.0001)
    elapsed = time.monotonic() - started
    stop.append(True)
    pool.shutdown()
    return elapsed


@pytest.mark.skipif(not WITH_GIL, reason="without the GIL nobody waits for it")
def test_busy_worker_lets_other_threads_run(impl, make_pool):
    # Whoever asks for the GIL gets it after a switch interval (5 ms) or two, not when luck has it: a worker that lets go
    # and takes it again at once keeps others from ever asking. It does not happen each time, hence the many pools.
    for _ in range(10):
        assert seconds_beside_a_busy_worker(make_pool(1), 20) < 2.0


# --- initializer ------------------------------------------------------------------------------------------------------


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


# --- callbacks --------------------------------------------------------------------------------------------------------


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


# --- references -------------------------------------------------------------------------------------------------------


class Thing:
    def method(self, *args):
        return None


def test_function_and_arguments_are_dropped_after_the_run(impl, make_pool):
    pool = make_pool(1)
    function_owner, argument, keyword = Thing(), Thing(), Thing()
    references = [weakref.ref(thing) for thing in (function_owner, argument, keyword)]
    future = pool.submit(lambda *a, owner=function_owner, **k: None, argument, key=keyword)
    future.result(LONG)
    del function_owner, argument, keyword
    assert all(dies(reference) for reference in references)
    assert future.done()


def test_discarded_future_keeps_nothing_alive(impl, make_pool):
    thing = Thing()
    reference = weakref.ref(thing)
    make_pool(1).submit(thing.method)
    del thing
    assert dies(reference)


def test_arguments_of_a_cancelled_task_are_dropped(impl, make_pool, gate):
    pool, thing = make_pool(1), Thing()
    reference = weakref.ref(thing)
    pool.submit(gate.wait)
    pool.submit(thing.method).cancel()
    del thing
    gate.open()
    assert pool.submit(int).result(LONG) == 0
    assert dies(reference)


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


def test_values_pass_through_unchanged(impl, make_pool):
    pool = make_pool(2)
    for value in itertools.chain((None, True, ..., NotImplemented), (object(), [], {}, Failure, Failure())):
        assert pool.submit(lambda value=value: value).result(LONG) is value

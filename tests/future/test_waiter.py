"""Future: waiting for an outcome, from threads, through `_condition`, with timeouts, and interrupted by signals."""

import time
from concurrent.futures import CancelledError

import pytest
from support import eventually, run_script, start_thread
from support.blocking import DELAYS, LONG, blocked, outcome_of


@pytest.mark.parametrize("delay", DELAYS)
@pytest.mark.parametrize("timeout", [None, LONG])
def test_result_wakes_on_a_result(impl, delay, timeout):
    future, thread = blocked(impl, "result", timeout)
    time.sleep(delay)
    future.set_result(42)
    assert outcome_of(thread) == (42, None)


@pytest.mark.parametrize("delay", DELAYS)
def test_result_wakes_on_an_exception(impl, delay):
    future, thread = blocked(impl, "result")
    time.sleep(delay)
    error = ValueError("v")
    future.set_exception(error)
    assert outcome_of(thread) == (None, error)


@pytest.mark.parametrize("delay", DELAYS)
@pytest.mark.parametrize("method", ["result", "exception"])
def test_wakes_on_a_cancellation(impl, delay, method):
    future, thread = blocked(impl, method)
    time.sleep(delay)
    assert future.cancel()
    assert type(outcome_of(thread)[1]) is CancelledError


@pytest.mark.parametrize("delay", DELAYS)
def test_exception_wakes(impl, delay):
    future, thread = blocked(impl, "exception", LONG)
    time.sleep(delay)
    error = ValueError("v")
    future.set_exception(error)
    assert outcome_of(thread) == (error, None)
    future, thread = blocked(impl, "exception")
    time.sleep(delay)
    future.set_result(1)
    assert outcome_of(thread) == (None, None)


def test_all_waiters_wake(impl):
    future = impl.Future()
    threads = [start_thread(future.result, timeout) for timeout in (None, LONG) * 8]
    threads += [start_thread(future.exception) for _ in range(4)]
    time.sleep(0.05)
    future.set_result("r")
    assert [outcome_of(thread)[0] for thread in threads] == ["r"] * 16 + [None] * 4


def test_waiter_that_gave_up_leaves_nothing_behind(impl):
    future = impl.Future()
    for _ in range(20):
        with pytest.raises(TimeoutError):
            future.result(0.001)
    patient = start_thread(future.result)
    with pytest.raises(TimeoutError):
        future.result(0.01)
    future.set_result(1)
    assert outcome_of(patient) == (1, None)


def test_moving_to_running_does_not_wake(impl):
    future, thread = blocked(impl, "result")
    time.sleep(0.02)
    future.set_running_or_notify_cancel()
    time.sleep(0.02)
    assert thread.outcome is None
    future.set_result(1)
    assert outcome_of(thread) == (1, None)


class RecordingWaiter:
    """What the standard library's wait() installs: called with the condition held."""

    def __init__(self):
        self.calls = []

    def add_result(self, future):
        self.calls.append(("result", future, future.result()))

    def add_exception(self, future):
        self.calls.append(("exception", future, type(future.exception())))

    def add_cancelled(self, future):
        self.calls.append(("cancelled", future, future.cancelled()))


def test_waiters_are_told(impl):
    waiter = RecordingWaiter()
    one, two, three = futures = [impl.Future() for _ in range(3)]
    for future in futures:
        assert future._waiters == [] and isinstance(future._waiters, list)
        future._waiters.append(waiter)
    one.set_result(1)
    two.set_exception(ValueError())
    three.cancel()
    assert waiter.calls == [("result", one, 1), ("exception", two, ValueError)]
    three.set_running_or_notify_cancel()
    assert waiter.calls[2:] == [("cancelled", three, True)]


def test_waiters_are_told_before_callbacks_and_can_be_removed(impl):
    future, order = impl.Future(), []

    class Waiter(RecordingWaiter):
        def add_result(self, future):
            order.append("waiter")

    gone, stays = Waiter(), Waiter()
    future._waiters += [gone, stays]
    future._waiters.remove(gone)
    future.add_done_callback(lambda _: order.append("callback"))
    future.set_result(None)
    assert order == ["waiter", "callback"]


INTERRUPTED = """
    import os, signal, threading, time
    import {module} as futures
    signal.signal(signal.SIGINT, signal.default_int_handler)
    release = threading.Event()
    pool = futures.ThreadPoolExecutor(1)
    future = {make}
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    started = time.monotonic()
    try:
        {wait}
    except KeyboardInterrupt:
        print("interrupted", time.monotonic() - started < 20)
    release.set()
    pool.shutdown()
    print(future.done() or future.cancel())
"""


@pytest.mark.parametrize("make", ["futures.Future()", "pool.submit(release.wait, 30)"], ids=["pending", "running"])
@pytest.mark.parametrize(
    "wait",
    [
        "future.result()",
        "future.result(30)",
        "future.exception()",
        "futures.wait([future])",
        "futures.wait([future], timeout=30)",
        "list(futures.as_completed([future]))",
        "list(pool.map(release.wait, [30, 30]))",
    ],
)
def test_ctrl_c_interrupts_the_main_thread(impl, make, wait):
    source = INTERRUPTED.format(module=impl.module.__name__, make=make, wait=wait)
    assert run_script(source).split() == ["interrupted", "True", "True"]


def test_signal_handler_runs_while_the_main_thread_waits_and_may_finish_the_future(impl):
    source = f"""
        import os, signal, threading
        import {impl.module.__name__} as futures
        future, count = futures.Future(), []
        def handler(number, frame):
            count.append(number)
            if len(count) == 3:
                future.set_result("from the handler")
        signal.signal(signal.SIGUSR1, handler)
        for delay in (0.1, 0.2, 0.3):
            threading.Timer(delay, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        print(future.result(30), len(count))
    """
    assert run_script(source).strip() == "from the handler 3"


def test_interrupted_waiter_leaves_the_future_usable(impl):
    source = f"""
        import os, signal, threading
        import {impl.module.__name__} as futures
        signal.signal(signal.SIGINT, signal.default_int_handler)
        future = futures.Future()
        for _ in range(3):
            timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
            timer.start()
            try:
                future.result()
            except KeyboardInterrupt:
                print("interrupted")
            timer.join()
        threading.Timer(0.05, future.set_result, (1,)).start()
        print(future.result(30))
    """
    assert run_script(source).split() == ["interrupted"] * 3 + ["1"]


def test_waiting_lets_other_threads_run(impl):
    future, ticks = impl.Future(), []

    def tick():
        while not future.done():
            ticks.append(1)
            if len(ticks) > 1000:
                future.set_result(None)

    thread = start_thread(tick)
    assert future.result(LONG) is None
    assert eventually(lambda: thread.outcome is not None) and len(ticks) > 1000
    thread.join()

"""Future: waiting for an outcome, from threads, through `_condition`, with timeouts, and interrupted by signals."""

import concurrent.futures
import decimal
import fractions
import math
import threading
import time
from concurrent.futures import CancelledError, _base

import pytest
from support import eventually, run_script, start_thread

# A wait that must not be cut short may last this long; every test ends it much earlier.
LONG = 60.0


def blocked(impl, method, *args):
    """A pending future and a thread that is about to wait, or waits, in one of its methods."""
    future = impl.Future()
    return future, start_thread(getattr(future, method), *args)


def outcome_of(thread):
    thread.join(LONG)
    assert thread.outcome is not None, "the waiting thread was not woken"
    return thread.outcome


# Both with and without time to fall asleep: the outcome may come before, while or after the waiter blocks.
DELAYS = [0.0, 0.0005, 0.1]


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


# --- timeouts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["result", "exception"])
@pytest.mark.parametrize("timeout", [0, 0.0, -1, -0.5, -math.inf, math.nan, False])
def test_timeouts_that_do_not_wait(impl, method, timeout):
    future = impl.Future()
    with pytest.raises(TimeoutError) as caught:
        getattr(future, method)(timeout)
    assert caught.value.args == () and type(caught.value) is TimeoutError
    future._state = _base.RUNNING
    with pytest.raises(concurrent.futures.TimeoutError):
        getattr(future, method)(timeout=timeout)


@pytest.mark.parametrize("method", ["result", "exception"])
def test_timeout_waits_at_least_as_long_as_told(impl, method):
    future = impl.Future()
    for timeout in (0.05, 1e-3, 1e-9):
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            getattr(future, method)(timeout)
        assert time.monotonic() - started >= timeout


@pytest.mark.parametrize("timeout", [threading.TIMEOUT_MAX, 10**6, True * LONG])
def test_huge_timeouts_wait(impl, timeout):
    future, thread = blocked(impl, "result", timeout)
    time.sleep(0.02)
    assert thread.outcome is None
    future.set_result(1)
    assert outcome_of(thread) == (1, None)


@pytest.mark.parametrize("method", ["result", "exception"])
@pytest.mark.parametrize("timeout", [math.inf, 1e300, threading.TIMEOUT_MAX * 2, 10**30])
def test_timeouts_beyond_the_clock_overflow(impl, method, timeout):
    with pytest.raises(OverflowError):
        getattr(impl.Future(), method)(timeout)


@pytest.mark.parametrize("method", ["result", "exception"])
@pytest.mark.parametrize("timeout", ["1", b"1", [], {}, object(), 1j])
def test_timeouts_of_other_types_are_type_errors(impl, method, timeout):
    with pytest.raises(TypeError):
        getattr(impl.Future(), method)(timeout)


@pytest.mark.parametrize("timeout", [fractions.Fraction(1, 20), decimal.Decimal("0.05")])
def test_other_numbers_are_timeouts_where_locks_take_them(impl, timeout):
    # Newer versions' locks convert them, older ones refuse; ours always converts.
    expected = TimeoutError
    if not impl.native:
        try:
            threading.Event().wait(timeout)
        except TypeError:
            expected = TypeError
    with pytest.raises(expected):
        impl.Future().result(timeout)


def test_timeout_is_not_looked_at_when_there_is_an_outcome(impl):
    future = impl.Future()
    future.set_result(1)
    assert future.result("nonsense") == 1 and future.exception(math.inf) is None
    with pytest.raises(TypeError):
        future.result(1, 2)


# --- the condition ----------------------------------------------------------------------------------------------------


def test_condition_is_a_real_one(impl):
    future = impl.Future()
    condition = future._condition
    assert isinstance(condition, threading.Condition) and future._condition is condition
    with condition:
        assert not future.done()  # the lock is re-entrant
        with condition:
            pass


def test_thread_waiting_on_the_condition_is_notified(impl):
    for finish in (lambda f: f.set_result(1), lambda f: f.set_exception(ValueError()), lambda f: f.cancel()):
        future = impl.Future()

        def wait_until_done(future=future):
            with future._condition:
                return future._condition.wait_for(future.done, LONG)

        thread = start_thread(wait_until_done)
        time.sleep(0.02)
        finish(future)
        assert outcome_of(thread) == (True, None)


@pytest.mark.parametrize("delay", DELAYS)
@pytest.mark.parametrize("method", ["result", "exception"])
@pytest.mark.parametrize("early", [True, False], ids=["seen early", "seen late"])
def test_outcome_assigned_under_the_condition_wakes(impl, delay, method, early):
    future = impl.Future()
    if early:
        assert future._condition is not None
    thread = start_thread(getattr(future, method), LONG)
    time.sleep(delay)
    error = OSError()
    with future._condition:
        future._exception = error
        future._state = _base.FINISHED
        future._condition.notify_all()
    assert outcome_of(thread) == ((error, None) if method == "exception" else (None, error))


@pytest.mark.parametrize("finish", ["set_result", "set_exception"])
def test_whoever_holds_the_condition_keeps_the_future_as_it_is(impl, finish):
    future = impl.Future()
    with future._condition:
        thread = start_thread(getattr(future, finish), None)
        time.sleep(0.05)
        assert future._state == _base.PENDING and thread.outcome is None
    assert outcome_of(thread) == (None, None)
    assert future._state == _base.FINISHED


def test_cancel_and_start_wait_for_the_condition_too(impl):
    future = impl.Future()
    with future._condition:
        cancelling = start_thread(future.cancel)
        time.sleep(0.05)
        assert future._state == _base.PENDING
    assert outcome_of(cancelling) == (True, None)
    future = impl.Future()
    with future._condition:
        starting = start_thread(future.set_running_or_notify_cancel)
        time.sleep(0.05)
        assert future._state == _base.PENDING
    assert outcome_of(starting) == (True, None)


def test_condition_seen_first_after_the_end(impl):
    future = impl.Future()
    future.set_result(1)
    with future._condition:
        future._condition.notify_all()
    assert future.result() == 1


def test_condition_created_by_many_threads_is_one(impl):
    for _ in range(100):
        future = impl.Future()
        barrier = threading.Barrier(4)

        def look(future=future, barrier=barrier):
            barrier.wait()
            return future._condition

        threads = [start_thread(look) for _ in range(4)]
        assert len({id(outcome_of(thread)[0]) for thread in threads}) == 1


def test_condition_looked_at_while_a_thread_waits_and_another_finishes(impl):
    for _ in range(200):
        future = impl.Future()
        waiter = start_thread(future.result, LONG)
        looker = start_thread(lambda future=future: future._condition)
        finisher = start_thread(future.set_result, 1)
        assert outcome_of(waiter) == (1, None)
        assert outcome_of(finisher) == (None, None) and outcome_of(looker)[1] is None


# --- waiters in the style of the standard wait() ----------------------------------------------------------------------


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


# --- signals ----------------------------------------------------------------------------------------------------------

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

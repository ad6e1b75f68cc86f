"""Future._condition: it is there when somebody looks, and guards the future."""

import threading
import time
from concurrent.futures import _base

import pytest
from support import start_thread
from support.blocking import DELAYS, LONG, outcome_of


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

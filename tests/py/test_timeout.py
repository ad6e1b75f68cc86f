"""Timeouts: what is one, and how long it is."""

import concurrent.futures
import decimal
import fractions
import math
import threading
import time
from concurrent.futures import _base

import pytest
from support.blocking import LONG, blocked, outcome_of


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

"""Future's attributes: states, outcomes and lists that others look at and assign."""

from concurrent.futures import _base

import pytest
from support.futures import future_in

STATES = (_base.PENDING, _base.RUNNING, _base.CANCELLED, _base.CANCELLED_AND_NOTIFIED, _base.FINISHED)


@pytest.mark.parametrize("state", STATES)
def test_predicates_follow_an_assigned_state(impl, state):
    future = future_in(impl, state)
    assert future._state == state
    assert future.running() is (state == _base.RUNNING)
    assert future.cancelled() is (state in (_base.CANCELLED, _base.CANCELLED_AND_NOTIFIED))
    assert future.done() is (state not in (_base.PENDING, _base.RUNNING))


@pytest.mark.parametrize("state", STATES)
def test_assigned_state_takes_an_equal_string(impl, state):
    future = future_in(impl, "".join(list(state)))
    assert future._state == state


def test_states_are_the_standard_constants(impl):
    future = impl.Future()
    assert future._state is _base.PENDING
    future.set_running_or_notify_cancel()
    assert future._state is _base.RUNNING
    future.set_result(None)
    assert future._state is _base.FINISHED
    cancelled = impl.Future()
    cancelled.cancel()
    assert cancelled._state is _base.CANCELLED
    cancelled.set_running_or_notify_cancel()
    assert cancelled._state is _base.CANCELLED_AND_NOTIFIED


def test_assigned_result_and_exception_are_given_out(impl):
    assert future_in(impl, _base.FINISHED, result=42).result(0) == 42
    error = OSError("gone")
    failed = future_in(impl, _base.FINISHED, exception=error)
    assert failed.exception(0) is error
    with pytest.raises(OSError, match="gone"):
        failed.result(0)


def test_done_callbacks_is_a_live_list(impl):
    future, calls = impl.Future(), []
    future.add_done_callback(calls.append)
    assert isinstance(future._done_callbacks, list) and future._done_callbacks == [calls.append]
    future._done_callbacks.append(lambda _: calls.append("appended"))
    future._done_callbacks.insert(0, lambda _: calls.append("inserted"))
    future.add_done_callback(lambda _: calls.append("added"))
    assert len(future._done_callbacks) == 4
    future.set_result(None)
    assert calls == ["inserted", future, "appended", "added"]


def test_callback_can_be_removed_from_the_list(impl):
    future, calls = impl.Future(), []
    future.add_done_callback(calls.append)
    future._done_callbacks.remove(calls.append)
    future.set_result(None)
    assert calls == []

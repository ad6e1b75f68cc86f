"""From one state of a future to the next, once, by whoever comes first."""

import logging
from concurrent.futures import InvalidStateError, _base

import pytest
from support import eventually, start_thread
from support.futures import future_in


@pytest.mark.parametrize(
    "state, answer, after",
    [
        (_base.PENDING, True, _base.CANCELLED),
        (_base.RUNNING, False, _base.RUNNING),
        (_base.CANCELLED, True, _base.CANCELLED),
        (_base.CANCELLED_AND_NOTIFIED, True, _base.CANCELLED_AND_NOTIFIED),
        (_base.FINISHED, False, _base.FINISHED),
    ],
)
def test_cancel(impl, state, answer, after):
    future = future_in(impl, state)
    assert future.cancel() is answer
    assert future._state == after


def test_set_running_or_notify_cancel(impl):
    future = impl.Future()
    assert future.set_running_or_notify_cancel() is True and future.running()
    cancelled = impl.Future()
    cancelled.cancel()
    assert cancelled.set_running_or_notify_cancel() is False
    assert cancelled._state == _base.CANCELLED_AND_NOTIFIED


@pytest.mark.parametrize("state", [_base.RUNNING, _base.CANCELLED_AND_NOTIFIED, _base.FINISHED])
def test_set_running_in_unexpected_state(impl, state, caplog):
    future = future_in(impl, state)
    with pytest.raises(RuntimeError, match="^Future in unexpected state$"):
        future.set_running_or_notify_cancel()
    record = caplog.records[-1]
    assert (record.name, record.levelno) == ("concurrent.futures", logging.CRITICAL)
    assert record.getMessage() == f"Future {id(future)} in unexpected state: {state}"


@pytest.mark.parametrize("state", [_base.CANCELLED, _base.CANCELLED_AND_NOTIFIED, _base.FINISHED])
@pytest.mark.parametrize("method", ["set_result", "set_exception"])
def test_second_outcome_is_an_invalid_state(impl, state, method):
    future = future_in(impl, state, result=1)
    with pytest.raises(InvalidStateError) as caught:
        getattr(future, method)(ValueError())
    assert str(caught.value) == f"{state}: {future!r}"
    assert (future._state, future._result, future._exception) == (state, 1, None)


def test_outcome_may_be_set_while_pending_or_running(impl):
    for state in (_base.PENDING, _base.RUNNING):
        future = future_in(impl, state)
        future.set_result(1)
        assert future.result() == 1
        future = future_in(impl, state)
        future.set_exception(KeyError("k"))
        assert future.exception().args == ("k",)


def test_only_one_of_many_threads_finishes_it(impl):
    for _ in range(50):
        future, calls = impl.Future(), []
        future.add_done_callback(calls.append)
        threads = [start_thread(future.set_result, number) for number in range(4)]
        for thread in threads:
            thread.join()
        winners = [number for number, thread in enumerate(threads) if thread.outcome[1] is None]
        losers = [thread.outcome[1] for thread in threads if thread.outcome[1] is not None]
        assert winners == [future.result()] and calls == [future]
        assert all(isinstance(error, InvalidStateError) for error in losers) and len(losers) == 3


def test_finishing_thread_sees_its_own_writes(impl):
    future = impl.Future()
    thread = start_thread(future.result)
    future.set_result([1])
    assert eventually(lambda: thread.outcome == ([1], None))
    thread.join()

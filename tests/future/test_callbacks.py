"""add_done_callback(): order, errors, callbacks that finish other futures."""

import collections
import logging

import pytest


def finish_by(future, how):
    {
        "result": lambda: future.set_result(1),
        "exception": lambda: future.set_exception(ValueError()),
        "cancel": future.cancel,
    }[how]()


@pytest.mark.parametrize("how", ["result", "exception", "cancel"])
def test_callbacks_run_once_in_order_with_the_future(impl, how):
    calls = []
    future = impl.Future()
    for number in range(5):
        future.add_done_callback(lambda done, number=number: calls.append((number, done, done.done())))
    assert calls == []
    finish_by(future, how)
    assert calls == [(number, future, True) for number in range(5)]
    future.cancel()
    assert len(calls) == 5


@pytest.mark.parametrize("how", ["result", "exception", "cancel"])
def test_callback_on_a_done_future_runs_at_once(impl, how):
    future, calls = impl.Future(), []
    finish_by(future, how)
    assert future.add_done_callback(calls.append) is None
    assert calls == [future]


def test_the_same_callback_twice_is_called_twice(impl):
    future, calls = impl.Future(), []
    future.add_done_callback(calls.append)
    future.add_done_callback(calls.append)
    future.set_result(None)
    assert calls == [future, future]


def test_callback_added_while_callbacks_run(impl):
    future, calls = impl.Future(), []

    def first(done):
        done.add_done_callback(lambda _: calls.append("nested"))
        calls.append("first")

    future.add_done_callback(first)
    future.add_done_callback(lambda _: calls.append("second"))
    future.set_result(None)
    assert calls == ["nested", "first", "second"]


def test_callback_errors_are_logged_and_the_rest_is_called(impl, caplog):
    def bad(future):
        raise ValueError("from the callback")

    future, calls = impl.Future(), []
    future.add_done_callback(bad)
    future.add_done_callback(calls.append)
    future.set_result(5)
    assert calls == [future]
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("concurrent.futures", logging.ERROR)
    assert record.getMessage() == f"exception calling callback for {future!r}"
    assert str(record.exc_info[1]) == "from the callback"


def test_callback_error_on_a_done_future_is_logged(impl, caplog):
    future = impl.Future()
    future.set_result(5)
    future.add_done_callback(lambda _: 1 / 0)
    (record,) = caplog.records
    assert record.getMessage() == f"exception calling callback for {future!r}"
    assert record.exc_info[0] is ZeroDivisionError


def test_something_that_cannot_be_called_is_logged_when_its_time_comes(impl, caplog):
    future = impl.Future()
    future.add_done_callback(42)
    assert not caplog.records
    future.set_result(None)
    (record,) = caplog.records
    assert record.exc_info[0] is TypeError


@pytest.mark.parametrize("fatal", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_fatal_callback_error_reaches_whoever_finishes(impl, fatal, caplog):
    def bad(future):
        raise fatal("stop")

    future, calls = impl.Future(), []
    future.add_done_callback(bad)
    future.add_done_callback(calls.append)
    with pytest.raises(fatal):
        future.set_result(5)
    assert future.result() == 5 and calls == [] and not caplog.records
    with pytest.raises(fatal):
        future.add_done_callback(bad)


def test_callback_sees_the_outcome_of_a_failure(impl):
    future, seen, error = impl.Future(), [], ValueError("v")
    future.add_done_callback(lambda done: seen.append(done.exception()))
    future.set_exception(error)
    assert seen == [error]


def test_many_callbacks(impl):
    future, count = impl.Future(), collections.Counter()
    for number in range(1000):
        future.add_done_callback(lambda _, number=number: count.update([number]))
    future.set_result(None)
    assert count == dict.fromkeys(range(1000), 1)


def test_callback_may_finish_and_cancel_other_futures(impl):
    first, second, third = (impl.Future() for _ in range(3))
    first.add_done_callback(lambda done: second.set_result(done.result() + 1))
    second.add_done_callback(lambda done: third.cancel())
    first.set_result(1)
    assert second.result(0) == 2 and third.cancelled()


@pytest.mark.parametrize("through", ["bound method", "function"])
def test_callbacks_that_finish_the_next_future_end_in_a_recursion_error_at_worst(impl, through, caplog):
    caplog.set_level(logging.CRITICAL + 1, "concurrent.futures")
    futures = [impl.Future() for _ in range(20_000)]
    for future, following in zip(futures, futures[1:]):
        callback = following.set_result if through == "bound method" else lambda _, f=following: f.set_result(1)
        future.add_done_callback(callback)
    futures[0].set_result(1)
    done = [future.done() for future in futures]
    assert any(done) and done == sorted(done, reverse=True)

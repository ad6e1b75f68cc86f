"""Future's methods: what they take, give and raise."""

import inspect
from concurrent.futures import CancelledError, _base

import pytest
from support.futures import future_in


@pytest.mark.parametrize("name", [name for name in vars(_base.Future) if not name.startswith("_")])
def test_methods_have_the_standard_signature_and_a_docstring(impl, name):
    ours, standard = getattr(impl.Future, name), getattr(_base.Future, name)
    assert list(inspect.signature(ours).parameters) == list(inspect.signature(standard).parameters)
    assert inspect.getdoc(ours)


def test_methods_accept_keywords(impl):
    seen = []
    future = impl.Future()
    future.add_done_callback(fn=seen.append)
    future.set_result(result=1)
    assert future.result(timeout=1) == 1 and future.exception(timeout=1) is None and seen == [future]
    failed, error = impl.Future(), ValueError()
    failed.set_exception(exception=error)
    assert failed.exception() is error


@pytest.mark.parametrize("name", ["cancel", "cancelled", "running", "done", "set_running_or_notify_cancel"])
def test_methods_reject_stray_arguments(impl, name):
    with pytest.raises(TypeError):
        getattr(impl.Future(), name)(1)


@pytest.mark.parametrize("name", ["set_result", "set_exception", "add_done_callback"])
def test_methods_demand_their_argument(impl, name):
    future = impl.Future()
    with pytest.raises(TypeError):
        getattr(future, name)()
    with pytest.raises(TypeError):
        getattr(future, name)(1, 2)
    assert future._state == _base.PENDING


@pytest.mark.parametrize("state", [_base.CANCELLED, _base.CANCELLED_AND_NOTIFIED])
def test_cancelled_raises(impl, state):
    for method in ("result", "exception"):
        with pytest.raises(CancelledError) as caught:
            getattr(future_in(impl, state), method)()
        assert caught.value.args == ()


def test_set_exception_of_none_is_a_result_of_none(impl):
    future = impl.Future()
    future.set_exception(None)
    assert future.done() and future.result() is None and future.exception() is None


def test_exception_class_is_instantiated_when_raised(impl):
    future = impl.Future()
    future.set_exception(ZeroDivisionError)
    assert future.exception() is ZeroDivisionError
    with pytest.raises(ZeroDivisionError):
        future.result()


def test_something_that_is_no_exception_cannot_be_raised(impl):
    future = impl.Future()
    future.set_exception("not an exception")
    with pytest.raises(TypeError, match="exceptions must derive from BaseException"):
        future.result()


class FalsyError(Exception):
    def __bool__(self):
        return False


def test_falsy_exception_is_raised(native):
    # The standard class of some versions returns None here (a bug that was fixed later).
    future = native.Future()
    future.set_exception(FalsyError("falsy"))
    with pytest.raises(FalsyError):
        future.result()


@pytest.mark.skipif(not hasattr(_base.Future, "_get_snapshot"), reason="this version's Future has no _get_snapshot")
def test_snapshot(impl):
    error = ValueError()
    assert future_in(impl, _base.PENDING)._get_snapshot() == (False, False, None, None)
    assert future_in(impl, _base.RUNNING)._get_snapshot() == (False, False, None, None)
    assert future_in(impl, _base.CANCELLED, result=1)._get_snapshot() == (True, True, None, None)
    assert future_in(impl, _base.CANCELLED_AND_NOTIFIED)._get_snapshot() == (True, True, None, None)
    assert future_in(impl, _base.FINISHED, result=42)._get_snapshot() == (True, False, 42, None)
    assert future_in(impl, _base.FINISHED, exception=error)._get_snapshot() == (True, False, None, error)

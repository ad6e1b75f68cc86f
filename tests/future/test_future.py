"""Future: states, results, callbacks, text; the same on the standard library's class and on ours."""

import collections
import concurrent.futures
import gc
import inspect
import logging
import pickle
import re
import types
import weakref
from concurrent.futures import CancelledError, InvalidStateError, _base

import pytest
from support import eventually, start_thread

STATES = (_base.PENDING, _base.RUNNING, _base.CANCELLED, _base.CANCELLED_AND_NOTIFIED, _base.FINISHED)


def future_in(impl, state, result=None, exception=None):
    """A future brought into `state` by assignment, as test suites and other executors do."""
    future = impl.Future()
    future._state = state
    future._result = result
    future._exception = exception
    return future


# --- what it is -------------------------------------------------------------------------------------------------------


def test_is_a_standard_future(impl):
    assert issubclass(impl.Future, concurrent.futures.Future)
    assert isinstance(impl.Future(), concurrent.futures.Future)
    assert impl.Future.__name__ == "Future"


def test_fresh_future(impl):
    future = impl.Future()
    assert (future._state, future._result, future._exception) == (_base.PENDING, None, None)
    assert not future.done() and not future.running() and not future.cancelled()


def test_constructor_takes_no_arguments(impl):
    with pytest.raises(TypeError):
        impl.Future(1)
    with pytest.raises(TypeError):
        impl.Future(result=1)


def test_generic_alias(impl):
    alias = impl.Future[int]
    assert isinstance(alias, types.GenericAlias)
    assert alias.__origin__ is impl.Future and alias.__args__ == (int,)
    assert isinstance(alias(), impl.Future)


def test_weak_reference(impl):
    seen = []
    future = impl.Future()
    reference = weakref.ref(future, seen.append)
    assert reference() is future
    del future
    assert reference() is None and seen == [reference]


def test_hash_and_equality_are_identity(impl):
    one, two = impl.Future(), impl.Future()
    assert one != two and len({one, two, one}) == 2


def test_arbitrary_attributes(impl):
    future = impl.Future()
    future.job_id = 7
    assert future.job_id == 7 and vars(future)["job_id"] == 7
    with pytest.raises(AttributeError):
        future.no_such_attribute


def test_cannot_be_pickled(impl):
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(impl.Future())


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


# --- states -----------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("state", [_base.CANCELLED, _base.CANCELLED_AND_NOTIFIED])
def test_cancelled_raises(impl, state):
    for method in ("result", "exception"):
        with pytest.raises(CancelledError) as caught:
            getattr(future_in(impl, state), method)()
        assert caught.value.args == ()


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


# --- text -------------------------------------------------------------------------------------------------------------


def test_repr(impl):
    cases = [
        (future_in(impl, _base.PENDING), "pending"),
        (future_in(impl, _base.RUNNING), "running"),
        (future_in(impl, _base.CANCELLED), "cancelled"),
        (future_in(impl, _base.CANCELLED_AND_NOTIFIED), "cancelled"),
        (future_in(impl, _base.FINISHED, result=42), "finished returned int"),
        (future_in(impl, _base.FINISHED), "finished returned NoneType"),
        (future_in(impl, _base.FINISHED, exception=OSError()), "finished raised OSError"),
    ]
    for future, text in cases:
        assert repr(future) == str(future) == f"<Future at {id(future):#x} state={text}>"


def test_repr_names_the_subclass(impl):
    class Job(impl.Future):
        pass

    job = Job()
    assert repr(job) == f"<Job at {id(job):#x} state=pending>"


# --- callbacks --------------------------------------------------------------------------------------------------------


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


# --- depth ------------------------------------------------------------------------------------------------------------


def test_long_chain_of_futures_as_results_is_freed(impl):
    future = None
    for _ in range(100_000):
        outer = impl.Future()
        outer.set_result(future)
        future = outer
    del future, outer  # freeing one after the other must not use up the stack


def test_long_cycle_of_futures_is_collected(impl):
    first = future = impl.Future()
    for _ in range(50_000):
        outer = impl.Future()
        outer.set_result(future)
        future = outer
    first.set_result(future)
    reference = weakref.ref(first)
    del first, future, outer
    gc.collect()
    assert reference() is None


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


# --- subclasses -------------------------------------------------------------------------------------------------------


def test_subclass_with_its_own_constructor_and_attributes(impl):
    class Job(impl.Future):
        def __init__(self, name, *, retries):
            super().__init__()
            self.name, self.retries = name, retries

        def done_name(self):
            return f"{self.name}:{self.done()}"

    job = Job("a", retries=2)
    job.set_result(1)
    assert (job.name, job.retries, job.result(), job.done_name()) == ("a", 2, 1, "a:True")
    assert isinstance(job, concurrent.futures.Future)


def test_subclass_with_a_mixin_and_slots(impl):
    class Mixin:
        def twice(self):
            return self.result() * 2

    class Job(Mixin, impl.Future):
        __slots__ = ("extra",)

    job = Job()
    job.extra = 1
    job.set_result(21)
    assert job.twice() == 42


def test_overridden_methods_are_used_by_callers(impl):
    class Loud(impl.Future):
        def set_result(self, result):
            super().set_result(result * 10)

        def result(self, timeout=None):
            return super().result(timeout) + 1

    loud = Loud()
    loud.set_result(4)
    assert loud.result() == 41 and _base.Future.result(loud) == 40


def test_unbound_standard_methods_work(impl):
    # Code that calls the base class's methods directly must see and change the same state.
    future, standard = impl.Future(), concurrent.futures.Future
    assert not standard.done(future) and standard.set_running_or_notify_cancel(future)
    assert future.running()
    standard.set_result(future, 3)
    assert future.result(0) == 3 == standard.result(future)
    assert re.search("finished returned int", standard.__repr__(future))


def test_constructor_can_be_called_again(impl):
    future = impl.Future()
    future.set_result(1)
    future.__init__()
    assert future._state == _base.PENDING and future._result is None and not future.done()
    future.set_result(2)
    assert future.result() == 2


def test_made_without_constructor_then_initialised(impl):
    future = impl.Future.__new__(impl.Future)
    impl.Future.__init__(future)
    future.set_result(1)
    assert future.result() == 1


def test_finishing_thread_sees_its_own_writes(impl):
    future = impl.Future()
    thread = start_thread(future.result)
    future.set_result([1])
    assert eventually(lambda: thread.outcome == ([1], None))
    thread.join()

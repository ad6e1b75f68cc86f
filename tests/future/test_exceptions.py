"""Future: the exception that result() raises, and that nothing is kept alive by it."""

import gc
import sys
import traceback
import weakref

import pytest
from support import dies


class Failure(Exception):
    pass


def fail_deep_down(depth=3):
    if depth:
        fail_deep_down(depth - 1)
    raise Failure("deep down")


def failure():
    try:
        fail_deep_down()
    except Failure as error:
        return error


def failed_with(impl, error):
    future = impl.Future()
    future.set_exception(error)
    return future


def failed_future(impl):
    # No frame that the traceback can reach, callers included, may have the future in a variable.
    return failed_with(impl, failure())


def frames_of(error):
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


def test_the_very_exception_is_raised_each_time(impl):
    future = failed_future(impl)
    error = future.exception()
    for _ in range(3):
        with pytest.raises(Failure) as caught:
            future.result()
        assert caught.value is error


def test_traceback_shows_where_it_came_from_and_where_it_was_asked_for(impl):
    future = failed_future(impl)

    def asks_for_the_result():
        future.result()

    with pytest.raises(Failure) as caught:
        asks_for_the_result()
    names = frames_of(caught.value)
    assert names[-1] == "fail_deep_down" and "asks_for_the_result" in names
    assert names.index("asks_for_the_result") < names.index("fail_deep_down")


def test_traceback_does_not_grow_without_bound(impl):
    # The standard class adds the same frames with each call: neither may add more.
    future = failed_future(impl)
    lengths = []
    for _ in range(5):
        try:
            future.result()
        except Failure as error:
            lengths.append(len(frames_of(error)))
    steps = [after - before for before, after in zip(lengths, lengths[1:])]
    assert max(steps) <= 3


def test_context_is_the_exception_being_handled(impl):
    future = failed_future(impl)
    try:
        try:
            raise KeyError("handled")
        except KeyError as handled:
            outer = handled
            future.result()
    except Failure as error:
        assert error.__context__ is outer
    else:
        pytest.fail("nothing was raised")


def test_cause_and_context_of_the_task_are_kept(impl):
    future = impl.Future()
    cause = ValueError("cause")
    try:
        raise Failure("effect") from cause
    except Failure as error:
        future.set_exception(error)
    with pytest.raises(Failure) as caught:
        future.result()
    assert caught.value.__cause__ is cause


@pytest.mark.parametrize("method", ["result", "exception"])
def test_timeout_and_cancellation_have_the_handled_exception_as_context(impl, method):
    pending, cancelled = impl.Future(), impl.Future()
    cancelled.cancel()
    for future in (pending, cancelled):
        with pytest.raises(Exception) as caught:
            try:
                raise KeyError("handled")
            except KeyError:
                getattr(future, method)(0)
        assert isinstance(caught.value.__context__, KeyError)


@pytest.mark.parametrize("fatal", [SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration])
def test_any_base_exception_is_raised(impl, fatal):
    future = impl.Future()
    future.set_exception(fatal("stop"))
    with pytest.raises(fatal):
        future.result()
    assert type(future.exception()) is fatal


# --- nothing is kept alive --------------------------------------------------------------------------------------------


def test_result_makes_no_reference_cycle(impl):
    future = failed_future(impl)
    reference = weakref.ref(future.exception())
    try:
        future.result()
    except Failure:
        pass
    del future
    assert dies(reference)


def test_timeouts_make_no_reference_cycle(impl):
    future = impl.Future()
    reference = weakref.ref(future)
    for method in (future.result, future.exception):
        try:
            method(0)
        except TimeoutError:
            pass
    del future, method
    assert dies(reference)


def test_pool_makes_no_reference_cycle(impl, make_pool):
    pool = make_pool(1)
    future = pool.submit(fail_deep_down)
    reference, future_reference = weakref.ref(future.exception()), weakref.ref(future)
    try:
        future.result()
    except Failure:
        pass
    del future
    assert dies(reference) and dies(future_reference)


def test_cycle_through_own_callback_is_collected(impl):
    future = impl.Future()
    future.add_done_callback(lambda _, itself=future: itself)
    future.extra = {"itself": future}
    reference = weakref.ref(future)
    del future
    gc.collect()
    assert reference() is None


def test_cycle_through_its_result_is_collected(impl):
    future = impl.Future()
    future.set_result([future])
    future._waiters.append(future)
    reference = weakref.ref(future)
    del future
    gc.collect()
    assert reference() is None


def test_cycle_through_its_condition_is_collected(impl):
    future = impl.Future()
    future._condition.owner = future
    reference = weakref.ref(future)
    del future
    gc.collect()
    assert reference() is None


def test_result_is_not_kept_beyond_the_future(impl):
    class Thing:
        pass

    thing = Thing()
    reference = weakref.ref(thing)
    future = impl.Future()
    future.set_result(thing)
    del thing
    assert future.result() is reference()
    del future
    assert dies(reference)


@pytest.mark.skipif(not hasattr(sys, "getrefcount"), reason="needs getrefcount")
@pytest.mark.skipif(not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="counts are exact only with the GIL")
def test_reference_counts_stay_where_they_are(impl):
    thing, error = object(), Failure()

    def use():
        future = impl.Future()
        future.add_done_callback(id)
        future.set_result(thing)
        future.result(), future.exception(), future._result, repr(future)
        future._result = future._result
        failed = impl.Future()
        failed.set_exception(error)
        try:
            failed.result()
        except Failure:
            pass
        failed.exception(), failed._exception
        failed._exception = failed._exception
        error.__traceback__ = None

    use()
    before = sys.getrefcount(thing), sys.getrefcount(error)
    for _ in range(100):
        use()
    assert (sys.getrefcount(thing), sys.getrefcount(error)) == before

"""wait(): the standard one on native futures, the native one on both kinds, with the same results and errors."""

import collections
import concurrent.futures
import math
import time
import weakref
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, _base

import pytest
from support import dies, eventually, start_thread
from support.mixed import LONG, cancelled, failed, finished, mix

__all__ = ["mix"]

def test_names_are_the_standard_ones(impl):
    for name in ("FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED", "CancelledError", "InvalidStateError"):
        assert getattr(impl, name) is getattr(concurrent.futures, name)
    assert impl.TimeoutError is TimeoutError


def test_result_is_a_named_pair_of_sets(mix):
    done, pending = finished(mix.make()), mix.make()
    both = mix.wait([done, pending], timeout=0)
    assert isinstance(both, tuple) and type(both).__name__ == "DoneAndNotDoneFutures"
    assert isinstance(both, _base.DoneAndNotDoneFutures)
    assert both.done == {done} and both.not_done == {pending}
    assert type(both.done) is type(both.not_done) is set


@pytest.mark.parametrize("return_when", [ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION])
def test_nothing_to_wait_for(mix, return_when):
    assert mix.wait([], return_when=return_when) == (set(), set())


def test_already_done(mix):
    futures = [finished(mix.make()), failed(mix.make()), cancelled(mix.make()), finished(mix.make())]
    assert mix.wait(futures) == (set(futures), set())


@pytest.mark.parametrize("container", [list, tuple, set, iter, dict.fromkeys, collections.deque, lambda fs: (f for f in fs)])
def test_any_iterable_is_taken(mix, container):
    futures = [finished(mix.make()) for _ in range(3)]
    assert mix.wait(container(futures)).done == set(futures)


def test_duplicates_count_once(mix):
    one, two = mix.make(), mix.make()
    thread = start_thread(mix.wait, [one, two, one, two, one], LONG)
    time.sleep(0.02)
    one.set_result(1)
    time.sleep(0.02)
    assert thread.outcome is None
    two.set_result(2)
    thread.join(LONG)
    assert thread.outcome == (({one, two}, set()), None)


def test_cancelled_but_not_notified_is_not_done(mix):
    future = cancelled(mix.make(), notified=False)
    assert mix.wait([future], timeout=0) == (set(), {future})
    thread = start_thread(mix.wait, [future], LONG)
    time.sleep(0.02)
    assert thread.outcome is None
    future.set_running_or_notify_cancel()
    thread.join(LONG)
    assert thread.outcome == (({future}, set()), None)


@pytest.mark.parametrize("delay", [0, 0.001, 0.05])
def test_all_completed_waits_for_the_last(mix, delay):
    futures = [mix.make() for _ in range(6)]
    thread = start_thread(mix.wait, futures, LONG, ALL_COMPLETED)
    for finish, future in zip((finished, failed, cancelled) * 2, futures):
        time.sleep(delay)
        assert thread.outcome is None
        finish(future)
    thread.join(LONG)
    assert thread.outcome == ((set(futures), set()), None)


@pytest.mark.parametrize("finish", [finished, failed, cancelled])
def test_first_completed(mix, finish):
    futures = [mix.make() for _ in range(5)]
    thread = start_thread(mix.wait, futures, LONG, FIRST_COMPLETED)
    time.sleep(0.02)
    assert thread.outcome is None
    finish(futures[3])
    thread.join(LONG)
    done, not_done = thread.outcome[0]
    assert done == {futures[3]} and not_done == set(futures) - done


def test_first_completed_with_some_done_does_not_wait(mix):
    done, pending = finished(mix.make()), mix.make()
    assert mix.wait([pending, done], return_when=FIRST_COMPLETED) == ({done}, {pending})


def test_first_exception_ignores_results_and_cancellations(mix):
    futures = [mix.make() for _ in range(4)]
    thread = start_thread(mix.wait, futures, LONG, FIRST_EXCEPTION)
    finished(futures[0])
    cancelled(futures[1])
    time.sleep(0.03)
    assert thread.outcome is None
    failed(futures[2])
    thread.join(LONG)
    assert thread.outcome[0] == (set(futures[:3]), {futures[3]})


def test_first_exception_without_exceptions_waits_for_all(mix):
    futures = [mix.make() for _ in range(3)]
    thread = start_thread(mix.wait, futures, LONG, FIRST_EXCEPTION)
    for future in futures:
        time.sleep(0.01)
        assert thread.outcome is None
        finished(future)
    thread.join(LONG)
    assert thread.outcome[0] == (set(futures), set())


def test_first_exception_that_is_there_already(mix):
    broken, pending, fine = failed(mix.make()), mix.make(), finished(mix.make())
    assert mix.wait([pending, broken, fine], return_when=FIRST_EXCEPTION) == ({broken, fine}, {pending})


def test_first_exception_with_done_results_still_waits(mix):
    done, pending = finished(mix.make()), mix.make()
    assert mix.wait([done, pending], 0.01, FIRST_EXCEPTION) == ({done}, {pending})


@pytest.mark.parametrize("return_when", ["SOMETIME", None, 1])
def test_unknown_return_when(mix, return_when):
    with pytest.raises(ValueError, match="Invalid return condition: " + repr(return_when)):
        mix.wait([mix.make()], return_when=return_when)


def test_equal_string_is_a_return_when(mix):
    done, pending = finished(mix.make()), mix.make()
    assert mix.wait([done, pending], return_when="".join(["FIRST_", "COMPLETED"])).done == {done}


@pytest.mark.parametrize("timeout", [0, 0.0, -1, 0.001, math.nan, -math.inf, False])
def test_short_timeouts(mix, timeout):
    done, pending = finished(mix.make()), mix.make()
    assert mix.wait([done, pending], timeout) == ({done}, {pending})


@pytest.mark.parametrize("timeout, error", [("1", TypeError), ([], TypeError), (math.inf, OverflowError), (1e300, OverflowError)])
def test_bad_timeouts(mix, timeout, error):
    with pytest.raises(error):
        mix.wait([mix.make()], timeout)
    done = finished(mix.make())
    assert mix.wait([done], timeout).done == {done}  # nothing to wait for: not looked at


def test_timeout_waits_at_least_as_long(mix):
    started = time.monotonic()
    mix.wait([mix.make()], timeout=0.05)
    assert time.monotonic() - started >= 0.05


@pytest.mark.parametrize("bad", [42, None, [1], [None], ["future"]])
def test_things_that_are_no_futures(mix, bad):
    with pytest.raises((TypeError, AttributeError)):
        mix.wait(bad)


def test_unhashable_items(mix):
    with pytest.raises(TypeError, match="unhashable"):
        mix.wait([[]])


def test_iterable_that_raises(mix):
    def futures():
        yield mix.make()
        raise KeyError("midway")

    with pytest.raises(KeyError, match="midway"):
        mix.wait(futures())


def test_wrong_number_of_arguments(mix):
    with pytest.raises(TypeError):
        mix.wait()
    with pytest.raises(TypeError):
        mix.wait([], None, ALL_COMPLETED, 1)
    with pytest.raises(TypeError):
        mix.wait([], nonsense=1)
    assert mix.wait(fs=[], timeout=None, return_when=ALL_COMPLETED) == (set(), set())


def test_waiters_are_removed_afterwards(mix):
    done, pending = finished(mix.make()), mix.make()
    mix.wait([done, pending], timeout=0.001)
    assert pending._waiters == [] and done._waiters == []


def test_nothing_is_kept_alive(impl):
    done, pending = finished(impl.Future()), impl.Future()
    references = [weakref.ref(done), weakref.ref(pending)]
    impl.wait([done, pending], timeout=0.001)
    impl.wait([done, pending], timeout=0.001, return_when=FIRST_EXCEPTION)
    impl.wait([done, pending], return_when=FIRST_COMPLETED)
    del done, pending
    assert all(dies(reference) for reference in references)


def test_several_threads_wait_for_overlapping_sets(mix):
    futures = [mix.make() for _ in range(12)]
    threads = [start_thread(mix.wait, futures[i : i + 6], LONG) for i in range(7)]
    for future in futures:
        start_thread(finished, future)
    for i, thread in enumerate(threads):
        thread.join(LONG)
        assert thread.outcome == ((set(futures[i : i + 6]), set()), None)


def test_many_futures(mix):
    futures = [mix.make() for _ in range(3000)]
    thread = start_thread(mix.wait, futures, LONG)
    for future in reversed(futures):
        finished(future)
    thread.join(LONG)
    assert thread.outcome[0] == (set(futures), set())


def test_futures_finish_while_wait_starts(mix):
    for _ in range(100):
        futures = [mix.make() for _ in range(4)]
        finisher = start_thread(lambda futures=futures: [finished(future) for future in futures])
        assert mix.wait(futures, LONG) == (set(futures), set())
        finisher.join()


def test_future_subclass_is_waited_for(impl):
    class Job(impl.Future):
        pass

    job = Job()
    thread = start_thread(impl.wait, [job], LONG)
    time.sleep(0.01)
    job.set_result(1)
    thread.join(LONG)
    assert thread.outcome == (({job}, set()), None)


def test_state_assigned_under_the_condition_is_seen_by_the_next_wait(mix):
    future = mix.make()
    with future._condition:
        future._state = _base.FINISHED
        future._condition.notify_all()
    assert mix.wait([future], timeout=0).done == {future}


def test_executor_futures(impl, make_pool, gate):
    pool = make_pool(2)
    slow = [pool.submit(gate.wait, number) for number in range(2)]
    gate.until_entered(2)
    queued = [pool.submit(int) for _ in range(10)]
    assert queued[0].cancel()
    assert impl.wait(slow + queued, timeout=0.01) == (set(), set(slow + queued))
    gate.open()
    assert impl.wait(slow + queued, timeout=LONG) == (set(slow + queued), set())
    assert eventually(lambda: queued[0]._state == _base.CANCELLED_AND_NOTIFIED)

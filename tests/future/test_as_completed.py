"""as_completed(): the standard one on native futures, the native one on both kinds."""

import collections
import itertools
import math
import time
import weakref
from concurrent.futures import _base

import pytest
from support import dies, start_thread
from support.mixed import LONG, cancelled, failed, finished, mix

__all__ = ["mix"]


def test_yields_what_is_done(mix):
    futures = [finished(mix.make()), failed(mix.make()), cancelled(mix.make())]
    assert set(mix.as_completed(futures)) == set(futures)
    assert list(mix.as_completed([])) == []


def test_is_an_iterator(mix):
    iterator = mix.as_completed([finished(mix.make())])
    assert isinstance(iterator, collections.abc.Iterator) and iter(iterator) is iterator
    next(iterator)
    with pytest.raises(StopIteration):
        next(iterator)
    with pytest.raises(StopIteration):
        next(iterator)


def test_yields_in_the_order_of_completion(mix):
    futures = [mix.make() for _ in range(6)]
    iterator = mix.as_completed(futures, LONG)
    order = [3, 0, 5, 1, 4, 2]
    seen = []
    for number in order:
        thread = start_thread(next, iterator)
        time.sleep(0.005)
        assert thread.outcome is None
        finished(futures[number])
        thread.join(LONG)
        seen.append(futures.index(thread.outcome[0]))
    assert seen == order
    assert list(iterator) == []


def test_several_that_finish_between_two_steps_keep_their_order(mix):
    futures = [mix.make() for _ in range(6)]
    iterator = mix.as_completed(futures, LONG)
    finished(futures[0])
    assert next(iterator) is futures[0]
    for number in (4, 2, 5, 1, 3):
        finished(futures[number])
    assert [futures.index(future) for future in iterator] == [4, 2, 5, 1, 3]


@pytest.mark.parametrize("container", [list, set, iter, dict.fromkeys, lambda fs: (f for f in fs)])
def test_any_iterable_is_taken(mix, container):
    futures = [finished(mix.make()) for _ in range(3)]
    assert set(mix.as_completed(container(futures))) == set(futures)


def test_duplicates_are_yielded_once(mix):
    one, two = finished(mix.make()), mix.make()
    iterator = mix.as_completed(itertools.chain([two], itertools.repeat(one, 3), [two]), LONG)
    assert next(iterator) is one
    finished(two)
    assert list(iterator) == [two]


def test_timeout_says_how_many_are_left(mix):
    futures = [finished(mix.make()), mix.make(), cancelled(mix.make()), mix.make()]
    iterator = mix.as_completed(futures, timeout=0.05)
    assert {next(iterator), next(iterator)} == {futures[0], futures[2]}
    with pytest.raises(TimeoutError) as caught:
        next(iterator)
    assert str(caught.value) == "2 (of 4) futures unfinished"
    with pytest.raises(StopIteration):
        next(iterator)
    assert all(future._waiters == [] for future in futures)


@pytest.mark.parametrize("timeout", [0, -1, -0.5, False, 0.001])
def test_short_timeouts_yield_what_is_done(mix, timeout):
    done, pending = finished(mix.make()), mix.make()
    iterator = mix.as_completed([done, pending], timeout)
    assert next(iterator) is done
    with pytest.raises(TimeoutError, match=r"^1 \(of 2\) futures unfinished$"):
        next(iterator)


def test_timeout_counts_from_the_first_step_and_covers_all(mix):
    futures = [mix.make() for _ in range(3)]
    iterator = mix.as_completed(futures, timeout=0.1)
    time.sleep(0.15)
    finished(futures[0])
    started = time.monotonic()
    seen = []
    with pytest.raises(TimeoutError):
        for future in iterator:
            seen.append(future)
    assert seen == [futures[0]] and time.monotonic() - started >= 0.1


@pytest.mark.parametrize("timeout", ["1", [], object()])
def test_timeouts_of_other_types(mix, timeout):
    with pytest.raises(TypeError):
        list(mix.as_completed([finished(mix.make())], timeout))


@pytest.mark.parametrize("timeout", [math.inf, 1e300])
def test_timeouts_beyond_the_clock(mix, timeout):
    with pytest.raises(OverflowError):
        list(mix.as_completed([mix.make()], timeout))


@pytest.mark.parametrize("bad", [42, None, [1], ["future"], [None]])
def test_things_that_are_no_futures(mix, bad):
    with pytest.raises((TypeError, AttributeError)):
        list(mix.as_completed(bad))


def test_wrong_number_of_arguments(mix):
    with pytest.raises(TypeError):
        list(mix.as_completed())
    with pytest.raises(TypeError):
        list(mix.as_completed([], None, 1))
    assert list(mix.as_completed(fs=[], timeout=None)) == []


def test_closing_early_removes_the_waiters(mix):
    futures = [finished(mix.make()), mix.make(), mix.make()]
    iterator = mix.as_completed(futures)
    next(iterator)
    iterator.close()
    assert all(future._waiters == [] for future in futures)
    with pytest.raises(StopIteration):
        next(iterator)
    finished(futures[1])


def test_dropping_the_iterator_removes_the_waiters(mix):
    futures = [finished(mix.make()), mix.make()]
    iterator = mix.as_completed(futures)
    next(iterator)
    del iterator
    assert all(future._waiters == [] for future in futures)


def test_iterator_that_was_never_started(mix):
    pending = mix.make()
    iterator = mix.as_completed([pending])
    del iterator
    assert pending._waiters == []
    mix.as_completed([pending]).close()


def test_yielded_futures_are_not_kept_alive(impl):
    futures = [impl.Future() for _ in range(8)]
    futures.append(finished(impl.Future()))
    futures.append(cancelled(impl.Future()))
    with pytest.raises(TimeoutError):
        for future in impl.as_completed(futures, timeout=0):
            futures.remove(future)
            reference = weakref.ref(future)
            del future
            assert dies(reference)
    futures[0].set_result("test")
    for future in impl.as_completed(futures):
        futures.remove(future)
        reference = weakref.ref(future)
        del future
        assert dies(reference)
        if futures:
            futures[0].set_result("test")
    assert not futures


def test_cancelled_but_not_notified_is_waited_for(mix):
    future = cancelled(mix.make(), notified=False)
    with pytest.raises(TimeoutError, match=r"1 \(of 1\)"):
        next(mix.as_completed([future], 0))
    thread = start_thread(list, mix.as_completed([future], LONG))
    time.sleep(0.01)
    assert thread.outcome is None
    future.set_running_or_notify_cancel()
    thread.join(LONG)
    assert thread.outcome == ([future], None)


def test_two_iterators_over_the_same_futures(mix):
    futures = [mix.make() for _ in range(4)]
    threads = [start_thread(list, mix.as_completed(futures, LONG)) for _ in range(3)]
    for number in (2, 0, 3, 1):
        time.sleep(0.002)
        finished(futures[number])
    for thread in threads:
        thread.join(LONG)
        assert thread.outcome[1] is None and set(thread.outcome[0]) == set(futures)


def test_stepping_from_a_callback(mix):
    futures = [mix.make() for _ in range(3)]
    iterator, seen = mix.as_completed(futures, LONG), []
    for future in futures:
        future.add_done_callback(lambda _: seen.append(next(iterator)))
    for future in futures:
        finished(future)
    assert seen == futures


def test_many_futures_finished_by_threads(mix):
    futures = [mix.make() for _ in range(2000)]
    finishers = [start_thread(lambda part: [finished(f) for f in part], futures[i::4]) for i in range(4)]
    seen = list(mix.as_completed(futures, LONG))
    assert len(seen) == len(futures) and set(seen) == set(futures)
    for finisher in finishers:
        finisher.join()


def test_executor_futures(impl, make_pool):
    pool = make_pool(3)
    futures = {pool.submit(pow, number, 2): number for number in range(200)}
    for future in impl.as_completed(futures, LONG):
        assert future.result() == futures[future] ** 2 and future._state == _base.FINISHED

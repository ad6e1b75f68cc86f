"""Waiting natively for futures of the standard library: what is put into them, and taken out again."""

import concurrent.futures
import sys
import threading

import pytest
import treadle
from support import eventually, start_thread

LONG = 60.0
WAYS = {
    "wait": lambda futures, timeout=LONG: treadle.wait(futures, timeout),
    "as_completed": lambda futures, timeout=LONG: list(treadle.as_completed(futures, timeout)),
}


@pytest.fixture(params=WAYS)
def wait(request):
    return WAYS[request.param]


def test_one_entry_while_somebody_waits(wait):
    future = concurrent.futures.Future()
    threads = [start_thread(wait, [future]) for _ in range(3)]
    assert eventually(lambda: len(future._waiters) == 3)
    future.set_result(1)
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()
    assert future._waiters == []


def test_nothing_after_a_timeout(wait):
    future = concurrent.futures.Future()
    try:
        wait([future], 0.001)
    except TimeoutError:
        pass
    assert future._waiters == []
    future.set_result(1)


def test_nothing_is_put_into_what_is_done(wait):
    class Watched(list):
        def append(self, item):
            raise AssertionError("nobody has to wait")

    future = concurrent.futures.Future()
    future.set_result(1)
    future._waiters = Watched()
    wait([future])


@pytest.mark.parametrize("outcome", ["result", "exception", "cancel"])
def test_each_outcome_wakes(wait, outcome):
    future = concurrent.futures.Future()
    thread = start_thread(wait, [future])
    assert eventually(lambda: future._waiters)
    if outcome == "result":
        future.set_result(1)
    elif outcome == "exception":
        future.set_exception(ValueError())
    else:
        future.cancel()
        assert thread.is_alive()  # cancelled is not enough: it has to be notified
        future.set_running_or_notify_cancel()
    thread.join(LONG)
    assert not thread.is_alive()


def test_told_twice_counts_once():
    first, second = concurrent.futures.Future(), concurrent.futures.Future()
    thread = start_thread(treadle.wait, [first, second], LONG)
    assert eventually(lambda: first._waiters and second._waiters)
    (proxy,) = first._waiters
    first.set_result(1)
    proxy.add_result(first)
    proxy.add_exception(first)
    proxy.add_cancelled(first)
    thread.join(0.05)
    assert thread.is_alive()
    second.set_result(2)
    thread.join(LONG)
    assert not thread.is_alive()


def test_proxies_that_outlive_the_wait_do_nothing():
    future = concurrent.futures.Future()
    thread = start_thread(treadle.wait, [future], LONG)
    assert eventually(lambda: future._waiters)
    kept = list(future._waiters)
    future.set_result(1)
    thread.join(LONG)
    for _ in range(3):
        kept[0].add_result(future)
        kept[0].add_cancelled(None)


def test_lists_that_others_have_emptied(wait, monkeypatch):
    reported = []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: reported.append(report.exc_type))
    future = concurrent.futures.Future()

    def interfere():
        assert eventually(lambda: future._waiters)
        with future._condition:
            proxy = future._waiters.pop()
        future.set_result(1)  # tells nobody
        proxy.add_result(future)

    thread = start_thread(interfere)
    wait([future])
    thread.join(LONG)
    assert reported == [ValueError]  # there was nothing to remove


class Broken(concurrent.futures.Future):
    @property
    def _waiters(self):
        raise OSError("no list")

    @_waiters.setter
    def _waiters(self, value):
        pass


def test_a_future_that_cannot_be_waited_for(wait):
    """The error is raised, and the others are let go."""
    other = concurrent.futures.Future()
    with pytest.raises(OSError, match="no list"):
        wait([other, Broken()], 5)
    assert other._waiters == []


def test_many_threads_and_futures():
    futures = [concurrent.futures.Future() for _ in range(50)]
    threads = [start_thread(treadle.wait, futures, LONG) for _ in range(4)]
    finishers = [threading.Thread(target=lambda i=i: [f.set_result(None) for f in futures[i::3]]) for i in range(3)]
    for thread in finishers:
        thread.start()
    for thread in (*finishers, *threads):
        thread.join(LONG)
        assert not thread.is_alive()
    assert all(future._waiters == [] for future in futures)

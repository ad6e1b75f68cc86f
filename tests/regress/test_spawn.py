"""Threads of a pool that do not start, or start while something else happens."""

import threading
import time

import pytest

import treadle


class NoThread(treadle.ThreadPoolExecutor):
    """Raises `error`, if there is one, instead of starting a thread."""

    error = None

    def _spawn_worker(self):
        if self.error is not None:
            raise self.error
        super()._spawn_worker()


@pytest.fixture
def busy():
    """A pool whose only thread is busy until busy.gate is set."""
    with NoThread(2) as pool:
        pool.gate = threading.Event()
        pool.submit(pool.gate.wait, 60)
        while pool.stats()["running"] == 0:
            pass
        yield pool
        pool.gate.set()


def test_interrupt_while_a_thread_starts_leaves_the_jobs_of_others(busy):
    busy.error = RuntimeError("can't start new thread")
    other = busy.submit(int, "7")
    busy.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        busy.submit(int)
    busy.error = None
    assert not other.done()
    busy.gate.set()
    assert other.result(60) == 7


def test_map_goes_on_with_the_threads_there_are(busy):
    busy.error = RuntimeError("can't start new thread")
    results = busy.map(abs, [-1, -2, -3])
    busy.gate.set()
    assert list(results) == [1, 2, 3]


@pytest.mark.parametrize("runs", [False, True])
def test_interrupt_while_waiting_for_a_thread_to_start(monkeypatch, runs):
    start = threading.Thread.start
    started = []

    def interrupted(thread):
        if runs:
            start(thread)
            started.append(thread)
        raise KeyboardInterrupt

    with treadle.ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pool.submit(int)
        monkeypatch.setattr(threading.Thread, "start", start)
        assert pool._threads == set(started)
        assert pool.stats()["workers"] == len(started)
        assert pool.submit(int, "5").result(60) == 5
        assert pool.stats()["workers"] == len(pool._threads) == 1
    assert pool.stats()["workers"] == 0


def test_thread_that_leaves_at_once_is_forgotten():
    with treadle.ThreadPoolExecutor(1, idle_timeout=0) as pool:
        for _ in range(200):
            pool.submit(int).result(60)
        deadline = time.monotonic() + 20
        while any(not thread.is_alive() for thread in pool._threads):
            assert time.monotonic() < deadline, pool._threads


def test_shutdown_waits_for_a_job_whose_thread_is_about_to_start():
    done = []

    class Late(treadle.ThreadPoolExecutor):
        ending = None

        def _spawn_worker(self):
            if self.ending is None:
                self.ending = threading.Thread(target=self.end)
                self.ending.start()
                self.ending.join(60)
            super()._spawn_worker()

        def end(self):
            self.shutdown(wait=True)
            done.append(self.stats()["done"])

    assert Late(1).submit(int, "3").result(60) == 3
    assert done == [1]

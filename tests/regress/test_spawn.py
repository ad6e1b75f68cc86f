"""Threads of a pool that do not start, or start while something else happens."""

import threading

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

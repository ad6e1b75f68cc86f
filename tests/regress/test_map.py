"""map() where what one item does depends on another, or on the input's end."""

import itertools
import signal
import threading
import time
import weakref

import pytest

import treadle


@pytest.fixture
def pool():
    with treadle.ThreadPoolExecutor(1) as pool:
        yield pool


def test_result_is_given_before_the_rest_of_the_chunk_has_run(pool):
    seen = threading.Event()

    def item(i):
        if i == 0:
            time.sleep(0.1)  # the main thread waits by then
            return True
        return seen.wait(20)

    gate = threading.Event()
    pool.submit(gate.wait, 60)  # until the items are queued: one chunk
    results = pool.map(item, range(3), chunksize=3)
    gate.set()
    assert next(results)
    seen.set()
    assert list(results) == [True, True]


def test_signal_while_a_long_input_is_taken(pool):
    class Alarm(Exception):
        pass

    def ring(number, frame):
        raise Alarm

    everything = 5_000_000
    numbers = itertools.count()
    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(Alarm):
            pool.map(abs, itertools.islice(numbers, everything))
            time.sleep(60)
    finally:
        signal.signal(signal.SIGALRM, before)
        pool.shutdown(cancel_futures=True)
    assert next(numbers) < everything


@pytest.mark.parametrize("priority", [None, 1, -1])
def test_closed_map_does_not_keep_its_function(pool, priority):
    class Function:
        def __call__(self, item):
            return item

    gate = threading.Event()
    pool.submit(gate.wait, 60)
    while pool.stats()["running"] == 0:  # the map is to be the first in the queue
        time.sleep(0.001)
    function = Function()
    reference = weakref.ref(function)
    results = pool.options(priority=priority).map(function, range(5))
    results.close()
    del function, results
    try:
        assert reference() is None
    finally:
        gate.set()

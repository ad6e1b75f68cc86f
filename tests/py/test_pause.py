"""A thread that runs builtins without end lets the others run now and then."""

import sys
import time

import pytest

WITH_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()


def seconds_beside_a_busy_worker(pool, rounds):
    """How long `rounds` tiny sleeps take here while a worker runs job after job."""
    stop = []

    def again():
        if not stop:
            pool.submit(again)

    pool.submit(again)
    time.sleep(0.01)
    started = time.monotonic()
    for _ in range(rounds):
        time.sleep(0.0001)
    elapsed = time.monotonic() - started
    stop.append(True)
    pool.shutdown()
    return elapsed


@pytest.mark.skipif(not WITH_GIL, reason="without the GIL nobody waits for it")
def test_busy_worker_lets_other_threads_run(impl, make_pool):
    # Whoever asks for the GIL gets it after a switch interval (5 ms) or two, not when luck has it: a worker that lets go
    # and takes it again at once keeps others from ever asking. It does not happen each time, hence the many pools.
    for _ in range(10):
        assert seconds_beside_a_busy_worker(make_pool(1), 20) < 2.0

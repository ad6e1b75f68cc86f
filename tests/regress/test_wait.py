"""Waiting from inside a pool: what a worker runs itself, and for how long."""

import time

import pytest

import treadle


@pytest.fixture
def pool():
    with treadle.ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.mark.parametrize("how", ["result", "wait", "as_completed"])
def test_worker_that_only_looks_runs_nothing(pool, how):
    ran = []

    def look():
        future = pool.submit(ran.append, 1)
        try:
            if how == "result":
                future.result(timeout=0)
            elif how == "wait":
                assert treadle.wait([future], timeout=0).not_done == {future}
                raise TimeoutError
            else:
                next(treadle.as_completed([future], timeout=0))
        except TimeoutError:
            return list(ran)
        return None

    assert pool.submit(look).result(60) == []


def test_worker_stops_helping_when_the_time_is_over(pool):
    def impatient():
        futures = [pool.submit(time.sleep, 0.1) for _ in range(20)]
        done, not_done = treadle.wait(futures, timeout=0.15)
        return len(done), len(not_done)

    done, not_done = pool.submit(impatient).result(60)
    assert 1 <= done <= 2 and done + not_done == 20


def test_worker_stops_helping_at_the_first_exception(pool):
    def careful():
        futures = [pool.submit(int, "no number") for _ in range(5)]
        done, not_done = treadle.wait(futures, return_when=treadle.FIRST_EXCEPTION)
        return len(done), len(not_done)

    assert pool.submit(careful).result(60) == (1, 4)

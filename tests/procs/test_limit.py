"""Tasks that may run for so long, tasks that are ended, tasks that are run again."""

import concurrent.futures
import threading
import time

import pytest
import tasks

import treadle


def test_a_task_ends_at_its_limit(pool, tmp_path):
    others = [pool.submit(tasks.sleep_and_return, 0.02, i) for i in range(10)]
    begin = time.monotonic()
    future = pool.options(timeout=0.2).submit(tasks.wait_for, tmp_path / "door", 60)
    with pytest.raises(TimeoutError, match=r"wait_for\(\) was stopped at its time limit"):
        future.result(30)
    assert time.monotonic() - begin >= 0.2
    assert [other.result(30) for other in others] == list(range(10))
    assert pool.submit(tasks.double, 2).result(30) == 4
    assert pool._broken is False


def test_time_in_the_queue_does_not_count(fork):
    with treadle.ProcessPoolExecutor(1, fork) as pool:
        limited = pool.options(timeout=0.5)
        futures = [limited.submit(tasks.sleep_and_return, 0.1, i) for i in range(8)]
        assert [future.result(30) for future in futures] == list(range(8))


def test_a_limit_that_is_not_reached(pool):
    futures = [pool.options(timeout=60).submit(tasks.double, i) for i in range(3000)]
    assert [future.result() for future in futures] == [2 * i for i in range(3000)]


def test_limit_of_a_map(pool):
    results = pool.options(timeout=0.2).map(tasks.sleep_and_return, [0, 0, 60, 0], range(4))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(TimeoutError):
        next(results)
    assert list(pool.map(tasks.double, range(5))) == [0, 2, 4, 6, 8]


def test_terminate(pool, tmp_path):
    future = pool.submit(tasks.touch_and_wait, tmp_path / "started", tmp_path / "door")
    assert tasks.wait_for(tmp_path / "started")
    assert not future.cancel()
    assert future.terminate()
    with pytest.raises(concurrent.futures.CancelledError, match=r"touch_and_wait\(\) was"):
        future.result(30)
    assert future.done() and not future.terminate()
    assert pool.submit(tasks.double, 2).result(30) == 4


def test_terminate_what_has_not_begun(pool, tmp_path):
    door = tmp_path / "door"
    busy = [pool.submit(tasks.wait_for, door) for _ in range(2)]
    waiting = pool.submit(tasks.double, 1)
    assert waiting.terminate() and waiting.cancelled()
    tasks.touch(door)
    assert all(future.result(30) for future in busy)


def test_terminate_in_a_thread_pool():
    with treadle.ThreadPoolExecutor(1) as pool:
        door = threading.Event()
        busy = pool.submit(door.wait)
        waiting = pool.submit(time.sleep, 0)
        assert waiting.terminate()
        while not busy.running():
            time.sleep(0.001)
        assert not busy.terminate()
        door.set()


def test_others_are_not_harmed(pool, tmp_path):
    """Ended at random moments, also when the task has just ended by itself."""
    good = [pool.submit(tasks.sleep_and_return, 0.001, i) for i in range(200)]
    short = [pool.options(timeout=0.002).submit(time.sleep, 0.002) for _ in range(40)]
    more = [pool.submit(tasks.sleep_and_return, 0.001, i) for i in range(200)]
    for future in short:
        assert isinstance(future.exception(60), (TimeoutError, type(None)))
    assert [future.result(60) for future in good] == list(range(200))
    assert [future.result(60) for future in more] == list(range(200))


def test_retries(fork, tmp_path):
    with treadle.ProcessPoolExecutor(2, fork, on_crash="respawn") as pool:
        once = pool.options(retries=1)
        assert once.submit(tasks.exit_once, tmp_path / "one", 5).result(30) == 5
        with pytest.raises(treadle.BrokenProcessPool, match="exit code 3"):
            once.submit(tasks.exit_now).result(30)
        results = once.map(tasks.exit_once, [tmp_path / "two"] * 3, range(3))
        assert list(results) == [0, 1, 2]


def test_options_are_checked(pool):
    with pytest.raises(ValueError, match="timeout"):
        pool.options(timeout=0)
    with pytest.raises(ValueError, match="retries"):
        pool.options(retries=-1)
    with pytest.raises(ValueError, match="respawn"):
        pool.options(retries=1)
    view = pool.options(timeout=5).options(timeout=9)
    assert view.submit(tasks.double, 4).result() == 8
    with pytest.raises(TypeError):
        view.submit()


def test_resize(pool):
    pids = {f.result() for f in [pool.submit(tasks.sleep_and_pid, 0.05) for _ in range(8)]}
    assert len(pids) == 2
    pool.resize(1)
    futures = [pool.submit(tasks.sleep_and_pid, 0.01) for _ in range(20)]
    end = time.monotonic() + 30
    while pool.stats()["workers"] > 1:
        assert time.monotonic() < end
        time.sleep(0.005)
    assert {future.result(30) for future in futures} <= pids
    pool.resize(3)
    futures = [pool.submit(tasks.sleep_and_pid, 0.05) for _ in range(30)]
    assert len({future.result(30) for future in futures}) == 3
    with pytest.raises(ValueError):
        pool.resize(0)

"""idle_timeout and min_workers: workers without work end, others come when there is work, and no task is lost between."""

import multiprocessing
import os
import threading
import time

import pytest
import tasks
import treadle
from support import eventually
from support.waiting import gone
from treadle._zygote import ZygoteContext, stop_zygotes

LONG = 60.0


@pytest.fixture(scope="module", autouse=True)
def no_zygotes_left():
    yield
    stop_zygotes()


def pool_of(workers, idle_timeout, context="zygote", **options):
    return treadle.ProcessPoolExecutor(workers, context, idle_timeout=idle_timeout, **options)


def workers_of(pool):
    return pool.stats()["workers"]


def use_all(pool, workers, folder):
    """Have so many tasks run at the same time; the workers' pids."""
    marks = [folder / f"{os.urandom(4).hex()}" for _ in range(workers)]
    door = folder / os.urandom(4).hex()
    futures = [pool.submit(tasks.touch_and_wait, mark, door) for mark in marks]
    assert all(tasks.wait_for(mark) for mark in marks)
    pids = set(pool._processes)
    tasks.touch(door)
    assert all(future.result(LONG) for future in futures)
    return pids


def test_workers_stay_without_it(tmp_path):
    with pool_of(2, None) as pool:
        pids = use_all(pool, 2, tmp_path)
        time.sleep(0.2)
        assert workers_of(pool) == 2 and set(pool._processes) == pids


def test_all_end_and_come_again(tmp_path):
    with pool_of(3, 0.1) as pool:
        pids = use_all(pool, 3, tmp_path)
        assert len(pids) == 3
        assert eventually(lambda: workers_of(pool) == 0 and not pool._processes)
        assert all(gone(pid) for pid in pids)
        assert pool.submit(tasks.double, 4).result(LONG) == 8
        assert not use_all(pool, 3, tmp_path) & pids


def test_some_stay(tmp_path):
    with pool_of(3, 0.05, min_workers=1) as pool:
        use_all(pool, 3, tmp_path)
        assert eventually(lambda: workers_of(pool) == 1)
        (stays,) = pool._processes
        time.sleep(0.2)
        assert set(pool._processes) == {stays}
        assert pool.submit(tasks.pid).result(LONG) == stays


def test_a_worker_at_work_stays(tmp_path):
    door = tmp_path / "door"
    with pool_of(2, 0.05) as pool:
        use_all(pool, 2, tmp_path)
        held = pool.submit(tasks.touch_and_wait, tmp_path / "mark", door)
        assert eventually(lambda: workers_of(pool) == 1)
        time.sleep(0.2)
        assert workers_of(pool) == 1 and not held.done()
        tasks.touch(door)
        assert held.result(LONG)
        assert eventually(lambda: workers_of(pool) == 0)


@pytest.mark.parametrize("timeout", [0, 0.0005, 0.003])
def test_no_task_is_lost(timeout):
    """Tasks come at the very moment at which workers end."""
    with pool_of(2, timeout) as pool:
        for number in range(25):
            if number % 3:
                time.sleep(0.001 * (number % 7))
            futures = [pool.submit(tasks.double, number + k) for k in range(number % 4 + 1)]
            assert [future.result(LONG) for future in futures] == [2 * (number + k) for k in range(number % 4 + 1)]


def test_many_threads_and_workers_that_go():
    wrong = []

    def use(pool, base):
        for number in range(base, base + 12):
            if pool.submit(tasks.double, number).result(LONG) != 2 * number:
                wrong.append(number)
            time.sleep(0.002 * (number % 5))

    with pool_of(3, 0.002) as pool:
        threads = [threading.Thread(target=use, args=(pool, 100 * n)) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
            assert not thread.is_alive()
    assert not wrong


@pytest.mark.parametrize("buffersize", [None, 2])
def test_a_map_that_rests(buffersize):
    """One worker stays for as long as the iterator exists; others come when it goes on."""
    with pool_of(2, 0.02) as pool:
        iterator = pool.map(tasks.double, range(20), chunksize=1, buffersize=buffersize)
        assert next(iterator) == 0
        assert eventually(lambda: workers_of(pool) == 1)
        time.sleep(0.1)
        assert workers_of(pool) == 1
        assert list(iterator) == [2 * number for number in range(1, 20)]
        del iterator
        assert eventually(lambda: workers_of(pool) == 0)
        assert list(pool.map(tasks.double, range(5))) == [0, 2, 4, 6, 8]


def test_the_last_task_of_an_executor_that_is_dropped():
    pool = pool_of(1, 0.0)
    futures = [pool.submit(tasks.double, number) for number in range(3)]
    del pool
    assert [future.result(LONG) for future in futures] == [0, 2, 4]


def test_shutdown_of_a_pool_that_has_shrunk(tmp_path):
    pool = pool_of(2, 0.02)
    use_all(pool, 2, tmp_path)
    assert eventually(lambda: workers_of(pool) == 0)
    thread = pool._executor_manager_thread
    pool.shutdown()
    assert not thread.is_alive()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(tasks.nothing)


def test_what_has_ended_is_still_counted(tmp_path):
    with pool_of(2, 0.02) as pool:
        use_all(pool, 2, tmp_path)
        assert eventually(lambda: workers_of(pool) == 0)
        stats = pool.stats()
        assert stats["done"] == stats["run"]["count"] == 2 and stats["per_worker"] == []


def test_a_crash_is_not_an_idle_end(tmp_path):
    with pool_of(2, 0.05, on_crash="respawn") as pool:
        with pytest.raises(treadle.BrokenProcessPool, match="SIGKILL"):
            pool.submit(tasks.kill_self).result(LONG)
        assert pool.submit(tasks.double, 1).result(LONG) == 2
        assert eventually(lambda: workers_of(pool) == 0)


def test_which_start_method():
    with treadle.ProcessPoolExecutor(1, idle_timeout=5) as pool:
        assert isinstance(pool._mp_context, ZygoteContext)
    with pytest.raises(ValueError, match="idle_timeout is incompatible with the 'fork'"):
        pool_of(1, 5, "fork")
    with pool_of(1, 0.05, multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(tasks.double, 2).result(LONG) == 4
        assert eventually(lambda: workers_of(pool) == 0)


@pytest.mark.parametrize(
    "options, error, text",
    [
        ({"idle_timeout": -1}, ValueError, "idle_timeout must be None or a number of seconds >= 0"),
        ({"idle_timeout": float("nan")}, ValueError, "idle_timeout must be None"),
        ({"idle_timeout": "x"}, TypeError, "not supported between"),
        ({"min_workers": -1}, ValueError, "min_workers must be from 0 to max_workers"),
        ({"min_workers": 3}, ValueError, "min_workers must be from 0 to max_workers"),
        ({"min_workers": 1.5}, TypeError, "min_workers must be an integer"),
    ],
    ids=["negative", "nan", "text", "below", "above", "float"],
)
def test_bad_arguments(options, error, text):
    with pytest.raises(error, match=text):
        treadle.ProcessPoolExecutor(2, **options)


@pytest.mark.parametrize("timeout", [1e300, float("inf")])
def test_for_ever(timeout, tmp_path):
    with pool_of(1, timeout) as pool:
        use_all(pool, 1, tmp_path)
        time.sleep(0.1)
        assert workers_of(pool) == 1

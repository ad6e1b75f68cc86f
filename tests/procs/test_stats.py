"""stats(): counters and histograms that agree with what was done."""

import math

import pytest
import tasks
import treadle
from support import eventually

LONG = 60.0
COUNTERS = ("queued", "running", "done", "workers", "idle")


def counters(pool):
    stats = pool.stats()
    return tuple(stats[name] for name in COUNTERS)


def test_before_the_first_task(fork):
    with treadle.ProcessPoolExecutor(2, fork) as pool:
        stats = pool.stats()
        assert [stats[name] for name in COUNTERS] == [0] * 5
        assert stats["per_worker"] == []
        for name in ("wait", "run"):
            assert stats[name] == {"count": 0, "sum": 0.0, "buckets": [(math.inf, 0)]}


def test_while_tasks_wait_and_run(pool, tmp_path):
    door = tmp_path / "door"
    marks = [tmp_path / "1", tmp_path / "2"]
    held = [pool.submit(tasks.touch_and_wait, mark, door) for mark in marks]
    assert all(tasks.wait_for(mark) for mark in marks)
    behind = [pool.submit(tasks.nothing) for _ in range(7)]
    assert counters(pool) == (7, 2, 0, 2, 0)
    assert [worker["running"] for worker in pool.stats()["per_worker"]] == [True, True]
    tasks.touch(door)
    for future in held + behind:
        future.result(LONG)
    assert eventually(lambda: counters(pool) == (0, 0, 9, 2, 2))
    assert [worker["running"] for worker in pool.stats()["per_worker"]] == [False, False]


def test_who_has_done_what(pool):
    pids = [future.result(LONG) for future in [pool.submit(tasks.pid) for _ in range(200)]]
    workers = pool.stats()["per_worker"]
    assert sorted(worker["worker"] for worker in workers) == [0, 1]
    assert {worker["pid"]: worker["done"] for worker in workers} == {pid: pids.count(pid) for pid in pool._processes}


def test_times(pool):
    for future in [pool.submit(tasks.sleep_and_pid, 0.01) for _ in range(20)]:
        future.result(LONG)
    stats = pool.stats()
    run, wait = stats["run"], stats["wait"]
    assert run["count"] == wait["count"] == 20
    assert 0.2 <= run["sum"] == pytest.approx(sum(worker["busy"] for worker in stats["per_worker"]))
    # none took less than it slept, and of two workers each has ten, one after the other or more
    assert sum(count for bound, count in run["buckets"] if bound <= 0.008) == 0
    assert wait["sum"] >= 10 * 9 / 2 * 0.01
    for histogram in (run, wait):
        bounds = [bound for bound, _ in histogram["buckets"]]
        assert bounds[-1] == math.inf and all(b == 2 * a for a, b in zip(bounds, bounds[1:-1]))
        assert sum(count for _, count in histogram["buckets"]) == histogram["count"]


def test_a_chunk_of_a_map_is_one_task(pool):
    assert list(pool.map(abs, range(1000), chunksize=100)) == list(range(1000))
    stats = pool.stats()
    assert stats["done"] == stats["run"]["count"] == 10


def test_tasks_that_raise_count_and_cancelled_ones_do_not(pool, tmp_path):
    door = tmp_path / "door"
    held = [pool.submit(tasks.touch_and_wait, tmp_path / name, door) for name in "ab"]
    rest = [pool.submit(tasks.nothing) for _ in range(50)]
    assert all(tasks.wait_for(tmp_path / name) for name in "ab")
    assert all(future.cancel() for future in rest)
    tasks.touch(door)
    assert all(future.result(LONG) for future in held)
    assert isinstance(pool.submit(tasks.raise_value_error, "x").exception(LONG), ValueError)
    assert pool.stats()["done"] == pool.stats()["run"]["count"] == 3


def test_workers_that_are_no_more_still_count(fork):
    with treadle.ProcessPoolExecutor(1, fork, on_crash="respawn") as pool:
        first = pool.submit(tasks.pid).result(LONG)
        with pytest.raises(treadle.BrokenProcessPool):
            pool.submit(tasks.kill_self).result(LONG)
        second = pool.submit(tasks.pid).result(LONG)
        stats = pool.stats()
        (worker,) = stats["per_worker"]
        assert first != second == worker["pid"]
        assert worker["done"] == 1  # its own
        assert stats["run"]["count"] == stats["done"] == 2  # what was killed has no outcome


def test_after_shutdown(fork):
    pool = treadle.ProcessPoolExecutor(2, fork)
    pool.submit(tasks.nothing).result(LONG)
    pool.shutdown()
    assert counters(pool) == (0, 0, 1, 0, 0)
    assert pool.stats()["run"]["count"] == 1


def in_child(pool):
    return counters(pool), pool.stats()["run"]["count"]


def test_in_a_forked_child(pool, fork):
    """The parent's workers are not the child's, and its locks may be anybody's."""
    pool.submit(tasks.nothing).result(LONG)
    receiver, sender = fork.Pipe(duplex=False)
    child = fork.Process(target=lambda: sender.send(in_child(pool)))
    child.start()
    try:
        assert receiver.poll(LONG)
        assert receiver.recv() == ((0, 0, 0, 0, 0), 0)
    finally:
        child.join(LONG)
    assert child.exitcode == 0

"""Which worker gets which task, in what order, and how much in advance."""

import importlib
import sys

import pytest
import tasks
import treadle
from support import eventually

LONG = 60.0
UNKNOWN = 8  # tasks that a worker may have of which nobody knows how long they take
MOST = 400  # and of which each takes no time


def append(path, line):
    with open(path, "a") as file:
        file.write(f"{line}\n")


def hold(pool, folder, count):
    """So many tasks that run until the path that is returned is touched."""
    door = folder / "door"
    held = [pool.submit(tasks.touch_and_wait, folder / f"held{n}", door) for n in range(count)]
    assert all(tasks.wait_for(folder / f"held{n}") for n in range(count))
    return held, door


@pytest.mark.parametrize("count", [10, UNKNOWN + 300, 1500])
def test_one_worker_runs_them_in_order(fork, tmp_path, count):
    """Also those that wait because its ring or its table of tasks is full."""
    path = tmp_path / "lines"
    with treadle.ProcessPoolExecutor(1, fork) as pool:
        held, door = hold(pool, tmp_path, 1)
        futures = [pool.submit(append, path, number) for number in range(count)]
        tasks.touch(door)
        for future in held + futures:
            future.result(LONG)
    assert path.read_text().split() == [str(number) for number in range(count)]


def test_who_had_the_last_task_gets_the_next_if_it_is_idle(pool):
    pool.submit(tasks.nothing).result(LONG)
    assert eventually(lambda: len({pool.submit(tasks.pid).result(LONG) for _ in range(20)}) == 1)


def test_who_is_idle_gets_it_before_who_is_busy(pool, tmp_path):
    held, door = hold(pool, tmp_path, 1)
    pids = {pool.submit(tasks.pid).result(LONG) for _ in range(50)}
    (busy,) = set(pool._processes) - pids
    assert len(pids) == 1 and busy not in pids
    tasks.touch(door)
    assert held[0].result(LONG)


def test_how_much_is_sent_in_advance(pool, tmp_path):
    """Little as long as nobody knows what tasks take; what is not sent can go to anybody."""
    held, door = hold(pool, tmp_path, 2)
    rest = [pool.submit(tasks.nothing) for _ in range(100)]
    stats = pool.stats()
    sent = [worker["queued"] for worker in stats["per_worker"]]
    assert stats["queued"] == 100 and all(0 < count < UNKNOWN for count in sent)
    tasks.touch(door)
    assert [future.result(LONG) for future in held + rest] == [True] * 2 + [None] * 100


def test_more_is_sent_of_what_takes_no_time(fork, tmp_path):
    with treadle.ProcessPoolExecutor(1, fork) as pool:
        for future in [pool.submit(tasks.nothing) for _ in range(300)]:
            future.result(LONG)
        held, door = hold(pool, tmp_path, 1)
        rest = [pool.submit(tasks.nothing) for _ in range(2 * MOST)]
        (worker,) = pool.stats()["per_worker"]
        assert 1 <= worker["queued"] < MOST
        tasks.touch(door)
        assert all(future.result(LONG) is None for future in rest)


def test_slow_tasks_are_not_sent_in_advance(fork, tmp_path):
    """But for one, so that the worker need not wait for it."""
    with treadle.ProcessPoolExecutor(1, fork) as pool:
        for _ in range(3):
            pool.submit(tasks.sleep_and_pid, 0.02).result(LONG)
        held, door = hold(pool, tmp_path, 1)
        rest = [pool.submit(tasks.nothing) for _ in range(10)]
        assert pool.stats()["per_worker"][0]["queued"] == 1
        tasks.touch(door)
        assert held[0].result(LONG) and all(future.result(LONG) is None for future in rest)


def test_a_resize_gives_tasks_to_those_who_stay(pool, tmp_path):
    held, door = hold(pool, tmp_path, 2)
    rest = [pool.submit(tasks.pid) for _ in range(40)]
    pool.resize(1)
    tasks.touch(door)
    assert all(future.result(LONG) for future in held)
    assert len({future.result(LONG) for future in rest}) == 1
    assert eventually(lambda: pool.stats()["workers"] == 1)


FRAME = 32 << 10  # of a ring; what is longer travels in parts


@pytest.mark.parametrize("size", [FRAME + delta for delta in range(-200, 9, 8)])
def test_about_the_size_of_a_frame(pool, size):
    data = bytes(range(256)) * (size // 256 + 1)
    assert pool.submit(tasks.double, data[:size]).result(LONG) == 2 * data[:size]
    # a str is no buffer, which would go another way
    text = "x" * (size - 1) + "y"
    assert pool.submit(tasks.double, text).result(LONG) == 2 * text


def test_each_worker_is_told_what_a_number_means(pool, tmp_path, monkeypatch):
    """Each function once, however the tasks are spread."""
    source = "".join(f"def function{n}(x): return x + {n}\n" for n in range(120))
    (tmp_path / "many_functions.py").write_text(source)
    pool.submit(sys.path.insert, 0, str(tmp_path)).result(LONG)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("many_functions")
    futures = []
    try:
        with treadle.ProcessPoolExecutor(3, pool._mp_context) as three:
            for turn in range(3):
                futures += [three.submit(getattr(module, f"function{n}"), turn) for n in range(120)]
            assert [future.result(LONG) for future in futures] == [turn + n for turn in range(3) for n in range(120)]
    finally:
        sys.modules.pop("many_functions", None)

"""The one thread of a pool: when it exists, what it notices, and that it sleeps otherwise."""

import os
import signal
import threading
import time

import pytest
import tasks
import treadle
from support import eventually
from support.waiting import gone

LONG = 60.0


def dispatchers():
    return [thread for thread in threading.enumerate() if thread.name == "treadle-process-pool"]


def cpu_time(thread):
    """Seconds of CPU that a thread of this process has used."""
    with open(f"/proc/self/task/{thread.native_id}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def test_one_from_the_first_task_to_the_end(fork):
    before = dispatchers()
    pool = treadle.ProcessPoolExecutor(2, fork)
    assert dispatchers() == before and pool._executor_manager_thread is None
    for _ in range(20):
        pool.submit(tasks.nothing).result(LONG)
    (thread,) = set(dispatchers()) - set(before)
    assert thread is pool._executor_manager_thread and not thread.daemon
    pool.shutdown()
    assert not thread.is_alive()


def test_it_sleeps_when_there_is_nothing_to_do(pool):
    for future in [pool.submit(tasks.nothing) for _ in range(500)]:
        future.result(LONG)
    thread = pool._executor_manager_thread
    time.sleep(0.05)
    before = cpu_time(thread)
    time.sleep(0.5)
    assert cpu_time(thread) - before <= 0.02  # a tick or two


def test_a_worker_that_dies_idle_is_noticed(either, fork):
    pool = either(2, fork)
    pool.submit(tasks.nothing).result(LONG)
    os.kill(next(iter(pool._processes)), signal.SIGKILL)
    assert eventually(lambda: pool._broken)
    with pytest.raises(treadle.BrokenProcessPool):
        pool.submit(tasks.nothing)
    pool.shutdown()


def test_workers_that_die_together(fork):
    with treadle.ProcessPoolExecutor(4, fork, on_crash="respawn") as pool:
        pool.submit(tasks.nothing).result(LONG)
        for _ in range(3):
            pids = set(pool._processes)
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            assert eventually(lambda pids=pids: all(map(gone, pids)) and not pids & set(pool._processes))
            assert eventually(lambda: pool.stats()["workers"] == 4)
            assert [pool.submit(tasks.double, n).result(LONG) for n in range(20)] == list(range(0, 40, 2))


def test_what_a_worker_had_finished_counts(fork, tmp_path):
    """Its results are taken before anything is said about its end."""
    with treadle.ProcessPoolExecutor(1, fork, on_crash="respawn") as pool:
        for _ in range(10):
            futures = [pool.submit(tasks.double, n) for n in range(50)]
            last = pool.submit(tasks.kill_self)
            assert [future.result(LONG) for future in futures] == [2 * n for n in range(50)]
            assert isinstance(last.exception(LONG), treadle.BrokenProcessPool)


def test_what_it_had_not_begun_goes_to_others_in_order(fork, tmp_path):
    path = tmp_path / "door"
    with treadle.ProcessPoolExecutor(1, fork, on_crash="respawn") as pool:
        held = pool.submit(tasks.touch_and_wait, tmp_path / "mark", path)
        assert tasks.wait_for(tmp_path / "mark")
        order = []
        futures = [pool.submit(tasks.double, n) for n in range(40)]
        for future in futures:
            future.add_done_callback(lambda future: order.append(future.result()))
        for process in list(pool._processes.values()):
            process.kill()
        assert isinstance(held.exception(LONG), treadle.BrokenProcessPool)
        assert [future.result(LONG) for future in futures] == [2 * n for n in range(40)]
        assert eventually(lambda: len(order) == 40) and order == sorted(order)


KERNEL = tuple(int(part) for part in os.uname().release.split(".")[:2])


@pytest.mark.skipif(KERNEL < (5, 16), reason="waiters cannot sleep as collectors: they need the dispatcher")
def test_results_come_though_it_is_busy(pool, tmp_path):
    """Who waits collects for itself while a callback holds the dispatcher."""
    inside, go = threading.Event(), threading.Event()

    def callback(future):
        inside.set()
        go.wait(LONG)

    future = pool.submit(tasks.wait_for, tmp_path / "door")
    future.add_done_callback(callback)
    tasks.touch(tmp_path / "door")
    try:
        assert inside.wait(LONG)
        for number in range(50):
            seconds = 0.002 * (number % 3)
            assert pool.submit(tasks.sleep_and_return, seconds, number).result(LONG) == number
    finally:
        go.set()


def test_a_callback_that_raises_does_not_end_it(pool, caplog):
    def callback(future):
        raise ZeroDivisionError("in a callback")

    future = pool.submit(tasks.sleep_and_return, 0.05, 1)
    future.add_done_callback(callback)
    assert future.result(LONG) == 1
    assert eventually(lambda: "in a callback" in caplog.text)
    assert pool._executor_manager_thread.is_alive()
    assert pool.submit(tasks.double, 1).result(LONG) == 2

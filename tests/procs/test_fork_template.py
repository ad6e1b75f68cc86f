"""Workers of a fork context that take the place of others: forked by a process without threads."""

import multiprocessing
import os
import signal
import threading
import time

import pytest
import tasks
import treadle
from support import eventually, run_script
from support.waiting import gone

LONG = 60.0
lock = threading.Lock()
state = "as at first"


def respawning(workers=1, **options):
    context = multiprocessing.get_context("fork")
    return treadle.ProcessPoolExecutor(workers, context, on_crash="respawn", **options)


def kill_a_worker(pool):
    """The pid of the one that takes its place."""
    before = set(pool._processes)
    assert isinstance(pool.submit(tasks.kill_self).exception(LONG), treadle.BrokenProcessPool)
    (pid,) = eventually(lambda: set(pool._processes) - before) and set(pool._processes) - before
    return pid


def take_lock():
    if not lock.acquire(timeout=LONG):
        raise TimeoutError("somebody has it")
    lock.release()


def test_a_lock_of_another_thread(tmp_path):
    """A fork of this process would have it taken, with nobody to release it."""
    with respawning(initializer=take_lock) as pool:
        assert pool.submit(tasks.double, 1).result(LONG) == 2
        with lock:
            kill_a_worker(pool)
            assert pool.submit(take_lock).result(LONG) is None


def look():
    parent = multiprocessing.parent_process()
    return state, os.getppid(), parent.pid, parent.name, multiprocessing.current_process().name, treadle.worker_id()


def test_what_a_worker_finds():
    global state
    with respawning() as pool:
        first = pool.submit(look).result(LONG)
        state = "changed"
        try:
            pid = kill_a_worker(pool)
            second = pool.submit(look).result(LONG)
        finally:
            state = "as at first"
        template = pool._template.pid
        assert first == ("as at first", os.getpid(), os.getpid(), "MainProcess", first[4], 0)
        assert second == ("as at first", template, os.getpid(), "MainProcess", pool._processes[pid].name, 0)
        assert second[4] != first[4] and second[4].startswith("ForkProcess-")


def test_functions_that_exist_here_only():
    """What makes a fork worth having holds for the later ones too."""
    secret = object()

    def initialize():
        globals()["found"] = secret

    with respawning(initializer=initialize) as pool:
        assert pool.submit(has_found).result(LONG)
        kill_a_worker(pool)
        assert pool.submit(has_found).result(LONG)


def has_found():
    return "found" in globals()


def test_how_it_ended_is_known():
    with respawning() as pool:
        kill_a_worker(pool)
        for task, text in ((tasks.kill_self, "SIGKILL"), (tasks.exit_now, "exit code 3")):
            pid = next(iter(pool._processes))
            error = pool.submit(task).exception(LONG)
            assert isinstance(error, treadle.BrokenProcessPool)
            assert str(pid) in str(error) and text in str(error)
        assert eventually(lambda: pool._processes)
        (process,) = pool._processes.values()
        assert process in multiprocessing.active_children() and process.is_alive()
    assert process.exitcode == 0 and gone(process.pid)


def test_a_time_limit():
    with respawning(2) as pool:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                pool.options(timeout=0.05).submit(time.sleep, 60).result(LONG)
        assert pool.submit(tasks.double, 4).result(LONG) == 8


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_without_it_this_process_forks(number):
    with respawning() as pool:
        assert pool.submit(tasks.double, 1).result(LONG) == 2
        os.kill(pool._template.pid, number)
        kill_a_worker(pool)
        assert pool.submit(look).result(LONG)[1] == os.getpid()


def test_it_is_deaf_to_interrupts():
    with respawning() as pool:
        assert pool.submit(tasks.double, 1).result(LONG) == 2
        os.kill(pool._template.pid, signal.SIGINT)
        kill_a_worker(pool)
        assert pool.submit(look).result(LONG)[1] == pool._template.pid


def test_it_goes_with_its_pool(descriptors):
    def use():
        with respawning() as pool:
            kill_a_worker(pool)
            return pool._template.pid

    use()
    before = descriptors()
    pids = [use() for _ in range(3)]
    assert all(gone(pid) for pid in pids)
    assert eventually(lambda: descriptors() <= before)


def test_only_where_workers_are_replaced(fork):
    with treadle.ProcessPoolExecutor(1, fork) as pool:
        pool.submit(tasks.nothing).result(LONG)
        assert pool._template is None
    with treadle.ProcessPoolExecutor(1, "zygote", on_crash="respawn") as pool:
        pool.submit(tasks.nothing).result(LONG)
        assert pool._template is None


PARENT = """
import multiprocessing, os, sys, time
import treadle

if __name__ == "__main__":
    pool = treadle.ProcessPoolExecutor(1, multiprocessing.get_context("fork"), on_crash="respawn")
    try:
        pool.submit(os._exit, 1).result()
    except treadle.BrokenProcessPool:
        pass
    print(pool._template.pid, pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 60)
    os.kill(os.getpid(), 9)
"""


def test_the_parent_is_killed():
    out, err = run_script(PARENT, status=-9)
    pids = [int(word) for word in out.split()]
    assert len(pids) == 2, err
    assert eventually(lambda: all(gone(pid) for pid in pids))


def test_at_the_end_of_a_program():
    """Exit handlers of this process are not the template's, nor its workers'."""
    out = run_script("""
        import atexit, multiprocessing, os, treadle
        atexit.register(lambda: os.write(1, b"once\\n"))
        pool = treadle.ProcessPoolExecutor(1, multiprocessing.get_context("fork"), on_crash="respawn")
        assert isinstance(pool.submit(os._exit, 1).exception(), treadle.BrokenProcessPool)
        assert pool.submit(abs, -1).result() == 1
    """)
    assert out == "once\n"

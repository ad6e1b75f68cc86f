"""The native half of an executor: when it takes tasks, how workers enter and leave it, what it holds."""

import gc
import multiprocessing
import os
import subprocess
import sys
import weakref

import pytest
import tasks
import treadle
from support import eventually, run_script
from treadle import _native

LONG = 60.0


def test_is_made_by_its_executor_only():
    with pytest.raises(TypeError, match="cannot create"):
        _native.ProcPool()


def test_an_executor_without_init():
    class Forgetful(treadle.ProcessPoolExecutor):
        def __init__(self):
            pass

    pool = Forgetful()
    for call in (lambda: pool.submit(tasks.nothing), pool.stats):
        with pytest.raises(RuntimeError, match=r"Forgetful.__init__\(\) has not been called"):
            call()


def test_wakeup_closes(fork):
    """What the standard library's exit handler calls."""
    pool = treadle.ProcessPoolExecutor(1, fork)
    future = pool.submit(tasks.double, 4)
    assert not pool._pool.closed
    pool._pool.wakeup()
    assert pool._pool.closed
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        pool.submit(tasks.nothing)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        pool.map(tasks.double, [1])
    assert future.result(LONG) == 8
    pool._executor_manager_thread.join(LONG)
    assert pool.stats()["workers"] == 0
    pool.shutdown()


def test_after_interpreter_shutdown():
    out = run_script("""
        import atexit, multiprocessing, treadle
        pool = treadle.ProcessPoolExecutor(1, multiprocessing.get_context("fork"))
        assert pool.submit(abs, -1).result() == 1
        @atexit.register
        def late():
            try:
                pool.submit(abs, -1)
            except RuntimeError as error:
                print(error)
    """)
    assert out == "cannot schedule new futures after interpreter shutdown\n"


def test_workers_that_do_not_exist(pool):
    native = pool._pool
    for call in (native._worker_failed, native._bury):
        for index in (1000, 5000):
            with pytest.raises(ValueError, match="no such worker"):
                call(index)
    with pytest.raises(ValueError, match="no such worker"):
        native._worker_started(1000, os.getpid())
    with pytest.raises(ValueError, match="0 or more"):
        native._shrink(-1)
    assert pool.submit(tasks.double, 1).result(LONG) == 2


class Reluctant(multiprocessing.context.SpawnContext):
    """A context whose processes do not start the first few times."""

    failures = 2

    def Process(self, *args, **kwargs):
        if self.failures:
            self.failures -= 1
            raise OSError("not now")
        return super().Process(*args, **kwargs)


def test_a_worker_that_cannot_be_started(descriptors):
    """submit() raises what starting raised, and leaves nothing; later it may go better."""
    with treadle.ProcessPoolExecutor(1, Reluctant()) as pool:
        before = descriptors()
        for _ in range(2):
            with pytest.raises(OSError, match="not now"):
                pool.submit(tasks.nothing)
        assert pool.stats()["workers"] == 0 and descriptors() == before
        assert pool.submit(tasks.double, 2).result(LONG) == 4
        assert [worker["worker"] for worker in pool.stats()["per_worker"]] == [0]


def test_numbers_are_used_again(fork):
    with treadle.ProcessPoolExecutor(2, fork, on_crash="respawn") as pool:
        pool.submit(tasks.nothing).result(LONG)
        for _ in range(4):
            with pytest.raises(treadle.BrokenProcessPool):
                pool.submit(tasks.kill_self).result(LONG)
            assert pool.submit(tasks.double, 1).result(LONG) == 2
            assert eventually(lambda: pool.stats()["workers"] == 2)
            assert [worker["worker"] for worker in pool.stats()["per_worker"]] == [0, 1]


def mappings():
    with open("/proc/self/maps") as maps:
        return sum("memfd:" in line for line in maps)


@pytest.mark.parametrize("way", ["shutdown", "dropped", "never used", "broken"])
def test_nothing_is_left(fork, descriptors, way):
    def use():
        pool = treadle.ProcessPoolExecutor(2, fork)
        if way == "never used":
            return
        assert pool.submit(tasks.double, bytes(100_000)).result(LONG) == bytes(200_000)
        if way == "broken":
            pool.submit(tasks.kill_self).exception(LONG)
        if way != "dropped":
            pool.shutdown()

    use()  # what a process has for good
    gc.collect()
    before = descriptors(), mappings()
    for _ in range(3):
        use()
    assert eventually(lambda: gc.collect() >= 0 and descriptors() <= before[0] and mappings() <= before[1]), way


def test_a_pool_goes_with_its_last_future(fork):
    pool = treadle.ProcessPoolExecutor(1, fork)
    future = pool.submit(tasks.sleep_and_return, 0.05, "late")
    reference = weakref.ref(pool)
    del pool
    assert eventually(lambda: gc.collect() >= 0 and reference() is None)
    assert future.result(LONG) == "late"  # its pool lives as long as its tasks


MANY = """
import multiprocessing, resource
import treadle

def nothing():
    pass

if __name__ == "__main__":
    pool = treadle.ProcessPoolExecutor(2, multiprocessing.get_context("fork"))
    pool.submit(nothing).result()
    resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
    try:
        others = [treadle.ProcessPoolExecutor(2, multiprocessing.get_context("fork")) for _ in range(9)]
    except OSError as error:
        print(error.errno)
    pool.submit(nothing).result()
    pool.shutdown()
"""


def test_without_descriptors():
    """A pool that cannot be made raises OSError; one that there is goes on."""
    done = subprocess.run([sys.executable, "-c", MANY], capture_output=True, text=True, timeout=LONG)
    assert done.stdout == "24\n", done.stderr

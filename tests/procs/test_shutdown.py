"""How a pool ends."""

import gc
import subprocess
import sys
import weakref

import pytest
import tasks


def test_submit_after_shutdown(either, fork):
    pool = either(1, fork)
    pool.submit(tasks.nothing).result()
    pool.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        pool.submit(tasks.nothing)


def test_shutdown_waits_for_tasks(either, context):
    pool = either(2, context)
    futures = [pool.submit(tasks.sleep_and_return, 0.05, i) for i in range(6)]
    pool.shutdown()
    assert all(future.done() for future in futures)
    assert [future.result() for future in futures] == list(range(6))


def test_shutdown_without_waiting(either, fork):
    pool = either(2, fork)
    futures = [pool.submit(tasks.sleep_and_return, 0.05, i) for i in range(6)]
    processes = list(pool._processes.values())
    thread = pool._executor_manager_thread
    pool.shutdown(wait=False)
    assert [future.result(30) for future in futures] == list(range(6))
    thread.join(30)
    assert not thread.is_alive()
    assert all(process.exitcode == 0 for process in processes)


def test_shutdown_cancels(either, fork):
    pool = either(2, fork)
    futures = [pool.submit(tasks.sleep_and_return, 0.05, i) for i in range(30)]
    pool.shutdown(cancel_futures=True)
    cancelled = [future for future in futures if future.cancelled()]
    assert len(cancelled) > 20
    assert all(future.done() for future in futures)
    assert [f.result() for f in futures if not f.cancelled()]


def test_shutdown_of_an_unused_pool(either, fork):
    pool = either(2, fork)
    pool.shutdown()
    pool.shutdown()


def test_a_dropped_pool_finishes_its_tasks(either, fork):
    pool = either(1, fork)
    future = pool.submit(tasks.sleep_and_return, 0.05, 5)
    thread = pool._executor_manager_thread
    reference = weakref.ref(pool)
    del pool
    gc.collect()
    assert reference() is None
    assert future.result(30) == 5
    thread.join(30)
    assert not thread.is_alive()


def test_nothing_is_left_open(fork, descriptors):
    import treadle

    def use():
        with treadle.ProcessPoolExecutor(2, fork) as pool:
            assert pool.submit(tasks.double, 1).result() == 2

    use()
    gc.collect()
    before = descriptors()
    for _ in range(3):
        use()
    gc.collect()
    assert descriptors() <= before


PROGRAM = """
import multiprocessing, sys
sys.path[:0] = {path!r}
import tasks
from {module} import ProcessPoolExecutor
if __name__ == "__main__":
    pool = ProcessPoolExecutor(2, multiprocessing.get_context({method!r}))
    future = pool.submit(tasks.sleep_and_return, 0.1, 3)
    future.add_done_callback(lambda f: print(f.result(), flush=True))
"""


@pytest.mark.parametrize("module", ["concurrent.futures", "treadle"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_exit_waits_for_tasks(tmp_path, module, method):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(path=sys.path, module=module, method=method))
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "3\n" and done.stderr == ""


def test_shutdown_timeout(pool, tmp_path):
    future = pool.submit(tasks.wait_for, tmp_path / "door")
    assert pool.shutdown(timeout=0.05) is False
    tasks.touch(tmp_path / "door")
    assert pool.shutdown(timeout=30) is True
    assert future.result() is True

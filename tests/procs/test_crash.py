"""Workers that end when they should not."""

import os
import signal

import pytest
import tasks

import treadle
from support.waiting import eventually


def test_a_lost_worker_breaks_the_pool(either, context):
    pool = either(2, context)
    with pytest.raises(treadle.BrokenProcessPool):
        pool.submit(tasks.exit_now).result()
    with pytest.raises(treadle.BrokenProcessPool):
        pool.submit(tasks.nothing)
    assert pool._broken
    pool.shutdown()


def test_every_future_ends(either, fork, tmp_path):
    pool = either(2, fork)
    futures = [pool.submit(tasks.sleep_and_return, 0.01, i) for i in range(20)]
    futures.append(pool.submit(tasks.kill_self))
    futures += [pool.submit(tasks.sleep_and_return, 0.01, i) for i in range(200)]
    errors = [future.exception(60) for future in futures]
    assert any(isinstance(error, treadle.BrokenProcessPool) for error in errors)
    assert all(e is None or isinstance(e, treadle.BrokenProcessPool) for e in errors)
    pool.shutdown()


def test_the_error_says_what_happened(fork):
    pool = treadle.ProcessPoolExecutor(1, fork)
    pid = pool.submit(tasks.pid).result()
    with pytest.raises(treadle.BrokenProcessPool) as raised:
        pool.submit(tasks.kill_self).result()
    text = str(raised.value)
    assert f"process {pid} was killed by SIGKILL while it ran kill_self() for 0." in text
    with pytest.raises(treadle.BrokenProcessPool, match="SIGKILL"):
        pool.submit(tasks.nothing)
    pool.shutdown()


def test_exit_code(fork):
    with treadle.ProcessPoolExecutor(1, fork) as pool:
        with pytest.raises(treadle.BrokenProcessPool, match="exit code 5 while it ran exit_now"):
            pool.submit(tasks.exit_now, 5).result()


def test_an_idle_worker_that_dies(either, fork):
    pool = either(1, fork)
    pid = pool.submit(tasks.pid).result()
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(treadle.BrokenProcessPool):
        for _ in range(10_000):
            pool.submit(tasks.nothing).result(60)
    pool.shutdown()


def test_respawn_fails_only_the_task(context):
    with treadle.ProcessPoolExecutor(2, context, on_crash="respawn") as pool:
        before = [pool.submit(tasks.sleep_and_return, 0.01, i) for i in range(20)]
        bad = [pool.submit(tasks.exit_now, 4), pool.submit(tasks.kill_self)]
        after = [pool.submit(tasks.double, i) for i in range(100)]
        for future in bad:
            assert isinstance(future.exception(60), treadle.BrokenProcessPool)
        assert [f.result(60) for f in before] == list(range(20))
        assert [f.result(60) for f in after] == [2 * i for i in range(100)]
        assert pool.submit(tasks.double, 4).result() == 8


def test_kill_and_terminate(fork, tmp_path):
    for operation in ("kill_workers", "terminate_workers"):
        pool = treadle.ProcessPoolExecutor(2, fork)
        futures = [pool.submit(tasks.wait_for, tmp_path / "never") for _ in range(8)]
        processes = list(pool._processes.values())
        getattr(pool, operation)()
        assert all(f.cancelled() or f.exception(30) is not None for f in futures)
        for process in processes:
            process.join(30)
            # the pool waits for it too: who of the two comes second is told nothing for a moment
            assert eventually(lambda: process.exitcode is not None) and process.exitcode < 0
        with pytest.raises(RuntimeError):
            pool.submit(tasks.nothing)


def test_on_crash_is_checked():
    with pytest.raises(ValueError, match="on_crash"):
        treadle.ProcessPoolExecutor(1, on_crash="ignore")


def test_one_that_is_killed_before_it_is_ready_is_replaced(fork, tmp_path):
    path = tmp_path / "starts"
    pool = treadle.ProcessPoolExecutor(1, fork, tasks.kill_self_once, (path,), on_crash="respawn")
    with pool:
        assert pool.submit(tasks.double, 1).result(60) == 2


def test_a_failing_initializer_is_not_tried_for_ever(fork):
    for initializer in (tasks.raise_value_error, tasks.kill_self):
        arguments = ("no",) if initializer is tasks.raise_value_error else ()
        pool = treadle.ProcessPoolExecutor(1, fork, initializer, arguments, on_crash="respawn")
        with pool, pytest.raises(treadle.BrokenProcessPool, match="before it was ready"):
            pool.submit(tasks.double, 1).result(60)

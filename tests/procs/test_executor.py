"""submit() and what comes of it; most bodies run on the standard class too."""

import asyncio
import concurrent.futures
import gc
import os
import pickle
import threading
import time
import weakref

import pytest
import tasks

import treadle


def test_start_methods(either, context):
    with either(2, context) as pool:
        assert pool.submit(tasks.double, 21).result() == 42
        assert pool.submit(pow, 2, exp=10).result() == 1024
        futures = [pool.submit(tasks.double, i) for i in range(200)]
        assert [future.result() for future in futures] == [2 * i for i in range(200)]


def test_is_what_it_stands_for(pool, fork):
    assert isinstance(pool, concurrent.futures.ProcessPoolExecutor)
    future = pool.submit(tasks.double, 1)
    assert type(future) is treadle.Future
    assert pool._max_workers == 2
    assert pool._mp_context is fork
    assert sorted(pool._processes) == sorted(p.pid for p in pool._processes.values())
    assert len(pool._processes) == 2
    assert pool._broken is False
    assert pool._shutdown_thread is False


@pytest.mark.parametrize(
    "arguments, error",
    [
        ({"max_workers": 0}, ValueError),
        ({"max_workers": -1}, ValueError),
        ({"initializer": 1}, TypeError),
        ({"max_tasks_per_child": 1.5}, TypeError),
        ({"max_tasks_per_child": 0}, ValueError),
    ],
)
def test_bad_arguments(either, arguments, error):
    with pytest.raises(error):
        either(**arguments)


def test_no_task_limit_with_fork(either, fork):
    with pytest.raises(ValueError, match="incompatible with the 'fork'"):
        either(1, fork, max_tasks_per_child=1)


def test_exceptions_come_with_their_traceback(either, fork):
    with either(1, fork) as pool:
        error = pool.submit(tasks.raise_value_error, "so it is").exception()
        assert type(error) is ValueError and error.args == ("so it is",)
        assert type(error.__cause__).__name__ == "_RemoteTraceback"
        assert "raise_value_error" in str(error.__cause__)
        with pytest.raises(SystemExit):
            pool.submit(exit, 4).result()
        assert pool.submit(tasks.double, 1).result() == 2


def test_what_does_not_pickle(either, fork):
    with either(1, fork) as pool:
        with pytest.raises(Exception, match="pickle"):
            pool.submit(lambda: None).result()
        with pytest.raises(TypeError, match="this does not pickle"):
            pool.submit(tasks.double, tasks.Unpicklable()).result()
        with pytest.raises(TypeError, match="this does not pickle"):
            pool.submit(tasks.return_unpicklable).result()
        assert pool.submit(tasks.double, 1).result() == 2


def test_what_does_not_unpickle(pool):
    with pytest.raises(TypeError):
        pool.submit(tasks.raise_bad).result()
    with pytest.raises(ImportError):
        pool.submit(tasks.return_fails_to_load).result()
    with pytest.raises(ImportError):
        pool.submit(tasks.double, tasks.FailsToLoad()).result()
    assert pool.submit(tasks.double, 1).result() == 2


@pytest.mark.parametrize("size", [0, 1, 1000, 31_000, 33_000, 130_000, 3_000_000])
def test_sizes(pool, size):
    data = os.urandom(size)
    assert pool.submit(tasks.double, data).result() == data + data


def test_large_ones_in_a_crowd(pool):
    items = [bytes([i]) * (i * 9973) for i in range(60)]
    futures = [pool.submit(tasks.double, item) for item in items]
    assert all(f.result() == 2 * item for f, item in zip(futures, items, strict=True))


def test_both_workers_work(either, fork):
    with either(2, fork) as pool:
        futures = [pool.submit(tasks.sleep_and_pid, 0.1) for _ in range(4)]
        assert len({future.result() for future in futures}) == 2


def test_a_task_does_not_wait_behind_another(pool, tmp_path):
    """Tasks given to a busy worker in advance go to one that has become idle."""
    for _ in range(300):
        pool.submit(tasks.nothing)
    door = tmp_path / "door"
    first = pool.submit(tasks.wait_for, door)
    rest = [pool.submit(tasks.nothing) for _ in range(100)]
    opener = pool.submit(tasks.touch, door)
    opener.result(30)
    assert first.result(30)
    assert all(future.result(30) is None for future in rest)


def test_cancel(pool, tmp_path):
    door = tmp_path / "door"
    busy = [pool.submit(tasks.wait_for, door) for _ in range(2)]
    waiting = [pool.submit(tasks.double, i) for i in range(50)]
    assert all(future.cancel() for future in waiting[::2])
    assert all(future.cancelled() for future in waiting[::2])
    done, not_done = concurrent.futures.wait(waiting[::2], 5)
    assert not not_done
    tasks.touch(door)
    assert [future.result() for future in busy] == [True, True]
    assert [future.result() for future in waiting[1::2]] == [2 * i for i in range(50)][1::2]
    with pytest.raises(concurrent.futures.CancelledError):
        waiting[0].result()


def test_a_tableful_of_cancelled_tasks_is_passed(tmp_path):
    """A worker that has only such tasks says when it has passed them: nobody else would
    notice that it may be sent more."""
    done, go = threading.Event(), tmp_path / "go"
    # it begins none of them before all are cancelled
    with treadle.ProcessPoolExecutor(1, "zygote", initializer=tasks.wait_for, initargs=(go,)) as pool:
        assert all([pool.submit(tasks.nothing).cancel() for _ in range(1100)])
        future = pool.submit(tasks.double, 4)
        future.add_done_callback(lambda _: done.set())
        go.touch()
        try:
            assert done.wait(60)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        assert future.result() == 8


def test_a_callback_needs_no_waiter(pool):
    """Other threads take and leave the collector's role meanwhile."""
    over = threading.Event()

    def wait_now_and_then():
        while not over.is_set():
            assert pool.submit(tasks.double, 1).result() == 2

    threads = [threading.Thread(target=wait_now_and_then) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(1000):
            done = threading.Event()
            pool.submit(tasks.nothing).add_done_callback(lambda _, done=done: done.set())
            assert done.wait(30)
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_a_task_that_runs_is_not_cancelled(either, fork, tmp_path):
    with either(1, fork) as pool:
        future = pool.submit(tasks.touch_and_wait, tmp_path / "started", tmp_path / "door")
        assert tasks.wait_for(tmp_path / "started")
        assert not future.cancel()
        assert future.running() and not future.done()
        assert future._state == "RUNNING"
        tasks.touch(tmp_path / "door")
        assert future.result() is True


def test_timeout_of_result(either, fork, tmp_path):
    with either(1, fork) as pool:
        future = pool.submit(tasks.wait_for, tmp_path / "door")
        with pytest.raises(TimeoutError):
            future.result(0.05)
        tasks.touch(tmp_path / "door")
        assert future.result(30) is True


def test_callbacks_and_waiting(either, fork):
    seen = []
    with either(2, fork) as pool:
        futures = [pool.submit(tasks.double, i) for i in range(20)]
        for future in futures:
            future.add_done_callback(lambda f: seen.append(f.result()))
        assert concurrent.futures.wait(futures).not_done == set()
        assert {f.result() for f in concurrent.futures.as_completed(futures)} == {
            2 * i for i in range(20)
        }
    assert sorted(seen) == [2 * i for i in range(20)]


def test_done_without_waiting(pool):
    """Nobody waits, yet the future completes."""
    future = pool.submit(tasks.double, 4)
    end = time.monotonic() + 30
    while not future.done():
        assert time.monotonic() < end
        time.sleep(0.001)
    assert future.result() == 8


def test_initializer(either, context, tmp_path):
    path = tmp_path / "pids"
    with either(2, context, tasks.touch, (path,)) as pool:
        pids = {pool.submit(tasks.sleep_and_pid, 0.05).result() for _ in range(3)}
    assert pids <= {int(line) for line in path.read_text().split()}


def test_a_failing_initializer_breaks_the_pool(either, fork):
    pool = either(1, fork, tasks.raise_value_error, ("no",))
    with pytest.raises(treadle.BrokenProcessPool):
        pool.submit(tasks.nothing).result()
    with pytest.raises(treadle.BrokenProcessPool):
        pool.submit(tasks.nothing)
    pool.shutdown()


def test_arguments_are_gone_with_the_call(pool):
    class Thing:
        def __reduce__(self):
            return int, ()

    thing = Thing()
    reference = weakref.ref(thing)
    future = pool.submit(tasks.double, thing)
    del thing
    assert future.result() == 0
    gc.collect()
    assert reference() is None


def test_stats(pool):
    assert pool.submit(tasks.double, 1).result() == 2
    stats = pool.stats()
    assert stats["workers"] == 2 and stats["queued"] == stats["running"] == 0
    assert stats["done"] >= 1


def test_pickling_the_executor_is_refused(either, fork):
    with either(1, fork) as pool, pytest.raises(TypeError):
        pickle.dumps(pool)


@pytest.mark.parametrize("factory", [asyncio.SelectorEventLoop, treadle.new_event_loop])
def test_asyncio(pool, factory):
    async def main():
        loop = asyncio.get_running_loop()
        one = await loop.run_in_executor(pool, tasks.double, 4)
        many = await asyncio.gather(
            *(loop.run_in_executor(pool, tasks.double, i) for i in range(300))
        )
        wrapped = await treadle.wrap_future(pool.submit(tasks.double, "ab"), loop=loop)
        with pytest.raises(ValueError, match="so"):
            await loop.run_in_executor(pool, tasks.raise_value_error, "so")
        return one, many, wrapped

    with asyncio.Runner(loop_factory=factory) as runner:
        assert runner.run(main()) == (8, [2 * i for i in range(300)], "abab")


def test_many_threads(pool):
    """Threads that submit and wait at the same time."""
    results = []

    def work(base):
        for i in range(base, base + 150):
            results.append((i, pool.submit(tasks.double, i).result(60)))

    threads = [threading.Thread(target=work, args=(1000 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 600
    assert all(value == 2 * i for i, value in results)


def test_a_forked_child_is_told(pool):
    """The pool belongs to the process that made it; nobody hangs."""
    done = pool.submit(tasks.double, 1)
    assert done.result() == 2
    running = pool.submit(tasks.sleep_and_return, 0.2, 3)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            seen = []
            for call in (
                lambda: pool.submit(tasks.nothing),
                lambda: pool.map(tasks.double, [1]),
                running.result,
            ):
                try:
                    call()
                except Exception as error:
                    seen.append(type(error).__name__)
            pool.shutdown()
            os.write(write, f"{done.result()} {' '.join(seen)}".encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(write)
    with os.fdopen(read) as file:
        assert file.read() == "2 RuntimeError RuntimeError BrokenProcessPool"
    assert running.result() == 3

"""map() and map_unordered(); bodies that can run on the standard class do."""

import itertools
import operator
import threading
import time

import pytest
import tasks

import treadle


def test_order_and_values(either, context):
    with either(2, context) as pool:
        assert list(pool.map(tasks.double, range(500))) == [2 * i for i in range(500)]


@pytest.mark.parametrize("chunksize", [1, 3, 100, 10_000])
def test_chunksize(either, fork, chunksize):
    with either(2, fork) as pool:
        results = pool.map(tasks.double, range(777), chunksize=chunksize)
        assert list(results) == [2 * i for i in range(777)]


def test_several_iterables(either, fork):
    with either(2, fork) as pool:
        assert list(pool.map(pow, [2, 3, 4], [3, 2, 1, 9])) == [8, 9, 4]
        assert list(pool.map(operator.add, range(300), range(300))) == [2 * i for i in range(300)]
        assert list(pool.map(tasks.double, [])) == []
        assert list(pool.map(tasks.double)) == []


@pytest.mark.parametrize("buffersize", [None, 1, 3])
def test_no_items_need_no_workers(fork, buffersize):
    with treadle.ProcessPoolExecutor(2, fork) as pool:
        assert list(pool.map(tasks.double, iter(()), buffersize=buffersize)) == []
        assert list(pool.map(tasks.double, [], [], buffersize=buffersize)) == []
        assert not pool._processes


@pytest.mark.parametrize("chunksize", [0, -1])
def test_bad_chunksize(either, fork, chunksize):
    with either(1, fork) as pool, pytest.raises(ValueError, match="chunksize must be >= 1"):
        pool.map(tasks.double, [1], chunksize=chunksize)


def test_exception_where_its_result_would_be(pool):
    results = pool.map(divmod, [6, 4, 1, 8], [2, 2, 0, 2])
    assert next(results) == (3, 0)
    assert next(results) == (2, 0)
    with pytest.raises(ZeroDivisionError) as raised:
        next(results)
    assert type(raised.value.__cause__).__name__ == "_RemoteTraceback"
    assert list(results) == []


def test_results_before_an_exception_in_a_chunk_are_not_lost(pool):
    results = pool.map(operator.truediv, [4, 2, 1, 1], [1, 1, 0, 1], chunksize=4)
    assert [next(results), next(results)] == [4, 2]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_results_before_one_that_does_not_pickle(pool):
    results = pool.map(tasks.unpicklable_if_odd, [0, 2, 4, 5, 6], chunksize=5)
    assert [next(results) for _ in range(3)] == [0, 2, 4]
    with pytest.raises(TypeError, match="this does not pickle"):
        next(results)


def test_arguments_that_do_not_pickle(either, fork):
    with either(1, fork) as pool:
        with pytest.raises(TypeError, match="this does not pickle"):
            list(pool.map(tasks.double, [tasks.Unpicklable()]))
        assert list(pool.map(tasks.double, [1])) == [2]


def test_timeout(either, fork, tmp_path):
    with either(2, fork) as pool:
        results = pool.map(tasks.wait_for, [tmp_path / "door"] * 2, timeout=0.1)
        with pytest.raises(TimeoutError):
            next(results)
        tasks.touch(tmp_path / "door")


def test_all_items_run_though_nobody_asks(either, fork, tmp_path):
    pool = either(2, fork)
    pool.map(tasks.touch, [tmp_path / "lines"] * 40)
    pool.shutdown()
    assert len((tmp_path / "lines").read_text().split()) == 40


def test_dropped_after_the_first_result(pool, tmp_path):
    paths = [tmp_path / f"line{i}" for i in range(20_000)]
    results = pool.map(tasks.touch, paths, chunksize=1)
    next(results)
    del results
    assert pool.submit(tasks.double, 2).result() == 4
    pool.shutdown()
    assert sum(path.exists() for path in paths) < 20_000


def test_buffersize(pool):
    taken = 0

    def numbers():
        nonlocal taken
        for taken in itertools.count(1):
            yield taken

    results = pool.map(tasks.double, numbers(), buffersize=5)
    assert taken == 5
    for i in range(1, 200):
        assert next(results) == 2 * i
        assert taken <= i + 5
    results.close()
    assert list(results) == []


@pytest.mark.parametrize("buffersize, error", [(0, ValueError), (-1, ValueError), (1.5, TypeError)])
def test_bad_buffersize(pool, buffersize, error):
    with pytest.raises(error):
        pool.map(tasks.double, [1], buffersize=buffersize)


def test_an_input_that_raises(pool):
    def numbers():
        yield from range(10)
        raise KeyError("input")

    with pytest.raises(KeyError):
        pool.map(tasks.double, numbers())
    results = pool.map(tasks.double, numbers(), buffersize=3)
    with pytest.raises(KeyError, match="input"):
        list(results)
    assert pool.submit(tasks.double, 1).result() == 2


def test_unordered(pool, tmp_path):
    door = tmp_path / "door"
    results = pool.map_unordered(
        tasks.wait_or_return, [door, 1, 2, 3, 4], chunksize=1
    )
    assert sorted(next(results) for _ in range(4)) == [1, 2, 3, 4]
    tasks.touch(door)
    assert next(results) is True
    assert list(results) == []
    assert sorted(pool.map_unordered(tasks.double, range(3000))) == [2 * i for i in range(3000)]


def test_chunks_grow_to_what_takes_a_millisecond(pool):
    list(pool.map(tasks.double, range(100)))
    before = pool.stats()["done"]
    assert len(list(pool.map(tasks.double, range(100_000)))) == 100_000
    assert pool.stats()["done"] - before < 10_000


def test_slow_items_go_one_by_one(pool):
    """Not all to one worker, however many there were of fast ones before."""
    list(pool.map(tasks.double, range(10_000)))
    pids = set(pool.map(tasks.sleep_and_pid, [0.05] * 6))
    assert len(pids) == 2


def test_large_items(pool):
    items = [bytes([i]) * 300_000 for i in range(40)]
    assert list(pool.map(tasks.double, items)) == [item * 2 for item in items]


class SlowToPickle:
    """Says when its pickling has begun, and lets other threads go on meanwhile."""

    begun = threading.Event()

    def __reduce__(self):
        self.begun.set()
        time.sleep(0.4)
        return int, (3,)


def test_what_is_being_cut_is_not_the_end(fork):
    """The iterator has had all others while the dispatcher cuts the last chunk."""
    SlowToPickle.begun.clear()
    with treadle.ProcessPoolExecutor(1, fork) as pool:
        for _ in range(10):  # it is given two tasks at a time once they are known to be long
            pool.submit(tasks.sleep_and_return, 0.005, None).result()
        items = [0, 1, 2, SlowToPickle()]
        results = pool.map(tasks.sleep_and_return, [0.005] * 4, items, chunksize=1)
        assert SlowToPickle.begun.wait(30)
        time.sleep(0.1)  # the others are done; if not, this test sees less
        assert list(results) == [0, 1, 2, 3]


def test_a_lost_worker_ends_the_map(either, fork):
    pool = either(2, fork)
    results = pool.map(tasks.exit_if, range(100), chunksize=1)
    with pytest.raises(treadle.BrokenProcessPool):
        list(results)
    pool.shutdown()


def test_respawn(fork):
    with treadle.ProcessPoolExecutor(2, fork, on_crash="respawn") as pool:
        results = pool.map_unordered(tasks.double, range(2000))
        for process in list(pool._processes.values())[:1]:
            process.kill()
        try:
            assert sorted(results) == [2 * i for i in range(2000)]
        except treadle.BrokenProcessPool as error:
            assert "SIGKILL while it ran double()" in str(error)
        assert list(pool.map(tasks.double, range(10))) == [2 * i for i in range(10)]


def test_shutdown_cancels_what_is_not_begun(pool, tmp_path):
    door = tmp_path / "door"
    results = pool.map(tasks.wait_for, [door] * 50)
    threading.Timer(0.2, tasks.touch, (door,)).start()
    pool.shutdown(cancel_futures=True)
    with pytest.raises(treadle.CancelledError):
        list(results)


def test_progress(pool):
    class Bar:
        count = 0

        def update(self, n):
            self.count += n

    bar = Bar()
    assert list(pool.map(tasks.double, range(100), progress=bar)) == [2 * i for i in range(100)]
    assert bar.count == 100
    with pytest.raises(TypeError):
        pool.map(tasks.double, [1], progress=3)


def test_two_threads_at_one_iterator(pool, tmp_path):
    results = pool.map(tasks.wait_for, [tmp_path / "door"] * 2)
    thread = threading.Thread(target=next, args=(results,))
    thread.start()
    while True:
        time.sleep(0.01)
        try:
            results.close()
        except ValueError as error:
            assert "another thread" in str(error)
            break
    tasks.touch(tmp_path / "door")
    thread.join()


def test_subclass_with_its_own_submit(fork):
    class Counting(treadle.ProcessPoolExecutor):
        count = 0

        def submit(self, fn, /, *args, **kwargs):
            self.count += 1
            return super().submit(fn, *args, **kwargs)

    with Counting(1, fork) as pool:
        assert list(pool.map(tasks.double, range(7))) == [2 * i for i in range(7)]
        assert pool.count == 7


def test_goes_on_while_another_future_is_waited_for(pool, tmp_path):
    """The thread that waits deals with results, and the map still gets its chunks."""
    blocker = pool.submit(tasks.wait_for, tmp_path / "door")
    pool.map(tasks.touch_if, [None] * 400 + [tmp_path / "door"], chunksize=1)
    assert blocker.result(60)

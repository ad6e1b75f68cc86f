"""treadle.Pool stands in for multiprocessing.Pool: the same tests on both."""

import gc
import itertools
import multiprocessing
import multiprocessing.pool
import os
import threading
import time
import warnings

import pytest
import treadle
from support import process_bodies as bodies
from support import run_script
from support.waiting import LIMIT, eventually, gone
from treadle._zygote import stop_zygotes

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


# a fork server: half of what fresh interpreters cost
def stock_pool(*args, context="forkserver", **options):
    return multiprocessing.get_context(context).Pool(*args, **options)


def our_pool(*args, context="zygote", **options):
    return treadle.Pool(*args, context=context, **options)


@pytest.fixture(scope="module", autouse=True)
def no_zygotes_left():
    yield
    stop_zygotes()


@pytest.fixture(scope="module", params=[stock_pool, our_pool], ids=["multiprocessing", "treadle"])
def make(request):
    return request.param


@pytest.fixture(scope="module")
def pool(make):
    """One pool for what leaves it as it was."""
    with make(2) as pool:
        yield pool
    pool.join()


def broken_after(count):
    yield from range(count)
    raise KeyError("no more")


class TestCalls:
    def test_apply(self, pool):
        assert pool.apply(bodies.add, (1,), {"right": 2}) == 3
        assert pool.apply(bodies.pid) != os.getpid()
        with pytest.raises(ValueError, match="as it should") as caught:
            pool.apply(bodies.fail, (1,))
        assert caught.value.args == ("as it should", 1)
        cause = caught.value.__cause__
        assert type(cause) is multiprocessing.pool.RemoteTraceback
        assert 'raise ValueError("as it should", *args)' in str(cause)

    def test_apply_async(self, pool):
        result = pool.apply_async(bodies.nap, (0.3,))
        assert not result.ready()
        with pytest.raises(ValueError, match="not ready"):
            result.successful()
        with pytest.raises(multiprocessing.TimeoutError):
            result.get(0.01)
        result.wait(0.01)
        assert result.get(LIMIT) == 0.3
        assert result.ready() and result.successful()
        failing = pool.apply_async(bodies.fail)
        failing.wait(LIMIT)
        assert failing.ready() and not failing.successful()
        for _ in range(2):
            with pytest.raises(ValueError, match="as it should"):
                failing.get()

    def test_a_timeout_of_the_call_is_not_ours(self, pool):
        with pytest.raises(TimeoutError, match="of the call"):
            pool.apply_async(bodies.raise_timeout).get(LIMIT)

    def test_callbacks_run_before_the_result_is_ready(self, pool):
        seen = []
        result = pool.apply_async(bodies.add, (1, 2), callback=seen.append, error_callback=seen.append)
        result.wait(LIMIT)
        assert seen == [3] == [result.get()]
        result = pool.apply_async(bodies.fail, callback=seen.append, error_callback=seen.append)
        result.wait(LIMIT)
        assert isinstance(seen[1], ValueError)

    def test_what_cannot_be_pickled(self, pool):
        with pytest.raises(Exception, match="pickle|local object"):
            pool.apply(bodies.add, (lambda: None,))
        for call in (lambda: pool.apply(bodies.make_lambda), lambda: pool.map(bodies.make_lambda_of, [1, 2])):
            with pytest.raises(multiprocessing.pool.MaybeEncodingError, match="Error sending result") as caught:
                call()
            assert "local object" in caught.value.exc
        assert pool.apply(bodies.add, (1, 1)) == 2


class TestMaps:
    @pytest.mark.parametrize("chunksize", [None, 1, 3, 100])
    @pytest.mark.parametrize("count", [0, 1, 10, 57])
    def test_map(self, pool, chunksize, count):
        assert pool.map(bodies.square, range(count), chunksize) == [n * n for n in range(count)]
        assert pool.map(bodies.square, iter(range(count)), chunksize) == [n * n for n in range(count)]
        pairs = list(zip(range(count), itertools.count(1)))
        assert pool.starmap(bodies.add, pairs, chunksize) == [a + b for a, b in pairs]

    def test_map_async(self, pool):
        seen = []
        result = pool.map_async(bodies.square, range(9), 2, callback=seen.append)
        assert result.get(LIMIT) == [n * n for n in range(9)] == seen[0]
        assert pool.starmap_async(bodies.add, [(1, 2)]).get(LIMIT) == [3]
        assert pool.map_async(bodies.square, []).get(LIMIT) == []

    def test_the_first_error_counts_after_all_have_ended(self, pool):
        seen = []
        result = pool.map_async(bodies.fail_at_three, range(8), 1, error_callback=seen.append)
        with pytest.raises(ValueError, match="three"):
            result.get(LIMIT)
        assert not result.successful()
        assert len(seen) == 1

    @pytest.mark.parametrize("chunksize", [1, 3])
    def test_imap(self, pool, chunksize):
        results = pool.imap(bodies.square, iter(range(20)), chunksize)
        assert next(results) == 0
        assert list(results) == [n * n for n in range(1, 20)]
        assert sorted(pool.imap_unordered(bodies.square, range(20), chunksize)) == [n * n for n in range(20)]
        assert list(pool.imap(bodies.square, [], chunksize)) == []
        with pytest.raises(StopIteration):
            next(results)

    def test_imap_with_a_timeout(self, pool):
        results = pool.imap(bodies.nap, [0.3])
        with pytest.raises(multiprocessing.TimeoutError):
            results.next(timeout=0.01)
        assert results.next(timeout=LIMIT) == 0.3
        with pytest.raises(StopIteration):
            results.next(timeout=0.01)

    def test_imap_goes_on_after_an_error_of_the_function(self, pool):
        results = pool.imap(bodies.fail_at_three, range(5))
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="three"):
            next(results)
        assert list(results) == [4]

    @pytest.mark.parametrize("name", ["imap", "imap_unordered"])
    def test_an_error_of_the_iterable_is_raised(self, pool, name):
        results = getattr(pool, name)(bodies.square, broken_after(3))
        got = []
        with pytest.raises(KeyError, match="no more"):
            got.extend(results)
        assert set(got) <= {0, 1, 4}

    def test_imap_of_more_than_is_read_ahead(self, pool):
        assert sum(pool.imap(bodies.square, range(3000))) == sum(n * n for n in range(3000))

    def test_bad_chunksizes(self, pool):
        for name in ("imap", "imap_unordered"):
            with pytest.raises(ValueError, match=r"Chunksize must be 1\+, not 0"):
                getattr(pool, name)(bodies.square, [1], 0)


class TestLife:
    def test_bad_arguments(self, make):
        for count in (0, -1):
            with pytest.raises(ValueError, match="Number of processes must be at least 1"):
                make(count)
        for limit in (0, -1, 0.5, "12"):
            with pytest.raises(ValueError, match="maxtasksperchild must be a positive int or None"):
                make(1, maxtasksperchild=limit)
        with pytest.raises(TypeError, match="initializer must be a callable"):
            make(1, initializer=3)

    def test_workers_are_there_from_the_start(self, make):
        with make(3) as pool:
            assert len(pool._pool) == 3
            assert all(worker.is_alive() for worker in pool._pool)
            assert "state=RUN pool_size=3" in repr(pool)
        pool.join()

    def test_initializer(self, make):
        with make(2, bodies.remember, ("this",)) as pool:
            assert pool.map(bodies.recall, range(4)) == ["this"] * 4
        pool.join()

    def test_maxtasksperchild(self, make):
        with make(1, maxtasksperchild=2) as pool:
            pids = [pool.apply(bodies.pid) for _ in range(6)]
        pool.join()
        assert len(set(pids)) == 3

    def test_close_lets_everything_finish(self, make):
        pool = make(2, maxtasksperchild=1)
        results = [pool.apply_async(bodies.nap, (0.05,)) for _ in range(6)]
        mapped = pool.imap(bodies.square, range(4))
        pool.close()
        with pytest.raises(ValueError, match="Pool not running"):
            pool.apply(bodies.pid)
        pool.join()
        assert [result.get(0) for result in results] == [0.05] * 6
        assert list(mapped) == [0, 1, 4, 9]

    def test_terminate_does_not_wait(self, make):
        pool = make(2)
        pids = [worker.pid for worker in pool._pool]
        pool.map_async(bodies.nap, [300] * 50, 1)
        started = time.monotonic()
        pool.terminate()
        pool.join()
        assert time.monotonic() - started < LIMIT
        assert eventually(lambda: all(map(gone, pids)))

    def test_terminate_ends_an_imap_that_feeds(self, make):
        pool = make(1)
        results = pool.imap(bodies.nap, itertools.repeat(0.01))
        next(results)  # it has begun
        pool.terminate()
        pool.join()

    def test_join_before_close(self, make):
        with make(1) as pool:
            with pytest.raises(ValueError, match="Pool is still running"):
                pool.join()
        pool.join()

    def test_with_ends_it(self, make):
        with make(1) as pool:
            pass
        with pytest.raises(ValueError, match="Pool not running"):
            with pool:
                pass
        pool.join()

    def test_cannot_be_pickled(self, pool):
        with pytest.raises(NotImplementedError, match="cannot be passed between processes"):
            pool.apply(bodies.pid, (pool,)) if False else pool.__reduce__()

    def test_dropping_a_running_pool_warns_and_ends_it(self, make):
        pool = make(1)
        pids = [worker.pid for worker in pool._pool]
        with pytest.warns(ResourceWarning, match="unclosed running multiprocessing pool"):
            del pool
            gc.collect()
        assert eventually(lambda: all(map(gone, pids)))

    def test_the_end_of_the_program_does_not_wait_for_it(self):
        started = time.monotonic()
        out = run_script(
            """
            import treadle
            from support import process_bodies as bodies
            if __name__ == "__main__":
                pool = treadle.Pool(2, context="zygote")
                pool.map_async(bodies.nap, [300] * 10)
                print(pool.apply(bodies.add, (1, 2)) if False else pool._processes)
            """
        )
        assert out == "2\n"
        assert time.monotonic() - started < 60


class TestBeyond:
    @pytest.fixture
    def pool(self):
        with treadle.Pool(2, context="zygote") as pool:
            yield pool
        pool.join()

    def test_a_worker_that_dies_fails_its_call_only(self, pool):
        slow = pool.apply_async(bodies.nap, (0.2,))
        with pytest.raises(treadle.BrokenProcessPool, match="exit code 7 while it ran end_with"):
            pool.apply(bodies.end_with, (7,))
        assert slow.get(LIMIT) == 0.2
        assert pool.apply(bodies.add, (1, 2)) == 3
        assert eventually(lambda: len(pool._pool) == 2)

    def test_results_that_were_awaited_fail_with_terminate(self, pool):
        results = [pool.apply_async(bodies.nap, (300,)) for _ in range(4)]
        waiting = threading.Thread(target=lambda: results[0].wait())
        waiting.start()
        pool.terminate()
        waiting.join(LIMIT)
        assert not waiting.is_alive()
        for result in results:
            with pytest.raises(Exception):
                result.get(LIMIT)

    def test_imap_reads_a_bounded_number_of_items_ahead(self, pool):
        read = itertools.count()
        results = pool.imap(bodies.nap, (0.001 * (next(read) >= 0) for _ in itertools.count()))
        assert [next(results) for _ in range(5)] == [0.001] * 5
        assert next(read) < 3000

    def test_by_the_name_of_a_start_method(self):
        for method in ("fork", "spawn", "forkserver"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                with treadle.Pool(1, context=method) as pool:
                    assert pool.apply(bodies.add, (1, 2)) == 3
                pool.join()

"""Outcomes on their way from a worker to their futures."""

import concurrent.futures
import gc
import os
import threading
import weakref

import pytest
import tasks
import treadle
from support import eventually

LONG = 60.0


def some_of_everything(number):
    """A result, an exception, or either of what cannot be sent or received; by number."""
    kind = number % 5
    if kind == 1:
        raise KeyError(number)
    if kind == 2:
        return tasks.Unpicklable()
    if kind == 3:
        return tasks.FailsToLoad()
    return (number, "x" * (number * 37 % 5000))


def is_right(number, future):
    error = future.exception(LONG)
    if number % 5 == 1:
        return type(error) is KeyError and error.args == (number,)
    if number % 5 in (2, 3):
        return type(error) is (TypeError, ImportError)[number % 5 - 2]
    return error is None and future.result() == (number, "x" * (number * 37 % 5000))


def test_every_kind_of_outcome_in_a_crowd(pool):
    futures = [pool.submit(some_of_everything, number) for number in range(300)]
    assert all(is_right(number, future) for number, future in enumerate(futures))


def test_without_anybody_who_waits(pool):
    futures = [pool.submit(some_of_everything, number) for number in range(300)]
    assert eventually(lambda: all(future.done() for future in futures), LONG)
    assert all(is_right(number, future) for number, future in enumerate(futures))


def test_of_one_worker_in_order(fork):
    order = []
    with treadle.ProcessPoolExecutor(1, fork) as pool:
        futures = [pool.submit(tasks.double, number) for number in range(500)]
        for future in futures:
            future.add_done_callback(lambda future: order.append(future.result()))
    assert order == [2 * number for number in range(500)]


@pytest.mark.parametrize("size", [1 << 10, 12 << 10, 15 << 10])
def test_more_than_fits_into_a_ring(fork, size):
    """A worker whose ring is full has it emptied, and goes on."""
    with treadle.ProcessPoolExecutor(1, fork) as pool:
        data = os.urandom(size)
        futures = [pool.submit(tasks.double, data) for _ in range(3 * (128 << 10) // size)]
        assert all(future.result(LONG) == data + data for future in futures)


@pytest.mark.parametrize("size", [30_000, 32_700, 32_768, 40_000, 500_000])
def test_in_parts(pool, size):
    """Texts: these are no buffers, which would go another way."""
    texts = [chr(97 + n) * size for n in range(20)]
    assert list(pool.map(tasks.double, texts, chunksize=1)) == [2 * text for text in texts]


def test_callbacks_are_the_dispatchers(pool):
    """Also those of futures whose outcome was taken by a thread that waits for another, and may hold any lock."""
    where = []
    for _ in range(50):
        first = pool.submit(tasks.nothing)
        first.add_done_callback(lambda future: where.append(threading.current_thread()))
        assert pool.submit(tasks.double, 2).result(LONG) == 4
    assert eventually(lambda: len(where) == 50)
    # but for one that was done before it had a callback
    assert set(where) <= {pool._executor_manager_thread, threading.current_thread()}
    assert pool._executor_manager_thread in where


def test_a_callback_may_submit(pool):
    done = concurrent.futures.Future()

    def again(left):
        if left == 0:
            done.set_result("all")
        else:
            pool.submit(tasks.nothing).add_done_callback(lambda _: again(left - 1))

    again(200)
    assert done.result(LONG) == "all"


def test_an_outcome_is_let_go_with_its_future(pool):
    future = pool.submit(tasks.BadException, 1, 2)  # pickles, but does not come back
    assert isinstance(future.exception(LONG), TypeError)
    future = pool.submit(set, [1, 2])
    result = weakref.ref(future.result(LONG))
    pool.submit(tasks.nothing).result(LONG)
    del future
    assert eventually(lambda: gc.collect() >= 0 and result() is None)


def test_somebody_else_was_first(pool, tmp_path):
    """What comes for a future that has an outcome already is dropped."""
    door = tmp_path / "door"
    future = pool.submit(tasks.touch_and_wait, tmp_path / "mark", door)
    assert tasks.wait_for(tmp_path / "mark")
    future.set_exception(OSError("mine"))
    tasks.touch(door)
    assert pool.submit(tasks.double, 3).result(LONG) == 6
    assert eventually(lambda: pool.stats()["done"] == 2)
    with pytest.raises(OSError, match="mine"):
        future.result(LONG)

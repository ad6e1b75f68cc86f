"""The run queue: order, and who takes what."""

import concurrent.futures
import threading

from support.tasks import LONG


def test_first_in_first_out(impl, make_pool, gate):
    pool, order = make_pool(1), []
    pool.submit(gate.wait)
    futures = [pool.submit(order.append, number) for number in range(2000)]
    gate.open()
    futures[-1].result(LONG)
    assert order == list(range(2000))


def test_queue_size(impl, make_pool, gate):
    pool = make_pool(2)
    for _ in range(2):
        pool.submit(gate.wait)
    gate.until_entered(2)
    futures = [pool.submit(int) for _ in range(10)]
    assert pool._work_queue.qsize() == 10
    gate.open()
    concurrent.futures.wait(futures, LONG)
    assert pool._work_queue.qsize() == 0


def test_an_idle_worker_never_leaves_items_to_a_busy_one(impl, make_pool):
    # Both items must run at once, whoever got them: repeated, with batches of every small size.
    for size in range(2, 9):
        pool = make_pool(size)
        for _ in range(10):
            barrier = threading.Barrier(size)
            futures = [pool.submit(barrier.wait, LONG) for _ in range(size)]
            assert sorted(future.result(LONG) for future in futures) == list(range(size))


def test_short_tasks_behind_a_long_one_are_not_held_back(impl, make_pool, gate):
    pool = make_pool(2)
    for _ in range(20):
        pool.submit(int)
    blocked = pool.submit(gate.wait)
    short = [pool.submit(int) for _ in range(200)]
    assert concurrent.futures.wait(short, LONG).not_done == set()
    assert not blocked.done()
    gate.open()

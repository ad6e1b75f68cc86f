"""idle_timeout and resize(): how many workers there are, and that no work is lost as they come and go."""

import threading
import time

import pytest
from support import eventually, start_thread, threads_named

LONG = 60.0


def occupy(pool, gate, count):
    """Have `count` workers start and wait in the gate."""
    futures = [pool.submit(gate.wait) for _ in range(count)]
    gate.until_entered(count)
    return futures


def test_workers_stay_without_an_idle_timeout(make_native_pool, gate):
    pool = make_native_pool(3)
    futures = occupy(pool, gate, 3)
    gate.open()
    for future in futures:
        future.result(LONG)
    time.sleep(0.2)
    assert len(pool._threads) == 3 and all(thread.is_alive() for thread in pool._threads)


def test_idle_workers_go_away_and_come_back(make_native_pool, gate):
    pool = make_native_pool(3, thread_name_prefix="shrink", idle_timeout=0.05)
    futures = occupy(pool, gate, 3)
    assert len(threads_named("shrink_")) == 3
    gate.open()
    for future in futures:
        future.result(LONG)
    assert eventually(lambda: not threads_named("shrink_"))
    assert eventually(lambda: not pool._threads) and pool.stats()["workers"] == 0
    for _ in range(3):
        assert pool.submit(abs, -1).result(LONG) == 1
        assert eventually(lambda: not threads_named("shrink_"))


def test_busy_workers_do_not_time_out(make_native_pool, gate):
    pool = make_native_pool(2, idle_timeout=0.01)
    futures = occupy(pool, gate, 2)
    time.sleep(0.1)
    assert len(pool._threads) == 2 and all(thread.is_alive() for thread in pool._threads)
    gate.open()
    assert [future.result(LONG) for future in futures] == [None, None]


def test_no_item_is_lost_while_workers_leave(make_native_pool):
    pool = make_native_pool(4, idle_timeout=0.001)
    done = []
    for number in range(400):
        pool.submit(done.append, number)
        if number % 20 == 0:
            time.sleep(0.003)
    pool.shutdown()
    assert sorted(done) == list(range(400))


def test_zero_idle_timeout(make_native_pool):
    pool = make_native_pool(2, idle_timeout=0)
    assert [pool.submit(abs, -n).result(LONG) for n in range(50)] == list(range(50))


def test_shutdown_while_workers_leave(make_native_pool):
    for _ in range(20):
        pool = make_native_pool(2, idle_timeout=0.001)
        assert list(pool.map(abs, range(4))) == list(range(4))
        time.sleep(0.001)
        pool.shutdown()


def test_names_do_not_collide_after_workers_left(make_native_pool, gate):
    pool = make_native_pool(3, thread_name_prefix="again", idle_timeout=0.02)
    assert pool.submit(int).result(LONG) == 0
    assert eventually(lambda: not threads_named("again_"))
    occupy(pool, gate, 3)
    assert eventually(lambda: len(pool._threads) == 3)  # one that has just left may still be listed
    assert len({thread.name for thread in pool._threads}) == 3


def test_resize_up_starts_workers_for_queued_work(make_native_pool, gate):
    pool = make_native_pool(1)
    futures = [pool.submit(gate.wait) for _ in range(5)]
    gate.until_entered(1)
    time.sleep(0.02)
    assert gate.entered == 1
    pool.resize(4)
    assert pool._max_workers == 4
    gate.until_entered(4)
    assert len(pool._threads) == 4
    gate.open()
    for future in futures:
        future.result(LONG)


def test_resize_down_lets_running_tasks_finish(make_native_pool, gate):
    pool = make_native_pool(4)
    futures = occupy(pool, gate, 4)
    pool.resize(1)
    assert pool._max_workers == 1
    assert not any(future.done() for future in futures)
    gate.open()
    for future in futures:
        future.result(LONG)
    assert eventually(lambda: pool.stats()["workers"] == 1)
    assert eventually(lambda: len([thread for thread in pool._threads if thread.is_alive()]) == 1)


def test_resize_down_of_idle_workers(make_native_pool, gate):
    pool = make_native_pool(4, thread_name_prefix="down")
    futures = occupy(pool, gate, 4)
    gate.open()
    for future in futures:
        future.result(LONG)
    pool.resize(2)
    assert eventually(lambda: len(threads_named("down_")) == 2)
    assert pool.submit(abs, -1).result(LONG) == 1


def test_after_resize_to_one_tasks_run_one_at_a_time(make_native_pool, gate):
    pool = make_native_pool(4)
    futures = occupy(pool, gate, 4)
    pool.resize(1)
    gate.open()
    for future in futures:
        future.result(LONG)
    assert eventually(lambda: pool.stats()["workers"] == 1)
    active, most, lock = 0, 0, threading.Lock()

    def body(_):
        nonlocal active, most
        with lock:
            active += 1
            most = max(most, active)
        time.sleep(0.001)
        with lock:
            active -= 1

    list(pool.map(body, range(30)))
    assert most == 1


def test_resize_while_busy_loses_nothing(make_native_pool):
    pool, done = make_native_pool(2), []
    resizer_stops = threading.Event()

    def resizer():
        size = 1
        while not resizer_stops.is_set():
            pool.resize(size)
            size = size % 6 + 1

    thread = start_thread(resizer)
    futures = [pool.submit(done.append, number) for number in range(3000)]
    for future in futures:
        future.result(LONG)
    resizer_stops.set()
    thread.join(LONG)
    assert thread.outcome == (None, None) and sorted(done) == list(range(3000))


@pytest.mark.parametrize("bad, error", [(0, ValueError), (-1, ValueError), ("2", TypeError), (None, TypeError)])
def test_bad_sizes(make_native_pool, bad, error):
    pool = make_native_pool(2)
    with pytest.raises(error):
        pool.resize(bad)
    assert pool._max_workers == 2 and pool.submit(int).result(LONG) == 0


def test_resize_after_shutdown_starts_nothing(make_native_pool):
    pool = make_native_pool(2)
    pool.submit(int).result(LONG)
    pool.shutdown()
    pool.resize(3)
    assert pool.stats()["workers"] == 0 and not any(thread.is_alive() for thread in pool._threads)


def test_resize_with_an_initializer(make_native_pool, gate):
    started = []
    pool = make_native_pool(1, initializer=lambda: started.append(threading.get_ident()))
    futures = [pool.submit(gate.wait) for _ in range(3)]
    pool.resize(3)
    gate.until_entered(3)
    gate.open()
    for future in futures:
        future.result(LONG)
    assert len(set(started)) == 3

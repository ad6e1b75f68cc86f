"""Everything of threading and queue works inside workers, and a bounded producer and consumer runs on a pool."""

import hashlib
import queue
import sysconfig
import pathlib
import threading
import time

import pytest

LONG = 60.0


def results(futures):
    return [future.result(LONG) for future in futures]


@pytest.mark.parametrize("make_lock", [threading.Lock, threading.RLock, lambda: threading.Semaphore(1)])
def test_mutual_exclusion(impl, make_pool, make_lock):
    lock, inside, count = make_lock(), [], 0

    def body():
        nonlocal count
        for _ in range(50):
            with lock:
                inside.append(1)
                assert len(inside) == 1
                count += 1
                time.sleep(0)
                inside.pop()

    pool = make_pool(4)
    results([pool.submit(body) for _ in range(8)])
    assert count == 400


def test_rlock_is_re_entered_by_its_worker_only(impl, make_pool):
    lock, pool = threading.RLock(), make_pool(2)

    def body():
        with lock, lock, lock:
            return pool.submit(lock.acquire, blocking=False).result(LONG)

    assert pool.submit(body).result(LONG) is False


def test_lock_held_outside_blocks_workers(impl, make_pool):
    lock, pool = threading.Lock(), make_pool(1)
    lock.acquire()
    future = pool.submit(lock.acquire)
    with pytest.raises(TimeoutError):
        future.result(0.02)
    lock.release()
    assert future.result(LONG) is True


def test_semaphore_limits_concurrency(impl, make_pool):
    semaphore, lock = threading.Semaphore(3), threading.Lock()
    active = most = 0

    def body(_):
        nonlocal active, most
        with semaphore:
            with lock:
                active += 1
                most = max(most, active)
            time.sleep(0.002)
            with lock:
                active -= 1

    list(make_pool(8).map(body, range(60)))
    assert 1 <= most <= 3 and active == 0


def test_bounded_semaphore_counts(impl, make_pool):
    semaphore, pool = threading.BoundedSemaphore(2), make_pool(2)
    assert results([pool.submit(semaphore.acquire) for _ in range(2)]) == [True, True]
    assert pool.submit(semaphore.acquire, timeout=0.01).result(LONG) is False
    results([pool.submit(semaphore.release) for _ in range(2)])
    assert isinstance(pool.submit(semaphore.release).exception(LONG), ValueError)


def test_event_releases_all(impl, make_pool):
    event, pool = threading.Event(), make_pool(4)
    futures = [pool.submit(event.wait, LONG) for _ in range(4)]
    time.sleep(0.02)
    assert not any(future.done() for future in futures)
    event.set()
    assert results(futures) == [True] * 4


def test_condition_hands_over_items_one_by_one(impl, make_pool):
    condition, items, pool = threading.Condition(), [], make_pool(4)

    def consume():
        with condition:
            assert condition.wait_for(lambda: items, LONG)
            return items.pop(0)

    def produce(value):
        with condition:
            items.append(value)
            condition.notify()

    consumers = [pool.submit(consume) for _ in range(3)]
    for value in range(3):
        pool.submit(produce, value)
    assert sorted(results(consumers)) == [0, 1, 2]


def test_barrier_in_rounds(impl, make_pool):
    rounds, pool = [], make_pool(3)
    barrier = threading.Barrier(3, action=lambda: rounds.append(len(rounds)))

    def body():
        return [barrier.wait(LONG) for _ in range(10)]

    columns = list(zip(*results([pool.submit(body) for _ in range(3)])))
    assert rounds == list(range(10)) and all(sorted(column) == [0, 1, 2] for column in columns)


def test_broken_barrier(impl, make_pool):
    barrier, pool = threading.Barrier(3), make_pool(2)
    futures = [pool.submit(barrier.wait) for _ in range(2)]
    time.sleep(0.01)
    barrier.abort()
    assert [type(future.exception(LONG)) for future in futures] == [threading.BrokenBarrierError] * 2


def test_local_is_one_for_each_worker_and_gone_with_it(impl, make_pool):
    local, pool, barrier = threading.local(), make_pool(3), threading.Barrier(3)

    def body(value):
        barrier.wait(LONG)
        local.value = value
        barrier.wait(LONG)
        return local.value

    assert results([pool.submit(body, n) for n in range(3)]) == [0, 1, 2]
    assert not hasattr(local, "value")


def test_local_with_a_destructor(impl):
    gone = []

    class Value:
        def __del__(self):
            gone.append(threading.get_ident())

    local = threading.local()
    with impl.ThreadPoolExecutor(1) as pool:
        pool.submit(setattr, local, "value", Value()).result(LONG)
        assert gone == []
    assert len(gone) == 1


def test_timer_started_in_a_worker(impl, make_pool):
    event = threading.Event()
    make_pool(1).submit(lambda: threading.Timer(0.01, event.set).start()).result(LONG)
    assert event.wait(LONG)


@pytest.mark.parametrize("kind", [queue.Queue, queue.LifoQueue, queue.PriorityQueue])
def test_queue_with_task_done_and_join(impl, make_pool, kind):
    jobs, taken, pool = kind(), [], make_pool(3)

    def consume():
        while (value := jobs.get()) is not None and value >= 0:
            taken.append(value)
            jobs.task_done()
        jobs.task_done()

    for value in range(200):
        jobs.put(value)
    consumers = [pool.submit(consume) for _ in range(3)]
    if kind is queue.Queue:
        for _ in consumers:
            jobs.put(-1)  # poison pills
        jobs.join()
        results(consumers)
    else:
        while len(taken) < 200:
            time.sleep(0.001)
        for _ in consumers:
            jobs.put(-1)
        results(consumers)
        jobs.join()
    assert sorted(taken) == list(range(200))


def test_simple_queue_and_timeouts(impl, make_pool):
    simple, pool = queue.SimpleQueue(), make_pool(2)
    assert isinstance(pool.submit(simple.get, timeout=0.01).exception(LONG), queue.Empty)
    getter = pool.submit(simple.get)
    pool.submit(simple.put, "value")
    assert getter.result(LONG) == "value"


def test_full_queue_holds_the_producer_back(impl, make_pool):
    bounded, pool = queue.Queue(maxsize=2), make_pool(1)
    producer = pool.submit(lambda: [bounded.put(n) for n in range(6)])
    time.sleep(0.02)
    assert bounded.qsize() == 2 and not producer.done()
    assert [bounded.get(timeout=LONG) for _ in range(6)] == list(range(6))
    assert producer.result(LONG) == [None] * 6


def test_bounded_producer_and_consumers_on_real_files(impl, make_pool):
    """Two producers read source files into a queue of 8, three consumers hash them; the digests are those of a plain loop."""
    folder = pathlib.Path(sysconfig.get_path("stdlib"), "json")
    paths = sorted(folder.parent.glob("*.py"))[:60] + sorted(folder.glob("*.py"))
    assert len(paths) > 40
    work, digests, most, pool = queue.Queue(maxsize=8), {}, [], make_pool(5)

    def produce(mine):
        for path in mine:
            work.put((path, path.read_bytes()))
            most.append(work.qsize())

    def consume():
        while (item := work.get()) is not None:
            digests[item[0]] = hashlib.sha256(item[1]).hexdigest()
            work.task_done()
        work.task_done()

    producers = [pool.submit(produce, paths[part::2]) for part in range(2)]
    consumers = [pool.submit(consume) for _ in range(3)]
    results(producers)
    for _ in consumers:
        work.put(None)
    work.join()
    results(consumers)
    assert max(most) <= 8
    assert digests == {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}

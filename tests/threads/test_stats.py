"""stats(): counters and histograms that agree with what was done."""

import math
import time

from support import eventually, start_thread

LONG = 60.0


def test_fresh_pool(make_native_pool):
    stats = make_native_pool(3).stats()
    assert set(stats) >= {"queued", "running", "done", "workers", "idle", "wait", "run"}
    assert [stats[name] for name in ("queued", "running", "done", "workers", "idle")] == [0] * 5
    for name in ("wait", "run"):
        assert stats[name]["count"] == 0 and stats[name]["sum"] == 0
        assert all(count == 0 for _, count in stats[name]["buckets"])


def test_while_tasks_wait_and_run(make_native_pool, gate):
    pool = make_native_pool(2)
    for _ in range(2):
        pool.submit(gate.wait)
    gate.until_entered(2)
    futures = [pool.submit(int) for _ in range(7)]
    stats = pool.stats()
    assert (stats["queued"], stats["running"], stats["done"]) == (7, 2, 0)
    assert (stats["workers"], stats["idle"]) == (2, 0)
    gate.open()
    for future in futures:
        future.result(LONG)
    assert eventually(lambda: pool.stats()["done"] == 9)
    stats = pool.stats()
    assert (stats["queued"], stats["running"]) == (0, 0)
    assert eventually(lambda: pool.stats()["idle"] == 2)


def test_counts_add_up(make_native_pool):
    pool = make_native_pool(3)
    for future in [pool.submit(divmod, 1, n % 2) for n in range(500)]:
        future.exception(LONG)
    assert eventually(lambda: pool.stats()["done"] == 500)
    assert pool.stats()["run"]["count"] == pool.stats()["wait"]["count"] == 500


def test_map_items_are_counted(make_native_pool):
    pool = make_native_pool(2)
    assert sum(pool.map(abs, range(1000))) == 499500
    assert eventually(lambda: pool.stats()["done"] >= 1)
    assert pool.stats()["queued"] == 0


def test_histograms_are_well_formed(make_native_pool):
    pool = make_native_pool(2)
    for future in [pool.submit(time.sleep, 0.001) for _ in range(50)]:
        future.result(LONG)
    assert eventually(lambda: pool.stats()["done"] == 50)
    for name in ("wait", "run"):
        histogram = pool.stats()[name]
        bounds = [bound for bound, _ in histogram["buckets"]]
        assert bounds == sorted(bounds) and len(set(bounds)) == len(bounds) and bounds[-1] == math.inf
        ratios = [after / before for before, after in zip(bounds, bounds[1:-1])]
        assert all(math.isclose(ratio, 2) for ratio in ratios)
        assert sum(count for _, count in histogram["buckets"]) == histogram["count"] == 50
        assert isinstance(histogram["sum"], float)


def test_run_times_are_seconds(make_native_pool):
    pool = make_native_pool(1)
    for _ in range(4):
        pool.submit(time.sleep, 0.05).result(LONG)
    assert eventually(lambda: pool.stats()["run"]["count"] == 4)
    run = pool.stats()["run"]
    assert 0.2 <= run["sum"] < LONG
    # Each of the four lies in a bucket whose bound is above 0.05 s.
    assert sum(count for bound, count in run["buckets"] if bound > 0.05) == 4


def test_wait_times_are_seconds(make_native_pool, gate):
    pool = make_native_pool(1)
    pool.submit(gate.wait)
    gate.until_entered()
    future = pool.submit(int)
    time.sleep(0.1)
    gate.open()
    future.result(LONG)
    assert eventually(lambda: pool.stats()["wait"]["count"] == 2)
    wait = pool.stats()["wait"]
    assert wait["sum"] >= 0.1 and any(count for bound, count in wait["buckets"] if bound > 0.1)


def test_cancelled_items_leave_the_queue_count(make_native_pool, gate):
    pool = make_native_pool(1)
    pool.submit(gate.wait)
    gate.until_entered()
    for future in [pool.submit(int) for _ in range(10)]:
        assert future.cancel()
    gate.open()
    assert pool.submit(int).result(LONG) == 0
    assert eventually(lambda: pool.stats()["queued"] == 0)
    assert pool.stats()["run"]["count"] <= 2


def test_read_by_other_threads_all_the_time(make_native_pool):
    pool = make_native_pool(2)

    def read():
        return [pool.stats()["done"] for _ in range(2000)]

    readers = [start_thread(read) for _ in range(2)]
    for future in [pool.submit(int) for _ in range(2000)]:
        future.result(LONG)
    for reader in readers:
        reader.join(LONG)
        done, error = reader.outcome
        assert error is None and done == sorted(done)


def test_after_shutdown(make_native_pool):
    pool = make_native_pool(2)
    assert pool.submit(int).result(LONG) == 0
    pool.shutdown()
    stats = pool.stats()
    assert (stats["done"], stats["workers"], stats["queued"], stats["running"]) == (1, 0, 0, 0)


def test_takes_no_arguments_and_gives_a_copy(make_native_pool):
    pool = make_native_pool(1)
    first = pool.stats()
    first.clear()
    assert pool.stats()["done"] == 0

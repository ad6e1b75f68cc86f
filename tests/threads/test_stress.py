"""Eight threads submit, cancel, add callbacks, wait and shut down at once, for a while; everything is counted.

TREADLE_STRESS_SECONDS sets how long each test goes on (default 2). Worth running for longer on a free-threaded build, a
debug build, or one with a sanitizer.
"""

import collections
import concurrent.futures
import itertools
import os
import random
import threading
import time

from support import eventually, outcomes, start_thread

SECONDS = float(os.environ.get("TREADLE_STRESS_SECONDS", "2"))
THREADS = 8
LONG = 60.0 + 10 * SECONDS


def in_threads(function, count=THREADS):
    """Run function(number, deadline) in `count` threads; their results, or the first one's exception."""
    deadline = time.monotonic() + SECONDS
    return outcomes([start_thread(function, number, deadline) for number in range(count)], LONG)


class Tally:
    """Counts that many threads raise."""

    def __init__(self):
        self._counts = collections.Counter()
        self._lock = threading.Lock()

    def add(self, name):
        with self._lock:
            self._counts[name] += 1

    def __getitem__(self, name):
        with self._lock:
            return self._counts[name]


def test_submit_cancel_and_callbacks_are_all_counted(make_native_pool):
    pool, tally = make_native_pool(4), Tally()

    def task():
        tally.add("ran")

    def hammer(number, deadline):
        random_ = random.Random(number)
        submitted, cancelled = 0, 0
        while time.monotonic() < deadline:
            futures = [pool.submit(task) for _ in range(random_.randrange(1, 40))]
            submitted += len(futures)
            for future in futures:
                future.add_done_callback(lambda _: tally.add("called"))
                if random_.random() < 0.3:
                    cancelled += future.cancel()
            if random_.random() < 0.5:
                assert not concurrent.futures.wait(futures, LONG).not_done
        return submitted, cancelled

    submitted, cancelled = map(sum, zip(*in_threads(hammer)))
    pool.shutdown()
    assert submitted > 0 and tally["ran"] == submitted - cancelled
    assert tally["called"] == submitted


def test_one_future_finished_cancelled_and_waited_for_at_once(native):
    barrier = threading.Barrier(THREADS)
    shared = {}

    def act(number, deadline):
        wins = rounds = 0
        while True:
            if barrier.wait(LONG) == 0:
                shared["future"] = None if time.monotonic() > deadline else native.Future()
            barrier.wait(LONG)
            future = shared["future"]
            if future is None:
                return wins, rounds
            rounds += 1
            try:
                match number:
                    case 0 | 1:
                        future.set_result(number)
                        wins += 1
                    case 2:
                        future.set_exception(KeyError())
                        wins += 1
                    case 3:
                        wins += future.cancel()
                    case 4:
                        future.result(LONG)
                    case 5:
                        assert native.wait([future], LONG).done or future.cancelled()
                    case 6:
                        called = []
                        future.add_done_callback(called.append)
                        assert eventually(lambda called=called: called, LONG)
                    case 7:
                        with future._condition:
                            future._condition.wait_for(future.done, LONG)
                        assert future.done()
            except (concurrent.futures.CancelledError, concurrent.futures.InvalidStateError, KeyError):
                pass
            finally:
                if number == 3 and future.cancelled():
                    future.set_running_or_notify_cancel()

    results = in_threads(act)
    rounds = results[0][1]
    assert rounds > 0 and sum(wins for wins, _ in results) == rounds


def test_pools_shut_down_under_submission(native):
    """Threads submit to whatever pool is current; one replaces and shuts it down: each accepted task runs or is cancelled."""
    tally = Tally()
    current = [native.ThreadPoolExecutor(3)]

    def task():
        tally.add("ran")

    def submitter(number, deadline):
        accepted = []
        while time.monotonic() < deadline:
            try:
                accepted.append(current[0].submit(task))
            except RuntimeError as error:
                assert str(error) == "cannot schedule new futures after shutdown"
        return accepted

    def replacer(number, deadline):
        random_, replaced = random.Random(number), 0
        while time.monotonic() < deadline:
            time.sleep(0.005)
            old, current[0] = current[0], native.ThreadPoolExecutor(random_.randrange(1, 5))
            old.shutdown(wait=random_.random() < 0.5, cancel_futures=random_.random() < 0.5)
            replaced += 1
        return replaced

    def either(number, deadline):
        return replacer(number, deadline) if number == 0 else submitter(number, deadline)

    replaced, *accepted = in_threads(either)
    current[0].shutdown()
    futures = list(itertools.chain(*accepted))
    assert replaced > 0 and futures
    assert eventually(lambda: all(future.done() for future in futures), LONG), "futures were lost"
    assert tally["ran"] == sum(not future.cancelled() for future in futures)


def test_maps_and_submits_from_many_threads(make_native_pool):
    pool = make_native_pool(4)

    def user(number, deadline):
        random_, rounds = random.Random(number), 0
        while time.monotonic() < deadline:
            size = random_.randrange(0, 300)
            options = random_.choice([{}, {"buffersize": 5}, {"chunksize": 9}, {"chunksize": 4, "buffersize": 12}])
            match random_.randrange(4):
                case 0:
                    assert list(pool.map(abs, range(-size, 0), **options)) == list(range(size, 0, -1))
                case 1:
                    assert sorted(pool.map_unordered(abs, range(size), **options)) == list(range(size))
                case 2:
                    iterator = pool.map(abs, range(size + 1), **options)
                    assert next(iterator) == 0
                    iterator.close()
                case 3:
                    view = pool.options(priority=random_.randrange(-2, 3))
                    assert [f.result(LONG) for f in [view.submit(abs, -n) for n in range(size)]] == list(range(size))
            rounds += 1
        return rounds

    assert sum(in_threads(user)) >= THREADS
    assert eventually(lambda: pool.stats()["queued"] == pool.stats()["running"] == 0)


def test_nested_work_under_load(make_native_pool):
    pool = make_native_pool(3)

    def tree(depth):
        return 1 if depth == 0 else sum(f.result(LONG) for f in [pool.submit(tree, depth - 1) for _ in range(2)])

    def user(number, deadline):
        rounds = 0
        while time.monotonic() < deadline:
            assert pool.submit(tree, 5).result(LONG) == 32
            rounds += 1
        return rounds

    assert sum(in_threads(user)) >= THREADS


def test_wait_and_as_completed_race_with_completion(native, make_native_pool):
    pool = make_native_pool(4)

    def user(number, deadline):
        random_, rounds = random.Random(number), 0
        while time.monotonic() < deadline:
            futures = [pool.submit(pow, n, 2) for n in range(random_.randrange(1, 30))]
            if random_.random() < 0.5:
                assert set(native.as_completed(futures, LONG)) == set(futures)
            else:
                done, not_done = native.wait(futures, LONG, random_.choice(["ALL_COMPLETED", "FIRST_COMPLETED"]))
                assert done and done | not_done == set(futures)
                assert not concurrent.futures.wait(futures, LONG).not_done
            rounds += 1
        return rounds

    assert sum(in_threads(user)) >= THREADS

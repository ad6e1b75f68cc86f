"""ThreadPoolExecutor: construction, submit, workers, initializers, errors; the same as the standard one."""

import threading
import time

import pytest
from support import start_thread
from support.tasks import LONG, processor_seconds


def test_submit_from_many_threads(impl, make_pool):
    pool = make_pool(4)

    def submit_many(base):
        return [pool.submit(pow, base + n, 2) for n in range(500)]

    threads = [start_thread(submit_many, base) for base in range(0, 4000, 500)]
    results = []
    for thread in threads:
        thread.join(LONG)
        results += [future.result(LONG) for future in thread.outcome[0]]
    assert results == [n * n for n in range(4000)]


def test_submit_from_a_callback(impl, make_pool):
    pool, done = make_pool(1), threading.Event()

    def again(future, left=50):
        if left == 0:
            done.set()
        else:
            pool.submit(int).add_done_callback(lambda f: again(f, left - 1))

    pool.submit(int).add_done_callback(again)
    assert done.wait(LONG)


def test_thread_that_cannot_be_started(impl, make_pool, monkeypatch):
    def no_more(self):
        raise RuntimeError("can't start new thread")

    pool = make_pool(2)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_more)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            pool.submit(int)
    assert pool.submit(abs, -1).result(LONG) == 1


def test_waiting_for_a_long_task_uses_no_processor_time(native, make_native_pool):
    pool = make_native_pool(1)
    for wait in (
        lambda: pool.submit(time.sleep, 0.3).result(LONG),
        lambda: native.wait([pool.submit(time.sleep, 0.3)], LONG),
        lambda: list(native.as_completed([pool.submit(time.sleep, 0.3)], LONG)),
        lambda: list(pool.map(time.sleep, [0.3])),
    ):
        assert processor_seconds(wait) < 0.1

"""Callbacks of a future while its list of them is made or changed."""

import gc
import threading
import weakref

import treadle


class Ring:
    """Refers to itself, so that only a collection finds it."""

    def __init__(self):
        self.me = self


def with_collection_at_any_allocation(body):
    """Call body(), which enables collections, with the next one due after 1, 2, 3 ...
    allocations of containers."""
    before = gc.get_threshold()
    gc.collect()
    gc.disable()
    try:
        for due in range(1, 120):
            gc.set_threshold(due)
            body()
    finally:
        gc.set_threshold(*before)
        gc.enable()


def test_future_finishes_while_its_list_of_callbacks_is_made():
    lost = []

    def once():
        future = treadle.Future()
        called = []
        ring = Ring()
        finalizer = weakref.finalize(ring, future.set_result, None)
        finalizer.atexit = False
        del ring
        kept = [[] for _ in range(100)]  # so that a new list is really allocated
        gc.enable()
        future.add_done_callback(called.append)
        gc.disable()
        del kept
        gc.collect()
        if future.done() and called != [future]:
            lost.append(future)

    with_collection_at_any_allocation(once)
    assert not lost


def test_condition_looked_at_while_it_is_made():
    different = []

    def once():
        future = treadle.Future()
        seen = []
        ring = Ring()
        finalizer = weakref.finalize(ring, lambda: seen.append(future._condition))
        finalizer.atexit = False
        del ring
        gc.enable()
        seen.append(future._condition)
        gc.disable()
        gc.collect()
        if any(condition is not seen[0] for condition in seen):
            different.append(seen)

    with_collection_at_any_allocation(once)
    assert not different


def test_list_of_callbacks_changed_while_they_run():
    future = treadle.Future()
    called = []
    stop = threading.Event()

    def shuffle():
        callbacks = future._done_callbacks
        while not stop.is_set():
            callbacks.extend([called.append] * 50)
            del callbacks[100:]

    for _ in range(100):
        future.add_done_callback(called.append)
    thread = threading.Thread(target=shuffle)
    thread.start()
    try:
        future.set_result(None)
        for _ in range(200):
            future._invoke_callbacks()
    finally:
        stop.set()
        thread.join()
    assert set(called) == {future}

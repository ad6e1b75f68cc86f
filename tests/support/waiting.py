"""Waiting for a condition with a generous limit, instead of sleeping for a guessed time."""

import gc
import sys
import threading
import time

LIMIT = 60.0  # seconds; far above what anything here takes, even on a busy machine under a sanitizer


def eventually(condition, limit=LIMIT, pause=0.002):
    """True as soon as `condition()` is; False when it still is not after `limit` seconds."""
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


def dies(reference, limit=LIMIT):
    """Whether a weak reference's target goes away by reference counting alone.

    Without the GIL a count that several threads share is settled late, by the collector among others: there it may help.
    """
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return eventually(lambda: gc.collect() >= 0 and reference() is None, limit)
    enabled = gc.isenabled()
    gc.disable()
    try:
        return eventually(lambda: reference() is None, limit)
    finally:
        if enabled:
            gc.enable()


class Gate:
    """Holds workers back: tasks that call `wait` stay in it until `open`, and `entered` counts them."""

    def __init__(self):
        self._event = threading.Event()
        self._lock = threading.Lock()
        self.entered = 0

    def wait(self, value=None):
        with self._lock:
            self.entered += 1
        if not self._event.wait(3 * LIMIT):
            raise TimeoutError("the gate was never opened")
        return value

    def open(self):
        self._event.set()

    def until_entered(self, count=1):
        """Return once `count` tasks are inside."""
        assert eventually(lambda: self.entered >= count), f"only {self.entered} of {count} tasks started"


def start_thread(function, *args):
    """Run `function` in a started daemon thread; `join()` the thread and read its `.outcome`: (result, exception)."""

    def body():
        try:
            thread.outcome = (function(*args), None)
        except BaseException as error:
            thread.outcome = (None, error)

    thread = threading.Thread(target=body, daemon=True)
    thread.outcome = None
    thread.start()
    return thread


def outcomes(threads, limit):
    """What the functions of started threads returned; raises what one of them raised. Each has `limit` seconds to end."""
    results = []
    for thread in threads:
        thread.join(limit)
        assert thread.outcome is not None, "a thread hangs"
        result, error = thread.outcome
        if error is not None:
            raise error
        results.append(result)
    return results


def threads_named(prefix):
    return [thread for thread in threading.enumerate() if thread.name.startswith(prefix)]


def gone(pid):
    """Whether a process has ended; one that nobody has reaped yet counts."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True

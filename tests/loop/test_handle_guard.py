"""What call_soon_threadsafe() returns, from 3.14 on: cancel() waits for the callback that runs, and stops one that has not begun."""

import asyncio
import threading

import pytest
from support import eventually, start_thread

LONG = 60.0

pytestmark = pytest.mark.skipif(
    not hasattr(asyncio.events, "_ThreadSafeHandle"), reason="this version's handles have no lock"
)


def test_kind(loop):
    handle = loop.call_soon_threadsafe(print)
    assert isinstance(handle, asyncio.events._ThreadSafeHandle)
    handle.cancel()


def test_cancel_waits_for_the_callback(loop):
    running, go_on = threading.Event(), threading.Event()
    order = []

    def callback():
        running.set()
        assert go_on.wait(LONG)
        order.append("callback")

    def other():
        assert running.wait(LONG)
        helper = start_thread(cancel)
        helper.join(0.05)
        assert helper.is_alive()  # waits
        go_on.set()
        helper.join(LONG)
        loop.call_soon_threadsafe(loop.stop)

    def cancel():
        handle.cancel()
        order.append("cancelled")

    handle = loop.call_soon_threadsafe(callback)
    thread = start_thread(other)
    loop.run_forever()
    thread.join(LONG)
    assert thread.outcome == (None, None)
    assert order == ["callback", "cancelled"] and handle.cancelled()


@pytest.mark.parametrize("question", ["cancel", "cancelled"])
def test_the_callback_itself_does_not_wait(loop, question):
    seen = []

    def callback():
        getattr(handle, question)()
        seen.append(handle.cancelled())
        loop.stop()

    handle = loop.call_soon_threadsafe(callback)
    loop.run_forever()
    assert seen == [question == "cancel"]


def test_the_lock_is_free_after_an_error(loop):
    loop.set_exception_handler(lambda *_: loop.stop())

    def callback():
        raise ValueError

    handle = loop.call_soon_threadsafe(callback)
    loop.run_forever()
    thread = start_thread(handle.cancelled)
    thread.join(LONG)
    assert thread.outcome == (False, None)


def test_the_lock_is_free_after_an_exit(loop):
    def callback():
        raise SystemExit(5)

    handle = loop.call_soon_threadsafe(callback)
    with pytest.raises(SystemExit):
        loop.run_forever()
    thread = start_thread(handle.cancel)
    thread.join(LONG)
    assert thread.outcome == (None, None) and handle.cancelled()


def test_cancelled_in_time_means_that_it_never_runs(loop):
    """Threads cancel what others have scheduled while the loop runs it: each callback runs or was cancelled in time."""
    ran, stopped = [], threading.Event()

    def work():
        for _ in range(300):
            marks = []
            handle = loop.call_soon_threadsafe(marks.append, 1)
            handle.cancel()
            now = len(marks)
            ran.append((marks, now))

    threads = [start_thread(work) for _ in range(3)]
    stopper = start_thread(
        lambda: [thread.join(LONG) for thread in threads] and stopped.set() or loop.call_soon_threadsafe(loop.stop)
    )
    loop.run_forever()
    stopper.join(LONG)
    assert eventually(stopped.is_set)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert len(ran) == 900
    for marks, when_cancelled in ran:
        assert len(marks) == when_cancelled  # nothing ran after cancel() had returned

"""The loop in a worker process: whatever a call does, its outcome is sent and the next one runs."""

import asyncio
import gc
import os
import signal
import sys
import threading
import time
import weakref

import pytest
import tasks
import treadle
from support import eventually
from support.waiting import gone

LONG = 60.0


@pytest.fixture
def one(fork):
    with treadle.ProcessPoolExecutor(1, fork) as executor:
        yield executor


def raise_it(kind, *args):
    raise kind(*args)


@pytest.mark.parametrize(
    "kind",
    [ValueError, StopIteration, GeneratorExit, KeyboardInterrupt, SystemExit, asyncio.CancelledError, MemoryError, TimeoutError],
)
def test_whatever_is_raised_is_sent(either, fork, kind):
    """Also what would end a thread or a program elsewhere."""
    with either(1, fork) as pool:
        error = pool.submit(raise_it, kind, "text").exception(LONG)
        assert type(error) is kind and error.args == ("text",)
        assert pool.submit(tasks.double, 1).result(LONG) == 2


def dive(depth):
    return dive(depth + 1)


def test_too_deep(one):
    assert isinstance(one.submit(dive, 0).exception(LONG), RecursionError)
    assert one.submit(tasks.double, 1).result(LONG) == 2


class Group(Exception):
    pass


def raise_with_cause():
    try:
        raise_it(OSError, 5, "below")
    except OSError as error:
        raise Group("above") from error


def test_causes_are_in_the_traceback(either, fork):
    with either(1, fork) as pool:
        error = pool.submit(raise_with_cause).exception(LONG)
        assert type(error) is Group
        text = str(error.__cause__)
        assert "below" in text and "raise_with_cause" in text and "direct cause" in text


def raise_group():
    raise ExceptionGroup("several", [ValueError("a"), TypeError("b")])


def test_exception_groups(either, fork):
    with either(1, fork) as pool:
        error = pool.submit(raise_group).exception(LONG)
        assert isinstance(error, ExceptionGroup)
        assert [type(one) for one in error.exceptions] == [ValueError, TypeError]


def fork_a_child(code):
    """A child of the worker that ends by itself: the worker's link is the worker's."""
    pid = os.fork()
    if pid == 0:
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_task_may_fork(one):
    assert [one.submit(fork_a_child, code).result(LONG) for code in (0, 3, 7)] == [0, 3, 7]


def start_a_thread(path):
    def work():
        time.sleep(0.05)
        tasks.touch(path)

    threading.Thread(target=work).start()
    return threading.active_count()


def test_a_task_may_start_threads(fork, tmp_path):
    """They run while the worker waits for its next call, and it waits for them at its end."""
    with treadle.ProcessPoolExecutor(1, fork) as pool:
        assert pool.submit(start_a_thread, tmp_path / "one").result(LONG) == 2
        assert tasks.wait_for(tmp_path / "one")
        assert pool.submit(start_a_thread, tmp_path / "two").result(LONG) >= 2
    assert (tmp_path / "two").exists()


def handle_signals():
    got = []
    signal.signal(signal.SIGUSR1, lambda number, frame: got.append(number))
    globals()["got"] = got
    return os.getpid()


def what_came():
    return globals()["got"]


def test_signals_between_tasks(one):
    """A worker that waits for a call runs the handlers of what comes meanwhile."""
    pid = one.submit(handle_signals).result(LONG)
    time.sleep(0.05)  # asleep by now
    os.kill(pid, signal.SIGUSR1)
    assert eventually(lambda: one.submit(what_came).result(LONG) == [signal.SIGUSR1])


def raise_at_signal():
    def handler(number, frame):
        raise tasks.BadException("from", "a handler")

    signal.signal(signal.SIGUSR2, handler)
    return os.getpid()


def test_a_handler_that_raises_between_tasks(fork):
    """As anywhere at the bottom of a program: the worker ends, which is said."""
    with treadle.ProcessPoolExecutor(1, fork, on_crash="respawn") as pool:
        pid = pool.submit(raise_at_signal).result(LONG)
        time.sleep(0.05)
        os.kill(pid, signal.SIGUSR2)
        assert eventually(lambda: gone(pid))
        assert pool.submit(tasks.double, 1).result(LONG) == 2


class Kept:
    pass


def make_kept():
    kept = Kept()
    globals()["reference"] = weakref.ref(kept)
    return 5


def is_kept_gone():
    gc.collect()
    return globals()["reference"]() is None


def return_frame():
    """An exception whose frames hold something large."""
    kept = Kept()
    globals()["reference"] = weakref.ref(kept)
    raise ValueError(len(repr(kept)))


def test_nothing_of_a_task_is_kept(one):
    """Neither values nor the frames of what was raised."""
    assert one.submit(make_kept).result(LONG) == 5
    assert one.submit(is_kept_gone).result(LONG)
    assert isinstance(one.submit(return_frame).exception(LONG), ValueError)
    assert one.submit(is_kept_gone).result(LONG)


def arguments_count(value):
    return sys.getrefcount(value)


def test_arguments_belong_to_the_call(one):
    """Nobody else in the worker holds them."""

    def direct(value):
        return sys.getrefcount(value)

    assert one.submit(arguments_count, ["x"]).result(LONG) <= direct(["x"]) + 1


@pytest.mark.parametrize("most", [1, 3])
def test_max_tasks(most):
    with treadle.ProcessPoolExecutor(1, "zygote", max_tasks_per_child=most) as pool:
        pids = [pool.submit(tasks.pid).result(LONG) for _ in range(4 * most)]
    for first in range(0, 4 * most, most):
        assert len(set(pids[first : first + most])) == 1
    assert len(set(pids)) == 4


def test_chunks(one):
    """Values up to what a later item raises, or to what cannot be sent."""
    results = one.map(tasks.unpicklable_if_odd, [0, 2, 4, 5, 6], chunksize=5)
    assert [next(results) for _ in range(3)] == [0, 2, 4]
    with pytest.raises(TypeError, match="this does not pickle"):
        next(results)
    assert one.submit(tasks.double, 1).result(LONG) == 2


def test_who_closes_its_output(one):
    """Only what it prints is lost."""
    for fd in (1, 2):
        one.submit(os.close, fd).result(LONG)
    assert type(one.submit(os.write, 1, b"nobody reads this").exception(LONG)) is OSError
    assert one.submit(tasks.double, 1).result(LONG) == 2

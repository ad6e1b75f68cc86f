"""Waiting for a process pool's futures: who waits collects, awake or asleep, for itself and for others."""

import concurrent.futures
import os
import signal
import threading
import time

import pytest
import tasks
import treadle
from support import eventually, run_script, start_thread

LONG = 60.0
ASLEEP = 0.05  # seconds after which no waiter spins any more


def begin_waiting(future, timeout=LONG):
    """A thread that waits for `future`, by now asleep."""
    thread = start_thread(future.result, timeout)
    time.sleep(ASLEEP)
    return thread


def outcome_of(thread):
    thread.join(LONG)
    assert not thread.is_alive()
    return thread.outcome


def hold(pool, folder, name="door"):
    """A task that runs until the second value, a path, is touched."""
    door, mark = folder / name, folder / f"{name}.mark"
    future = pool.submit(tasks.touch_and_wait, mark, door)
    assert tasks.wait_for(mark)
    return future, door


@pytest.mark.parametrize("seconds", [0, 0.0001, 0.001, 0.02])
def test_one_by_one(pool, seconds):
    for number in range(20):
        assert pool.submit(tasks.sleep_and_return, seconds, number).result(LONG) == number


def test_a_timeout_is_never_early_and_harms_nothing(pool, tmp_path):
    held, door = hold(pool, tmp_path)
    for timeout in (0, 0.00001, 0.001, 0.03):
        start = time.monotonic()
        with pytest.raises(TimeoutError):
            held.result(timeout)
        assert time.monotonic() - start >= timeout
    assert pool.submit(tasks.double, 4).result(LONG) == 8
    tasks.touch(door)
    assert held.result(LONG) is True


def test_many_threads_wait(pool):
    futures = [pool.submit(tasks.sleep_and_return, 0.002 * (number % 5), number) for number in range(60)]
    threads = [start_thread(future.result, LONG) for future in futures]
    assert [outcome_of(thread) for thread in threads] == [(number, None) for number in range(60)]


def test_results_of_others_come_while_one_sleeps(pool, tmp_path):
    held, door = hold(pool, tmp_path)
    thread = begin_waiting(held)
    others = [pool.submit(tasks.double, number) for number in range(200)]
    assert eventually(lambda: all(future.done() for future in others))
    assert [future.result(0) for future in others] == [2 * number for number in range(200)]
    assert thread.is_alive()
    tasks.touch(door)
    assert outcome_of(thread) == (True, None)


def test_callbacks_run_while_one_sleeps(pool, tmp_path):
    """Not in the thread that waits, which may hold any lock."""
    held, door = hold(pool, tmp_path)
    thread = begin_waiting(held)
    ran = []
    for number in range(20):
        future = pool.submit(tasks.double, number)
        future.add_done_callback(lambda future: ran.append((future.result(), threading.current_thread())))
        time.sleep(0.001 * (number % 4))
    assert eventually(lambda: len(ran) == 20)
    assert {value for value, _ in ran} == {2 * number for number in range(20)}
    assert thread not in {where for _, where in ran}
    tasks.touch(door)
    assert outcome_of(thread) == (True, None)


def test_callbacks_run_after_one_has_given_up(pool, tmp_path):
    """Whoever leaves has the dispatcher look after what is under way."""
    held, door = hold(pool, tmp_path)
    called = threading.Event()
    held.add_done_callback(lambda future: called.set())
    with pytest.raises(TimeoutError):
        held.result(ASLEEP)
    tasks.touch(door)
    assert called.wait(LONG)


def test_cancelled_while_one_sleeps(pool, tmp_path):
    doors = [hold(pool, tmp_path, name) for name in "ab"]
    queued = pool.submit(tasks.nothing)
    thread = begin_waiting(queued)
    assert queued.cancel()
    value, error = outcome_of(thread)
    assert value is None and isinstance(error, concurrent.futures.CancelledError)
    for future, door in doors:
        tasks.touch(door)
        assert future.result(LONG)


def test_set_by_somebody_else_while_one_sleeps(pool, tmp_path):
    held, door = hold(pool, tmp_path)
    thread = begin_waiting(held)
    held.set_result("from elsewhere")
    assert outcome_of(thread) == ("from elsewhere", None)
    tasks.touch(door)
    assert pool.submit(tasks.double, 1).result(LONG) == 2


def test_the_worker_is_killed_while_one_sleeps(fork, tmp_path):
    """The dispatcher takes the collector's role from the sleeper to see what is left."""
    with treadle.ProcessPoolExecutor(1, fork, on_crash="respawn") as pool:
        for number in range(3):
            held, _ = hold(pool, tmp_path, str(number))
            thread = begin_waiting(held)
            (pid,) = pool._processes
            os.kill(pid, signal.SIGKILL)
            value, error = outcome_of(thread)
            assert value is None and isinstance(error, treadle.BrokenProcessPool) and "SIGKILL" in str(error)
        assert pool.submit(tasks.double, 1).result(LONG) == 2


def test_a_time_limit_while_one_sleeps(fork):
    with treadle.ProcessPoolExecutor(2, fork, on_crash="respawn") as pool:
        thread = begin_waiting(pool.options(timeout=0.1).submit(time.sleep, 30))
        value, error = outcome_of(thread)
        assert value is None and isinstance(error, TimeoutError)
        assert pool.submit(tasks.double, 1).result(LONG) == 2


@pytest.mark.parametrize("size", [3000, 15_000])
def test_more_than_a_ring_holds_while_one_sleeps(pool, tmp_path, size):
    """A worker that waits for room in its ring has it emptied, whoever collects."""
    held, door = hold(pool, tmp_path)
    thread = begin_waiting(held)
    data = os.urandom(size)
    futures = [pool.submit(tasks.double, data) for _ in range(200)]
    assert all(future.result(LONG) == data + data for future in futures)
    tasks.touch(door)
    assert outcome_of(thread) == (True, None)


def test_a_map_while_one_sleeps(pool, tmp_path):
    held, door = hold(pool, tmp_path)
    thread = begin_waiting(held)
    assert list(pool.map(tasks.double, range(500), chunksize=3)) == [2 * number for number in range(500)]
    assert list(pool.map(tasks.double, range(100), buffersize=4)) == [2 * number for number in range(100)]
    tasks.touch(door)
    assert outcome_of(thread) == (True, None)


def test_shutdown_while_one_sleeps(fork, tmp_path):
    pool = treadle.ProcessPoolExecutor(1, fork)
    held, door = hold(pool, tmp_path)
    thread = begin_waiting(held)
    pool.shutdown(wait=False)
    tasks.touch(door)
    assert outcome_of(thread) == (True, None)
    assert eventually(lambda: not [t for t in threading.enumerate() if t.name == "treadle-process-pool"])


class Interrupted(Exception):
    pass


def test_a_signal_ends_the_sleep(pool, tmp_path):
    def interrupt(number, frame):
        raise Interrupted

    held, door = hold(pool, tmp_path)
    before = signal.signal(signal.SIGUSR1, interrupt)
    main = threading.main_thread().ident
    try:
        for _ in range(3):
            timer = threading.Timer(ASLEEP, signal.pthread_kill, (main, signal.SIGUSR1))
            timer.start()
            with pytest.raises(Interrupted):
                held.result(LONG)
            timer.join()
            assert pool.submit(tasks.double, 1).result(LONG) == 2
    finally:
        signal.signal(signal.SIGUSR1, before)
        tasks.touch(door)
    assert held.result(LONG)


WITHOUT_THE_CALL = """
import ctypes, multiprocessing, os, struct, sys, threading, time
import treadle
sys.path.insert(0, {folder!r})
import tasks

def forbid(number):
    # a filter as containers have it: the call `number` fails with ENOSYS
    program = b"".join(struct.pack("HBBI", *step) for step in (
        (0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x50000 | 38), (0x06, 0, 0, 0x7FFF0000)))
    code = ctypes.create_string_buffer(program, len(program))
    head = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, head, 0, 0):
        print("no filters here")
        raise SystemExit
    assert libc.syscall(number, 0, 0, 0, 0, 0) == -1 and ctypes.get_errno() == 38

if __name__ == "__main__":
    forbid(449)
    with treadle.ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        for number in range(10):
            assert pool.submit(tasks.sleep_and_return, 0.01, number).result(60) == number
        try:
            pool.submit(time.sleep, 1).result(0.05)
        except TimeoutError:
            print("in time")
"""


def test_where_the_kernel_cannot_wait_for_two_words():
    out = run_script(WITHOUT_THE_CALL.format(folder=os.path.dirname(__file__)))
    if "no filters here" in out:
        pytest.skip("this system has no system call filters")
    assert out == "in time\n"

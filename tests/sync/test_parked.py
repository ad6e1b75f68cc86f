"""Threads that wait: timeouts, interrupts, grants that come too late."""

import _thread
import signal
import sys
import threading
import time

import pytest
import treadle
from support.waiting import eventually


def waiting(thing, count):
    return eventually(lambda: f"waiters:{count}]" in repr(thing))


def test_one_who_gave_up_is_passed_over():
    lock, got = treadle.Lock(), []
    lock.acquire_sync()
    patient = threading.Thread(target=lambda: got.append(lock.acquire_sync()))
    hasty = threading.Thread(target=lambda: got.append(lock.acquire_sync(1)))
    hasty.start()
    assert waiting(lock, 1)
    patient.start()
    assert waiting(lock, 2)
    hasty.join()
    assert got == [False] and waiting(lock, 1)
    lock.release()
    patient.join()
    assert got == [False, True] and lock.locked()


def test_timeouts_that_race_with_grants_lose_nothing():
    semaphore, got, stop = treadle.Semaphore(0), [], time.monotonic() + 0.5

    def consumer(name):
        mine = 0
        while time.monotonic() < stop:
            mine += semaphore.acquire_sync(1e-5)
        got.append(mine)

    threads = [threading.Thread(target=consumer, args=[name]) for name in range(3)]
    for each in threads:
        each.start()
    given = 0
    while time.monotonic() < stop:
        semaphore.release()
        given += 1
        if given % 16 == 0:
            time.sleep(2e-5)
    for each in threads:
        each.join()
    assert sum(got) + semaphore._value == given


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_ends_the_wait():
    lock = treadle.Lock()
    lock.acquire_sync()
    threading.Timer(0.05, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        # interrupt_main() alone does not end a system call
        threading.Timer(0.1, lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)).start()
        lock.acquire_sync()
        time.sleep(5)
    try:
        time.sleep(0.2)  # the second one may come after the first was noticed
    except KeyboardInterrupt:
        pass
    assert not lock._waiters and lock.locked()


def test_an_interrupt_passes_the_grant_on():
    """A signal handler that releases the lock and raises: the thread was granted it while it was interrupted."""
    lock, got = treadle.Lock(), []
    lock.acquire_sync()
    main = threading.main_thread().ident

    def handler(*_):
        lock.release()
        raise InterruptedError

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        threading.Timer(0.05, signal.pthread_kill, [main, signal.SIGUSR1]).start()
        with pytest.raises(InterruptedError):
            lock.acquire_sync()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert not lock.locked()
    other = threading.Thread(target=lambda: got.append(lock.acquire_sync(10)))
    other.start()
    other.join()
    assert got == [True]


def test_in_a_pool():
    lock, done = treadle.Lock(), []
    with treadle.ThreadPoolExecutor(4) as pool:

        def job(number):
            with lock:
                done.append(number)

        list(pool.map(job, range(200)))
    assert sorted(done) == list(range(200))

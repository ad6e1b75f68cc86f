"""A pool whose workers are killed and stopped at random moments, while random tasks of all sizes go in and out.

TREADLE_CHAOS_SECONDS sets how long each start method is tried (default 4), TREADLE_CHAOS_SIZE the largest message in bytes
(default 8 MB; 100 MB is worth a longer run), TREADLE_CHAOS_SEED the dice. A long run needs TREADLE_TEST_TIMEOUT as well. Each
future ends exactly once, with its own result or an error that explains itself; nothing is left behind; the pool works on.
"""

import collections
import concurrent.futures
import gc
import hashlib
import multiprocessing
import os
import random
import signal
import sys
import threading
import time

import pytest
import tasks
import treadle
from support import eventually, run_script

SECONDS = float(os.environ.get("TREADLE_CHAOS_SECONDS", "4"))
LARGEST = int(os.environ.get("TREADLE_CHAOS_SIZE", str(8 << 20)))
SEED = int(os.environ.get("TREADLE_CHAOS_SEED", "0")) or random.randrange(1, 1 << 30)
WORKERS = 3
OUTSTANDING = 40  # futures at a time
MEMORY = 512 << 20  # bytes that the process may have grown by in the end: what the allocator keeps
PATIENCE = 60.0

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")


def children():
    """The pids of this process's children that are not zombies."""
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = stat_of(name)
            if fields and int(fields[1]) == os.getpid() and fields[0] != "Z":
                found.add(int(name))
    return found


def stat_of(pid):
    """State and parent of a process, or None."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[:2]
    except OSError:
        return None


def shared_mappings():
    with open("/proc/self/maps") as maps:
        return sum("memfd:" in line or "/dev/shm" in line for line in maps)


def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Chaos(threading.Thread):
    """Sends signals to the children of this process until it is told to stop; wakes what it has stopped.

    It waits until something has ended since it did harm: where starting takes long nothing would live long enough."""

    def __init__(self, random_, book, spared):
        super().__init__(daemon=True)
        self._random, self._book, self._spared = random_, book, spared
        self._end, self.sent = threading.Event(), collections.Counter()

    def run(self):
        seen = 0
        while not self._end.wait(self._random.uniform(0.0, 0.25)):
            victims, ended = sorted(children() - self._spared), self._book.ended()
            if victims and ended != seen:
                self._harm(self._random.choice(victims))
                seen = ended

    def _harm(self, pid):
        number = self._random.choice([signal.SIGKILL, signal.SIGSTOP])
        self._send(pid, number)
        if number == signal.SIGSTOP:
            time.sleep(self._random.uniform(0.0, 0.1))
            self._send(pid, self._random.choice([signal.SIGCONT, signal.SIGKILL]))

    def _send(self, pid, number):
        fields = stat_of(pid)
        if fields and int(fields[1]) == os.getpid():  # not somebody else who has got its number
            os.kill(pid, number)
            self.sent[number] += 1

    def stop(self):
        self._end.set()
        self.join(PATIENCE)


class Book:
    """What was asked for, and how often each future said that it is done.

    What has ended is looked at soon and forgotten: a long run may not hold all that it ever got."""

    def __init__(self):
        self.entries, self.outcomes, self.added, self.lock = [], collections.Counter(), 0, threading.Lock()
        self.told, self.calls = set(), 0

    def add(self, future, check):
        self.entries.append((future, check))
        self.added += 1
        future.add_done_callback(self._note)

    def _note(self, future):
        with self.lock:
            self.calls += 1
            self.told.add(id(future))

    def ended(self):
        return self.calls

    def running(self):
        left = []
        for future, check in self.entries:
            if id(future) not in self.told:
                left.append((future, check))
                continue
            self.outcomes[self._outcome(future, check)] += 1
            with self.lock:
                self.told.discard(id(future))
        self.entries = left
        return [future for future, _ in left if not future.done()]

    def settle(self):
        """All futures end; returns how they did."""
        late = concurrent.futures.wait([future for future, _ in self.entries], PATIENCE).not_done
        assert not late, f"{len(late)} of {self.added} futures never end"
        assert eventually(lambda: not self.running() and not self.entries), "a callback was not called"
        assert self.calls == self.added == self.outcomes.total()
        return self.outcomes

    def _outcome(self, future, check):
        if future.cancelled():
            return "cancelled"
        error = future.exception()
        if isinstance(error, concurrent.futures.process.BrokenProcessPool):
            assert "Worker process" in str(error)
            return "killed"
        if isinstance(error, TimeoutError):
            return "timeout"
        check(error, None if error else future.result())
        return "result" if error is None else type(error).__name__


def digest_and_data(data, answer):
    return hashlib.blake2b(data).digest(), bytes(answer)


def close_everything():
    os.closerange(3, 10000)
    return "closed"


def is_value(expected):
    def check(error, value):
        assert error is None and value == expected, error

    return check


def is_echo(data, answer):
    digest = hashlib.blake2b(data).digest()

    def check(error, value):
        assert error is None, error
        assert value[0] == digest and value[1] == bytes(answer)

    return check


def is_error(kind):
    def check(error, value):
        assert isinstance(error, kind), (error, value)

    return check


def random_size(random_):
    return int(LARGEST ** random_.random()) - 1


def submit_something(pool, book, random_):
    kind = random_.randrange(12)
    if kind < 5:
        data, answer = random_.randbytes(random_size(random_)), random_size(random_)
        book.add(pool.submit(digest_and_data, data, answer), is_echo(data, answer))
    elif kind < 8:
        value = random_.random()
        book.add(pool.submit(tasks.sleep_and_return, value / 50, value), is_value(value))
    elif kind == 8:
        book.add(pool.submit(tasks.raise_value_error, "x"), is_error(ValueError))
    elif kind == 9:
        book.add(pool.submit(tasks.return_unpicklable), is_error(TypeError))
    elif kind == 10:
        book.add(pool.submit(tasks.raise_bad), is_error(Exception))
    else:
        book.add(pool.submit(tasks.return_fails_to_load), is_error(ImportError))


def cancel_something(book, random_):
    running = book.running()
    if running:
        random_.choice(running).cancel()


def storm(pool, book, random_, chaos):
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline or not chaos.sent[signal.SIGKILL]:
        submit_something(pool, book, random_)
        if random_.random() < 0.1:
            cancel_something(book, random_)
        if random_.random() < 0.02 and hasattr(pool, "resize"):
            pool.resize(random_.randrange(1, WORKERS + 1))
        if random_.random() < 0.05 and hasattr(pool, "options"):
            book.add(pool.options(timeout=0.05).submit(tasks.sleep_and_return, 30, None), is_error(TimeoutError))
        while len(book.running()) > OUTSTANDING:
            time.sleep(0.001)


@pytest.mark.parametrize("method", ["zygote", "fork"])
def test_whatever_happens_to_workers(method, descriptors):
    random_ = random.Random(SEED)
    context = "zygote" if method == "zygote" else multiprocessing.get_context(method)
    spared = children()  # others than the pool's
    with treadle.ProcessPoolExecutor(1, context) as warm:  # what a process has for good
        warm.submit(abs, 1).result(PATIENCE)
    before = descriptors(), shared_mappings(), resident(), children()
    pool, book = treadle.ProcessPoolExecutor(WORKERS, context, on_crash="respawn"), Book()
    chaos = Chaos(random_, book, spared)
    chaos.start()
    try:
        storm(pool, book, random.Random(SEED + 1), chaos)
    finally:
        chaos.stop()
    outcomes = book.settle()
    assert outcomes["result"] > 0, (SEED, outcomes, chaos.sent)
    assert pool.submit(abs, -1).result(PATIENCE) == 1
    pool.shutdown()
    del pool, book, chaos
    gc.collect()
    assert eventually(lambda: children() <= before[3] or method == "zygote"), (SEED, children(), before)
    assert eventually(lambda: descriptors() <= before[0] + (method == "zygote") * 4), (SEED, descriptors(), before)
    assert shared_mappings() <= before[1], SEED
    assert resident() < before[2] + MEMORY, SEED


@pytest.mark.parametrize("number", range(3))
def test_a_worker_that_closes_all_its_descriptors(number, fork):
    """It is lost at the latest when it ends, and the pool goes on."""
    with treadle.ProcessPoolExecutor(2, fork, on_crash="respawn") as pool:
        future = pool.submit(close_everything)
        try:
            assert future.result(PATIENCE) == "closed"
        except concurrent.futures.process.BrokenProcessPool as error:
            assert "Worker process" in str(error)
        for value in range(20):
            try:
                assert pool.submit(abs, -value).result(PATIENCE) == value
            except concurrent.futures.process.BrokenProcessPool as error:
                assert "Worker process" in str(error)
        assert pool.submit(abs, -1).result(PATIENCE) == 1


PARENT = """
import os, sys, time
import treadle
sys.path.insert(0, {folder!r})
import tasks

def big(n):
    time.sleep(0.05)
    return bytes(n)

if __name__ == "__main__":
    pool = treadle.ProcessPoolExecutor(2, {method})
    first = pool.submit(tasks.pid).result()
    futures = [pool.submit(tasks.double, bytes(1 << 22)) for _ in range(20)]
    futures += [pool.submit(tasks.sleep_and_pid, 30) for _ in range(2)]
    time.sleep(0.2)
    print(*pool._processes, flush=True)
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("method", ["'zygote'", "treadle._procs._workers.get_context('fork')"], ids=["zygote", "fork"])
def test_the_parent_is_killed(method):
    """Shared memory has no name, so it is gone with the last process that had it."""
    out, err = run_script(PARENT.format(method=method, folder=os.path.dirname(__file__)), status=-9)
    pids = [int(word) for word in out.split()]
    assert pids, err
    try:
        # far from the end of what they sleep
        assert eventually(lambda: all((stat_of(pid) or "Z")[0] == "Z" for pid in pids))
    finally:
        for pid in pids:
            if (stat_of(pid) or "Z")[0] != "Z":
                os.kill(pid, signal.SIGKILL)

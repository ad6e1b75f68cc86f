"""Tasks while they wait: taken out of the queue, sent again, and let go."""

import functools
import gc
import weakref

import pytest
import tasks
import treadle
from support import eventually

LONG = 60.0


def append(path, line):
    with open(path, "a") as file:
        file.write(f"{line}\n")


@pytest.fixture
def one(fork):
    with treadle.ProcessPoolExecutor(1, fork) as executor:
        yield executor


def hold(pool, folder):
    door = folder / "door"
    held = pool.submit(tasks.touch_and_wait, folder / "mark", door)
    assert tasks.wait_for(folder / "mark")
    return held, door


@pytest.mark.parametrize("pattern", ["first", "last", "even", "all", "all but last", "middle"])
def test_taken_out_of_the_queue(one, tmp_path, pattern):
    """The others keep their order, and what comes afterwards comes after them."""
    number = {
        "first": [0], "last": [59], "even": range(0, 60, 2), "all": range(60),
        "all but last": range(59), "middle": range(20, 50),
    }[pattern]
    held, door = hold(one, tmp_path)
    path = tmp_path / "lines"
    futures = [one.submit(append, path, n) for n in range(60)]
    assert all(futures[n].cancel() for n in number)
    futures += [one.submit(append, path, n) for n in range(60, 70)]
    tasks.touch(door)
    assert held.result(LONG) and futures[-1].result(LONG) is None
    assert path.read_text().split() == [str(n) for n in range(70) if n not in number]
    assert [future.cancelled() for future in futures] == [n in number for n in range(70)]


def test_taken_back_twice(one, tmp_path):
    held, door = hold(one, tmp_path)
    future = one.submit(tasks.nothing)
    assert future.cancel() and future.cancel() and future.cancelled()
    tasks.touch(door)
    assert held.result(LONG) and not held.cancel()


class Counted:
    """Counts how often it was pickled, here."""

    times = 0

    def __reduce__(self):
        Counted.times += 1
        return str, ("counted",)


def exit_twice(path, value):
    tasks.touch(path)
    with open(path) as file:
        if len(file.readlines()) <= 2:
            tasks.exit_now()
    return value


def test_sent_again_from_the_same_bytes(fork, tmp_path):
    """A call is pickled once, however often it is sent."""
    Counted.times = 0
    with treadle.ProcessPoolExecutor(1, fork, on_crash="respawn") as pool:
        value = ("kept", bytearray(b"x" * 100_000), Counted())
        future = pool.options(retries=2).submit(exit_twice, tmp_path / "times", value)
        assert future.result(LONG) == ("kept", bytearray(b"x" * 100_000), "counted")
    assert Counted.times == 1 and len((tmp_path / "times").read_text().split()) == 3


def test_no_more_than_the_retries_there_are(fork, tmp_path):
    with treadle.ProcessPoolExecutor(1, fork, on_crash="respawn") as pool:
        future = pool.options(retries=1).submit(exit_twice, tmp_path / "times", 1)
        assert isinstance(future.exception(LONG), treadle.BrokenProcessPool)
        assert pool.submit(tasks.double, 1).result(LONG) == 2
    assert len((tmp_path / "times").read_text().split()) == 2


class Target:
    """A callable that is sent as something else."""

    def __call__(self):
        raise NotImplementedError

    def __reduce__(self):
        return functools.partial, (tasks.nothing,)


@pytest.mark.parametrize("ending", ["done", "cancelled", "failed", "shutdown"])
def test_what_runs_is_let_go(fork, tmp_path, ending):
    pool = treadle.ProcessPoolExecutor(1, fork, on_crash="respawn")
    held, door = hold(pool, tmp_path)
    target = Target()
    reference = weakref.ref(target)
    future = pool.submit(target)
    del target
    assert reference() is not None  # for messages about it
    if ending == "cancelled":
        assert future.cancel()
    elif ending == "shutdown":
        for _ in range(2):  # the first of them counts as begun
            pool.submit(tasks.nothing)
        pool.shutdown(wait=False, cancel_futures=True)
    elif ending == "failed":
        for process in pool._processes.values():
            process.kill()
    tasks.touch(door)
    held.exception(LONG)
    pool.shutdown()
    assert future.done()
    assert eventually(lambda: gc.collect() >= 0 and reference() is None)

"""Arrays, large values and shared memory through a pool of real processes."""

import gc
import os
import signal
import time

import pytest
import tasks

import treadle
from support.codecs import Box

LARGE = 300_000


def echo(value):
    return value


def change(box):
    memoryview(box.data)[:3] = b"abc"
    return box


def contents(box):
    return bytes(box.data[:5]), memoryview(box.data).readonly


KEPT = []


def keep(box):
    KEPT.append(box)
    return len(KEPT)


def die_with(box):
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(box, path):
    """Change what came and die; the second time, say what has come."""
    seen = bytes(memoryview(box.data)[:3])
    if os.path.exists(path):
        return seen
    open(path, "w").close()
    memoryview(box.data)[:3] = b"bad"
    os.kill(os.getpid(), signal.SIGKILL)


def fill(buffer, byte):
    memoryview(buffer)[:] = bytes([byte]) * len(buffer)
    return os.getpid()


def make_shared(size):
    buffer = treadle.SharedBuffer(size)
    memoryview(buffer)[:4] = b"mine"
    return buffer


def fails(box):
    raise ValueError(box.data)


@pytest.fixture(params=["zygote", "fork"])
def pool(request):
    with treadle.ProcessPoolExecutor(2, mp_context=request.param) as pool:
        yield pool


def blocks(pool):
    gc.collect()
    return pool._pool._blocks()["blocks"]


def wait_for_blocks(pool, count):
    """What a worker lets go of is seen a moment later."""
    deadline = time.monotonic() + 30
    while blocks(pool) != count and time.monotonic() < deadline:
        time.sleep(0.01)
    assert blocks(pool) == count


def mapped(pid="self", what="treadle-blocks"):
    gc.collect()
    with open(f"/proc/{pid}/maps") as lines:
        return sum(what in line for line in lines)


@pytest.mark.parametrize("size", [0, 1, 1000, 20_000, LARGE, 5_000_000])
def test_out_and_back(pool, size):
    content = os.urandom(size)
    for value in content, bytearray(content), [content, {"a": content}], content.hex():
        got = pool.submit(echo, value).result()
        assert got == value
        assert type(got) is type(value)
    for box in Box(content), Box(bytearray(content)):
        got = pool.submit(echo, box).result()
        assert bytes(got.data) == content
        assert memoryview(got.data).readonly == memoryview(box.data).readonly
    wait_for_blocks(pool, 0)


def test_worker_gets_a_copy_of_its_own(pool):
    box = Box(bytearray(LARGE))
    got = pool.submit(change, box).result()
    assert bytes(got.data[:4]) == b"abc\0"
    assert bytes(box.data[:4]) == bytes(4)
    assert pool.submit(contents, Box(b"x" * LARGE)).result() == (b"xxxxx", True)


def test_map(pool):
    values = [Box(bytearray([i]) * LARGE) for i in range(20)]
    for got, value in zip(pool.map(echo, values), values, strict=True):
        assert bytes(got.data) == value.data
    assert [len(value) for value in pool.map(echo, [bytes(i * 10_000) for i in range(30)], chunksize=7)] == [
        i * 10_000 for i in range(30)
    ]
    got = value = None
    wait_for_blocks(pool, 0)


def test_exceptions(pool):
    with pytest.raises(ValueError) as caught:
        pool.submit(fails, Box(bytearray(b"x" * LARGE))).result()
    assert bytes(caught.value.args[0]) == b"x" * LARGE


def test_results_outlive_the_pool():
    before = mapped()
    with treadle.ProcessPoolExecutor(2, mp_context="zygote") as pool:
        results = [pool.submit(echo, Box(bytearray([i]) * LARGE)) for i in range(10)]
        results = [future.result() for future in results]
    del pool
    assert [bytes(box.data) for box in results] == [bytes([i]) * LARGE for i in range(10)]
    del results
    gc.collect()
    assert mapped() == before


def test_what_a_worker_keeps_is_its_own(pool):
    pids = {pool.submit(os.getpid).result() for _ in range(3)}
    assert pids
    for i in range(4):
        pool.submit(keep, Box(bytearray([i]) * LARGE)).result()
    pool.submit(echo, 1).result()
    assert blocks(pool) == 4


def test_cancelled_calls_give_their_memory_back(tmp_path):
    with treadle.ProcessPoolExecutor(1, mp_context="zygote") as pool:
        running = pool.submit(tasks.wait_for, tmp_path / "door")
        futures = [pool.submit(echo, Box(bytearray(LARGE))) for _ in range(30)]
        pool.shutdown(wait=False, cancel_futures=True)
        assert sum(future.cancelled() for future in futures) >= 28
        tasks.touch(tmp_path / "door")
        assert running.result()
        del futures
        wait_for_blocks(pool, 0)


def test_dead_worker_keeps_nothing():
    with treadle.ProcessPoolExecutor(1, mp_context="zygote", on_crash="respawn") as pool:
        got = [pool.submit(echo, Box(bytearray([i]) * LARGE)).result() for i in range(3)]
        for _ in range(3):
            pool.submit(keep, Box(bytearray(LARGE))).result()
            doomed = pool.submit(die_with, Box(bytearray(LARGE)))
            after = [pool.submit(contents, Box(bytearray(b"after") * LARGE)) for _ in range(5)]
            with pytest.raises(treadle.BrokenExecutor):
                doomed.result()
            assert [future.result() for future in after] == [(b"after", False)] * 5
        wait_for_blocks(pool, 0)
        assert [bytes(box.data) for box in got] == [bytes([i]) * LARGE for i in range(3)]


def test_rerun_gets_what_was_sent(tmp_path):
    with treadle.ProcessPoolExecutor(1, mp_context="zygote", on_crash="respawn") as pool:
        view = pool.options(retries=2)
        box = Box(bytearray(b"new") * LARGE)
        assert view.submit(die_once, box, str(tmp_path / "seen")).result() == b"new"
        wait_for_blocks(pool, 0)


def test_idle_memory_is_given_back():
    with treadle.ProcessPoolExecutor(1, mp_context="zygote") as pool:
        results = [pool.submit(len, bytes(3_000_000)) for _ in range(10)]
        assert {future.result() for future in results} == {3_000_000}
        deadline = time.monotonic() + 60
        while pool._pool._blocks()["idle"] > 2 << 20 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert pool._pool._blocks()["idle"] <= 2 << 20


def test_no_descriptor_is_left():
    def descriptors():
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    def rounds():
        with treadle.ProcessPoolExecutor(2, mp_context="zygote") as pool:
            list(pool.map(echo, [bytes(LARGE)] * 5))

    rounds()
    before = descriptors()
    for _ in range(3):
        rounds()
    assert descriptors() <= before
    assert mapped() == 0


# ---- shared memory ----------------------------------------------------------------------------


def test_shared_buffer(pool):
    buffer = treadle.SharedBuffer(10_000)
    assert pool.submit(fill, buffer, 7).result() != os.getpid()
    assert bytes(buffer) == b"\7" * 10_000
    assert pool.submit(echo, buffer).result() is buffer
    list(pool.map(fill, [buffer] * 10, range(10)))
    assert len(set(bytes(buffer))) == 1
    wait_for_blocks(pool, 0)


def test_shared_buffer_from_a_worker(pool):
    buffer = pool.submit(make_shared, 1000).result()
    assert bytes(memoryview(buffer)[:5]) == b"mine\0"
    pool.submit(fill, buffer, 9).result()
    assert bytes(buffer) == b"\x09" * 1000


def test_shared_buffer_outlives_a_killed_worker():
    with treadle.ProcessPoolExecutor(1, mp_context="zygote", on_crash="respawn") as pool:
        buffer = pool.submit(make_shared, 1000).result()
        with pytest.raises(treadle.BrokenExecutor):
            pool.submit(die_with, buffer).result()
        assert bytes(memoryview(buffer)[:5]) == b"mine\0"
        pool.submit(fill, buffer, 1).result()
        assert bytes(buffer) == b"\1" * 1000
    del buffer, pool
    assert mapped(what="treadle-shared") == 0


# ---- numpy ---------------------------------------------------------------------------------------


def add_one(array):
    array += 1
    return array


def set_row(array, row, value):
    array[row] = value


def test_arrays(pool):
    np = pytest.importorskip("numpy", reason="numpy is not installed")
    array = np.arange(100_000.0).reshape(100, 1000)
    got = pool.submit(add_one, array).result()
    assert (got == array + 1).all()
    assert got.flags.writeable
    got[0, 0] = 5
    for result in pool.map(add_one, [array] * 5):
        assert (result == array + 1).all()


def test_shared_array(pool):
    np = pytest.importorskip("numpy", reason="numpy is not installed")
    array = treadle.shared_array((10, 1000), "i4")
    list(pool.map(set_row, [array] * 10, range(10), range(10)))
    assert (array == np.arange(10)[:, None]).all()
    pool.submit(add_one, array[3:5]).result()
    assert array[3, 0] == 4

"""SharedBuffer and shared_array: memory without a name that several processes have."""

import copy
import gc
import multiprocessing
import os
import pickle
import signal
import sys
import weakref

import pytest

import treadle
from support.codecs import Pair
from treadle import SharedBuffer, _native

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def pair():
    return Pair()


def descriptors():
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def mappings():
    gc.collect()
    with open("/proc/self/maps") as maps:
        return sum("treadle-shared" in line for line in maps)


def test_buffer():
    buffer = SharedBuffer(5000)
    assert len(buffer) == buffer.size == 5000
    assert repr(buffer) == "<treadle.SharedBuffer of 5000 bytes>"
    view = memoryview(buffer)
    assert not view.readonly
    assert bytes(view) == bytes(5000)
    view[10:13] = b"abc"
    assert bytes(buffer)[9:14] == b"\0abc\0"
    assert os.fstat(buffer.fileno()).st_size == 5000
    assert not os.get_inheritable(buffer.fileno())
    assert weakref.ref(buffer)() is buffer
    with pytest.raises(PermissionError):
        os.ftruncate(buffer.fileno(), 100)


@pytest.mark.parametrize("size", [0, -1])
def test_size_must_be_positive(size):
    with pytest.raises(ValueError, match=f"at least 1 byte, not {size}"):
        SharedBuffer(size)


def test_arguments():
    assert SharedBuffer(size=7).size == 7
    for bad in (), ("7",), (7.0,), (1, 2):
        with pytest.raises(TypeError):
            SharedBuffer(*bad)
    with pytest.raises((OSError, MemoryError)):
        SharedBuffer(2**62)


def test_freed_with_the_last_view():
    fds, maps = descriptors(), mappings()
    buffer = SharedBuffer(10_000)
    assert (descriptors(), mappings()) == (fds + 1, maps + 1)
    view = memoryview(buffer)[5:10]
    del buffer
    assert (descriptors(), mappings()) == (fds + 1, maps + 1)
    view[0] = 1
    view.release()
    assert (descriptors(), mappings()) == (fds, maps)


def test_is_not_data():
    buffer = SharedBuffer(10)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="a SharedBuffer is not data"):
            pickle.dumps(buffer, protocol)
    for function in copy.copy, copy.deepcopy:
        with pytest.raises(TypeError, match="a SharedBuffer is not data"):
            function(buffer)
    assert not _native._is_pickling()


def test_same_object_in_one_process(pair):
    buffer = SharedBuffer(100)
    assert pair.there(buffer) is buffer
    got = pair.there([buffer, {"b": buffer}])
    assert got[0] is got[1]["b"] is buffer


def test_kept_until_it_has_arrived(pair):
    maps = mappings()
    message = pair.parent.put_value(SharedBuffer(1000))
    gc.collect()
    assert mappings() == maps + 1
    got = pair.worker.get_value(message)
    assert got.size == 1000
    assert pair.parent.stats()["blocks"] == 0
    del got
    pair.parent.put_value(None)  # looks at what has arrived
    assert mappings() == maps


def test_dropped_on_the_way(pair):
    maps = mappings()
    pair.parent.drop(pair.parent.put_value([SharedBuffer(1000), SharedBuffer(10)]))
    pair.parent.put_value(None)
    assert mappings() == maps
    message = pair.parent.put_value(SharedBuffer(1000))
    pair.parent.sent(message, 1)
    pair.parent.lost_worker(1)
    pair.parent.put_value(None)
    assert mappings() == maps
    assert pair.blocks() == (0, 0)


def test_without_a_store_there_is_no_way():
    with pytest.raises(MemoryError, match="pass a shared buffer on"):
        Pair(stores=False).parent.put_value([SharedBuffer(10)])


def run_child(body):
    """Run `body` in a forked child; its exit code."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            body()
            code = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def spawned(connection, ending):
    """A process that has nothing of the parent's: writes into the buffers that come."""
    pair = Pair(stores=False)
    calls, results = (multiprocessing.reduction.recv_handle(connection) for _ in range(2))
    pair.worker.join(calls, results)
    while True:
        message = connection.recv_bytes()
        if not message:
            break
        value = pair.worker.get_value(message)
        memoryview(value)[:5] = b"hello"
        mine = SharedBuffer(20)
        memoryview(mine)[:4] = b"mine"
        connection.send_bytes(pair.worker.put_value([value, mine]))
    if ending == "killed":
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("ending", ["ends", "killed"])
def test_another_process(ending):
    maps = mappings()
    here, there = SPAWN.Pipe()
    parent = _native.Codec()
    parent.open()
    results = parent.add_worker(1)
    process = SPAWN.Process(target=spawned, args=(there, ending))
    process.start()
    there.close()
    for descriptor in parent.calls_fd(), results:
        multiprocessing.reduction.send_handle(here, descriptor, process.pid)
    os.close(results)
    buffer = SharedBuffer(10_000)
    try:
        for _ in range(3):
            message = parent.put_value(buffer)
            parent.sent(message, 1)
            here.send_bytes(message)
            message = here.recv_bytes()
            parent.received(message)
            same, theirs = parent.get_value(message)
            assert same is buffer
            assert bytes(buffer)[:6] == b"hello\0"
            memoryview(buffer)[0] = 0
        with open(f"/proc/{process.pid}/maps") as lines:
            assert sum("treadle-shared" in line for line in lines) <= 3
    finally:
        here.send_bytes(b"")
        process.join()
    parent.lost_worker(1)
    assert process.exitcode == (0 if ending == "ends" else -signal.SIGKILL)
    assert bytes(theirs)[:5] == b"mine\0"
    del buffer, theirs, same
    parent.put_value(None)
    assert mappings() == maps


def test_sender_that_is_gone():
    pair = Pair()
    read, write = os.pipe()
    results = pair.parent.add_worker(2)

    def body():
        worker = _native.Codec()
        worker.join(pair.parent.calls_fd(), results)
        os.write(write, worker.put_value(SharedBuffer(100)))

    assert run_child(body) == 0
    message = os.read(read, 1000)
    for descriptor in read, write, results:
        os.close(descriptor)
    with pytest.raises(OSError, match=r"shared buffer of process \d+ cannot be opened"):
        pair.parent.get_value(message)


def test_forked_child_has_it():
    buffer = SharedBuffer(100)
    view = memoryview(buffer)

    def body():
        nonlocal buffer, view
        view[:2] = b"ok"
        pair = Pair()
        assert pair.there(buffer) is buffer
        view.release()
        del buffer, view
        gc.collect()

    assert run_child(body) == 0
    assert bytes(buffer)[:3] == b"ok\0"


def write_into(buffer, connection):
    memoryview(buffer)[:4] = b"data"
    connection.send(buffer)
    connection.recv()  # a descriptor is fetched from who sent it, who has to be there


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_through_multiprocessing(method):
    context = multiprocessing.get_context(method)
    buffer = SharedBuffer(1000)
    here, there = context.Pipe()
    process = context.Process(target=write_into, args=(buffer, there))
    process.start()
    got = here.recv()
    here.send(None)
    assert bytes(got)[:5] == b"data\0"
    process.join()
    assert process.exitcode == 0
    assert got is buffer


def test_many_at_once(pair):
    fds = descriptors()
    buffers = [SharedBuffer(i + 1) for i in range(200)]
    got = pair.there(buffers)
    assert all(a is b for a, b in zip(buffers, got, strict=True))
    del got, buffers
    pair.parent.put_value(None)
    for _ in range(40):
        pair.parent.put_value(None)
    assert descriptors() == fds


class Raw:
    def __reduce__(self):
        return _native._shared_whole, (b"no shared buffer",)


def test_malformed(pair):
    with pytest.raises(pickle.UnpicklingError, match="malformed message: no shared buffer"):
        pair.there(Raw())
    data = pair.parent.put_value(SharedBuffer(1000))
    for i in range(1, len(data) - 60):  # what is before the pickle
        changed = bytearray(data)
        changed[i] ^= 255
        try:
            pair.worker.get_value(bytes(changed))
        except (pickle.UnpicklingError, OSError, EOFError):
            pass


# ---- numpy --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def np():
    return pytest.importorskip("numpy", reason="numpy is not installed")


def test_shared_array(np, pair):
    array = treadle.shared_array((100, 3))
    assert type(array) is np.ndarray
    assert (array.dtype, array.shape) == (np.dtype(float), (100, 3))
    assert not array.any()
    got = pair.there(array)
    got[5, 1] = 7
    assert array[5, 1] == 7
    rows = pair.back(array[5:8])
    rows[0, 2] = 8
    assert array[5].tolist() == [0, 7, 8]
    assert pair.blocks() == (0, 0)


def test_what_is_computed_is_copied(np, pair):
    array = treadle.shared_array(1000, "i4")
    for other in array + 1, array[::2], array.copy():
        got = pair.there(other)
        got[0] = 50
        assert array[0] == 0


def test_read_only_view(np, pair):
    array = treadle.shared_array(10, "u1")
    view = array[:5]
    view.flags.writeable = False
    got = pair.there(view)
    assert not got.flags.writeable
    array[0] = 9
    assert got[0] == 9


@pytest.mark.parametrize("shape", [5, (5,), (2, 3), [4], (), range(1, 3)], ids=str)
def test_shapes(np, shape):
    assert treadle.shared_array(shape, "i2").shape == np.zeros(shape if isinstance(shape, int) else tuple(shape)).shape


def test_order(np, pair):
    array = treadle.shared_array((3, 4), "f4", order="F")
    assert array.flags.f_contiguous
    pair.there(array)[1, 2] = 5
    assert array[1, 2] == 5


def test_empty(np, pair):
    array = treadle.shared_array((0, 5), "i4")
    assert array.shape == (0, 5)
    assert pair.there(array).shape == (0, 5)


def test_bad_arguments(np):
    with pytest.raises(ValueError, match="Python objects"):
        treadle.shared_array(5, object)
    with pytest.raises(ValueError, match="negative"):
        treadle.shared_array((5, -1))
    with pytest.raises(TypeError):
        treadle.shared_array(2.5)
    with pytest.raises(TypeError):
        treadle.shared_array(2, "no dtype")


def test_without_numpy(monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(ImportError, match=r"shared_array\(\) needs numpy"):
        treadle.shared_array(5)

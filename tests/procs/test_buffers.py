"""Large parts of messages: written once, read in place, given back."""

import gc
import os
import pickle
import random
import signal
import sys
import threading
import time

import pytest

from support.codecs import Box, Pair

LARGE = 100_000


@pytest.fixture
def pair():
    pair = Pair()
    yield pair
    gc.collect()
    assert pair.blocks() == (0, 0)


def message_flags(data):
    return {name for bit, name in enumerate(("refs", "indirect", "pickle", "whole", "keep")) if data[0] >> bit & 1}


# ---- out and back -----------------------------------------------------------------------------


@pytest.mark.parametrize("type_", [bytes, bytearray])
def test_bytes_go_beside_the_message(pair, type_):
    value = type_(os.urandom(LARGE))
    data = pair.parent.put_value(value)
    assert len(data) < 100
    assert pair.blocks() == (1, 0)
    got = pair.worker.get_value(data)
    assert got == value
    assert type(got) is type_
    assert pair.blocks() == (0, 0)
    got = pair.back([value, value, 5])
    assert got == [value, value, 5]
    assert got[0] is got[1]


def test_small_ones_stay_in_the_message(pair):
    for value in b"x" * 1000, Box(bytearray(1000)):
        assert not message_flags(pair.parent.put_value(value)) & {"refs"}


@pytest.mark.parametrize("writable", [True, False])
@pytest.mark.parametrize("size", [LARGE, 100])
def test_buffers_are_writable_as_with_pickle(pair, writable, size):
    content = os.urandom(size)
    box = Box(bytearray(content) if writable else content)
    got = pair.there(box)
    assert bytes(got.data) == content
    assert memoryview(got.data).readonly == (not writable)
    assert memoryview(pickle.loads(pickle.dumps(box, 5)).data).readonly == (not writable)
    if writable:
        memoryview(got.data)[0] ^= 255
        assert bytes(got.data) == bytes([content[0] ^ 255]) + content[1:]
        assert bytes(box.data) == content


def test_read_in_place_until_the_last_view_is_gone(pair):
    got = pair.back([Box(bytearray(b"a" * LARGE)), Box(bytearray(b"b" * LARGE))])
    assert pair.blocks() == (0, 2)
    with pytest.raises(TypeError, match="cannot delete"):
        del got[0].data[0]
    got[0].data[1:3] = b"aa"
    assert got[0].data[5] == ord("a")
    assert bytes(got[1].data[:3]) == b"bbb"
    view = got[0].data[10:20]
    del got
    gc.collect()
    assert pair.blocks() == (0, 1)
    assert bytes(view) == b"a" * 10
    view.release()
    assert pair.blocks() == (0, 0)


def test_memory_is_used_again(pair):
    for _ in range(50):
        assert pair.there(Box(bytearray(LARGE))) is not None
        stats = pair.parent.stats()
    assert stats["idle"] + stats["used"] < 4 * LARGE


def test_long_pickle_is_read_in_place(pair):
    value = [frozenset({i}) for i in range(20_000)]
    data = pair.parent.put_value(value)
    assert message_flags(data) == {"refs", "indirect", "pickle"}
    assert len(data) < 100
    assert pair.worker.get_value(data) == value


def test_long_compact_value_is_read_in_place(pair):
    value = ["é" * 50_000, bytes(20_000), "x" * 50_000]
    data = pair.parent.put_value(value)
    assert message_flags(data) == {"refs", "indirect"}
    assert len(data) < 200
    assert pair.worker.get_value(data) == value


def test_long_pickle_with_buffers(pair):
    value = [frozenset({i}) for i in range(20_000)], Box(bytearray(b"x" * LARGE)), Box(b"y" * LARGE)
    got = pair.there(value)
    assert got[0] == value[0]
    assert bytes(got[1].data) == value[1].data
    assert bytes(got[2].data) == value[2].data
    assert pair.blocks() == (2, 0)


def test_calls(pair):
    box = Box(bytearray(b"x" * LARGE))
    function, args, kwargs = pair.call(print, box, 1, key=box)
    assert function is print
    assert args[0] is kwargs["key"]
    assert bytes(args[0].data) == box.data
    function, args, kwargs = pair.call(max, bytes(LARGE), default=b"y" * LARGE)
    assert (args, kwargs) == ((bytes(LARGE),), {"default": b"y" * LARGE})
    function, args, kwargs = pair.call(box.__reduce_ex__, box)
    assert bytes(function.__self__.data) == box.data


def test_exceptions(pair):
    error = pair.parent.get_exception(pair.worker.put_exception(ValueError(bytes(LARGE))))
    assert error.args == (bytes(LARGE),)


def test_without_stores():
    pair = Pair(stores=False)
    assert pair.parent.calls_fd() == -1
    value = [bytes(LARGE), Box(bytearray(b"x" * LARGE)), "é" * LARGE]
    got = pair.there(value)
    assert got[0] == value[0]
    assert got[1].data == value[1].data
    assert type(got[1].data) is bytearray
    assert got[2] == value[2]
    assert pair.there(bytes(LARGE)) == bytes(LARGE)
    assert pair.blocks() == (0, 0)


def test_what_came_can_be_sent_on(pair):
    got = pair.there(Box(bytearray(b"x" * LARGE)))
    assert len(got.data) == LARGE
    back = pair.back(got)
    assert bytes(back.data) == b"x" * LARGE
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(got.data, protocol))
        assert again == b"x" * LARGE
        assert type(again) is bytearray


class Strided:
    def __init__(self, view):
        self.view = view

    def __reduce_ex__(self, protocol):
        return Strided, (pickle.PickleBuffer(self.view),)


def test_buffers_with_gaps(pair):
    view = memoryview(bytearray(2 * LARGE))[::2]
    with pytest.raises(pickle.PicklingError, match="non-contiguous"):
        pair.parent.put_value(Strided(view))
    with pytest.raises(pickle.PicklingError, match="non-contiguous"):
        pair.parent.put_value([Box(bytearray(LARGE)), Strided(view)])


def test_what_fails_half_way(pair):
    class Fails:
        def __reduce__(self):
            raise ZeroDivisionError

    for value in [bytes(LARGE), Fails()], [Box(bytearray(LARGE)), Fails()], Fails():
        with pytest.raises(ZeroDivisionError):
            pair.parent.put_value(value)
    assert pair.there([1]) == [1]


def test_buffer_that_cannot_be_exported(pair):
    view = memoryview(bytearray(LARGE))
    buffer = pickle.PickleBuffer(view)
    buffer.release()
    with pytest.raises(ValueError, match="released"):
        pair.parent.put_value(buffer)


def test_source_is_let_go(pair):
    source = bytearray(LARGE)
    for value in source, [source, 5], Box(source), {Box(source)}:
        pair.parent.drop(pair.parent.put_value(value))
        source.append(0)  # BufferError while it is exported


# ---- whose blocks they are ----------------------------------------------------------------------


def test_drop_instead_of_decode(pair):
    for value in bytes(LARGE), Box(bytearray(LARGE)), "é" * LARGE:
        data = pair.parent.put_value(value)
        assert pair.blocks() == (1, 0)
        pair.parent.drop(data)
        assert pair.blocks() == (0, 0)
        pair.parent.drop(data)
        with pytest.raises(pickle.UnpicklingError, match="malformed"):
            pair.worker.get_value(data)
        data = pair.worker.put_value(value)
        pair.parent.drop(data)
        assert pair.blocks() == (0, 0)


def test_decoded_twice(pair):
    data = pair.parent.put_value(Box(bytearray(LARGE)))
    got = pair.worker.get_value(data)
    other = pair.worker.get_value(data)  # the same block: a mistake, that must do no harm
    del got
    assert pair.blocks() == (0, 0)
    del other


def test_kept_messages_can_be_sent_again(pair):
    number, data = pair.parent.put_call(print, Box(bytearray(b"x" * LARGE)), bytes(LARGE))
    pair.worker.define(number, pair.parent.function(number))
    data = pair.parent.keep(data)
    for _ in range(3):
        pair.parent.sent(data, 1)
        _, (box, zeros), _ = pair.worker.get_call(number, data)
        assert box.data == b"x" * LARGE
        assert zeros == bytes(LARGE)
        box.data[0] = 0
    pair.parent.lost_worker(1)
    assert pair.blocks() == (2, 0)
    pair.parent.drop(data)


def test_what_a_dead_worker_held(pair):
    messages = [pair.parent.put_value(Box(bytearray(LARGE))) for _ in range(6)]
    for message in messages[:4]:
        pair.parent.sent(message, 1)
    pair.parent.sent(messages[3], 2)
    got = pair.worker.get_value(messages[0])
    pair.parent.lost_worker(1)
    assert pair.blocks() == (3, 0)
    pair.parent.lost_worker(2)
    assert pair.blocks() == (2, 0)
    del got
    for message in messages:
        pair.parent.drop(message)


def mappings():
    gc.collect()
    with open("/proc/self/maps") as maps:
        return sum("treadle-blocks" in line for line in maps)


def test_results_of_a_dead_worker():
    before = mappings()
    pair = Pair()
    assert mappings() == before + 4  # each side's own store, and the other's
    messages = [pair.worker.put_value(Box(bytearray(b"x" * LARGE))) for _ in range(3)]
    for message in messages:
        pair.parent.received(message)
    del pair.worker
    assert mappings() == before + 2
    pair.parent.lost_worker(1)
    got = [pair.parent.get_value(message) for message in messages[:2]]
    assert mappings() == before + 2
    pair.parent.drop(messages[2])
    assert bytes(got[1].data) == b"x" * LARGE
    del got[0]
    assert mappings() == before + 2
    del got
    assert mappings() == before + 1
    with pytest.raises(pickle.UnpicklingError, match="malformed"):
        pair.parent.get_value(messages[0])
    del pair
    assert mappings() == before


def test_views_outlive_the_codecs():
    before = mappings()
    pair = Pair()
    got = pair.back(Box(bytearray(b"x" * LARGE)))
    del pair
    assert mappings() == before + 1
    assert bytes(got.data) == b"x" * LARGE
    del got
    assert mappings() == before


def test_no_descriptor_is_left():
    def descriptors():
        gc.collect()
        return sorted(os.listdir("/proc/self/fd"))

    before = descriptors()
    for _ in range(5):
        pair = Pair()
        pair.there(Box(bytearray(LARGE)))
        pair.back(bytes(LARGE))
        del pair
    assert len(descriptors()) == len(before)


def test_workers_come_and_go():
    pair = Pair()
    with pytest.raises(FileExistsError):
        pair.parent.add_worker(1)
    before = mappings()
    for number in range(2, 100):
        os.close(pair.parent.add_worker(number))
        pair.parent.lost_worker(number)
    assert mappings() == before
    pair.parent.lost_worker(77)
    with pytest.raises(OSError, match="Bad file descriptor"):
        Pair(stores=False).worker.join(-1, -1)
    with pytest.raises(OSError, match="Device or resource busy"):
        Pair(stores=False).worker.join(pair.parent.calls_fd(), pair.parent.calls_fd())


def test_trim(pair):
    for _ in range(3):
        value = [Box(bytearray(b"x" * LARGE)) for _ in range(100)]
        pair.there(value)
    assert pair.parent.stats()["idle"] > 90 * LARGE
    pair.parent.trim()  # as much was used since the last time
    assert pair.parent.stats()["idle"] > 90 * LARGE
    pair.parent.trim()
    assert pair.parent.stats()["idle"] <= 2 << 20
    pair.parent.trim()
    pair.there(value)


# ---- other processes ------------------------------------------------------------------------------


def in_child(body):
    """Run `body` in a forked child; whether it returned."""
    pid = os.fork()
    if pid == 0:
        try:
            body()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_forked_child_releases_nothing(pair):
    got = pair.back(Box(bytearray(b"x" * LARGE)))
    there = pair.there(Box(bytearray(b"y" * LARGE)))
    waiting = pair.parent.put_value(bytes(LARGE))

    def body():
        nonlocal got, there
        assert bytes(got.data) == b"x" * LARGE
        del got, there
        pair.parent.drop(waiting)
        assert pair.there(bytes(LARGE)) == bytes(LARGE)  # travels in the message
        pair.parent.trim()
        pair.parent.lost_worker(1)

    assert in_child(body)
    assert pair.blocks() == (2, 1)
    assert bytes(got.data) == b"x" * LARGE
    assert pair.worker.get_value(waiting) == bytes(LARGE)


def test_another_process_gets_the_memory():
    """A worker that is a process: it takes calls and answers until it is killed."""
    parent = Pair(stores=False).parent
    parent.open()
    results = parent.add_worker(5)
    read, write = os.pipe()
    back_read, back_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            worker = Pair(stores=False).worker
            worker.join(parent.calls_fd(), results)
            while True:
                value = worker.get_value(os.read(read, 4096))
                memoryview(value.data)[:3] = b"abc"
                os.write(back_write, worker.put_value(value))
        finally:
            os._exit(1)
    try:
        kept = []
        for i in range(20):
            message = parent.put_value(Box(bytearray(b"%02d" % i * LARGE)))
            parent.sent(message, 5)
            os.write(write, message)
            message = os.read(back_read, 4096)
            parent.received(message)
            kept.append(parent.get_value(message))
            assert bytes(kept[-1].data) == b"abc" + (b"%02d" % i * LARGE)[3:]
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        for descriptor in read, write, back_read, back_write, results:
            os.close(descriptor)
    parent.lost_worker(5)
    assert parent.stats()["blocks"] == 0
    assert bytes(kept[7].data)[:5] == b"abc70"


def test_many_threads():
    pair = Pair()
    errors = []
    stop = time.monotonic() + 1

    def body(number):
        try:
            while time.monotonic() < stop:
                value = [Box(bytearray([number]) * LARGE), bytes([number]) * LARGE, {number}]
                for way in pair.there, pair.back:
                    got = way(value)
                    assert bytes(got[0].data) == value[0].data
                    assert got[1:] == value[1:]
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=body, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    gc.collect()
    assert pair.blocks() == (0, 0)


# ---- hostile messages --------------------------------------------------------------------------------


def test_changed_messages(pair):
    rng = random.Random(3)
    value = [Box(bytearray(b"x" * LARGE)), Box(b"y" * LARGE)]
    good = 0
    for base in value, [bytes(LARGE), "é" * LARGE], {b"z" * LARGE}:
        for _ in range(400):
            data = bytearray(pair.parent.put_value(base))
            where = rng.randrange(len(data) if data[0] & 4 == 0 else min(len(data), 60))
            data[where] = rng.choice((0, 1, 254, 255, rng.randrange(256)))
            try:
                pair.worker.get_value(bytes(data))
                good += 1
            except (pickle.UnpicklingError, EOFError):
                pass
            gc.collect(0)
            pair.parent.lost_worker(0)  # nobody in particular: all that is left
    assert good > 0


def test_cut_messages(pair):
    for value in [Box(bytearray(LARGE))], [bytes(LARGE)]:
        data = pair.parent.put_value(value)
        for end in range(len(data)):
            with pytest.raises((pickle.UnpicklingError, EOFError)):
                pair.worker.get_value(data[:end])
            pair.parent.lost_worker(0)
            data = pair.parent.put_value(value)
        pair.parent.drop(data)


# ---- numpy --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def np():
    return pytest.importorskip("numpy", reason="numpy is not installed")


def test_arrays(np, pair):
    for order in "C", "F":
        array = np.asarray(np.arange(60_000.0).reshape(200, 300), order=order)
        got = pair.there(array)
        assert (got == array).all()
        assert got.flags.writeable
        assert got.flags.f_contiguous == array.flags.f_contiguous
        assert pair.blocks() == (1, 0)
        got[0, 0] = 5
        assert array[0, 0] == 0
        del got
    array.flags.writeable = False
    got = pair.back((array, {"a": array[:5]}))
    assert not got[0].flags.writeable
    assert (got[1]["a"] == array[:5]).all()
    with pytest.raises(ValueError, match="read-only"):
        got[0][0] = 1


def test_arrays_of_other_kinds(np, pair):
    for array in (
        np.array([{"x": 1}, None, "y"] * 5000, object),
        np.array(["text"] * 20_000),
        np.zeros(20_000, [("a", "i4"), ("b", "f8")]),
        np.arange(100_000)[::3],
        np.zeros(0),
        np.array(5),
        np.datetime64("2020-01-01") + np.arange(10_000),
        np.ma.masked_greater(np.arange(50_000), 5),
    ):
        got = pair.there(array)
        assert got.dtype == array.dtype
        assert got.shape == array.shape
        assert (got == array).all()
        del got


def test_views_of_arrays_keep_the_memory(np, pair):
    got = pair.back(np.arange(100_000))
    view = got[500:10:-3]
    del got
    assert pair.blocks() == (0, 1)
    assert view[0] == 500
    del view

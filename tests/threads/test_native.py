"""submit_native(): C functions over buffers on pool threads, wholly without the GIL."""

import array
import asyncio
import concurrent.futures
import contextlib
import ctypes
import gc
import os
import sys
import threading
import time

import pytest
from support import Gate, eventually, run_script
from support.compiling import compile_library, needs_compiler

pytestmark = needs_compiler

LONG = 60.0
WITH_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()

# Jobs that wait for somebody give up after 20 s and return -1.
SOURCE = r"""
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define JOB(name) int64_t name(void **data, const size_t *sizes, size_t count); \
    int64_t name(void **data, const size_t *sizes, size_t count)

static int await(_Atomic int64_t *word, int64_t least)
{
    struct timespec nap = {0, 200000};
    for (int i = 0; i < 100000; i++) {
        if (atomic_load(word) >= least)
            return 1;
        nanosleep(&nap, NULL);
    }
    return 0;
}

/* the sum of all bytes */
JOB(sum)
{
    int64_t total = 0;
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < sizes[i]; j++)
            total += ((unsigned char *)data[i])[j];
    return total;
}

/* sizes as decimal digits */
JOB(shapes)
{
    int64_t digits = 0;
    for (size_t i = 0; i < count; i++)
        digits = digits * 100 + (int64_t)sizes[i];
    return digits;
}

JOB(how_many) { return (int64_t)count; }
JOB(lowest) { return INT64_MIN; }
JOB(highest) { return INT64_MAX; }
JOB(seven) { return 7; }

JOB(fill)
{
    for (size_t i = 0; i < count; i++)
        memset(data[i], (int)i + 1, sizes[i]);
    return 0;
}

/* data[0]: how many have arrived, how many must; returns how many have */
JOB(meet)
{
    _Atomic int64_t *words = data[0];
    atomic_fetch_add(&words[0], 1);
    return await(&words[0], atomic_load(&words[1])) ? atomic_load(&words[0]) : -1;
}

/* data[0]: set to 1 on entry, wait until [1] is set */
JOB(hold)
{
    _Atomic int64_t *words = data[0];
    atomic_fetch_add(&words[0], 1);
    return await(&words[1], 1) ? 1 : -1;
}

JOB(add_one) { return atomic_fetch_add((_Atomic int64_t *)data[0], 1) + 1; }

JOB(dot) { return write(1, ".", 1); }
"""

PROTOTYPE = ctypes.CFUNCTYPE(
    ctypes.c_int64, ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(ctypes.c_size_t), ctypes.c_size_t
)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return compile_library(tmp_path_factory.mktemp("native"), "jobs", SOURCE)


@pytest.fixture(scope="module")
def jobs(library):
    return ctypes.CDLL(str(library))


@pytest.fixture
def pool(make_native_pool):
    return make_native_pool(2)


def words(*values):
    return array.array("q", values)


def address(function):
    return ctypes.cast(function, ctypes.c_void_p).value


def is_free(buffer):
    """Whether nobody holds a bytearray's buffer: only then can it be resized."""
    try:
        buffer.append(0)
    except BufferError:
        return False
    buffer.pop()
    return True


@contextlib.contextmanager
def held(pool, jobs, buffers=()):
    """A worker that is inside a native job until the block ends."""
    gates = words(0, 0)
    future = pool.submit_native(jobs.hold, gates, *buffers)
    try:
        assert eventually(lambda: gates[0] == 1)
        yield future
    finally:
        gates[1] = 1
    assert future.result(LONG) == 1


# ---- what stands for a function -----------------------------------------------------


def capsule(function, name):
    new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
        ("PyCapsule_New", ctypes.pythonapi)
    )
    return new(address(function), name, None)


CAPSULE_NAME = ctypes.create_string_buffer(b"treadle.native_function")
OTHER_NAME = ctypes.create_string_buffer(b"somebody.else")


class WithAddress:
    """As numba's cfunc says where its code is."""

    def __init__(self, address):
        self.address = address


@pytest.mark.parametrize(
    "kind",
    [
        lambda jobs: jobs.sum,
        lambda jobs: PROTOTYPE(("sum", jobs)),
        lambda jobs: ctypes.cast(jobs.sum, ctypes.c_void_p),
        lambda jobs: address(jobs.sum),
        lambda jobs: capsule(jobs.sum, CAPSULE_NAME),
        lambda jobs: WithAddress(address(jobs.sum)),
    ],
    ids=["CDLL", "prototype", "c_void_p", "int", "capsule", "address"],
)
def test_function_from(kind, pool, jobs):
    future = pool.submit_native(kind(jobs), b"\x01\x02", b"\x03")
    assert future.result(LONG) == 6
    assert type(future.result()) is int


def test_function_from_cffi(pool, library):
    cffi = pytest.importorskip("cffi", reason="cffi is not installed")
    ffi = cffi.FFI()
    ffi.cdef("int64_t sum(void **data, const size_t *sizes, size_t count);")
    opened = ffi.dlopen(str(library))
    pointer = ffi.addressof(opened, "sum")
    assert pool.submit_native(pointer, b"ab").result(LONG) == sum(b"ab")
    assert pool.submit_native(ffi.cast("void *", pointer), b"ab").result(LONG) == sum(b"ab")
    for other in (ffi.new("int *"), ffi.new("char[4]"), ffi.cast("uintptr_t", 64)):
        with pytest.raises(TypeError, match="C function pointer"):
            pool.submit_native(other)
    with pytest.raises(ValueError, match="NULL"):
        pool.submit_native(ffi.NULL)


def test_function_from_numba(pool):
    numba = pytest.importorskip("numba", reason="numba is not installed")
    types = numba.types
    signature = types.int64(types.CPointer(types.voidptr), types.CPointer(types.uintp), types.uintp)

    @numba.cfunc(signature, nopython=True)
    def count_bytes(data, sizes, count):
        return sum([sizes[i] for i in range(count)])

    assert pool.submit_native(count_bytes, b"abc", b"de").result(LONG) == 5


def test_python_callback_of_ctypes(pool):
    # ctypes takes the GIL for it; the job keeps the callback alive
    def run():
        return pool.submit_native(PROTOTYPE(lambda data, sizes, count: sizes[0] + count), bytes(40))

    futures = [run() for _ in range(20)]
    gc.collect()
    assert [future.result(LONG) for future in futures] == [41] * 20


@pytest.mark.parametrize("null", [0, ctypes.c_void_p(), PROTOTYPE()], ids=["int", "c_void_p", "prototype"])
def test_null(null, pool):
    buffer = bytearray(3)
    with pytest.raises(ValueError, match="NULL"):
        pool.submit_native(null, buffer)
    assert is_free(buffer)


@pytest.mark.parametrize(
    "nothing", [None, "sum", b"sum", 1.5, True, object(), len, ctypes.c_int(1), WithAddress("here"), WithAddress(None)]
)
def test_not_a_pointer(nothing, pool):
    with pytest.raises(TypeError, match="a C function pointer is required"):
        pool.submit_native(nothing)


def test_capsule_of_another_name(pool, jobs):
    with pytest.raises(ValueError, match="name"):
        pool.submit_native(capsule(jobs.sum, OTHER_NAME))


def test_address_out_of_range(pool):
    with pytest.raises(OverflowError):
        pool.submit_native(1 << 80)


def test_looking_into_a_capsule_leaves_ctypes_alone(pool, jobs):
    shared = ctypes.pythonapi.PyCapsule_GetPointer
    before = shared.argtypes, shared.restype
    pool.submit_native(capsule(jobs.seven, CAPSULE_NAME)).result(LONG)
    assert (shared.argtypes, shared.restype) == before


# ---- buffers ------------------------------------------------------------------------


def test_no_buffers(pool, jobs):
    assert pool.submit_native(jobs.how_many).result(LONG) == 0


@pytest.mark.parametrize(
    "buffer",
    [b"abc", bytearray(b"abc"), memoryview(b"abc"), memoryview(b"-abc-")[1:4], array.array("b", b"abc")],
    ids=["bytes", "bytearray", "memoryview", "slice", "array"],
)
def test_kinds_of_buffers(buffer, pool, jobs):
    assert pool.submit_native(jobs.sum, buffer).result(LONG) == sum(b"abc")


def test_sizes_are_in_bytes_and_in_order(pool, jobs):
    table = memoryview(bytes(24)).cast("i", (2, 3))
    buffers = [words(1, 2), b"", table, bytearray(7), ctypes.create_string_buffer(5)]
    assert pool.submit_native(jobs.shapes, *buffers).result(LONG) == 16_00_24_07_05


def test_writes_arrive(pool, jobs):
    first, second = bytearray(3), words(0, 0)
    pool.submit_native(jobs.fill, first, memoryview(second)).result(LONG)
    assert first == b"\x01\x01\x01"
    assert second.tobytes() == b"\x02" * 16


def test_one_buffer_twice_and_many(pool, jobs):
    buffer = bytearray(b"\x01")
    assert pool.submit_native(jobs.sum, *[buffer] * 1000).result(LONG) == 1000
    assert is_free(buffer)


def test_not_contiguous(pool, jobs):
    fine, strided = bytearray(4), memoryview(bytearray(8))[::2]
    with pytest.raises(BufferError):
        pool.submit_native(jobs.sum, fine, strided)
    assert is_free(fine)


@pytest.mark.parametrize("thing", [None, 5, "text", [1]])
def test_not_a_buffer(thing, pool, jobs):
    fine = bytearray(4)
    with pytest.raises(TypeError):
        pool.submit_native(jobs.sum, fine, thing)
    assert is_free(fine)
    assert pool.stats()["queued"] == 0


def test_numpy_arrays(pool, jobs):
    numpy = pytest.importorskip("numpy", reason="numpy is not installed")
    table = numpy.ones((4, 5), dtype=numpy.uint8)
    assert pool.submit_native(jobs.sum, table).result(LONG) == 20
    read_only = numpy.frombuffer(b"\x01\x02", dtype=numpy.uint8)
    assert not read_only.flags.writeable
    assert pool.submit_native(jobs.sum, read_only).result(LONG) == 3
    with pytest.raises((BufferError, ValueError), match="contiguous"):
        pool.submit_native(jobs.sum, table[:, ::2])
    pool.submit_native(jobs.fill, table).result(LONG)
    assert (table == 1).all()


def test_buffers_are_held_while_it_runs_and_free_with_the_result(pool, jobs):
    buffer = bytearray(8)
    with held(pool, jobs, [buffer]) as future:
        assert not is_free(buffer)
    assert future.done()
    assert is_free(buffer)


def test_buffers_are_free_before_a_callback_runs(pool, jobs):
    seen = []
    for _ in range(50):
        buffer = bytearray(8)
        future = pool.submit_native(jobs.sum, buffer)
        future.add_done_callback(lambda future, buffer=buffer: seen.append(is_free(buffer)))
        future.result(LONG)
    assert eventually(lambda: len(seen) == 50)
    assert all(seen)


def test_objects_are_kept_and_let_go(pool, jobs):
    class Buffer(bytearray):
        pass

    buffer = Buffer(b"\x05")
    count = sys.getrefcount(buffer)
    future = pool.submit_native(jobs.sum, buffer)
    assert future.result(LONG) == 5
    assert eventually(lambda: sys.getrefcount(buffer) == count)


# ---- results and futures ------------------------------------------------------------


def test_the_whole_range_of_results(pool, jobs):
    assert pool.submit_native(jobs.lowest).result(LONG) == -(2**63)
    assert pool.submit_native(jobs.highest).result(LONG) == 2**63 - 1


def test_the_future_is_like_any_other(pool, jobs, native):
    future = pool.submit_native(jobs.seven)
    assert type(future) is native.Future
    called = threading.Event()
    future.add_done_callback(lambda done: called.set())
    assert concurrent.futures.wait([future], LONG).done == {future}
    assert native.wait([future], LONG).done == {future}
    assert next(native.as_completed([future], LONG)) is future
    assert called.wait(LONG)
    assert future.exception() is None
    assert not future.cancel()


def test_running_state(pool, jobs):
    with held(pool, jobs) as future:
        assert future.running()
        assert not future.done()
        assert not future.cancel()
        with pytest.raises(TimeoutError):
            future.result(0.01)


def test_awaited_by_asyncio(pool, jobs):
    async def main():
        return await asyncio.gather(*[asyncio.wrap_future(pool.submit_native(jobs.seven)) for _ in range(20)])

    assert asyncio.run(main()) == [7] * 20


def test_many_jobs(make_native_pool, jobs):
    pool, total = make_native_pool(4), words(0)
    futures = [pool.submit_native(jobs.add_one, total) for _ in range(20_000)]
    assert sorted(future.result(LONG) for future in futures) == list(range(1, 20_001))
    assert total[0] == 20_000
    assert eventually(lambda: pool.stats()["done"] == 20_000)


def test_mixed_with_python_jobs(pool, jobs):
    futures = []
    for number in range(500):
        futures += [pool.submit_native(jobs.sum, bytes([number % 256])), pool.submit(abs, -(number % 256))]
    assert [future.result(LONG) for future in futures[::2]] == [future.result(LONG) for future in futures[1::2]]


# ---- the GIL ------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 4])
def test_jobs_run_at_the_same_time(count, make_native_pool, jobs):
    # each returns only once all are inside
    pool, place = make_native_pool(count), words(0, count)
    futures = [pool.submit_native(jobs.meet, place) for _ in range(count)]
    assert [future.result(LONG) for future in futures] == [count] * count


def test_a_job_beside_one_that_an_idle_worker_started(pool, jobs):
    # with one idle worker and room for another, the second job gets a thread of its own
    for _ in range(20):
        pool.submit(int).result(LONG)
        place = words(0, 2)
        first = pool.submit_native(jobs.meet, place)
        assert eventually(lambda: place[0] == 1)
        second = pool.submit_native(jobs.meet, place)
        assert [first.result(LONG), second.result(LONG)] == [2, 2]
        pool.resize(1)
        assert eventually(lambda: pool.stats()["workers"] == 1)
        pool.resize(2)


def test_a_python_job_beside_a_native_one(pool, jobs):
    pool.submit(int).result(LONG)
    with held(pool, jobs):
        assert pool.submit(pow, 2, 5).result(LONG) == 32


def test_python_runs_beside_it(pool, jobs):
    # the job ends because this thread, meanwhile in Python, says so
    gates = words(0, 0)
    future = pool.submit_native(jobs.hold, gates)
    rounds = 0
    while not gates[0]:
        rounds += 1
    gates[1] = 1
    assert future.result(LONG) == 1


def test_starts_while_the_gil_is_held(make_native_pool, jobs):
    pool, gates = make_native_pool(1), words(0, 0)
    interval = sys.getswitchinterval()
    pool.submit(int).result(LONG)
    assert eventually(lambda: pool.stats()["idle"] == 1)
    time.sleep(0.05)  # the worker lets the GIL go right after it says that it is idle
    sys.setswitchinterval(100)  # nobody gets the GIL from this thread
    try:
        future = pool.submit_native(jobs.hold, gates)
        deadline = time.monotonic() + 20
        while not gates[0] and time.monotonic() < deadline:
            pass
        entered, running = gates[0], future.running()
        gates[1] = 1
    finally:
        sys.setswitchinterval(interval)
    assert (entered, running) == (1, True)
    assert future.result(LONG) == 1


def test_does_not_overtake_a_higher_priority(make_native_pool, jobs):
    pool = make_native_pool(1)
    first = pool.options(priority=1)
    for _ in range(200):
        started = words(0)
        time.sleep(0.0005)  # let the worker fall asleep, sometimes
        python = first.submit(lambda started=started: started[0])
        native = pool.submit_native(jobs.add_one, started)
        assert python.result(LONG) == 0
        assert native.result(LONG) == 1


def test_a_collection_meanwhile_takes_nothing(make_native_pool, jobs):
    # workers take native jobs from the queue without stopping for the collector
    pool, called = make_native_pool(1), []
    # without the GIL a collection goes through all objects of the process, frozen or not
    rounds = 2000 if WITH_GIL else 200
    gc.collect()
    gc.freeze()
    try:
        for _ in range(rounds):
            pool.submit_native(jobs.sum, memoryview(bytes(4))).add_done_callback(called.append)
            gc.collect()
    finally:
        gc.unfreeze()
    assert eventually(lambda: len(called) == rounds)


# ---- cancelling ---------------------------------------------------------------------


def test_cancelled_before_it_starts(make_native_pool, jobs):
    pool, buffer, called = make_native_pool(1), bytearray(4), []
    with held(pool, jobs):
        future = pool.submit_native(jobs.fill, buffer)
        future.add_done_callback(called.append)
        assert future.cancel()
        assert called == [future]
    assert concurrent.futures.wait([future], LONG).done == {future}
    assert eventually(lambda: is_free(buffer))
    assert buffer == bytes(4)
    with pytest.raises(concurrent.futures.CancelledError):
        future.result()


def test_cancelled_while_a_worker_takes_it(pool, jobs):
    # either it runs or it is cancelled, and the buffer is let go
    for _ in range(500):
        total, lock = words(0), bytearray(1)
        future = pool.submit_native(jobs.add_one, total, lock)
        if future.cancel():
            assert concurrent.futures.wait([future], LONG).done
            assert total[0] == 0
        else:
            assert future.result(LONG) == total[0] == 1
        assert eventually(lambda: is_free(lock))


# ---- waiting inside the pool --------------------------------------------------------


def test_a_worker_runs_the_native_job_it_waits_for(make_native_pool, jobs):
    pool = make_native_pool(1)
    outer = pool.submit(lambda: pool.submit_native(jobs.seven).result(LONG))
    assert outer.result(LONG) == 7


@pytest.mark.parametrize("inline", [True, False], ids=["inline waits", "workers only"])
def test_completed_once_whoever_lends_a_hand(inline, make_native_pool, jobs, caplog):
    pool = make_native_pool(2, inline_waits=inline)
    buffers = [bytearray(1) for _ in range(3000)]

    def body():
        return all(pool.submit_native(jobs.seven, buffer).result(LONG) == 7 for buffer in buffers)

    assert body() if inline else pool.submit(body).result(LONG)
    assert all(map(is_free, buffers))
    assert not caplog.records


# ---- the pool's end -----------------------------------------------------------------


def test_shutdown_waits(make_native_pool, jobs):
    pool, gates = make_native_pool(1), words(0, 0)
    future = pool.submit_native(jobs.hold, gates)
    assert pool.shutdown(timeout=0.05) is False
    gates[1] = 1
    pool.shutdown(wait=True)
    assert future.done() and future.result() == 1


def test_shutdown_cancels_what_is_queued(make_native_pool, jobs):
    pool, buffer = make_native_pool(1), bytearray(4)
    with held(pool, jobs):
        queued = [pool.submit_native(jobs.fill, buffer) for _ in range(10)]
        pool.shutdown(wait=False, cancel_futures=True)
        assert all(future.cancelled() for future in queued)
        assert is_free(buffer)
    assert buffer == bytes(4)


def test_after_shutdown(make_native_pool, jobs):
    pool, buffer = make_native_pool(1), bytearray(4)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="^cannot schedule new futures after shutdown"):
        pool.submit_native(jobs.fill, buffer)
    assert is_free(buffer)


def test_a_broken_pool(make_native_pool, jobs, caplog):
    pool, buffer = make_native_pool(1, initializer=divmod, initargs=(1, 0)), bytearray(4)
    future = pool.submit_native(jobs.fill, buffer)
    with pytest.raises(concurrent.futures.BrokenExecutor):
        future.result(LONG)
    with pytest.raises(concurrent.futures.BrokenExecutor):
        pool.submit_native(jobs.fill, buffer)
    assert eventually(lambda: is_free(buffer))
    assert buffer == bytes(4)


def test_the_interpreter_exits_after_the_last_job(library):
    program = """
        import ctypes, sys, treadle
        jobs = ctypes.CDLL(sys.argv[1])
        pool = treadle.ThreadPoolExecutor(2)
        for _ in range(50):
            pool.submit_native(jobs.dot)
    """
    assert run_script(program, library) == "." * 50


def test_a_daemon_pool_does_not_keep_the_interpreter(library):
    program = """
        import array, ctypes, sys, treadle
        jobs = ctypes.CDLL(sys.argv[1])
        gates = array.array("q", [0, 0])
        future = treadle.ThreadPoolExecutor(1, daemon=True).submit_native(jobs.hold, gates)
        while not gates[0]:
            pass
        print(future.running())
    """
    assert run_script(program, library, limit=15) == "True\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_fork_beside_a_job(library):
    program = """
        import array, ctypes, os, signal, sys, treadle, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        jobs = ctypes.CDLL(sys.argv[1])
        gates = array.array("q", [0, 0])
        pool = treadle.ThreadPoolExecutor(1)
        future = pool.submit_native(jobs.hold, gates)
        queued = pool.submit_native(jobs.seven)
        while not gates[0]:
            pass
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            try:
                pool.submit_native(jobs.seven)
            except treadle.BrokenThreadPool as error:
                print(type(error).__name__)
            try:
                queued.result(10)
            except treadle.BrokenThreadPool as error:
                print(type(error).__name__)
            with treadle.ThreadPoolExecutor(2) as mine:
                print(mine.submit_native(jobs.sum, b"ab").result(10), flush=True)
            os._exit(0)
        print(os.waitpid(child, 0)[1] == 0)
        gates[1] = 1
        print(future.result(20), queued.result(20))
    """
    lines = run_script(program, library).splitlines()
    assert lines == ["BrokenThreadPool", "BrokenThreadPool", str(sum(b"ab")), "True", "1 7"]


# ---- figures ------------------------------------------------------------------------


def test_stats_count_native_jobs(make_native_pool, jobs):
    pool = make_native_pool(1)
    with held(pool, jobs):
        queued = [pool.submit_native(jobs.seven) for _ in range(3)]
        during = pool.stats()
    assert [future.result(LONG) for future in queued] == [7, 7, 7]
    assert (during["running"], during["queued"], during["idle"], during["workers"]) == (1, 3, 0, 1)
    assert eventually(lambda: pool.stats()["done"] == 4)
    stats = pool.stats()
    assert stats["run"]["count"] == stats["wait"]["count"] == 4
    assert stats["running"] == 0


def test_a_gate_in_python_and_a_job_in_c(make_native_pool, jobs):
    # both kinds of waiting at once fill the pool without getting into each other's way
    pool, gate = make_native_pool(2), Gate()
    waiting = pool.submit(gate.wait)
    assert eventually(lambda: gate.entered == 1)
    with held(pool, jobs):
        assert pool.stats()["idle"] == 0
    gate.open()
    waiting.result(LONG)

"""multiprocessing's own tools inside workers: given to an initializer, or inherited by workers that are forked."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.shared_memory import SharedMemory

import pytest
import treadle
from support import process_bodies as bodies
from support.waiting import LIMIT
from treadle._workers import choose_context
from treadle._zygote import stop_zygotes

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
SIDES = [(ProcessPoolExecutor, "spawn"), *((treadle.ProcessPoolExecutor, m) for m in ("zygote", "fork", "spawn", "forkserver"))]


@pytest.fixture(scope="module", autouse=True)
def no_zygotes_left():
    yield
    stop_zygotes()


@pytest.fixture(params=SIDES, ids=lambda side: f"{side[0].__module__.partition('.')[0]}-{side[1]}")
def side(request):
    executor, method = request.param
    return executor, choose_context(method)


def test_lock_value_array_queue_event_manager_and_pipe(side):
    make, ctx = side
    receiver, sender = ctx.Pipe(duplex=False)
    with ctx.Manager() as manager:
        lock, value, array = ctx.Lock(), ctx.Value("i", 0, lock=False), ctx.Array("i", 4, lock=False)
        queue, event, listing = ctx.Queue(), ctx.Event(), manager.list()
        tools = (lock, value, array, queue, event, listing, sender)
        with make(2, mp_context=ctx, initializer=bodies.remember, initargs=(tools,)) as pool:
            waiting = [pool.submit(bodies.use_tools, number) for number in range(12)]
            assert not any(future.done() for future in waiting)
            event.set()
            names = {future.result(LIMIT) for future in waiting}
            assert names <= {process.name for process in pool._processes.values()}
        assert value.value == sum(range(12))
        assert list(array) == [3, 3, 3, 3]
        assert sorted(queue.get(timeout=LIMIT) for _ in range(12)) == list(range(12))
        assert sorted(listing) == list(range(12))
        assert sorted(receiver.recv() for _ in range(12)) == list(range(12))
        queue.close()
        queue.join_thread()
    receiver.close()
    sender.close()


def test_shared_memory_survives_workers(side):
    make, ctx = side
    memory = SharedMemory(create=True, size=32)
    try:
        with make(2, mp_context=ctx) as pool:
            assert list(pool.map(bodies.fill_shared, [memory.name] * 8, range(8))) == list(range(8))
        assert bytes(memory.buf[:8]) == bytes(range(8))
    finally:
        memory.close()
        memory.unlink()


def test_locks_cannot_be_arguments(side):
    make, ctx = side
    with make(1, mp_context=ctx) as pool:
        with pytest.raises(RuntimeError, match="only be shared between processes through inheritance"):
            pool.submit(id, ctx.Lock()).result(LIMIT)
        assert pool.submit(bodies.add, 1, 2).result(LIMIT) == 3


def test_proxies_can_be_arguments(side):
    make, ctx = side
    with ctx.Manager() as manager, make(1, mp_context=ctx) as pool:
        queue = manager.Queue()
        pool.submit(queue.put, 5).result(LIMIT)
        assert queue.get(timeout=LIMIT) == 5


def test_workers_are_processes_of_multiprocessing(side):
    make, ctx = side
    with make(1, mp_context=ctx) as pool:
        name = pool.submit(bodies.names).result(LIMIT)
        (process,) = pool._processes.values()
        assert name == (process.name, process.pid, multiprocessing.current_process().pid)
        assert process in multiprocessing.active_children()
        assert process.is_alive() and process.exitcode is None
    assert process.exitcode == 0
    assert process not in multiprocessing.active_children()

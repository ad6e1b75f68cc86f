"""Runs each scenario on new loops while the n-th allocation fails, for n = 1, 2, 3, ...

    loop_fault_program.py malloc           fails the extension's own calls of malloc, calloc and realloc (needs LD_PRELOAD)
    loop_fault_program.py python LIBRARY   fails what CPython allocates for the extension; LIBRARY is failing_pymem.c

Started by tests/loop/test_faults.py. A scenario may end in MemoryError, or have one that was told: to the loop's exception
handler, in the log, or as unraisable. A callback of asyncio's that was not run for lack of memory is told like that, and
what waited for it waits on, on the stock loop as well; so no more than a time limit is put on that. It may not crash, nor go
wrong in silence, nor lose what was scheduled or the result of a job, and the loop must turn and close afterwards. Prints
the rounds and failures of each as JSON.
"""

import asyncio
import contextlib
import ctypes
import gc
import itertools
import json
import logging
import socket
import sys
import warnings

import treadle
from support.fault_program import MallocFaults, mapping_of, occupied_pool
from support.sockets import new_pair
from support.stepping import descriptors
from treadle import _native

MOST = {"malloc": 200, "python": 60}
# Seconds after which a round looks whether there was an error, and then stops; the last is when what is waited for is late.
LIMITS = (0.3, 1.0, 5.0, 20.0)

told = []  # where a MemoryError was reported since the round began: "handler", "log", "unraisable"


class PymemFaults:
    """Failures of CPython's allocator, while it works for the extension."""

    def __init__(self, library):
        self._library = ctypes.PyDLL(library)
        self._library.failing_pymem_watch.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
        self._library.failing_pymem_watch(*mapping_of(_native.__file__))

    def arm(self, number):
        self._library.failing_pymem_arm(ctypes.c_long(number))

    def disarm(self):
        reached = self._library.failing_pymem_seen()
        self._library.failing_pymem_arm(ctypes.c_long(0))
        return reached


class Listener(logging.Handler):
    def handle(self, record):
        if record.exc_info and record.exc_info[0] is MemoryError:
            told.append("log")


def note_context(loop, context):
    if isinstance(context.get("exception"), MemoryError):
        told.append("handler")


def note_unraisable(unraisable):
    if unraisable.exc_type is MemoryError:
        told.append("unraisable")


class Faults:
    """One failure of `kind` at a time; knows whether a scenario came as far as that."""

    def __init__(self, kind):
        self._kind, self.number, self.reached = kind, 0, 0

    def __enter__(self):
        self._kind.arm(self.number)

    def __exit__(self, *exc_info):
        self.reached = self._kind.disarm()


def turn(loop):
    for _ in range(2):  # one may be what fails
        loop.call_soon(loop.stop)
    loop.run_forever()


def settle(loop):
    """What was cancelled comes to its end."""
    for _ in range(4):
        turn(loop)


def run(loop, coroutine):
    """As run_until_complete(), whose callbacks may be among what is not run."""
    task, late = loop.create_task(coroutine), []
    timers = [loop.call_later(limit, stop_late, loop, late, limit == LIMITS[-1]) for limit in LIMITS]
    task.add_done_callback(Stopper(loop))
    try:
        loop.run_forever()
    finally:
        for timer in timers:
            timer.cancel()
        if not task.cancel():
            result_of(task)
    assert not late or told, "neither an end nor an error"


def result_of(task):
    """What follows from a callback that was not run may be any exception."""
    try:
        task.result()
    except MemoryError:
        raise
    except Exception:
        if not told:
            raise


class Stopper:
    def __init__(self, loop):
        self._loop = loop

    def __call__(self, task):
        self._loop.stop()


def stop_late(loop, late, is_last):
    if told or is_last:
        late.append(True)
        loop.stop()


async def waits(future):
    await asyncio.sleep(0)
    return await future


def tasks(loop):
    """Every task that was made comes to an end: with its result, cancelled as it was to be, or with a MemoryError."""
    futures = [loop.create_future() for _ in range(3)]
    made = []
    try:
        made.append(loop.create_task(waits(loop.create_future())))
        made[0].cancel()  # before its first step
        made.append(loop.create_task(waits(loop.create_future())))
        made.extend([loop.create_task(waits(future)) for future in futures for _ in range(2)])
        for _ in range(2):
            turn(loop)
    finally:
        for task in made[:2]:
            task.cancel()
        for number, future in enumerate(futures):
            future.set_result(number)
        settle(loop)
        assert all(task.done() for task in made), made
    for task, number in zip(made[2:], (0, 0, 1, 1, 2, 2), strict=True):
        assert task.result() == number
    for task in made[:2]:
        with contextlib.suppress(asyncio.CancelledError):
            raise AssertionError(task.result())


def all_run(loop, schedule):
    """Schedule many callbacks: those that were accepted must run."""
    calls, accepted = itertools.count(), 0
    try:
        for _ in range(500):
            schedule(next, calls)
            accepted += 1
        turn(loop)
    finally:
        turn(loop)
        turn(loop)
        ran = next(calls)
        assert ran == accepted or (told and ran == accepted - 1), (ran, accepted)


def soon(loop):
    all_run(loop, loop.call_soon)


class At:
    def __init__(self, loop):
        self._loop = loop

    def __call__(self, *call):
        self._loop.call_later(100, abs, 0).cancel()
        self._loop.call_at(0, *call)


def timers(loop):
    all_run(loop, At(loop))


def threadsafe(loop):
    all_run(loop, loop.call_soon_threadsafe)


def readers(loop):
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            for end in new_pair("UNIX"):
                stack.enter_context(end)
                stack.callback(loop.remove_reader, end)
                stack.callback(loop.remove_writer, end)
                loop.add_reader(end, abs, 1)
                loop.add_writer(end, abs, 1)
        turn(loop)


def sockets(loop):
    ours, theirs = new_pair("UNIX")

    async def talk():
        waiting = asyncio.ensure_future(loop.sock_recv(ours, 10))
        await asyncio.sleep(0)
        await loop.sock_sendall(theirs, b"x")
        assert await waiting == b"x"

    with ours, theirs:
        run(loop, talk())


def streams(loop):
    ours, theirs = new_pair("UNIX")

    async def talk():
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        try:
            await loop.sock_sendall(theirs, bytes(1000))
            transport.write(bytes(1 << 20))
            transport.writelines([bytes(1000)] * 3)
            await asyncio.sleep(0.001)
        finally:
            transport.abort()
            await asyncio.sleep(0)

    with ours, theirs:
        try:
            run(loop, talk())
        finally:
            turn(loop)


def servers(loop):
    async def serve():
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        try:
            # not create_connection(), which appends to a list: CPython 3.15.0 crashes when that cannot be made longer
            with socket.socket() as client:
                client.connect(server.sockets[0].getsockname())
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.001)
        finally:
            server.close()

    run(loop, serve())


def datagrams(loop):
    async def send():
        transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
        try:
            for _ in range(5):
                transport.sendto(b"x", transport.get_extra_info("sockname"))
            await asyncio.sleep(0.001)
        finally:
            transport.abort()

    run(loop, send())


def jobs_on(loop):
    """Every job's result arrives, whatever fails between the worker and the loop."""

    async def wait():
        futures = [None] * 6
        try:
            for number in range(6):
                futures[number] = loop.run_in_executor(None, abs, -number)
        finally:
            for number, future in enumerate(futures):
                if future is not None:
                    assert await future == number

    run(loop, wait())


def jobs(loop, faults):
    # Its workers run already: CPython waits for ever for a thread that could not be started for lack of memory.
    loop.set_default_executor(occupied_pool())
    try:
        with faults:
            jobs_on(loop)
        assert "log" not in told, "a worker could not hand over a result"
    finally:
        settle(loop)
        loop.run_until_complete(loop.shutdown_default_executor())


def jobs_of_others(loop, faults):
    """The same on the stock loop."""
    stock = asyncio.SelectorEventLoop()
    stock.set_exception_handler(note_context)
    stock.set_default_executor(occupied_pool())
    try:
        with faults:
            jobs_on(stock)
    finally:
        settle(stock)
        stock.run_until_complete(stock.shutdown_default_executor())
        stock.close()


def process(loop):
    async def talk():
        cat = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
        try:
            output, _ = await cat.communicate(b"x")
            assert output == b"x" or told
        finally:
            if cat.returncode is None:
                cat.kill()

    run(loop, talk())


def new_loop(loop):
    treadle.new_event_loop().close()


SCENARIOS = [
    soon, tasks, timers, threadsafe, readers, sockets, streams, servers, datagrams, jobs, new_loop, jobs_of_others, process
]  # fmt: skip
ARM_THEMSELVES = {jobs, jobs_of_others}
# What they leave for a while: the inbox of a closed stock loop goes when the next one is made, a Popen object whose child
# was not reaped when CPython makes another.
LEAVE_SOMETHING = {jobs_of_others, process}


def one_round(faults, scenario):
    """Whether it failed, and whether it makes fewer allocations than it would take."""
    loop = treadle.new_event_loop()
    loop.set_exception_handler(note_context)
    told.clear()
    failed = False
    try:
        if scenario in ARM_THEMSELVES:
            scenario(loop, faults)
        else:
            with faults:
                scenario(loop)
    except MemoryError:
        failed = True
    settle(loop)
    assert loop.run_until_complete(asyncio.sleep(0, "works")) == "works"
    loop.close()
    return failed or bool(told), faults.reached < faults.number


def all_rounds(faults, scenario):
    faults.number = 0
    one_round(faults, scenario)  # what is made once in a process is made here
    gc.collect()
    before, failures = descriptors(), 0
    for number in range(1, MOST[sys.argv[1]]):
        faults.number = number
        failed, through = one_round(faults, scenario)
        failures += failed
        # CPython has 16 MemoryErrors to give away; when all are in cycles that await their collection, it raises one that
        # never dies, and the frames in that one's traceback live on with all that they refer to.
        gc.collect()
        if through:
            break
    gc.collect()
    left = [] if scenario in LEAVE_SOMETHING else descriptors() ^ before
    assert not left, f"{scenario.__name__}: {left}"
    return {"rounds": number, "failures": failures}


def main():
    logging.getLogger().addHandler(Listener())
    logging.lastResort = None
    warnings.simplefilter("ignore")  # of coroutines that nothing came of
    sys.unraisablehook = note_unraisable
    faults = Faults(MallocFaults() if sys.argv[1] == "malloc" else PymemFaults(sys.argv[2]))
    print(json.dumps({scenario.__name__: all_rounds(faults, scenario) for scenario in SCENARIOS}))


if __name__ == "__main__":
    main()

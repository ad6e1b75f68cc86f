"""What the rows about scheduling run: each program takes a running loop and a number of operations.

As a program, this file is the process that measures one implementation:
``loop_programs.py PROGRAM LOOP OPERATIONS`` warms up, runs the program a few times and prints the
sample of the cheapest as JSON.  Nothing but that loop has been imported.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from types import ModuleType

import loops
import resident
from harness import Sample, Stopwatch

BATCH = 1_000
REPEATS = 3
FAR = 3600.0
SOON = 0.001
MESSAGE = bytes(range(256)) * (1 << 14)  # 4 MiB
LINE = b"x" * 99 + b"\n"
LINES = 650  # that come at a time: 64 KiB

Loop = asyncio.AbstractEventLoop
LoopFactory = Callable[[], Loop]
Program = Callable[[LoopFactory, int], Sample]
Body = Callable[[int], Awaitable[None]]


def measured_on_loop(body: Body) -> Program:
    """A program that runs `body` on one loop: a tenth of it to warm up, then timed."""

    async def main(operations: int) -> Sample:
        await body(operations // 10)
        samples = []
        for _ in range(REPEATS):
            gc.collect()
            with Stopwatch(operations) as watch:
                await body(operations)
            samples.append(watch.cpu_sample())
        return min(samples, key=lambda sample: sample.cost)

    def program(factory: LoopFactory, operations: int) -> Sample:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main(operations))

    return program


async def noop() -> None:
    """The least a coroutine can do."""


def nothing(*values: object) -> None:
    """The least a callback or a job can do."""


async def chain(operations: int) -> None:
    """A callback that schedules itself again."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    left = operations

    def step() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(step)
        else:
            done.set_result(None)

    loop.call_soon(step)
    await done


async def burst(operations: int) -> None:
    """Callbacks with two arguments, a batch at a time."""
    await _batches(asyncio.get_running_loop().call_soon, operations)


async def threadsafe(operations: int) -> None:
    """The same by call_soon_threadsafe, from the loop's own thread."""
    await _batches(asyncio.get_running_loop().call_soon_threadsafe, operations)


async def _batches(call: Callable[..., object], operations: int) -> None:
    for _ in range(operations // BATCH):
        for number in range(BATCH):
            call(nothing, number, None)
        await asyncio.sleep(0)


async def timer_cancel(operations: int) -> None:
    """Timers that never fire, as most timeouts."""
    loop = asyncio.get_running_loop()
    for _ in range(operations // BATCH):
        for _ in range(BATCH):
            loop.call_later(FAR, nothing).cancel()
        await asyncio.sleep(0)


async def timer_fire(operations: int) -> None:
    """Timers that fire, all due in the same few moments."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    left = operations

    def fired() -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set_result(None)

    for _ in range(operations):
        loop.call_later(SOON, fired)
    await done


async def sleep0(operations: int) -> None:
    """A task that lets others run."""
    for _ in range(operations):
        await asyncio.sleep(0)


async def create_task(operations: int) -> None:
    """A task made, run and awaited, one at a time."""
    for _ in range(operations):
        await asyncio.create_task(noop())


async def ping_pong(operations: int) -> None:
    """Two tasks that wake each other by futures; an operation is a wake-up of each."""
    loop = asyncio.get_running_loop()
    balls = [loop.create_future(), loop.create_future()]

    async def play(own: int, other: int) -> None:
        for _ in range(operations):
            await balls[own]
            balls[own] = loop.create_future()
            balls[other].set_result(None)

    balls[0].set_result(None)
    await asyncio.gather(play(0, 1), play(1, 0))


async def gather(operations: int) -> None:
    """A thousand coroutines gathered, again and again."""
    for _ in range(operations // BATCH):
        await asyncio.gather(*[noop() for _ in range(BATCH)])


async def task_group(operations: int) -> None:
    """A thousand tasks in a group, again and again."""
    for _ in range(operations // BATCH):
        async with asyncio.TaskGroup() as group:
            for _ in range(BATCH):
                group.create_task(noop())


async def queue(operations: int) -> None:
    """Two tasks that answer each other through queues of one place."""
    there: asyncio.Queue[int] = asyncio.Queue(1)
    back: asyncio.Queue[int] = asyncio.Queue(1)

    async def answer() -> None:
        for _ in range(operations // 2):
            await back.put(await there.get())

    async def ask() -> None:
        for number in range(operations // 2):
            await there.put(number)
            assert await back.get() == number

    await asyncio.gather(answer(), ask())


async def lines(operations: int) -> None:
    """readline() of lines of 100 bytes, 64 KiB of which come at a time."""
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours, limit=2 * LINES * len(LINE))
    for _ in range(operations // LINES):
        theirs.sendall(LINE * LINES)
        for _ in range(LINES):
            assert await reader.readline() == LINE
    writer.close()
    theirs.close()


async def timeout(operations: int) -> None:
    """A time limit that is never reached, around a short wait."""
    for _ in range(operations):
        async with asyncio.timeout(FAR):
            await asyncio.sleep(0)


async def wait_for(operations: int) -> None:
    """The same by wait_for."""
    for _ in range(operations):
        await asyncio.wait_for(asyncio.sleep(0), FAR)


def own() -> ModuleType:
    """Where gather() and the like are: treadle's for its own loop, else asyncio's."""
    package = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    return importlib.import_module("treadle._functions") if package == loops.SUBJECT else asyncio


async def own_gather(operations: int) -> None:
    """A thousand coroutines gathered, by the loop's own function if it has one."""
    gather = own().gather
    for _ in range(operations // BATCH):
        await gather(*[noop() for _ in range(BATCH)])


async def own_wait_for(operations: int) -> None:
    """wait_for of a short wait, by that of the loop's package."""
    wait_for = own().wait_for
    for _ in range(operations):
        await wait_for(asyncio.sleep(0), FAR)


async def own_wait(operations: int) -> None:
    """A thousand tasks waited for, by that of the loop's package."""
    wait = own().wait
    for _ in range(operations // BATCH):
        await wait([asyncio.create_task(noop()) for _ in range(BATCH)])


async def own_shield(operations: int) -> None:
    """Coroutines shielded, by that of the loop's package."""
    shield = own().shield
    for _ in range(operations):
        await shield(noop())


async def own_as_completed(operations: int) -> None:
    """A thousand coroutines awaited as they complete, by that of the loop's package."""
    as_completed = own().as_completed
    for _ in range(operations // BATCH):
        for each in as_completed([noop() for _ in range(BATCH)]):
            await each


async def sleepers(operations: int) -> None:
    """Tasks that all sleep at once, for one to ten milliseconds."""
    await asyncio.gather(*[asyncio.sleep(SOON * (1 + n % 10)) for n in range(operations)])


async def to_thread(operations: int) -> None:
    """One job after the other on the default executor."""
    for _ in range(operations):
        await asyncio.to_thread(nothing)


async def executor(operations: int) -> None:
    """A thousand jobs on the default executor gathered, again and again."""
    loop = asyncio.get_running_loop()
    for _ in range(operations // BATCH):
        await asyncio.gather(*[loop.run_in_executor(None, nothing) for _ in range(BATCH)])


async def spawn(operations: int) -> None:
    """A process that does nothing, started and waited for."""
    for _ in range(operations):
        process = await asyncio.create_subprocess_exec("/bin/true")
        assert await process.wait() == 0


async def cat(operations: int) -> None:
    """Four mebibytes through a process and back; an operation is the whole."""
    for _ in range(operations):
        process = await asyncio.create_subprocess_exec(
            "/bin/cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        came, _ = await process.communicate(MESSAGE)
        assert came == MESSAGE


def start_stop(factory: LoopFactory, operations: int) -> Sample:
    """A loop made, an empty coroutine run, the loop closed."""

    def run() -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(noop())

    for _ in range(operations // 10):
        run()
    samples = []
    for _ in range(REPEATS):
        gc.collect()
        with Stopwatch(operations) as watch:
            for _ in range(operations):
                run()
        samples.append(watch.cpu_sample())
    return min(samples, key=lambda sample: sample.cost)


def queued(factory: LoopFactory, operations: int) -> Sample:
    """Callbacks that wait to be run; the cost is the memory each takes."""
    loop = factory()

    async def fill() -> Sample:
        for _ in range(BATCH):
            loop.call_soon(nothing)
        await asyncio.sleep(0)
        gc.collect()
        before = resident.resident()
        for _ in range(operations):
            loop.call_soon(nothing)
        return Sample((resident.resident() - before) / operations)

    try:
        return loop.run_until_complete(fill())
    finally:
        loop.close()


BODIES = (
    *(chain, burst, threadsafe, timer_cancel, timer_fire, sleep0, create_task, ping_pong),
    *(gather, task_group, queue, lines, timeout, wait_for, sleepers, to_thread, executor, spawn, cat),
    *(own_gather, own_wait_for, own_wait, own_shield, own_as_completed),
)
PROGRAMS: dict[str, Program] = {
    **{body.__name__.replace("_", "-"): measured_on_loop(body) for body in BODIES},
    "start-stop": start_stop,
    "queued": queued,
}


def main(program: str, loop: str, operations: int) -> None:
    """Measure, and print the sample."""
    sample = PROGRAMS[program](loops.factory(loop), operations)
    print(json.dumps(asdict(sample)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))

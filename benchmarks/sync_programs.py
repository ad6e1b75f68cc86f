"""What the rows about synchronisation and scopes run: each program takes the classes to use and a number of operations.

As a program, this file is the process that measures one implementation: ``sync_programs.py PROGRAM
SIDE OPERATIONS``, where a side is a loop (asyncio's classes on it; treadle's on treadle's) or, for
the queue between threads and a loop, a package that has such a queue.  It prints a sample as JSON.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import sys
import threading
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from types import ModuleType
from typing import Any

import loops
from harness import Sample, Stopwatch

REPEATS = 3
USERS = 10
GROUPED = 1000
FAR = 1000.0
Body = Callable[[ModuleType, int], Awaitable[None]]
SIDES = ("janus", "culsans", loops.SUBJECT)


def classes(side: str) -> ModuleType:
    """Where the classes of a side are."""
    return importlib.import_module(loops.SUBJECT) if side == loops.SUBJECT else asyncio


async def queue(kit: ModuleType, operations: int) -> None:
    """Two tasks that answer each other through queues of one place; an operation is an item."""
    there, back = kit.Queue(1), kit.Queue(1)

    async def answer() -> None:
        for _ in range(operations // 2):
            await back.put(await there.get())

    async def ask() -> None:
        for number in range(operations // 2):
            await there.put(number)
            assert await back.get() == number

    await asyncio.gather(answer(), ask())


async def event(kit: ModuleType, operations: int) -> None:
    """Tasks that wait for one event, all woken at once; an operation is a task."""
    flag = kit.Event()

    async def waiter() -> None:
        await flag.wait()

    tasks = [asyncio.create_task(waiter()) for _ in range(operations)]
    await asyncio.sleep(0)
    flag.set()
    for task in tasks:
        await task


async def lock(kit: ModuleType, operations: int) -> None:
    """Ten tasks that want the same lock, each holding it for a turn; an operation is one holding."""
    mutex = kit.Lock()

    async def user() -> None:
        for _ in range(operations // USERS):
            async with mutex:
                await asyncio.sleep(0)

    await asyncio.gather(*[user() for _ in range(USERS)])


async def free_lock(kit: ModuleType, operations: int) -> None:
    """A lock that nobody else wants."""
    mutex = kit.Lock()
    for _ in range(operations):
        async with mutex:
            pass


async def semaphore(kit: ModuleType, operations: int) -> None:
    """Ten tasks for two places."""
    places = kit.Semaphore(2)

    async def user() -> None:
        for _ in range(operations // USERS):
            async with places:
                await asyncio.sleep(0)

    await asyncio.gather(*[user() for _ in range(USERS)])


async def condition(kit: ModuleType, operations: int) -> None:
    """Two tasks that take turns by a condition."""
    turn, changed = 0, kit.Condition()

    async def player(number: int) -> None:
        nonlocal turn
        for _ in range(operations // 2):
            async with changed:
                await changed.wait_for(lambda: turn == number)
                turn = 1 - turn
                changed.notify()

    await asyncio.gather(player(0), player(1))


async def sleeping(kit: ModuleType, operations: int) -> None:
    """A task that gives up its turn."""
    for _ in range(operations):
        await kit.sleep(0)


async def timeouts(kit: ModuleType, operations: int) -> None:
    """A timeout that is never reached, around a turn given up."""
    for _ in range(operations):
        async with kit.timeout(FAR):
            await kit.sleep(0)


async def nothing() -> None:
    """What the tasks of groups do."""


async def groups(kit: ModuleType, operations: int) -> None:
    """Groups of tasks that do nothing; an operation is a task."""
    size = min(GROUPED, operations)
    for _ in range(operations // size):
        async with kit.TaskGroup() as group:
            for _ in range(size):
                group.create_task(nothing())


def measured(body: Body, side: str, operations: int) -> Sample:
    """The cheapest of a few runs of `body` on one loop, after a tenth of it to warm up."""

    async def main() -> Sample:
        kit = classes(side)
        await body(kit, operations // 10)
        samples = []
        for _ in range(REPEATS):
            gc.collect()
            with Stopwatch(operations) as watch:
                await body(kit, operations)
            samples.append(watch.cpu_sample())
        return min(samples, key=lambda sample: sample.cost)

    with asyncio.Runner(loop_factory=loops.factory(side)) as runner:
        return runner.run(main())


Ways = tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any], Callable[..., Any]]


def ways(side: str, maxsize: int) -> Ways:
    """A new queue's put and get for threads, put and get for coroutines."""
    made = importlib.import_module(side).Queue(maxsize)
    if side == loops.SUBJECT:
        return made.put_sync, made.get_sync, made.put, made.get
    return made.sync_q.put, made.sync_q.get, made.async_q.put, made.async_q.get


async def relay(side: str, operations: int, maxsize: int) -> None:
    """A thread puts, a coroutine passes on, a thread takes."""
    put_first, _, _, take = ways(side, maxsize)
    _, get_last, give, _ = ways(side, maxsize)

    def feed() -> None:
        for number in range(operations):
            put_first(number)

    def drain() -> None:
        for number in range(operations):
            assert get_last() == number

    threads = [threading.Thread(target=feed), threading.Thread(target=drain)]
    for thread in threads:
        thread.start()
    for _ in range(operations):
        await give(await take())
    for thread in threads:
        await asyncio.get_running_loop().run_in_executor(None, thread.join)


def relayed(maxsize: int, side: str, operations: int) -> Sample:
    """The same on treadle's loop for every side: the queues are what is compared."""

    async def main() -> Sample:
        await relay(side, operations // 10, maxsize)
        samples = []
        for _ in range(REPEATS):
            gc.collect()
            with Stopwatch(operations) as watch:
                await relay(side, operations, maxsize)
            samples.append(watch.cpu_sample())
        return min(samples, key=lambda sample: sample.cost)

    with asyncio.Runner(loop_factory=loops.factory(loops.SUBJECT)) as runner:
        return runner.run(main())


BODIES: dict[str, Body] = {
    "queue": queue,
    "event": event,
    "lock": lock,
    "free-lock": free_lock,
    "semaphore": semaphore,
    "condition": condition,
    "sleep": sleeping,
    "timeout": timeouts,
    "group": groups,
}
RELAYS = {"relay": 0, "relay-100": 100}


def run(program: str, side: str, operations: int) -> Sample:
    """Measure one side."""
    if program in RELAYS:
        return relayed(RELAYS[program], side, operations)
    return measured(BODIES[program], side, operations)


def main(program: str, side: str, operations: int) -> None:
    """Measure, and print the sample."""
    print(json.dumps(asdict(run(program, side, operations))))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))

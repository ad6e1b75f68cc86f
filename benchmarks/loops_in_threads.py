"""Several treadle loops, each in a thread of its own: ``loops_in_threads.py PROGRAM LOOPS OPERATIONS``.

Each loop runs one of the programs below with that number of operations.  Prints the sample of the
fastest of a few runs as JSON: the time on the wall from a common start until the last is done, for
an operation of any of them.
"""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import sys
import threading
from dataclasses import asdict

import loop_programs
import treadle
from harness import Sample, Stopwatch

REPEATS = 3
MESSAGE = bytes(1 << 10)


async def echo(operations: int) -> None:
    """A kibibyte there and back over a pair of sockets, both ends on this loop."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()

    async def answer() -> None:
        while data := await loop.sock_recv(theirs, len(MESSAGE)):
            await loop.sock_sendall(theirs, data)

    with ours, theirs:
        for end in (ours, theirs):
            end.setblocking(False)
        answering = asyncio.create_task(answer())
        for _ in range(operations):
            await loop.sock_sendall(ours, MESSAGE)
            assert await loop.sock_recv(ours, len(MESSAGE)) == MESSAGE
        ours.shutdown(socket.SHUT_WR)
        await answering


BODIES = {"tasks": loop_programs.create_task, "echo": echo}


def once(program: str, loops: int, operations: int) -> Sample:
    """The sample of one run."""
    barrier = threading.Barrier(loops + 1)
    body = BODIES[program]

    async def main() -> None:
        await body(operations // 10)
        barrier.wait()
        await body(operations)
        barrier.wait()

    threads = [threading.Thread(target=treadle.run, args=(main(),)) for _ in range(loops)]
    for thread in threads:
        thread.start()
    barrier.wait()
    with Stopwatch(loops * operations) as watch:
        barrier.wait()
    for thread in threads:
        thread.join()
    gc.collect()
    return watch.sample()


def main(program: str, loops: int, operations: int) -> None:
    """Measure, and print the sample."""
    samples = [once(program, loops, operations) for _ in range(REPEATS)]
    print(json.dumps(asdict(min(samples, key=lambda sample: sample.cost))))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))

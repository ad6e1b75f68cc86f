"""Locks, events and queues, against asyncio's on its own loop and on the other native ones, and
the queue between threads and a loop against the packages that have one.

Every sample is taken in a process of its own; the cost is the CPU time of that process.
"""

from __future__ import annotations

from dataclasses import dataclass

import loops
import sync_programs
from bench_loop import in_child
from harness import Row, Side


@dataclass(frozen=True)
class Program:
    """A row about a program of sync_programs.py."""

    key: str
    title: str
    target: float
    operations: int


IN_A_LOOP = (
    Program("queue", "Queue(1) ping-pong, an item", 3.0, 30_000),
    Program("event", "Event with 20,000 waiters, one", 2.5, 20_000),
    Program("lock", "contended Lock", 2.5, 30_000),
    Program("free-lock", "Lock that is free", 1.0, 100_000),
    Program("semaphore", "contended Semaphore", 1.0, 30_000),
    Program("condition", "Condition, two tasks taking turns", 1.0, 20_000),
    Program("sleep", "sleep(0)", 1.7, 200_000),
    Program("timeout", "timeout() that is not reached", 1.6, 30_000),
    Program("group", "TaskGroup of 1,000, a task", 2.5, 100_000),
)
ACROSS = (
    Program("relay", "thread, loop, thread: an item", 5.0, 20_000),
    Program("relay-100", "the same, queues of 100 places", 1.0, 10_000),
)
QUICKER = 10


def rows(quick: bool) -> list[Row]:
    """All rows; `quick` divides the work by ten."""
    names = (loops.STOCK, *loops.PEERS, loops.SUBJECT)
    return [
        *(_row(program, names, quick) for program in IN_A_LOOP),
        *(_row(program, sync_programs.SIDES, quick) for program in ACROSS),
    ]


def versions() -> dict[str, str]:
    """The versions of what treadle is compared with."""
    others = {name: found for name in sync_programs.SIDES[:-1] if (found := loops.version(name))}
    return loops.versions() | others


def _row(program: Program, names: tuple[str, ...], quick: bool) -> Row:
    operations = program.operations // (QUICKER if quick else 1)

    def side(name: str) -> Side:
        return Side(
            name,
            lambda: in_child("sync_programs.py", program.key, name, str(operations)),
            unavailable=loops.why_not(name),
        )

    first, *peers, subject = map(side, names)
    return Row(
        key=program.key,
        title=program.title,
        target=program.target,
        baseline=first,
        subject=subject,
        peers=tuple(peers),
        tolerance=0.02 if program.target == 1.0 else 0.0,
    )

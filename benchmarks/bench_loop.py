"""The event loop: what scheduling costs, against asyncio's own loop and the other native ones.

Every sample is taken in a process of its own that has imported one loop; the cost is the CPU time
of that process for one operation.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import loops
from harness import Row, Sample, Side, Unable

HERE = Path(__file__).resolve().parent
PATIENCE = 120.0
QUICKER = 10


@dataclass(frozen=True)
class Scheduling:
    """A row about a program of loop_programs.py.  `operations` is a multiple of its batch."""

    key: str
    title: str
    target: float
    operations: int
    quick: int
    tolerance: float = 0.0


def _many(key: str, title: str, target: float, operations: int = 100_000) -> Scheduling:
    return Scheduling(key, title, target, operations, operations // QUICKER)


SCHEDULING = (
    _many("chain", "call_soon chain", 1.4),
    _many("burst", "burst of call_soon with two arguments", 1.3),
    _many("threadsafe", "call_soon_threadsafe", 1.25),
    _many("timer-cancel", "call_later and cancel", 1.4),
    _many("timer-fire", "call_later, fired in a batch", 1.0),
    _many("sleep0", "sleep(0)", 1.25),
    _many("create-task", "create_task and await", 1.2, 50_000),
    _many("ping-pong", "future ping-pong", 1.35, 50_000),
    _many("gather", "gather of 1,000, a task", 1.0),
    _many("task-group", "TaskGroup of 1,000, a task", 1.15),
    _many("queue", "Queue(1) ping-pong, an item", 1.1, 30_000),
    _many("timeout", "asyncio.timeout", 1.45, 30_000),
    _many("wait-for", "wait_for", 1.4, 30_000),
    Scheduling("sleepers", "10,000 sleepers, one", 1.2, 10_000, 1_000),
    _many("to-thread", "to_thread, one at a time", 4, 5_000),
    Scheduling("executor", "gather of 1,000 run_in_executor, a job", 10, 20_000, 10_000),
    Scheduling("start-stop", "loop start and stop", 1.0, 500, 50),
    Scheduling("spawn", "subprocess: spawn of /bin/true", 1.0, 50, 10),
    Scheduling("cat", "subprocess: 4 MiB through /bin/cat", 1.0, 20, 10),
)


def rows(quick: bool) -> list[Row]:
    """All rows; `quick` divides the work by ten or so."""
    return [_scheduling_row(row, row.quick if quick else row.operations) for row in SCHEDULING]


def versions() -> dict[str, str]:
    """The versions of what treadle is compared with."""
    return loops.versions()


def _scheduling_row(row: Scheduling, operations: int) -> Row:
    def run(name: str) -> Sample:
        return in_child("loop_programs.py", row.key, name, str(operations))

    stock, *peers, subject = loop_sides(run)
    return Row(
        key=row.key,
        title=row.title,
        target=row.target,
        baseline=stock,
        subject=subject,
        peers=tuple(peers),
        tolerance=row.tolerance,
    )


def loop_sides(run: Callable[[str], Sample]) -> list[Side]:
    """A side for each implementation, the subject last."""

    def side(name: str) -> Side:
        return Side(name, lambda: run(name), unavailable=loops.why_not(name))

    return [side(name) for name in loops.NAMES]


def in_child(program: str, *arguments: str) -> Sample:
    """Run one of our programs in a fresh interpreter; returns the sample it prints."""
    command = [sys.executable, str(HERE / program), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        raise Unable(f"no answer in {PATIENCE:g} s") from None
    if done.returncode:
        raise Unable(_last_line(done.stderr) or f"exit status {done.returncode}")
    return Sample(**json.loads(done.stdout))


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]

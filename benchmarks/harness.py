"""Measuring: rows, sides, interleaved rounds.

A row compares a baseline with a subject.  Each side is a function that prepares what it needs,
times the work alone with a `Stopwatch`, and returns one `Sample`, a cost for one task.  Sides
run in turn (A, B, A, B, ...), with a garbage collection before each, so that a slow moment of
the machine or garbage left by one side does not fall on the other.  The best round counts: noise
only ever adds.  The ratio of the two best is what is compared with the row's target.
"""

from __future__ import annotations

import enum
import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

ROUNDS = 7
QUICK_ROUNDS = 3


class Unit(enum.Enum):
    """What a sample's cost is counted in."""

    SECONDS = "s"
    BYTES = "B"


@dataclass(frozen=True)
class Sample:
    """The cost of one task; `cpu` is the CPU time of the whole process for it, in seconds."""

    cost: float
    cpu: float | None = None


class Stopwatch:
    """Times a `with` block that does `tasks` tasks: wall time, and CPU time of the process."""

    def __init__(self, tasks: int) -> None:
        self._tasks = tasks
        self._wall = 0.0
        self._cpu = 0.0

    def __enter__(self) -> Self:
        self._cpu = time.process_time()
        self._wall = time.perf_counter()
        return self

    def __exit__(self, *details: object) -> None:
        self._wall = time.perf_counter() - self._wall
        self._cpu = time.process_time() - self._cpu

    def sample(self) -> Sample:
        """What one task took."""
        return Sample(self._wall / self._tasks, self._cpu / self._tasks)


@dataclass(frozen=True)
class Side:
    """One way of doing the work of a row."""

    name: str
    run: Callable[[], Sample]


@dataclass(frozen=True)
class Row:
    """A comparison.  `target` is the least baseline/subject ratio of costs.

    `tolerance` is a share of the target that counts as noise, for rows whose aim is "not worse".
    `unavailable` says why the row cannot be measured here; None if it can.
    """

    key: str
    title: str
    target: float
    baseline: Side
    subject: Side
    unit: Unit = Unit.SECONDS
    tolerance: float = 0.0
    unavailable: str | None = None


@dataclass
class Result:
    """All samples of both sides of a row, in the order they were taken."""

    row: Row
    baseline: list[Sample] = field(default_factory=list)
    subject: list[Sample] = field(default_factory=list)

    @property
    def ratio(self) -> float | None:
        """How many times cheaper the subject's best round was; None if nothing was measured."""
        if not self.baseline or not self.subject:
            return None
        return best(self.baseline).cost / best(self.subject).cost

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None if nothing was measured."""
        ratio = self.ratio
        return None if ratio is None else ratio >= self.row.target * (1 - self.row.tolerance)


def best(samples: Sequence[Sample]) -> Sample:
    """The sample with the least cost."""
    return min(samples, key=lambda sample: sample.cost)


def median(samples: Sequence[Sample]) -> float:
    """The middle cost."""
    return statistics.median(sample.cost for sample in samples)


def measure(row: Row, rounds: int, note: Callable[[str], None]) -> Result:
    """Take `rounds` samples of each side, in turn.  `note` is told what is under way."""
    result = Result(row)
    if row.unavailable is not None:
        return result
    for number in range(1, rounds + 1):
        for side, samples in ((row.baseline, result.baseline), (row.subject, result.subject)):
            note(f"{row.key}: {side.name}, round {number} of {rounds}")
            gc.collect()
            samples.append(side.run())
    return result

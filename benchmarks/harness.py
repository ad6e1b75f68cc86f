"""Measuring: rows, sides, interleaved rounds.

A row compares a subject with a baseline, or with the cheapest of several.  Each side is a
function that prepares what it needs, times the work alone with a `Stopwatch`, and returns one
`Sample`, a cost for one task.  Sides run in turn (A, B, A, B, ...), with a garbage collection
before each, so that a slow moment of the machine or garbage left by one side does not fall on the
other.  The best round counts: noise only ever adds.  The ratio of the two best is what is compared
with the row's target.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from typing import Self

from units import Unit

ROUNDS = 7
QUICK_ROUNDS = 3
LEFT_OUT = "not asked for"


class Unable(Exception):
    """A side cannot do its work here; the message says why."""


@dataclass(frozen=True)
class Sample:
    """The cost of one task: wall time, CPU time or memory, whichever the row is about.

    `cpu` is the CPU time of the whole process for it and `wall` the time that went by, in seconds,
    where they are known and are not the cost itself.  `latency` has quantiles (p50, p99, ...) of
    how long requests took, in seconds.
    """

    cost: float
    cpu: float | None = None
    wall: float | None = None
    latency: Mapping[str, float] | None = None


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
        """What one task took, by the clock on the wall."""
        return Sample(self._wall / self._tasks, cpu=self._cpu / self._tasks)

    def cpu_sample(self) -> Sample:
        """What one task took of the CPU."""
        return Sample(self._cpu / self._tasks, wall=self._wall / self._tasks)


@dataclass(frozen=True)
class Side:
    """One way of doing the work of a row.  `unavailable` says why it cannot be had here.

    `run` may raise Unable: the side then takes no further part in the row.
    """

    name: str
    run: Callable[[], Sample]
    unavailable: str | None = None


@dataclass(frozen=True)
class Row:
    """A comparison.  `target` is the least baseline/subject ratio of costs.

    `peers` are further baselines: the ratio is then to the cheapest.  `floor` is a lower bound of
    what the work must cost; the subject may be above it by the share `allowance` (None: by any).
    `tolerance` is a share of either that counts as noise, for rows whose aim is "not worse".
    `unavailable` says why the row cannot be measured here; None if it can.
    """

    key: str
    title: str
    target: float
    baseline: Side
    subject: Side
    peers: tuple[Side, ...] = ()
    floor: Side | None = None
    allowance: float | None = None
    unit: Unit = Unit.SECONDS
    tolerance: float = 0.0
    unavailable: str | None = None

    @property
    def baselines(self) -> tuple[Side, ...]:
        """What the subject is compared with."""
        return (self.baseline, *self.peers)

    @property
    def sides(self) -> tuple[Side, ...]:
        """All sides, in the order in which they run."""
        return (*self.baselines, self.subject, *([] if self.floor is None else [self.floor]))

    def only(self, patterns: Sequence[str]) -> Row:
        """This row with only those sides to run whose name matches one of the patterns."""

        def chosen(side: Side) -> Side:
            if any(fnmatch(side.name, pattern) for pattern in patterns):
                return side
            return replace(side, unavailable=LEFT_OUT)

        return replace(
            self,
            baseline=chosen(self.baseline),
            subject=chosen(self.subject),
            peers=tuple(map(chosen, self.peers)),
            floor=None if self.floor is None else chosen(self.floor),
        )


@dataclass
class Result:
    """All samples of every side of a row, in the order they were taken, by the side's name.

    `failures` says why a side that was tried could not do the work.
    """

    row: Row
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def of(self, side: Side) -> list[Sample]:
        """The samples of a side."""
        return self.samples.get(side.name, [])

    def least(self, side: Side | None) -> float | None:
        """The cost of the best round of a side; None if it has none."""
        samples = [] if side is None else self.of(side)
        return best(samples).cost if samples else None

    @property
    def rival(self) -> Side | None:
        """The cheapest baseline; None if none was measured."""
        measured = [side for side in self.row.baselines if self.of(side)]
        return min(measured, key=lambda side: best(self.of(side)).cost, default=None)

    @property
    def ratio(self) -> float | None:
        """How many times cheaper the subject's best round was; None if nothing was measured."""
        return _quotient(self.least(self.rival), self.least(self.row.subject))

    @property
    def over_floor(self) -> float | None:
        """By which share the subject costs more than the floor; None if not measured."""
        quotient = _quotient(self.least(self.row.subject), self.least(self.row.floor))
        return None if quotient is None else quotient - 1

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None if nothing was measured.

        A subject that was tried and could not do the work has not reached it.
        """
        if self.row.subject.name in self.failures:
            return False
        ratio, over, row = self.ratio, self.over_floor, self.row
        if ratio is None:
            return None
        near = over is None or row.allowance is None or over <= row.allowance + row.tolerance
        return near and ratio >= row.target * (1 - row.tolerance)


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
        for side in _able(result):
            note(f"{row.key}: {side.name}, round {number} of {rounds}")
            gc.collect()
            try:
                result.samples.setdefault(side.name, []).append(side.run())
            except Unable as reason:
                result.samples.pop(side.name)
                result.failures[side.name] = str(reason)
    return result


def _able(result: Result) -> Iterator[Side]:
    for side in result.row.sides:
        if side.unavailable is None and side.name not in result.failures:
            yield side


def _quotient(above: float | None, below: float | None) -> float | None:
    return None if above is None or below is None else above / max(below, 1e-12)

"""One section of the demo: a job, the sides that do it, their times and whether they agree."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from treadle._demo.progress import Progress


class DemoError(Exception):
    """The demo could not be carried out; the message says why."""


class Role(enum.Enum):
    """The place a side takes in the table."""

    ALONE = "one by one"
    STANDARD = "concurrent.futures"
    STOCK_LOOP = "asyncio"
    TREADLE = "treadle"


Tick = Callable[[], None]


@dataclass(frozen=True)
class Settings:
    """What the command line asked for.  `workers` of None leaves the number to each section."""

    delay: float = 0.25
    pages: int = 20
    items: int = 100_000
    file_bytes: int = 64 << 20
    text_bytes: int = 8 << 20
    primes_below: int = 200_000
    workers: int | None = None
    messages: int = 30_000
    rounds: int = 3


@dataclass(frozen=True)
class Side:
    """One way of doing a section's job.

    `run` does the whole job, calls its argument now and then to show progress, and returns the
    results in an order that does not depend on timing.  `once` is for a side whose time is so
    long or so stable that further rounds would only make the demo slower.  `latency`, where there
    is any to speak of, gives quantiles of how long requests took in the last run, in seconds.
    """

    role: Role
    run: Callable[[Tick], Sequence[object]]
    once: bool = False
    latency: Callable[[], Mapping[str, float]] | None = None


@dataclass(frozen=True)
class Section:
    """A job to be shown.  `open` prepares it and yields its sides; leaving it cleans up."""

    key: str
    title: str
    workers: int
    steps: int
    open: Callable[[], AbstractContextManager[Sequence[Side]]]


@dataclass
class Outcome:
    """Times in seconds of every round of every side, and the first difference found, if any.

    `latency` has the quantiles of a side's best round.
    """

    section: Section
    seconds: dict[Role, list[float]] = field(default_factory=dict)
    difference: str | None = None
    latency: dict[Role, Mapping[str, float]] = field(default_factory=dict)

    @property
    def standard(self) -> Role:
        """The side that stands for the standard library."""
        return Role.STOCK_LOOP if Role.STOCK_LOOP in self.seconds else Role.STANDARD

    def best(self, role: Role) -> float | None:
        """The shortest time of a side; None if the section has no such side."""
        times = self.seconds.get(role)
        return min(times) if times else None

    def speedup(self, over: Role, role: Role = Role.TREADLE) -> float | None:
        """How many times faster `role` was than `over`."""
        slow, fast = self.best(over), self.best(role)
        return None if slow is None or fast is None else slow / max(fast, 1e-9)


def first_difference(expected: Sequence[object], got: Sequence[object]) -> str | None:
    """Where two lists of results part, in words; None if they are equal."""
    if len(expected) != len(got):
        return f"{len(got)} results instead of {len(expected)}"
    for index, (left, right) in enumerate(zip(expected, got, strict=True)):
        if left != right:
            return f"result {index} is {right!r:.60} instead of {left!r:.60}"
    return None


def run_section(section: Section, rounds: int, progress: Progress) -> Outcome:
    """Run all sides in turn, `rounds` times, and compare every result with the first one."""
    outcome = Outcome(section)
    reference: tuple[Side, Sequence[object]] | None = None
    with section.open() as sides:
        for number, side in _schedule(sides, rounds):
            progress.stage(f"{section.title}: {side.role.value}, round {number}", section.steps)
            started = time.perf_counter()
            results = side.run(progress.tick)
            elapsed = time.perf_counter() - started
            outcome.seconds.setdefault(side.role, []).append(elapsed)
            if side.latency is not None and elapsed == outcome.best(side.role):
                outcome.latency[side.role] = side.latency()
            if reference is None:
                reference = side, results
            elif outcome.difference is None:
                outcome.difference = _compare(reference, side, results)
    return outcome


def ticked(results: Iterable[object], tick: Tick) -> list[object]:
    """Collect results as a list, with one tick for each."""
    collected = []
    for result in results:
        collected.append(result)
        tick()
    return collected


def _schedule(sides: Sequence[Side], rounds: int) -> Iterator[tuple[int, Side]]:
    """Interleaved, so that a slow moment of the machine does not fall on one side only."""
    for number in range(1, rounds + 1):
        yield from ((number, side) for side in sides if number == 1 or not side.once)


def _compare(
    reference: tuple[Side, Sequence[object]], side: Side, results: Sequence[object]
) -> str | None:
    trusted, expected = reference
    difference = first_difference(expected, results)
    if difference is None:
        return None
    return f"{side.role.value} differs from {trusted.role.value}: {difference}"

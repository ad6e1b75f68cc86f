"""What the demo found: the table for people, and the same as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from treadle._demo import machine
from treadle._demo.section import Outcome, Role

HEADER = (
    "job",
    "workers",
    "one by one",
    "stdlib",
    "treadle",
    "over one by one",
    "over stdlib",
    "results",
)
LEGEND = (
    "stdlib: the pools of concurrent.futures, and asyncio's own loop for what asyncio does."
    "\nTimes: best round.  Below 1x is slower."
)
QUANTILES = {"p50": "median", "p90": "90 %", "p99": "99 %"}


def heading() -> str:
    """What runs where."""
    return "\n".join(
        (
            f"treadle      {machine.treadle_version()}",
            f"machine      {machine.machine().line()}",
            f"interpreter  {machine.interpreter().line()}",
        )
    )


def table(outcomes: Sequence[Outcome]) -> str:
    """One row a section: best time of every side, and how much faster treadle was."""
    parts = [aligned([HEADER, *map(_row, outcomes)]), LEGEND]
    if latencies := [line for outcome in outcomes for line in _latency(outcome)]:
        parts += ["", aligned([("time of an echo", "loop", *QUANTILES.values()), *latencies])]
    return "\n".join(parts)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows as text with a rule under the first; the first column to the left, others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [_line(row, widths) for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def seconds(value: float | None) -> str:
    """A time with three significant digits and its unit."""
    if value is None:
        return "-"
    for limit, factor, unit in ((1e-3, 1e6, "us"), (1.0, 1e3, "ms")):
        if value < limit:
            return f"{value * factor:.3g} {unit}" if value * factor < 1000 else f"1 {unit}"
    return f"{value:.2f} s"


def factor(value: float | None) -> str:
    """A speed-up such as 18.4x; below 1 it is a slow-down."""
    if value is None:
        return "-"
    if value < 0.1:
        return f"{value:.2g}x"
    return f"{value:.2f}x" if value < 10 else f"{value:.1f}x"


def as_json(outcomes: Sequence[Outcome]) -> dict[str, object]:
    """The whole run as a JSON document; times are seconds."""
    return {
        **machine.as_json(),
        "agree": all(outcome.difference is None for outcome in outcomes),
        "sections": [_section_json(outcome) for outcome in outcomes],
    }


def _row(outcome: Outcome) -> tuple[str, ...]:
    return (
        outcome.section.title,
        str(outcome.section.workers),
        *(seconds(outcome.best(role)) for role in (Role.ALONE, outcome.standard, Role.TREADLE)),
        factor(outcome.speedup(Role.ALONE)),
        factor(outcome.speedup(outcome.standard)),
        "agree" if outcome.difference is None else "DIFFER",
    )


def _latency(outcome: Outcome) -> Iterator[tuple[str, ...]]:
    for role, found in outcome.latency.items():
        times = (seconds(found.get(name)) for name in QUANTILES)
        yield outcome.section.title, role.value, *times


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (
        cell.ljust(width) if index == 0 else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join([first, *rest]).rstrip()


def _section_json(outcome: Outcome) -> dict[str, object]:
    return {
        "key": outcome.section.key,
        "title": outcome.section.title,
        "workers": outcome.section.workers,
        "seconds": {role.value: times for role, times in outcome.seconds.items()},
        "best": {role.value: outcome.best(role) for role in outcome.seconds},
        "speedup": {
            f"over {role.value}": outcome.speedup(role) for role in (Role.ALONE, outcome.standard)
        },
        "latency": {role.value: dict(found) for role, found in outcome.latency.items()},
        "difference": outcome.difference,
    }

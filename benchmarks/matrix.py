"""The wide table: a column for each side, for rows that have several baselines or a lower bound.

Made from the rows of the JSON document, so that a run's table and the README's say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness import LEFT_OUT
from units import Unit, cost

RowDocument = Mapping[str, Any]
Table = list[tuple[str, ...]]


def is_wide(row: RowDocument) -> bool:
    """Whether the row has more than two sides."""
    return "peers" in row or "floor" in row


def costs(rows: Sequence[RowDocument]) -> Table:
    """The costs of all sides, and what they mean for the target, under a header."""
    bounded = any("floor" in row for row in rows)
    names = _names(rows)
    bound = ("plain C", "over C", "limit") if bounded else ()
    header = ("row", *names, "best peer", "ratio", "target", *bound, "")
    return [header, *(_cost_line(row, names, bounded) for row in rows)]


def walls(rows: Sequence[RowDocument]) -> Table:
    """The wall times of all sides under a header; empty if no row has any."""

    def cell(side: Mapping[str, Any]) -> str:
        return _cell(side, "wall", Unit.SECONDS)

    return _beside(rows, "wall", "row", cell)


def latencies(rows: Sequence[RowDocument]) -> Table:
    """Median and 99th percentile of the time a request took; empty if no row has any."""

    def cell(side: Mapping[str, Any]) -> str:
        found = side.get("latency") or {}
        times = [cost(found[name], Unit.SECONDS) for name in ("p50", "p99") if name in found]
        return " / ".join(times) or "-"

    return _beside(rows, "latency", "row, p50 / p99", cell)


def _beside(
    rows: Sequence[RowDocument], field: str, title: str, cell: Callable[[Mapping[str, Any]], str]
) -> Table:
    chosen = [row for row in rows if any(side.get(field) for side in _sides(row))]
    if not chosen:
        return []
    names = _names(chosen)
    lines = [(row["title"], *(cell(_side(row, name)) for name in names)) for row in chosen]
    return [(title, *names), *lines]


def _cost_line(row: RowDocument, names: Sequence[str], bounded: bool) -> tuple[str, ...]:
    unit = Unit(row["unit"])
    return (
        row["title"],
        *(_cell(_side(row, name), "best", unit) for name in names),
        row.get("rival") or "-",
        "-" if row["ratio"] is None else f"{row['ratio']:.2f}x",
        f"{row['target']:g}x" + (f" -{row['tolerance']:.0%}" if row["tolerance"] else ""),
        *(_bound_cells(row, unit) if bounded else ()),
        row["verdict"],
    )


def _bound_cells(row: RowDocument, unit: Unit) -> tuple[str, str, str]:
    floor, over, allowance = row.get("floor", {}), row.get("over_floor"), row.get("allowance")
    return (
        _cell(floor, "best", unit),
        "-" if over is None else f"{over:+.0%}",
        "-" if allowance is None else f"{allowance:+.0%}",
    )


def _cell(side: Mapping[str, Any], field: str, unit: Unit) -> str:
    if side.get(field) is not None:
        return cost(side[field], unit)
    return "missing" if side.get("missing") not in (None, LEFT_OUT) else "-"


def _sides(row: RowDocument) -> list[Mapping[str, Any]]:
    return [row["baseline"], *row.get("peers", ()), row["subject"]]


def _side(row: RowDocument, name: str) -> Mapping[str, Any]:
    return next((side for side in _sides(row) if side["name"] == name), {})


def _names(rows: Sequence[RowDocument]) -> list[str]:
    """The sides that have figures or should have had some, in the order of the first row."""
    names: dict[str, bool] = {}
    for row in rows:
        for side in _sides(row):
            shown = side.get("missing") != LEFT_OUT and len(side) > 1
            names[side["name"]] = names.get(side["name"], False) or shown
    return [name for name, shown in names.items() if shown]

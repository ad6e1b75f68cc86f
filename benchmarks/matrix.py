"""The wide table: a column for each side, for rows that have several baselines or a lower bound.

Made from the rows of the JSON document, so that a run's table and the README's say the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
    names = _names(rows)
    timed = [row for row in rows if any(side.get("wall") for side in _sides(row))]
    if not timed:
        return []
    lines = [(row["title"], *_side_cells(row, names, "wall", Unit.SECONDS)) for row in timed]
    return [("row", *names), *lines]


def _cost_line(row: RowDocument, names: Sequence[str], bounded: bool) -> tuple[str, ...]:
    unit = Unit(row["unit"])
    return (
        row["title"],
        *_side_cells(row, names, "best", unit),
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


def _side_cells(row: RowDocument, names: Sequence[str], field: str, unit: Unit) -> Iterator[str]:
    sides = {side["name"]: side for side in _sides(row)}
    return (_cell(sides.get(name, {}), field, unit) for name in names)


def _cell(side: Mapping[str, Any], field: str, unit: Unit) -> str:
    if side.get(field) is not None:
        return cost(side[field], unit)
    return "missing" if side.get("missing") not in (None, LEFT_OUT) else "-"


def _sides(row: RowDocument) -> list[Mapping[str, Any]]:
    return [row["baseline"], *row.get("peers", ()), row["subject"]]


def _names(rows: Sequence[RowDocument]) -> list[str]:
    """The sides that have figures or should have had some, in the order of the first row."""
    names: dict[str, bool] = {}
    for row in rows:
        for side in _sides(row):
            shown = side.get("missing") != LEFT_OUT and len(side) > 1
            names[side["name"]] = names.get(side["name"], False) or shown
    return [name for name, shown in names.items() if shown]

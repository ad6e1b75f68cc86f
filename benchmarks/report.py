"""What a run found: a text table, a JSON document, and a plot where matplotlib is installed."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import matrix
from harness import LEFT_OUT, Result, Row, Side, best, median
from treadle._demo import machine
from treadle._demo.report import aligned
from units import Unit, cost

HEADER = ("row", "baseline", "cost", "cpu", "subject", "cost", "cpu", "ratio", "target", "")


def table(results: Sequence[Result]) -> str:
    """One line a row, and why a row or a side is missing.  Costs are those of the best round."""
    rows = [_row_json(result) for result in results]
    parts = [aligned([HEADER, *map(_cells, results)])]
    if any(map(matrix.is_wide, rows)):
        parts = [aligned(matrix.costs(rows))]
        for title, beside in (("wall time", matrix.walls), ("latency", matrix.latencies)):
            if lines := beside(rows):
                parts += ["", f"{title}:", "", aligned(lines)]
    return "\n".join([*parts, *_notes(results)])


def heading(command: str, rounds: int, load: float, versions: Mapping[str, str]) -> str:
    """What ran where; `load` is the load average before the run, `versions` those of peers."""
    peers = ", ".join(f"{name} {version}" for name, version in versions.items())
    return "\n".join(
        (
            f"command      {command}",
            f"machine      {machine.machine().line()}",
            f"interpreter  {machine.interpreter().line()}",
            f"treadle      {machine.treadle_version()}",
            *([f"peers        {peers}"] if peers else []),
            f"load         {load:.2f} before the run",
            f"rounds       best of {rounds}, interleaved; costs are for one task",
        )
    )


def document(
    area: str,
    command: str,
    rounds: int,
    load: float,
    versions: Mapping[str, str],
    results: Sequence[Result],
) -> dict[str, object]:
    """The run as JSON: costs in seconds or bytes a task, every sample kept."""
    now = datetime.datetime.now(datetime.UTC)
    return {
        "area": area,
        "command": command,
        "date": now.isoformat(timespec="seconds"),
        "load": load,
        **machine.as_json(),
        "peers": dict(versions),
        "rounds": rounds,
        "rows": [_row_json(result) for result in results],
    }


def write(directory: Path, stem: str, text: str, data: dict[str, object]) -> list[Path]:
    """Write the table and the document; returns the files written."""
    directory.mkdir(parents=True, exist_ok=True)
    table_file, json_file = directory / f"{stem}.txt", directory / f"{stem}.json"
    table_file.write_text(text + "\n", encoding="utf-8")
    json_file.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return [table_file, json_file]


def verdict(result: Result) -> str:
    """One word on the target."""
    if result.met is None:
        return "n/a"
    return "met" if result.met else "short"


def target(row: Row) -> str:
    """The target in words."""
    margin = f" -{row.tolerance:.0%}" if row.tolerance else ""
    return f"{row.target:g}x{margin}"


def _cells(result: Result) -> tuple[str, ...]:
    row, ratio = result.row, result.ratio
    return (
        row.title,
        *_side_cells(row.baseline, result),
        *_side_cells(row.subject, result),
        "-" if ratio is None else f"{ratio:.2f}x",
        target(row),
        verdict(result),
    )


def _side_cells(side: Side, result: Result) -> tuple[str, str, str]:
    samples = result.of(side)
    if not samples:
        return ("-",) * 3
    chosen = best(samples)
    cpu = "-" if chosen.cpu is None else cost(chosen.cpu, Unit.SECONDS)
    return side.name, cost(chosen.cost, result.row.unit), cpu


def _notes(results: Sequence[Result]) -> list[str]:
    """Why rows and sides are missing: what holds for several rows is said once."""
    notes: dict[str, None] = {}
    for result in results:
        if result.row.unavailable is not None:
            notes[f"n/a {result.row.key}: {result.row.unavailable}"] = None
            continue
        for side in result.row.sides:
            if side.unavailable not in (None, LEFT_OUT):
                notes[f"n/a {side.name}: {side.unavailable}"] = None
        for name, reason in result.failures.items():
            notes[f"failed {result.row.key}, {name}: {reason}"] = None
    return list(notes)


def _row_json(result: Result) -> dict[str, object]:
    row, rival = result.row, result.rival
    data: dict[str, object] = {
        "key": row.key,
        "title": row.title,
        "unit": row.unit.value,
        "target": row.target,
        "tolerance": row.tolerance,
        "ratio": result.ratio,
        "verdict": verdict(result),
        "unavailable": row.unavailable,
        "baseline": _side_json(row.baseline, result),
        "subject": _side_json(row.subject, result),
    }
    if row.peers:
        data["peers"] = [_side_json(side, result) for side in row.peers]
        data["rival"] = None if rival is None else rival.name
    if row.floor is not None:
        data["floor"] = _side_json(row.floor, result)
        data["over_floor"] = result.over_floor
        data["allowance"] = row.allowance
    return data


def _side_json(side: Side, result: Result) -> dict[str, object]:
    samples = result.of(side)
    if not samples:
        missing = {"missing": result.failures.get(side.name, side.unavailable)}
        return {"name": side.name, **({} if missing["missing"] is None else missing)}
    return {
        "name": side.name,
        "best": best(samples).cost,
        "median": median(samples),
        "cpu": best(samples).cpu,
        "wall": best(samples).wall,
        "latency": best(samples).latency,
        "samples": [sample.cost for sample in samples],
    }

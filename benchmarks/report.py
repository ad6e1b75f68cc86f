"""What a run found: a text table, a JSON document, and a plot where matplotlib is installed."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path

from harness import Result, Row, Sample, Unit, best, median
from treadle._demo import machine
from treadle._demo.report import aligned

HEADER = ("row", "baseline", "cost", "cpu", "subject", "cost", "cpu", "ratio", "target", "")
SCALES = {
    Unit.SECONDS: ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns")),
    Unit.BYTES: ((1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")),
}


def table(results: Sequence[Result]) -> str:
    """One line a row, and why a row is missing.  Costs are those of one task, of the best round."""
    notes = [
        f"n/a {result.row.key}: {result.row.unavailable}"
        for result in results
        if result.ratio is None
    ]
    return "\n".join([aligned([HEADER, *map(_cells, results)]), *notes])


def heading(command: str, rounds: int, load: float) -> str:
    """What ran where; `load` is the load average before the run."""
    return "\n".join(
        (
            f"command      {command}",
            f"machine      {machine.machine().line()}",
            f"interpreter  {machine.interpreter().line()}",
            f"treadle      {machine.treadle_version()}",
            f"load         {load:.2f} before the run",
            f"rounds       best of {rounds}, interleaved; cost and cpu are for one task",
        )
    )


def document(
    area: str, command: str, rounds: int, load: float, results: Sequence[Result]
) -> dict[str, object]:
    """The run as JSON: costs in seconds or bytes a task, every sample kept."""
    now = datetime.datetime.now(datetime.UTC)
    return {
        "area": area,
        "command": command,
        "date": now.isoformat(timespec="seconds"),
        "load": load,
        **machine.as_json(),
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


def cost(value: float, unit: Unit) -> str:
    """A cost with three significant digits and a fitting unit."""
    scales = SCALES[unit]
    factor, name = next((pair for pair in scales if value >= pair[0]), scales[-1])
    scaled = value / factor
    digits = 0 if scaled >= 100 else 1 if scaled >= 10 else 2
    return f"{scaled:.{digits}f} {name}"


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
    if ratio is None:
        return (row.title, *("-",) * 7, target(row), verdict(result))
    return (
        row.title,
        *_side_cells(row.baseline.name, result.baseline, row.unit),
        *_side_cells(row.subject.name, result.subject, row.unit),
        f"{ratio:.2f}x",
        target(row),
        verdict(result),
    )


def _side_cells(name: str, samples: Sequence[Sample], unit: Unit) -> tuple[str, str, str]:
    chosen = best(samples)
    cpu = "-" if chosen.cpu is None else cost(chosen.cpu, Unit.SECONDS)
    return name, cost(chosen.cost, unit), cpu


def _row_json(result: Result) -> dict[str, object]:
    row = result.row
    return {
        "key": row.key,
        "title": row.title,
        "unit": row.unit.value,
        "target": row.target,
        "tolerance": row.tolerance,
        "ratio": result.ratio,
        "verdict": verdict(result),
        "unavailable": row.unavailable,
        "baseline": _side_json(row.baseline.name, result.baseline),
        "subject": _side_json(row.subject.name, result.subject),
    }


def _side_json(name: str, samples: Sequence[Sample]) -> dict[str, object]:
    if not samples:
        return {"name": name}
    return {
        "name": name,
        "best": best(samples).cost,
        "median": median(samples),
        "cpu": best(samples).cpu,
        "samples": [sample.cost for sample in samples],
    }

"""Put the measured figures into README.md: ``python benchmarks/figures.py [--check]``.

The text between the two marks is made anew from results/*.json, so that no figure in it was
written by hand.  With --check nothing is written; exits 1 if the README is out of date.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matrix
from units import Unit, cost

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"
HEADER = ("", "stdlib or 1 worker", "treadle", "ratio", "aim", "")

Document = Mapping[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Rewrite the README, or compare it with what it should say."""
    parser = argparse.ArgumentParser(description="Put the measured figures into README.md.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if outdated")
    options = parser.parse_args(argv)
    old = README.read_text(encoding="utf-8")
    new = replaced(old, figures(documents(HERE / "results")))
    if options.check:
        return int(new != old)
    README.write_text(new, encoding="utf-8")
    return 0


def documents(directory: Path) -> dict[str, Document]:
    """The kept runs by name, those on one core left out."""
    return {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(directory.glob("*.json"))
        if not path.stem.endswith("-pinned")
    }


def figures(runs: Mapping[str, Document]) -> str:
    """The text for the README: one table a run, with its picture if there is one."""
    return "\n".join(_run(stem, run) for stem, run in runs.items())


def replaced(text: str, between: str) -> str:
    """`text` with what stands between the marks replaced."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{README.name}: no {BEGIN.strip()} ... {END.strip()} to write between")
    return head + begin + between + end + tail


def _run(stem: str, run: Document) -> str:
    machine, interpreter = run["machine"], run["interpreter"]
    peers = ", ".join(f"{name} {version}" for name, version in run.get("peers", {}).items())
    lines = [
        f"{interpreter['implementation']} {interpreter['version']}, {interpreter['gil']};"
        f" {machine['cores']} cores, {machine['cpu']}, {machine['system']};"
        f" {run['date'][:10]}, `{run['command']}`{'; ' if peers else ''}{peers}:",
        "",
        *(line for table in _tables(run["rows"]) for line in (*_markdown(table), "")),
    ]
    if (HERE / "results" / f"{stem}.svg").exists():
        lines += [f"![ratios]({HERE.name}/results/{stem}.svg)", ""]
    return "\n".join(lines)


def _tables(rows: Sequence[Mapping[str, Any]]) -> list[Sequence[tuple[str, ...]]]:
    """The table of a run; rows with a lower bound have one of their own, if there are any."""
    measured = [row for row in rows if row["ratio"] is not None]
    if not any(map(matrix.is_wide, measured)):
        return [[HEADER, *map(_cells, measured)]] if measured else []
    groups = [[row for row in measured if ("floor" in row) is bounded] for bounded in (False, True)]
    return [matrix.costs(group) for group in groups if group]


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    unit = Unit(row["unit"])
    costs = (cost(row[side]["best"], unit) for side in ("baseline", "subject"))
    return (row["title"], *costs, f"{row['ratio']:.2f}x", f"{row['target']:g}x", row["verdict"])


def _markdown(table: Sequence[Sequence[str]]) -> list[str]:
    header, *lines = ("| " + " | ".join(cells) + " |" for cells in table)
    return [header, "|" + "---|" * len(table[0]), *lines]


if __name__ == "__main__":
    sys.exit(main())

"""Run benchmarks: ``python benchmarks/run.py [area ...] [--quick] [--plot] [--rows P] [--impl P]``.

An area is a module ``bench_<area>.py`` here with a function ``rows(quick) -> list[Row]``, and
perhaps ``versions() -> dict[str, str]`` for the packages that treadle is compared with.  Full
runs are kept in results/<area>-<interpreter>.json (.txt, .svg); partial ones (--quick, --rows,
--impl) only where --output says.  Runs on one core (--pin) are kept apart, as ...-pinned.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import harness
import plot
import report
from treadle._demo import machine
from treadle._demo.progress import Progress

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
BUSY = 0.5  # load average before a run above which others are using the cores


def areas() -> list[str]:
    """The areas there are."""
    return sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure treadle against what it stands in for.")
    parser.add_argument("area", nargs="*", help=f"what to measure: {', '.join(areas())} (all)")
    parser.add_argument("--quick", action="store_true", help="fewer tasks and rounds: a smoke test")
    parser.add_argument("--rounds", type=int, help=f"rounds a side ({harness.ROUNDS})")
    parser.add_argument(
        "--rows", "--row", metavar="PATTERNS", help="only rows whose key matches, as submit*,map"
    )
    parser.add_argument(
        "--impl", metavar="PATTERNS", help="only sides whose name matches, as treadle,uvloop"
    )
    parser.add_argument("--plot", action="store_true", help="draw the ratios (needs matplotlib)")
    parser.add_argument("--pin", action="store_true", help="run on one core only (n/a for scaling)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where to keep the results")
    parser.add_argument("--check", action="store_true", help="exit 1 if a measured row is short")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the areas asked for.  Returns 1 for --check with a row short of its target."""
    parser = build_parser()
    options = parser.parse_args(argv)
    if unknown := set(options.area).difference(areas()):
        parser.error(f"no such area: {', '.join(sorted(unknown))}")
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds must be 1 or more")
    if options.plot and not plot.available():
        parser.error("--plot needs matplotlib: pip install matplotlib")
    if options.pin:
        pin()
    command = shlex.join(["python", "benchmarks/run.py", *(sys.argv[1:] if argv is None else argv)])
    results = [
        result for area in options.area or areas() for result in run_area(area, options, command)
    ]
    if not results:
        parser.error("no row matches")
    return int(options.check and any(result.met is False for result in results))


def pin() -> None:
    """Keep this process and its children on one core, so that hand-offs never cross cores."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def run_area(area: str, options: argparse.Namespace, command: str) -> list[harness.Result]:
    """Measure one area, print its table, and keep the results if this was a full run."""
    rounds = options.rounds or (harness.QUICK_ROUNDS if options.quick else harness.ROUNDS)
    module = importlib.import_module(f"bench_{area}")
    chosen = select(module.rows(options.quick), options.rows, options.impl)
    if not chosen:
        return []
    progress = Progress(sys.stderr)
    load = os.getloadavg()[0]
    results = [harness.measure(row, rounds, lambda text: progress.stage(text, 0)) for row in chosen]
    progress.clear()
    versions = getattr(module, "versions", dict)()
    text = f"{report.heading(command, rounds, load, versions)}\n\n{report.table(results)}"
    print(text)
    if load > BUSY:
        print(f"the machine was busy ({load:.2f}): rows that need two cores cannot be trusted")
    data = report.document(area, command, rounds, load, versions, results)
    keep(area, options, text, data, results)
    return results


def select(rows: Sequence[harness.Row], keys: str | None, sides: str | None) -> list[harness.Row]:
    """The rows whose key matches, with the sides whose name matches; patterns by commas."""
    patterns = (keys or "*").split(",")
    chosen = [row for row in rows if any(fnmatch.fnmatch(row.key, one) for one in patterns)]
    return [row.only(sides.split(",")) for row in chosen] if sides else chosen


def keep(
    area: str,
    options: argparse.Namespace,
    text: str,
    data: dict[str, object],
    results: Sequence[harness.Result],
) -> None:
    """Write the files of a run, unless it was a partial one that nobody asked to keep."""
    partial = options.quick or options.rows is not None or options.impl is not None
    directory = options.output or (None if partial else RESULTS)
    if directory is None:
        return
    stem = f"{area}-{machine.interpreter().tag}" + ("-pinned" if options.pin else "")
    written = report.write(directory, stem, text, data)
    picture = directory / f"{stem}.svg"
    title = f"treadle, {area}: {machine.interpreter().line()}, {machine.machine().cores} cores"
    if options.plot and plot.draw(results, title, picture):
        written.append(picture)
    print("\nkept in " + ", ".join(path.name for path in written))


if __name__ == "__main__":
    sys.exit(main())

"""``python -m treadle demo``: run every section, print the table, say whether all agree."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from treadle._demo import echo, files, items, loop_pages, pages, primes, report, words
from treadle._demo.progress import Progress
from treadle._demo.section import DemoError, Outcome, Section, Settings, run_section

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

FULL = Settings()
QUICK = Settings(
    delay=0.02,
    pages=6,
    items=5_000,
    file_bytes=1 << 20,
    text_bytes=1 << 19,
    primes_below=5_000,
    messages=500,
    rounds=1,
)
THREADS: list[Callable[[Settings], Section]] = [pages.make, files.make, items.make]
PROCESSES: list[Callable[[Settings], Section]] = [words.make, primes.make]
LOOPS: list[Callable[[Settings], Section]] = [loop_pages.make, echo.make]
SECTIONS = [*THREADS, *PROCESSES, *LOOPS]
INTERRUPTED = 130


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "demo",
        help="do real jobs with the standard library and with treadle",
        description="Do the same real jobs one by one, with concurrent.futures and with treadle, or"
        " with asyncio on its own loop and on treadle's, and show the times side by side."
        "  Exits 0 only if all results agree.",
    )
    parser.add_argument(
        "--delay", type=duration, metavar="S", help="seconds each page takes (0.25)"
    )
    parser.add_argument("--pages", type=count, metavar="N", help="pages to fetch (20)")
    parser.add_argument("--items", type=count, metavar="N", help="items to map over (100000)")
    parser.add_argument(
        "--workers",
        type=count,
        metavar="N",
        help="threads or processes (default: one a page; one a core)",
    )
    parser.add_argument(
        "--messages", type=count, metavar="N", help="messages through the echo server (30000)"
    )
    parser.add_argument("--quick", action="store_true", help="small jobs, one round: a smoke test")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.set_defaults(run=run)


def settings_from(options: argparse.Namespace) -> Settings:
    """The settings: what was given, and the defaults of the chosen size for the rest."""
    base = QUICK if options.quick else FULL
    return Settings(
        delay=base.delay if options.delay is None else options.delay,
        pages=options.pages or base.pages,
        items=options.items or base.items,
        file_bytes=base.file_bytes,
        text_bytes=base.text_bytes,
        primes_below=base.primes_below,
        workers=options.workers,
        messages=options.messages or base.messages,
        rounds=base.rounds,
    )


def run(options: argparse.Namespace) -> int:
    """The command.  Returns 0 if all sides agree, 1 if not or if the demo cannot be done."""
    progress = Progress(sys.stderr)
    try:
        return _run(settings_from(options), options.json, progress)
    except KeyboardInterrupt:
        progress.clear()
        print("demo: interrupted", file=sys.stderr)
        return INTERRUPTED
    except (DemoError, OSError) as error:
        progress.clear()
        print(f"demo: failed: {error}", file=sys.stderr)
        return 1


def _run(settings: Settings, json_file: Path | None, progress: Progress) -> int:
    print(report.heading(), end="\n\n", flush=True)
    outcomes = [run_section(make(settings), settings.rounds, progress) for make in SECTIONS]
    progress.clear()
    print(report.table(outcomes))
    if json_file is not None:
        text = json.dumps(report.as_json(outcomes), indent=2)
        json_file.write_text(text + "\n", encoding="utf-8")
    return _verdict(outcomes)


def _verdict(outcomes: Sequence[Outcome]) -> int:
    differing = [outcome for outcome in outcomes if outcome.difference is not None]
    print()
    for outcome in differing:
        print(f"RESULTS DIFFER: {outcome.section.title}: {outcome.difference}")
    if differing:
        return 1
    print("All results agree.")
    return 0


def duration(text: str) -> float:
    """An argument in seconds."""
    value = float(text)
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError("must be 0 or more seconds")
    return value


def count(text: str) -> int:
    """An argument that is a number of things."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value

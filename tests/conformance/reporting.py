"""What became of the tests, and how it is counted and printed."""

import collections
import dataclasses
import platform
import sys
import sysconfig


@dataclasses.dataclass
class Outcome:
    test: str
    outcome: str  # passed, failed, skipped, excluded, stale
    detail: str = ""
    seconds: float = 0.0


def interpreter():
    """What the running interpreter is called in the tables, as "3.13t", and its full version."""
    threaded = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    return "%d.%d%s" % (*sys.version_info[:2], threaded), platform.python_version() + threaded


def count(outcomes):
    """The figures of a summary, as a dictionary."""
    counter = collections.Counter(outcome.outcome for outcome in outcomes)
    return {
        "run": len(outcomes) - counter["skipped"],
        "passed": counter["passed"],
        "failed": counter["failed"] + counter["stale"],
        "excluded": counter["excluded"],
        "skipped": counter["skipped"],
    }


def print_details(python, complaints, outcomes):
    """Complaints and failures in full, then a line for each test that was left out."""
    outcomes = sorted(outcomes, key=lambda outcome: outcome.test)
    for complaint in complaints:
        print(f"{python}: {complaint}")
    for each in outcomes:
        if each.outcome in ("failed", "stale"):
            detail = each.detail.replace("\n", "\n    ")
            print(f"\n{python}: {each.test} {each.outcome.upper()}\n    {detail}")
    for each in outcomes:
        if each.outcome in ("excluded", "skipped"):
            print(f"{python}: {each.test} {each.outcome}: {each.detail}")


def print_table(columns, rows):
    lines = [columns, *[[str(row[column]) for column in columns] for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    print()
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())

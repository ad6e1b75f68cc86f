"""The resident set of a process."""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")


def why_not() -> str | None:
    """Why it cannot be read here; None if it can."""
    return None if (PROC / "self" / "statm").exists() else "needs /proc/self/statm"


def resident(pid: int | None = None) -> int:
    """Its size in bytes; that of this process for None."""
    statm = PROC / ("self" if pid is None else str(pid)) / "statm"
    return int(statm.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def private(pid: int) -> int:
    """What of it no other process has, in bytes."""
    rollup = (PROC / str(pid) / "smaps_rollup").read_text(encoding="ascii")
    kilobytes = [line.split()[1] for line in rollup.splitlines() if line.startswith("Private_")]
    return sum(map(int, kilobytes)) << 10

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

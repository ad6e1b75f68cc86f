"""The resident set of this process."""

from __future__ import annotations

import os
from pathlib import Path

STATM = Path("/proc/self/statm")


def why_not() -> str | None:
    """Why it cannot be read here; None if it can."""
    return None if STATM.exists() else "needs /proc/self/statm"


def resident() -> int:
    """Its size in bytes."""
    return int(STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")

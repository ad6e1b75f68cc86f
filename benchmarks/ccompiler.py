"""The C compiler, for what benchmarks need in C."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path


def why_not() -> str | None:
    """Why there is none; None if there is one."""
    return None if _compiler() else "needs a C compiler (cc, or CC in the environment)"


def compile_to(target: Path, sources: Sequence[Path], *flags: str) -> None:
    """Compile and link; whoever finds `target` finds all of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f"{target.name}.{os.getpid()}")
    command = [_compiler() or "cc", "-std=c11", "-O2", *flags, "-o", unfinished, *sources]
    subprocess.run(command, check=True)
    unfinished.replace(target)


def _compiler() -> str | None:
    return shutil.which(os.environ.get("CC", "cc"))

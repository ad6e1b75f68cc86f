"""Section: hash and compress real files, work that gives up the GIL while it computes."""

from __future__ import annotations

import hashlib
import sysconfig
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from treadle._demo import pools
from treadle._demo.machine import usable_cores
from treadle._demo.section import DemoError, Section, Settings, Side

SKIPPED = {"site-packages", "__pycache__"}


def make(settings: Settings) -> Section:
    """The section for these settings: one thread a core unless told otherwise."""
    root, chosen, size = standard_library(settings.file_bytes)
    workers = settings.workers or usable_cores()
    return Section(
        key="files",
        title=f"hash and compress {len(chosen)} files, {size:.1f} MB",
        workers=workers,
        steps=len(chosen),
        open=lambda: _opened(root, chosen, workers),
    )


def standard_library(limit: int) -> tuple[Path, list[Path], float]:
    """Its folder, source files of it with `limit` bytes in all at most, and their size in MB."""
    root = Path(sysconfig.get_paths()["stdlib"])
    chosen = choose_files(root, limit)
    if not chosen:
        raise DemoError("the standard library of this Python has no source files to work on")
    return root, chosen, sum(path.stat().st_size for path in chosen) / 1e6


def choose_files(root: Path, limit: int) -> list[Path]:
    """Source files of the standard library in a fixed order, `limit` bytes in all at most."""
    chosen, total = [], 0
    for path in sorted(root.rglob("*.py")):
        if SKIPPED.intersection(path.relative_to(root).parts) or not path.is_file():
            continue
        total += path.stat().st_size
        if total > limit:
            break
        chosen.append(path)
    return chosen


def digest_and_compress(root: Path, path: Path) -> tuple[str, str, int]:
    """Read a file; its name, its SHA-256, and its size when compressed."""
    data = path.read_bytes()
    return str(path.relative_to(root)), hashlib.sha256(data).hexdigest(), len(zlib.compress(data))


@contextmanager
def _opened(root: Path, chosen: Sequence[Path], workers: int) -> Iterator[Sequence[Side]]:
    for path in chosen:
        path.read_bytes()  # into the page cache: no side is to pay for the disk
    yield pools.sides(partial(digest_and_compress, root), chosen, workers)

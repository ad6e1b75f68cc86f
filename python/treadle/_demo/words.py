"""Section: count the words of real text files, work that only processes can share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from treadle._demo import pools
from treadle._demo.files import standard_library
from treadle._demo.machine import usable_cores
from treadle._demo.section import Section, Settings, Side

WORD = re.compile(r"[^\W\d_]+")


def make(settings: Settings) -> Section:
    """The section for these settings: one process a core unless told otherwise."""
    root, chosen, size = standard_library(settings.text_bytes)
    workers = settings.workers or usable_cores()
    return Section(
        key="words",
        title=f"processes: count words of {len(chosen)} files, {size:.1f} MB",
        workers=workers,
        steps=len(chosen),
        open=lambda: _opened(root, chosen, workers),
    )


def count_words(root: Path, path: Path) -> tuple[str, int, list[tuple[str, int]]]:
    """Read a file; its name, how many words it has, and the five most frequent ones."""
    text = path.read_text(encoding="utf-8", errors="replace").lower()
    counts = Counter(match.group() for match in WORD.finditer(text))
    frequent = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:5]
    return str(path.relative_to(root)), counts.total(), frequent


@contextmanager
def _opened(root: Path, chosen: Sequence[Path], workers: int) -> Iterator[Sequence[Side]]:
    for path in chosen:
        path.read_bytes()  # into the page cache: no side is to pay for the disk
    yield pools.process_sides(partial(count_words, root), chosen, workers)

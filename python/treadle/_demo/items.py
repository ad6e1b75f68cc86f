"""Section: a small function over many items, where the cost of the hand-off is what shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from treadle._demo import pools
from treadle._demo.machine import usable_cores
from treadle._demo.section import Section, Settings, Side


def make(settings: Settings) -> Section:
    """The section for these settings: one thread a core unless told otherwise."""
    workers = settings.workers or usable_cores()
    return Section(
        key="items",
        title=f"map a small function over {settings.items:,} items",
        workers=workers,
        steps=0,
        open=lambda: _opened(settings.items, workers),
    )


def small(number: int) -> int:
    """Next to no work, with a result that tells whether it was done right."""
    return number * number % 1009


@contextmanager
def _opened(items: int, workers: int) -> Iterator[Sequence[Side]]:
    yield pools.sides(small, range(items), workers, count_steps=False)

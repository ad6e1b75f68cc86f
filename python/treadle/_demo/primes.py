"""Section: find primes in plain Python, which the GIL keeps threads from sharing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from treadle._demo import pools
from treadle._demo.machine import usable_cores
from treadle._demo.section import Section, Settings, Side

SPAN = 500


def make(settings: Settings) -> Section:
    """The section for these settings: one process a core unless told otherwise."""
    workers = settings.workers or usable_cores()
    ranges = [range(start, start + SPAN) for start in range(0, settings.primes_below, SPAN)]
    return Section(
        key="primes",
        title=f"processes: find the primes below {settings.primes_below:,}",
        workers=workers,
        steps=len(ranges),
        open=lambda: _opened(ranges, workers),
    )


def primes_in(numbers: range) -> list[int]:
    """The primes among some numbers, by trial division."""
    return [number for number in numbers if is_prime(number)]


def is_prime(number: int) -> bool:
    """Whether a number has no divisors but 1 and itself."""
    if number < 4:
        return number > 1
    if number % 2 == 0:
        return False
    divisor = 3
    while divisor * divisor <= number:
        if number % divisor == 0:
            return False
        divisor += 2
    return True


@contextmanager
def _opened(ranges: Sequence[range], workers: int) -> Iterator[Sequence[Side]]:
    yield pools.process_sides(primes_in, ranges, workers)

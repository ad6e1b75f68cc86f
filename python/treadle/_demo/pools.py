"""The sides that a job for a pool has: a plain loop, concurrent.futures, and treadle."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import treadle
from treadle._demo.section import Role, Side, Tick, ticked

T = TypeVar("T")


def sides(
    job: Callable[[T], object],
    inputs: Sequence[T],
    workers: int,
    *,
    alone_once: bool = False,
    count_steps: bool = True,
) -> list[Side]:
    """The three sides of `job` over `inputs`.

    `count_steps=False` keeps the progress line out of the timed loop, for jobs so small that a
    tick would be a good part of their time.
    """

    def alone(tick: Tick) -> Sequence[object]:
        return _collect(map(job, inputs), tick if count_steps else None)

    def pooled(
        executor: type[concurrent.futures.ThreadPoolExecutor], tick: Tick
    ) -> Sequence[object]:
        with executor(workers) as pool:
            return _collect(pool.map(job, inputs), tick if count_steps else None)

    return [
        Side(Role.ALONE, alone, once=alone_once),
        Side(Role.STANDARD, lambda tick: pooled(concurrent.futures.ThreadPoolExecutor, tick)),
        Side(Role.TREADLE, lambda tick: pooled(treadle.ThreadPoolExecutor, tick)),
    ]


def process_sides(job: Callable[[T], object], inputs: Sequence[T], workers: int) -> list[Side]:
    """The three sides of `job` over `inputs`, with processes.

    Both pools start theirs within the time that is measured, in the way that is this Python's
    default.
    """

    def alone(tick: Tick) -> Sequence[object]:
        return ticked(map(job, inputs), tick)

    def pooled(
        executor: type[concurrent.futures.ProcessPoolExecutor], tick: Tick
    ) -> Sequence[object]:
        with executor(workers) as pool:
            return ticked(pool.map(job, inputs), tick)

    return [
        Side(Role.ALONE, alone),
        Side(Role.STANDARD, lambda tick: pooled(concurrent.futures.ProcessPoolExecutor, tick)),
        Side(Role.TREADLE, lambda tick: pooled(treadle.ProcessPoolExecutor, tick)),
    ]


def _collect(results: Iterable[object], tick: Tick | None) -> Sequence[object]:
    return list(results) if tick is None else ticked(results, tick)

"""The sides that a job for an event loop has: asyncio's own loop, and treadle's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import treadle
from treadle._demo.section import Role, Side, Tick

Job = Callable[[Tick], Coroutine[Any, Any, Sequence[object]]]
Factory = Callable[[], asyncio.AbstractEventLoop]


def sides(job: Job, latency: Callable[[], Mapping[str, float]] | None = None) -> list[Side]:
    """The two sides of `job`, a coroutine function that is run on a fresh loop.

    `latency`, if given, is asked after each run for the quantiles of that run.
    """

    def run(factory: Factory, tick: Tick) -> Sequence[object]:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(job(tick))

    return [
        Side(Role.STOCK_LOOP, lambda tick: run(_stock, tick), latency=latency),
        Side(Role.TREADLE, lambda tick: run(_treadle, tick), latency=latency),
    ]


def _stock() -> asyncio.AbstractEventLoop:
    return asyncio.SelectorEventLoop()


def _treadle() -> asyncio.AbstractEventLoop:
    return treadle.new_event_loop()

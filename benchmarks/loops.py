"""The event loops that are compared, by the name of their package.

Nothing is imported before it is asked for: a process that measures one loop has only that loop
in it.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.metadata
import importlib.util
from collections.abc import Callable

STOCK, SUBJECT = "asyncio", "treadle"
PEERS = ("uvloop", "rloop", "zuvloop")
NAMES = (STOCK, *PEERS, SUBJECT)


def factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes a loop of this implementation."""
    if name == STOCK:
        return asyncio.SelectorEventLoop
    made: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module(name).new_event_loop
    return made


@functools.cache
def why_not(name: str) -> str | None:
    """Why this implementation cannot be measured here; None if it can."""
    if name != STOCK and importlib.util.find_spec(name) is None:
        return "not installed"
    return None


def version(name: str) -> str | None:
    """The installed version of a package; None if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, str]:
    """The versions of the peers that are installed."""
    return {name: found for name in PEERS if (found := version(name)) is not None}

"""Put treadle's functions and classes in the place of asyncio's, and take them out again."""

import asyncio
from importlib import import_module
from types import ModuleType
from typing import Any

# What is replaced, by the module of asyncio that defines it and the one of treadle that has
# what takes its place; names that this version of asyncio does not have are left out.
_NAMES = {
    ("tasks", "_functions"): ("as_completed", "gather", "shield", "wait", "wait_for"),
    ("tasks", "_scopes"): ("sleep",),
    ("timeouts", "_scopes"): ("Timeout", "timeout", "timeout_at"),
    ("taskgroups", "_scopes"): ("TaskGroup",),
    ("locks", "_sync"): ("Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "Semaphore"),
    ("queues", "_sync"): ("LifoQueue", "PriorityQueue", "Queue"),
}

# Where something was put: module, name, what was there and what is there.
_replaced: list[tuple[ModuleType, str, Any, Any]] = []


def replacements() -> dict[tuple[str, str], Any]:
    """What goes into which module of asyncio: {(module, name): ours}.

    Made before anything is replaced: ours are subclasses of what they replace.
    """
    found = {}
    for (theirs, ours), names in _NAMES.items():
        stock, native = import_module(f"asyncio.{theirs}"), import_module(f".{ours}", __package__)
        for name in names:
            if hasattr(stock, name) and hasattr(native, name):
                found[theirs, name] = getattr(native, name)
    return found


def patch() -> None:
    """Replace asyncio's; nothing if that was done already."""
    if _replaced:
        return
    for (theirs, name), ours in replacements().items():
        module = import_module(f"asyncio.{theirs}")
        stock = getattr(module, name)
        for place in module, asyncio:
            if getattr(place, name, None) is stock:
                _replaced.append((place, name, stock, ours))
                setattr(place, name, ours)


def unpatch() -> None:
    """Put asyncio's back, except where somebody has put something else since."""
    while _replaced:
        place, name, stock, ours = _replaced.pop()
        if getattr(place, name, None) is ours:
            setattr(place, name, stock)

"""sleep(), timeout(), timeout_at() and TaskGroup: asyncio's, done natively on treadle's loop.

Each has asyncio's own function or class behind it, of the version that runs, and leaves to
that what is out of the ordinary, and every loop that is not treadle's.
"""

import asyncio
import asyncio.taskgroups
import asyncio.timeouts
from typing import TYPE_CHECKING

from . import _loop as _loop  # has native tasks switched on
from . import _native
from ._native import timeout as timeout
from ._native import timeout_at as timeout_at

_native._init_scopes()

if TYPE_CHECKING:
    from asyncio import sleep as sleep
else:
    sleep = _native._make_sleep(asyncio.tasks.sleep)


class Timeout(_native.TimeoutBase, asyncio.Timeout):  # type: ignore[misc]
    """What timeout() and timeout_at() return; as asyncio.Timeout."""

    __slots__ = ()


_native._init_timeout(Timeout, asyncio.timeouts.Timeout, asyncio.timeouts._State)  # type: ignore[attr-defined]


class TaskGroup(_native.TaskGroupBase, asyncio.TaskGroup):
    """Asynchronous context manager for managing groups of tasks; as asyncio.TaskGroup."""

    __slots__ = ()


# 3.12, and 3.13 at first: a task that is done when it is made is seen to at once
_looks = not hasattr(asyncio.taskgroups.TaskGroup, "_aexit") and (
    "done" in asyncio.taskgroups.TaskGroup.create_task.__code__.co_names
)
_native._init_group(TaskGroup, asyncio.taskgroups.TaskGroup, _looks)

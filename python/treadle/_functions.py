"""asyncio's functions of tasks, done natively, under its names.

Importing this makes the loop's classes, with which native tasks are switched on if that is
possible; else each function calls asyncio's.
"""

import asyncio.tasks
from typing import TYPE_CHECKING

from . import _native
from . import _scopes as _scopes  # switches native tasks on, and has coroutines ready

_native._init_functions()

if TYPE_CHECKING:  # they take and return the same
    from asyncio import as_completed as as_completed
    from asyncio import gather as gather
    from asyncio import shield as shield
    from asyncio import wait as wait
    from asyncio import wait_for as wait_for
else:
    from ._native import gather as gather
    from ._native import shield as shield

    if hasattr(_native, "Task"):
        from ._as_completed import as_completed as as_completed
    else:  # native tasks are not switched on
        from asyncio import as_completed as as_completed
    wait = _native._make_wait(asyncio.tasks.wait)
    wait_for = _native._make_wait_for(asyncio.tasks.wait_for)

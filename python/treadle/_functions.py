"""asyncio's functions of tasks, done natively, under its names.

Importing this makes the loop's classes, with which native tasks are switched on if that is
possible; else each function calls asyncio's.
"""

from typing import TYPE_CHECKING

from . import _loop  # noqa: F401 - switches native tasks on
from . import _native

if TYPE_CHECKING:  # they take and return the same
    from asyncio import gather as gather
else:
    from ._native import gather as gather

_native._init_functions()

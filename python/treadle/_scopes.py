"""sleep(), timeout(), timeout_at() and TaskGroup: asyncio's, done natively on treadle's loop.

Each has asyncio's own function or class behind it, of the version that runs, and leaves to
that what is out of the ordinary, and every loop that is not treadle's.
"""

import asyncio
from typing import TYPE_CHECKING

from . import _loop as _loop  # has native tasks switched on
from . import _native

_native._init_scopes()

if TYPE_CHECKING:
    from asyncio import sleep as sleep
else:
    sleep = _native._make_sleep(asyncio.tasks.sleep)

"""asyncio's functions of tasks, done natively, under asyncio's names.

``treadle.wait`` and ``treadle.as_completed`` are those of ``concurrent.futures``; here are
asyncio's, and next to them what ``treadle`` has under the same names. A program that says
``from treadle import aio`` can use ``aio.wait()`` wherever it used ``asyncio.wait()``.
"""

from ._functions import as_completed as as_completed
from ._functions import gather as gather
from ._functions import shield as shield
from ._functions import wait as wait
from ._functions import wait_for as wait_for
from ._scopes import TaskGroup as TaskGroup
from ._scopes import Timeout as Timeout
from ._scopes import sleep as sleep
from ._scopes import timeout as timeout
from ._scopes import timeout_at as timeout_at

"""One native runtime for concurrent Python.

Drop-in executors and futures: ``treadle.ThreadPoolExecutor`` stands in for
``concurrent.futures.ThreadPoolExecutor``, ``treadle.Future`` for its futures,
``treadle.wait`` and ``treadle.as_completed`` for its functions.
"""

import os as _os
import threading as _threading
from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    BrokenExecutor,
    CancelledError,
    Executor,
    InvalidStateError,
    TimeoutError,
)
from concurrent.futures.thread import BrokenThreadPool

from . import _native
from ._include import get_include
from ._native import Future, as_completed, wait, wrap_future
from ._pool import ThreadPoolExecutor
from ._to_thread import to_thread
from ._version import __version__

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "BrokenExecutor",
    "BrokenThreadPool",
    "CancelledError",
    "Executor",
    "Future",
    "InvalidStateError",
    "ThreadPoolExecutor",
    "TimeoutError",
    "__version__",
    "as_completed",
    "get_include",
    "to_thread",
    "wait",
    "wrap_future",
]

if hasattr(_os, "register_at_fork"):
    _os.register_at_fork(after_in_child=_native._after_fork_in_child)

# Runs before the standard library's own handler, which wakes our workers too:
# they finish what is queued and leave; nothing new is accepted.
_threading._register_atexit(_native._begin_exit)  # type: ignore[attr-defined]

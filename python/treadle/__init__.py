"""One native runtime for concurrent Python.

Drop-in executors and futures: ``treadle.ThreadPoolExecutor`` stands in for
``concurrent.futures.ThreadPoolExecutor``, ``treadle.Future`` for its futures,
``treadle.wait`` and ``treadle.as_completed`` for its functions.
"""

import os as _os
import threading as _threading
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any
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
from ._native import Future, SharedBuffer, as_completed, wait, wrap_future
from ._pool import ThreadPoolExecutor
from ._version import __version__

if _TYPE_CHECKING:
    from ._functions import gather, shield, wait_for
    from ._loop import EventLoop, new_event_loop
    from ._policy import EventLoopPolicy, install, uninstall
    from ._mp_pool import Pool
    from ._procs import BrokenProcessPool, ProcessPoolExecutor
    from ._runner import Runner, run
    from ._sync import (
        Barrier,
        BoundedSemaphore,
        BrokenBarrierError,
        Condition,
        Event,
        LifoQueue,
        Lock,
        PriorityQueue,
        Queue,
        QueueEmpty,
        QueueFull,
        QueueShutDown,
        RLock,
        Semaphore,
    )
    from ._shared import shared_array
    from ._native import LoopFuture, Task
    from ._scopes import TaskGroup, Timeout, sleep, timeout, timeout_at
    from ._to_thread import to_thread
    from ._worker import worker_id
    from ._zygote import ZygoteContext

# What needs asyncio or multiprocessing is imported when it is first asked for:
# programs that only use threads do not pay for it.
_LAZY = {
    "Barrier": "_sync",
    "BoundedSemaphore": "_sync",
    "BrokenBarrierError": "_sync",
    "Condition": "_sync",
    "Event": "_sync",
    "LifoQueue": "_sync",
    "Lock": "_sync",
    "PriorityQueue": "_sync",
    "Queue": "_sync",
    "QueueEmpty": "_sync",
    "QueueFull": "_sync",
    "QueueShutDown": "_sync",
    "RLock": "_sync",
    "Semaphore": "_sync",
    "gather": "_functions",
    "shield": "_functions",
    "wait_for": "_functions",
    "EventLoop": "_loop",
    "EventLoopPolicy": "_policy",
    "BrokenProcessPool": "_procs",
    "Pool": "_mp_pool",
    "ProcessPoolExecutor": "_procs",
    "Runner": "_runner",
    "ZygoteContext": "_zygote",
    "LoopFuture": "_tasks",
    "Task": "_tasks",
    "install": "_policy",
    "new_event_loop": "_loop",
    "run": "_runner",
    "shared_array": "_shared",
    "sleep": "_scopes",
    "TaskGroup": "_scopes",
    "Timeout": "_scopes",
    "timeout": "_scopes",
    "timeout_at": "_scopes",
    "to_thread": "_to_thread",
    "uninstall": "_policy",
    "worker_id": "_worker",
}


def __getattr__(name: str) -> _Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{_LAZY[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "Barrier",
    "BoundedSemaphore",
    "BrokenBarrierError",
    "BrokenExecutor",
    "BrokenProcessPool",
    "BrokenThreadPool",
    "CancelledError",
    "Condition",
    "Event",
    "EventLoop",
    "EventLoopPolicy",
    "Executor",
    "Future",
    "InvalidStateError",
    "LifoQueue",
    "Lock",
    "PriorityQueue",
    "Pool",
    "ProcessPoolExecutor",
    "Queue",
    "QueueEmpty",
    "QueueFull",
    "QueueShutDown",
    "RLock",
    "Runner",
    "Semaphore",
    "SharedBuffer",
    "LoopFuture",
    "Task",
    "TaskGroup",
    "ThreadPoolExecutor",
    "Timeout",
    "TimeoutError",
    "ZygoteContext",
    "__version__",
    "as_completed",
    "gather",
    "shield",
    "wait_for",
    "get_include",
    "install",
    "new_event_loop",
    "run",
    "shared_array",
    "sleep",
    "timeout",
    "timeout_at",
    "to_thread",
    "uninstall",
    "wait",
    "worker_id",
    "wrap_future",
]

if hasattr(_os, "register_at_fork"):
    _os.register_at_fork(after_in_child=_native._after_fork_in_child)

# Runs before the standard library's own handler, which wakes our workers too:
# they finish what is queued and leave; nothing new is accepted.
_threading._register_atexit(_native._begin_exit)  # type: ignore[attr-defined]

"""treadle.to_thread(): a call on a pool thread, awaited on whatever loop runs."""

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from ._native import wrap_future
from ._pool import ThreadPoolExecutor

P = ParamSpec("P")
T = TypeVar("T")

_pool: ThreadPoolExecutor | None = None


_pool_lock = threading.Lock()


def _default_pool() -> ThreadPoolExecutor:
    global _pool
    pool = _pool
    if pool is None or pool._shutdown:
        with _pool_lock:
            if _pool is None or _pool._shutdown:
                _pool = ThreadPoolExecutor(thread_name_prefix="treadle")
            pool = _pool
    return pool


def _forget_pool() -> None:
    global _pool, _pool_lock
    _pool = None
    _pool_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


async def to_thread(func: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``func(*args, **kwargs)`` on a pool thread and return its result.

    As ``asyncio.to_thread()``: the current context is copied, and cancelling the
    awaiting task cancels the call if it has not started. The pool is treadle's
    own, shared by all loops of the process, whatever their class.
    """
    loop = asyncio.get_running_loop()
    context = contextvars.copy_context()
    # mypy loses func's parameters on the way through run()
    future = _default_pool().submit(context.run, func, *args, **kwargs)  # type: ignore[arg-type]
    return await wrap_future(future, loop)

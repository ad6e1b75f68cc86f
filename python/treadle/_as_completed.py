"""as_completed(): asyncio's, on a native queue and with native callbacks and coroutines."""

import asyncio
import inspect
import sys
from asyncio import events
from collections.abc import Generator, Iterable
from typing import Any

from . import _native
from ._sync import Queue

# who awaits what is noted from 3.14 on
_NOTES_AWAITERS = hasattr(asyncio, "future_add_to_awaited_by")


def _watch(awaitables: Iterable[Any], timeout: float | None) -> tuple[Queue[Any], int]:
    """The queue that gets the futures as they complete, and how many there are."""
    queue: Queue[Any] = Queue()
    # from 3.12 on the public one does what this did
    find_loop = getattr(events, "_get_event_loop", events.get_event_loop)
    loop = find_loop()
    task = asyncio.current_task() if _NOTES_AWAITERS else None
    todo = {asyncio.ensure_future(each, loop=loop) for each in set(awaitables)}
    count = len(todo)
    _native._watch_completed(todo, queue, loop, task, timeout)
    return queue, count


class _AsCompletedIterator:
    """What as_completed() returns from 3.13 on: an iterator, asynchronous or not."""

    def __init__(self, awaitables: Iterable[Any], timeout: float | None) -> None:
        self._done, self._todo_left = _watch(awaitables, timeout)

    def __aiter__(self) -> "_AsCompletedIterator":
        return self

    def __iter__(self) -> "_AsCompletedIterator":
        return self

    async def __anext__(self) -> Any:
        if not self._todo_left:
            raise StopAsyncIteration
        self._todo_left -= 1
        return await _native._next_completed(self._done, False)

    def __next__(self) -> Any:
        if not self._todo_left:
            raise StopIteration
        self._todo_left -= 1
        return _native._next_completed(self._done, True)


def _generate(fs: Any, timeout: float | None) -> Generator[Any, None, None]:
    """What as_completed() returned before: it begins when it is first advanced."""
    if asyncio.isfuture(fs) or asyncio.iscoroutine(fs):
        raise TypeError(f"expect an iterable of futures, not {type(fs).__name__}")
    queue, count = _watch(fs, timeout)
    for _ in range(count):
        yield _native._next_completed(queue, True)


def as_completed(fs: Any, *, timeout: float | None = None) -> Any:
    """Run awaitables at the same time; iterate over them as they complete.

    As asyncio.as_completed() of the running version of Python: each iteration yields an
    awaitable of the next result; ``async for``, from 3.13 on, the futures themselves.
    TimeoutError comes from those that are not done ``timeout`` seconds from now.
    """
    if sys.version_info < (3, 13):
        return _generate(fs, timeout)
    if inspect.isawaitable(fs):
        raise TypeError(f"expects an iterable of awaitables, not {type(fs).__name__}")
    return _AsCompletedIterator(fs, timeout)

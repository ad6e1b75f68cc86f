"""map() by way of submit(), for subclasses that do something in theirs."""

import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from itertools import islice
from time import monotonic
from typing import Any, TypeVar

from ._native import wait

_T = TypeVar("_T")


def _remaining(deadline: float | None) -> float | None:
    return None if deadline is None else deadline - monotonic()


def _take_done(pending: "deque[Future[_T]]", deadline: float | None) -> "Future[_T]":
    """Take a future that is done out of ``pending``; the first one at the deadline."""
    done, _ = wait(pending, _remaining(deadline), "FIRST_COMPLETED")
    future = next((future for future in pending if future in done), pending[0])
    pending.remove(future)
    return future


def _result_or_cancel(future: "Future[_T]", deadline: float | None) -> _T:
    try:
        return future.result(_remaining(deadline))
    finally:
        future.cancel()
        # no reference cycle through a traceback
        del future


def _results(
    pending: "deque[Future[_T]]",
    refill: Callable[[], "Iterable[Future[_T]]"],
    deadline: float | None,
    unordered: bool,
) -> Iterator[_T]:
    try:
        while pending:
            future = _take_done(pending, deadline) if unordered else pending.popleft()
            result = [_result_or_cancel(future, deadline)]
            del future
            pending.extend(refill())
            yield result.pop()
    finally:
        for future in pending:
            future.cancel()


def submitting_map(
    executor: Executor,
    fn: Callable[..., _T],
    iterables: tuple[Iterable[Any], ...],
    timeout: float | None,
    buffersize: int | None,
    unordered: bool,
) -> Iterator[_T]:
    """Return an iterator over ``fn(*items)``, each item a call of ``submit()``."""
    deadline = None if timeout is None else timeout + monotonic()
    inputs = zip(*iterables)
    # the iterator does not keep the executor from being collected
    reference = weakref.ref(executor)

    def submit_next(count: int | None) -> "Iterable[Future[_T]]":
        owner = reference()
        if owner is None:
            return ()
        return [owner.submit(fn, *args) for args in islice(inputs, count)]

    pending = deque(submit_next(buffersize))
    return _results(pending, lambda: submit_next(1), deadline, unordered)

"""Types of treadle._native; docs/api.md says what the public ones do."""

import asyncio
import concurrent.futures
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures._base import DoneAndNotDoneFutures
from contextvars import Context
from types import GenericAlias, TracebackType
from typing import (
    Any,
    Final,
    Generic,
    Literal,
    ParamSpec,
    TypedDict,
    TypeVar,
    TypeVarTuple,
    Unpack,
    final,
    type_check_only,
)

from typing_extensions import disjoint_base

_P = ParamSpec("_P")
_T = TypeVar("_T")
_AnyFuture = TypeVar("_AnyFuture", bound=concurrent.futures.Future[Any])

_C_API: Final[object]  # a capsule; see include/treadle.h

def _after_fork_in_child() -> None: ...
def _begin_exit() -> None: ...

# ---- futures -----------------------------------------------------------------------

@disjoint_base
class FutureBase(Generic[_T]):
    """The native side of Future."""

    _condition: threading.Condition
    _state: str
    _result: _T | None
    _exception: BaseException | None
    _waiters: list[Any]
    _done_callbacks: list[Callable[[Future[_T]], object]]
    def __init__(self) -> None: ...
    def __class_getitem__(cls, item: Any, /) -> GenericAlias: ...
    def cancel(self) -> bool: ...
    def cancelled(self) -> bool: ...
    def running(self) -> bool: ...
    def done(self) -> bool: ...
    def result(self, timeout: float | None = None) -> _T: ...
    def exception(self, timeout: float | None = None) -> BaseException | None: ...
    def add_done_callback(self, fn: Callable[[Future[_T]], object]) -> None: ...
    def set_running_or_notify_cancel(self) -> bool: ...
    def set_result(self, result: _T) -> None: ...
    def set_exception(self, exception: BaseException | None) -> None: ...
    def _invoke_callbacks(self) -> None: ...
    def _get_snapshot(self) -> tuple[bool, bool, _T | None, BaseException | None]: ...

class Future(FutureBase[_T], concurrent.futures.Future[_T]):
    """A concurrent.futures.Future; see docs/api.md."""

def wait(
    fs: Iterable[concurrent.futures.Future[_T]],
    timeout: float | None = None,
    return_when: str = "ALL_COMPLETED",
) -> DoneAndNotDoneFutures[_T]: ...
def as_completed(
    fs: Iterable[_AnyFuture], timeout: float | None = None
) -> AsCompleted[_AnyFuture]: ...
def wrap_future(
    future: Future[_T], loop: asyncio.AbstractEventLoop
) -> asyncio.Future[_T]: ...
@final
class AsCompleted(Generic[_AnyFuture]):
    """What as_completed() returns."""

    def __iter__(self) -> AsCompleted[_AnyFuture]: ...
    def __next__(self) -> _AnyFuture: ...
    def close(self) -> None: ...

@disjoint_base
class ConditionBase:
    """The native side of Condition: a re-entrant lock."""

    _waiters: deque[Any]
    @property
    def _lock(self) -> ConditionBase: ...
    def __init__(self) -> None: ...
    def __enter__(self) -> bool: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
        /,
    ) -> None: ...
    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...
    def release(self) -> None: ...
    def locked(self) -> bool: ...
    def _release_save(self) -> int: ...
    def _acquire_restore(self, saved: int, /) -> None: ...
    def _is_owned(self) -> bool: ...
    def _recursion_count(self) -> int: ...
    def _at_fork_reinit(self) -> None: ...

class Condition(ConditionBase, threading.Condition):
    """A future's `_condition`, made when somebody looks at it."""

# How a waiter hears of a standard future; in that future's `_waiters`.
@final
class WaitProxy:
    def add_result(self, future: concurrent.futures.Future[Any], /) -> None: ...
    def add_exception(self, future: concurrent.futures.Future[Any], /) -> None: ...
    def add_cancelled(self, future: concurrent.futures.Future[Any], /) -> None: ...

# The two ends of wrap_future(): a callback of both futures.
@final
class FutureLink:
    def __call__(self, destination: asyncio.Future[Any], /) -> None: ...

# What a loop is asked to call, once for a batch of results.
@final
class LoopInbox:
    def __call__(self, *args: object, **kwargs: object) -> None: ...

# ---- thread pools ------------------------------------------------------------------

@type_check_only
class _Histogram(TypedDict):
    count: int
    sum: float  # seconds
    buckets: list[tuple[float, int]]  # (below this many seconds, how many)

@type_check_only
class _Stats(TypedDict):
    queued: int
    running: int
    done: int
    workers: int
    idle: int
    wait: _Histogram
    run: _Histogram

@final
class WorkQueue:
    """A pool: its jobs and its workers; an executor's `_work_queue`."""

    def qsize(self) -> int: ...
    def empty(self) -> bool: ...
    def put(self, item: None, /) -> None: ...
    def stats(self) -> _Stats: ...
    def fail_worker(self, reason: str, /) -> None: ...
    def run(self) -> bool: ...

# The items and results of one map(); it has no methods.
@final
class MapBatch: ...

@final
class MapIterator(Generic[_T]):
    """What map() and map_unordered() return."""

    def __iter__(self) -> MapIterator[_T]: ...
    def __next__(self) -> _T: ...
    def close(self) -> None: ...

@disjoint_base
class ThreadPoolBase:
    """The native side of ThreadPoolExecutor."""

    _max_workers: int
    _shutdown: bool
    @property
    def _work_queue(self) -> WorkQueue: ...
    @property
    def _broken(self) -> Literal[False] | str: ...
    def submit(
        self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> Future[_T]: ...
    def stats(self) -> _Stats: ...
    def _submit_with(
        self,
        priority: int | None,
        context: bool | Context | None,
        fn: Callable[_P, _T],
        /,
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> Future[_T]: ...
    def _map(
        self,
        fn: Callable[..., _T],
        iterables: tuple[Iterable[Any], ...],
        timeout: float | None,
        chunksize: int,
        buffersize: int | None,
        unordered: bool,
        priority: int | None,
        context: bool | Context | None,
        /,
    ) -> MapIterator[_T]: ...
    def _submit_native(
        self, address: int, keepalive: object, buffers: tuple[Any, ...], /
    ) -> Future[int]: ...
    def _setup(
        self, max_workers: int, idle_timeout: float | None, inline_waits: bool, context: bool, /
    ) -> None: ...
    def _begin_spawn(self) -> bool: ...
    def _spawn_failed(self) -> None: ...
    def _close(self, cancel: bool, /) -> None: ...

# ---- the loop ----------------------------------------------------------------------

_Args = TypeVarTuple("_Args")

def _init_loop(
    report_callback_error: Callable[[asyncio.Handle, BaseException], object], /
) -> None: ...

@type_check_only
class _LoopTimers(TypedDict):
    pending: int
    scheduled: int
    fired: int
    cancelled: int

@type_check_only
class _LoopStats(TypedDict):
    turns: int
    polls: int
    poll_time: float  # seconds
    events: int
    posted: int
    callbacks: int
    ready: int
    ready_max: int
    slow_callbacks: int
    blocked_callbacks: int
    timers: _LoopTimers

@disjoint_base
class LoopBase:
    """The native side of EventLoop."""

    _closed: bool
    _debug: bool
    _stopping: bool
    def time(self) -> float: ...
    def get_debug(self) -> bool: ...
    def is_closed(self) -> bool: ...
    def create_future(self) -> asyncio.Future[Any]: ...
    def call_soon(
        self, callback: Callable[[Unpack[_Args]], object], /, *args: Unpack[_Args],
        context: Context | None = None,
    ) -> asyncio.Handle: ...
    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[_Args]], object], /, *args: Unpack[_Args],
        context: Context | None = None,
    ) -> asyncio.Handle: ...
    def call_later(
        self, delay: float, callback: Callable[[Unpack[_Args]], object], /,
        *args: Unpack[_Args], context: Context | None = None,
    ) -> asyncio.TimerHandle: ...
    def call_at(
        self, when: float, callback: Callable[[Unpack[_Args]], object], /,
        *args: Unpack[_Args], context: Context | None = None,
    ) -> asyncio.TimerHandle: ...
    def stats(self) -> _LoopStats: ...
    def _count_slow(self) -> None: ...
    def _check_closed(self) -> None: ...
    def _open(self) -> None: ...
    def _close_native(self) -> None: ...
    def _write_to_self(self) -> None: ...
    def _run_once(self) -> None: ...
    def _run_until_stopped(self) -> None: ...
    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle, /) -> None: ...
    def _add_reader(
        self, fd: Any, callback: Callable[[Unpack[_Args]], object], /, *args: Unpack[_Args],
        context: Context | None = None,
    ) -> asyncio.Handle: ...
    def _add_writer(
        self, fd: Any, callback: Callable[[Unpack[_Args]], object], /, *args: Unpack[_Args],
        context: Context | None = None,
    ) -> asyncio.Handle: ...
    def _remove_reader(self, fd: Any, /) -> bool: ...
    def _remove_writer(self, fd: Any, /) -> bool: ...
    def _watched(self) -> list[tuple[int, int, asyncio.Handle | None, asyncio.Handle | None]]: ...
    def _ready_append(self, handle: asyncio.Handle, /) -> None: ...
    def _ready_popleft(self) -> asyncio.Handle: ...
    def _ready_list(self) -> list[asyncio.Handle]: ...
    def _ready_clear(self) -> None: ...
    def _scheduled_list(self) -> list[asyncio.TimerHandle]: ...
    def _scheduled_clear(self) -> None: ...

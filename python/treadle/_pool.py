"""ThreadPoolExecutor: the executor class around the native pool."""

import itertools
import math
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from concurrent.futures import ThreadPoolExecutor as _StandardExecutor
from concurrent.futures import thread as _standard
from concurrent.futures._base import LOGGER
from contextvars import Context
from time import monotonic
from typing import Any, ParamSpec, TypeVar, overload

from . import _native, _progress
from ._function_pointer import address_of
from ._native import Future
from ._submitting_map import submitting_map

_BROKEN = "A thread initializer failed, the thread pool is not usable anymore"
# 3.14 and later let a subclass say how a worker is prepared and runs a task
_HAS_WORKER_CONTEXTS = hasattr(_StandardExecutor, "prepare_context")

_P = ParamSpec("_P")
_T = TypeVar("_T")

_in_worker = threading.local()


def _default_workers() -> int:
    """As many as the standard pool of this version takes."""
    if sys.version_info >= (3, 13):
        count = os.process_cpu_count()
    else:
        count = os.cpu_count()
    return min(32, (count or 1) + 4)


def _as_count(workers: float) -> int:
    """The standard class takes any number above 0, infinity too."""
    limit = 2**31 - 1
    return limit if workers >= limit else math.ceil(workers)


class _PlainContext:
    """What prepares a worker where the standard library has no such class."""

    def __init__(self, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]):
        self._initializer = initializer
        self._initargs = initargs

    def initialize(self) -> None:
        if self._initializer is not None:
            self._initializer(*self._initargs)

    def finalize(self) -> None:
        pass


def _claim(place: list[None]) -> bool:
    """Whether the caller is the first to claim a place: the new thread itself, or
    its starter who was interrupted and cannot know whether it runs."""
    try:
        place.pop()
    except IndexError:
        return False
    return True


def _worker(
    executor_reference: "weakref.ref[ThreadPoolExecutor]",
    queue: _native.WorkQueue,
    context: Any,
    place: list[None],
    joined_at_exit: bool,
) -> None:
    """What a pool thread runs; the loop over jobs is native."""
    if not _claim(place):
        return
    if joined_at_exit:
        # The standard library's exit handler wakes and joins these. Before the
        # first job: a thread that comes too late for it sees itself that it is time.
        _standard._threads_queues[threading.current_thread()] = queue  # type: ignore[index]
    try:
        context.initialize()
    except BaseException:
        LOGGER.critical("Exception in initializer:", exc_info=True)
        queue.fail_worker(_BROKEN)
        return
    _in_worker.context = context
    try:
        retired = queue.run()
    finally:
        context.finalize()
    if retired:
        executor = executor_reference()
        if executor is not None:
            # not before whoever started this thread has added it
            with executor._shutdown_lock:
                executor._threads.discard(threading.current_thread())


def _run_in_worker_context(task: Any) -> Any:
    return _in_worker.context.run(task)


class _MapMixin:
    """map() and map_unordered() on top of _start_map()."""

    def _start_map(
        self,
        fn: Callable[..., _T],
        iterables: tuple[Iterable[Any], ...],
        timeout: float | None,
        chunksize: int,
        buffersize: int | None,
        unordered: bool,
    ) -> Iterator[_T]:
        raise NotImplementedError

    def _map_with_progress(
        self,
        fn: Callable[..., _T],
        iterables: tuple[Iterable[Any], ...],
        timeout: float | None,
        chunksize: int,
        buffersize: int | None,
        progress: Any,
        unordered: bool,
    ) -> Iterator[_T]:
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        if not _progress.check(progress):
            return self._start_map(fn, iterables, timeout, chunksize, buffersize, unordered)
        bar = _progress.prepare(progress, iterables)
        results = self._start_map(fn, iterables, timeout, chunksize, buffersize, unordered)
        return _progress.ProgressIterator(results, bar, ours=progress is True)

    def map(
        self,
        fn: Callable[..., _T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
        progress: Any = None,
    ) -> Iterator[_T]:
        """Return an iterator over ``fn(*items)`` for the items of ``iterables``, in order.

        All items are queued at once, or ``buffersize`` of them at any time: then
        an endless input is fine. Workers take ``chunksize`` items at a time.
        ``timeout`` is in seconds from this call; TimeoutError when a result is
        not there by then. An exception of ``fn`` is raised where its result
        would be, and ends the iterator. Closing it cancels what has not started.
        ``progress`` is True for a tqdm bar, or an object with ``update(n)``.

        As ``concurrent.futures.Executor.map()``, without a future for each item.
        """
        return self._map_with_progress(
            fn, iterables, timeout, chunksize, buffersize, progress, unordered=False
        )

    def map_unordered(
        self,
        fn: Callable[..., _T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
        progress: Any = None,
    ) -> Iterator[_T]:
        """As map(), but results come in the order in which they are ready."""
        return self._map_with_progress(
            fn, iterables, timeout, chunksize, buffersize, progress, unordered=True
        )


# What the standard class declares as a queue and a bool is answered natively.
class ThreadPoolExecutor(  # type: ignore[misc]
    _MapMixin, _native.ThreadPoolBase, _StandardExecutor
):
    """A pool of threads; drop-in for ``concurrent.futures.ThreadPoolExecutor``.

    Beyond the standard arguments:

    idle_timeout: seconds after which a thread without work ends; None: never.
    daemon: the process may exit without waiting for this pool's threads.
    context: each job runs in a copy of its submitter's context.
    inline_waits: any thread that waits for a job that has not started runs it
        itself; a pool's own workers always do.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        idle_timeout: float | None = None,
        daemon: bool = False,
        context: bool = False,
        inline_waits: bool = False,
        **ctxkwargs: Any,
    ) -> None:
        if max_workers is None:
            max_workers = _default_workers()
        if max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if idle_timeout is not None and not idle_timeout >= 0:
            raise ValueError("idle_timeout must be None or a number of seconds >= 0")
        self._prepare_workers(initializer, initargs, ctxkwargs)
        # only a worker of the pool can run a task through its context
        inline_waits = inline_waits and type(self).submit is not ThreadPoolExecutor._submit_task
        self._setup(_as_count(max_workers), idle_timeout, inline_waits, context)
        self._daemon = daemon
        self._process = os.getpid()
        self._threads: set[threading.Thread] = set()
        self._shutdown_lock = threading.RLock()  # type: ignore[assignment]
        self._thread_name_prefix = thread_name_prefix or (
            "ThreadPoolExecutor-%d" % self._counter()  # type: ignore[attr-defined]
        )
        self._thread_numbers = itertools.count()

    def _prepare_workers(
        self,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
        ctxkwargs: dict[str, Any],
    ) -> None:
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self._initializer = initializer  # type: ignore[assignment]
        self._initargs = initargs
        if not _HAS_WORKER_CONTEXTS:
            for name in ctxkwargs:
                raise TypeError(
                    f"{type(self).__name__}.__init__() got an unexpected keyword argument {name!r}"
                )
            self._create_worker_context: Callable[[], Any] = lambda: _PlainContext(
                initializer, initargs
            )
            return
        prepare = type(self).prepare_context  # type: ignore[attr-defined]
        self._create_worker_context, self._resolve_work_item_task = prepare(
            initializer, initargs, **ctxkwargs
        )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = getattr(cls, "prepare_context", None)
        standard = getattr(_StandardExecutor, "prepare_context", None)
        if own is not None and own.__func__ is not standard.__func__:  # type: ignore[union-attr]
            # it runs tasks its own way: through its workers' contexts
            if cls.submit is ThreadPoolExecutor.submit:
                setattr(cls, "submit", ThreadPoolExecutor._submit_task)

    def _submit_task(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        task = self._resolve_work_item_task(fn, args, kwargs)
        return _native.ThreadPoolBase.submit(self, _run_in_worker_context, task)

    # Called by the native side when there is more work than workers.
    def _spawn_worker(self) -> None:
        if self._process != os.getpid():
            return
        with self._shutdown_lock:
            if not self._begin_spawn():
                return
            place: list[None] = [None]
            thread = None
            try:
                thread = threading.Thread(
                    name=f"{self._thread_name_prefix or self}_{next(self._thread_numbers)}",
                    target=_worker,
                    args=(
                        weakref.ref(self),
                        self._work_queue,
                        self._create_worker_context(),
                        place,
                        not self._daemon,
                    ),
                    daemon=True if self._daemon else None,
                )
                thread.start()
            except BaseException:
                if _claim(place):
                    self._spawn_failed()
                elif thread is not None:
                    self._threads.add(thread)
                raise
            self._threads.add(thread)

    def _start_map(
        self,
        fn: Callable[..., _T],
        iterables: tuple[Iterable[Any], ...],
        timeout: float | None,
        chunksize: int,
        buffersize: int | None,
        unordered: bool,
    ) -> Iterator[_T]:
        if self._submit_is_overridden():
            # a subclass that does something in submit() means it for map() too
            return submitting_map(self, fn, iterables, timeout, buffersize, unordered)
        return self._map(fn, iterables, timeout, chunksize, buffersize, unordered, None, None)

    def _submit_is_overridden(self) -> bool:
        return (
            type(self).submit is not ThreadPoolExecutor.submit or "submit" in self.__dict__
        )

    def submit_native(self, function: Any, *buffers: Any) -> "Future[int]":
        """Run a C function over ``buffers`` on a pool thread, wholly without the GIL.

        ``function`` is a pointer to a C function
        ``int64_t f(void **data, const size_t *sizes, size_t count)`` (sizes in
        bytes): from ctypes or cffi, a numba cfunc, a capsule named
        ``treadle.native_function``, or an address. Each of ``buffers`` supports
        the buffer protocol, contiguous; it is held, writable where it can be,
        until the function has returned. The result is the int it returns.
        """
        return self._submit_native(address_of(function), function, buffers)

    def options(
        self, *, priority: int | None = None, context: bool | Context | None = None
    ) -> "ExecutorView":
        """Return a view whose submit() and map() carry these options.

        priority: jobs with a higher one start first; the default is 0, and jobs
            of equal priority start in the order they were submitted.
        context: True: a copy of the submitter's context; a Context: that one for
            submit(), a copy of it for each item of map().
        """
        return ExecutorView(self, priority, context)

    def resize(self, max_workers: int) -> None:
        """Change the number of threads the pool may have.

        Threads that are too many end once they have no job; more are started as
        jobs need them.
        """
        if max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        self._max_workers = max_workers
        stats = self.stats()
        for _ in range(min(stats["queued"] - stats["idle"], max_workers - stats["workers"])):
            self._spawn_worker()

    @overload
    def shutdown(
        self, wait: bool = True, *, cancel_futures: bool = False, timeout: None = None
    ) -> None: ...

    @overload
    def shutdown(
        self, wait: bool = True, *, cancel_futures: bool = False, timeout: float
    ) -> bool | None: ...

    def shutdown(
        self, wait: bool = True, *, cancel_futures: bool = False, timeout: float | None = None
    ) -> bool | None:
        """Accept no more jobs, and wait for those that there are.

        cancel_futures: cancel the jobs that have not started.
        timeout: wait for this many seconds at most and return whether all
            threads have ended; without it, returns None.
        """
        if self._process != os.getpid():
            # a forked child: whoever held the lock is gone, and so are the threads
            self._close(cancel_futures)
            return None if timeout is None else True
        with self._shutdown_lock:
            self._close(cancel_futures)
            if self._work_queue.qsize() and not self.stats()["workers"]:
                # the thread that has submitted it has not come to start one
                self._spawn_worker()
        if not wait:
            return None
        if timeout is None:
            for thread in list(self._threads):
                thread.join()
            return None
        deadline = monotonic() + timeout
        for thread in list(self._threads):
            thread.join(max(0.0, deadline - monotonic()))
        return not any(thread.is_alive() for thread in list(self._threads))


class ExecutorView(_MapMixin, Executor):
    """An executor's submit() and map() with options; see ThreadPoolExecutor.options()."""

    def __init__(
        self,
        executor: ThreadPoolExecutor,
        priority: int | None,
        context: bool | Context | None,
    ) -> None:
        self._executor = executor
        self._priority = priority
        self._context = context

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> "Future[_T]":
        """As the executor's submit(), with this view's options."""
        return self._executor._submit_with(self._priority, self._context, fn, *args, **kwargs)

    def _start_map(
        self,
        fn: Callable[..., _T],
        iterables: tuple[Iterable[Any], ...],
        timeout: float | None,
        chunksize: int,
        buffersize: int | None,
        unordered: bool,
    ) -> Iterator[_T]:
        return self._executor._map(
            fn, iterables, timeout, chunksize, buffersize, unordered, self._priority, self._context
        )

    def options(
        self, *, priority: int | None = None, context: bool | Context | None = None
    ) -> "ExecutorView":
        """Return a view with these options on top of this view's."""
        return ExecutorView(
            self._executor,
            self._priority if priority is None else priority,
            self._context if context is None else context,
        )

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut the executor itself down."""
        self._executor.shutdown(wait, cancel_futures=cancel_futures)

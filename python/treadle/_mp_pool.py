"""treadle.Pool: the interface of multiprocessing.Pool over the process pool."""

import collections
import itertools
import os
import queue
import sys
import threading
import types
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import TimeoutError as _FutureTimeoutError
from concurrent.futures.process import _RemoteTraceback
from functools import partial
from multiprocessing import TimeoutError as _TimeoutError
from multiprocessing import pool as _standard
from multiprocessing import util
from multiprocessing.pool import CLOSE, INIT, RUN, TERMINATE
from typing import Any

from ._native import Future
from ._procs import ProcessPoolExecutor
from ._worker import RESULT_NOTE
from ._workers import choose_context

# parts that the stubs do not know
mapstar: Any = _standard.mapstar  # type: ignore[attr-defined]
starmapstar: Any = _standard.starmapstar  # type: ignore[attr-defined]
MaybeEncodingError: Any = _standard.MaybeEncodingError  # type: ignore[attr-defined]
RemoteTraceback: Any = _standard.RemoteTraceback  # type: ignore[attr-defined]

# How many items of imap() are taken from its iterable before their results are in.
_AHEAD = 1024

_Outcome = tuple[bool, Any]


def _outcome(future: "Future[Any]") -> _Outcome:
    if future.cancelled():
        try:
            future.result()
        except BaseException as cancelled:
            return False, cancelled
    error = future.exception()
    return (True, future.result()) if error is None else (False, _as_raised(error))


def _as_raised(error: BaseException) -> BaseException:
    """An exception as users of multiprocessing's pool know it: its type if it was pickle's,
    and that of the text of the worker's traceback."""
    if RESULT_NOTE in getattr(error, "__notes__", ()):
        encoding: BaseException = MaybeEncodingError(error, "what the task returned")
        encoding.__cause__ = error
        return encoding
    cause = error.__cause__
    if type(cause) is _RemoteTraceback:
        error.__cause__ = RemoteTraceback(cause.tb)
    return error


class ApplyResult:
    """The result of a call, perhaps still to come: ``AsyncResult`` of multiprocessing."""

    def __init__(
        self,
        pool: "Pool",
        callback: Callable[[Any], object] | None,
        error_callback: Callable[[BaseException], object] | None,
    ) -> None:
        self._pool: Pool | None = pool
        self._callback = callback
        self._error_callback = error_callback
        self._event = threading.Event()
        self._success = True
        self._value: Any = None

    def _finish(self, success: bool, value: Any) -> None:
        """Callbacks come first: who waits may count on them."""
        self._success, self._value = success, value
        callback = self._callback if success else self._error_callback
        try:
            if callback is not None:
                callback(value)
        finally:
            self._event.set()
            self._pool = None

    def _arrived(self, future: "Future[Any]") -> None:
        self._finish(*_outcome(future))

    def ready(self) -> bool:
        """Whether the call has ended."""
        return self._event.is_set()

    def successful(self) -> bool:
        """Whether it ended without an exception; ValueError if it has not ended."""
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return self._success

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the call has ended, for `timeout` seconds at most."""
        self._event.wait(timeout)

    def get(self, timeout: float | None = None) -> Any:
        """What the call returned or raised; multiprocessing.TimeoutError if it has not
        ended after `timeout` seconds."""
        self.wait(timeout)
        if not self.ready():
            raise _TimeoutError
        if self._success:
            return self._value
        raise self._value

    def __class_getitem__(cls, item: Any) -> types.GenericAlias:
        return types.GenericAlias(cls, item)


AsyncResult = ApplyResult


class _FutureResult(ApplyResult):
    """An ApplyResult without callbacks: nothing but its future."""

    def __init__(self, pool: "Pool", future: "Future[Any]") -> None:
        self._pool = pool
        self._future = future

    def ready(self) -> bool:
        return self._future.done()

    def successful(self) -> bool:
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return _outcome(self._future)[0]

    def wait(self, timeout: float | None = None) -> None:
        try:
            self._future.exception(timeout)
        except Exception:
            pass  # of the wait; what the call raised is returned

    def get(self, timeout: float | None = None) -> Any:
        try:
            error = self._future.exception(timeout)
        except _FutureTimeoutError:
            raise _TimeoutError from None
        if error is not None:
            raise _as_raised(error)
        return self._future.result()


class MapResult(ApplyResult):
    """The results of a map, in a list, perhaps still to come."""

    def __init__(
        self,
        pool: "Pool",
        chunksize: int,
        length: int,
        callback: Callable[[Any], object] | None,
        error_callback: Callable[[BaseException], object] | None,
    ) -> None:
        super().__init__(pool, callback, error_callback)
        self._value = [None] * length
        self._chunksize = chunksize
        self._lock = threading.Lock()
        self._left = 0 if chunksize <= 0 else -(-length // chunksize)
        if self._left == 0:
            self._event.set()
            self._pool = None

    def _chunk_arrived(self, index: int, future: "Future[Any]") -> None:
        success, value = _outcome(future)
        with self._lock:
            self._left -= 1
            if not success and self._success:
                self._success, self._value = False, value  # the first one counts
            elif success and self._success:
                start = index * self._chunksize
                self._value[start : start + self._chunksize] = value
            last = self._left == 0
        if last:
            self._finish(self._success, self._value)


class IMapIterator(Iterator[Any]):
    """Results of imap(), in order."""

    def __init__(self, pool: "Pool") -> None:
        self._pool: Pool | None = pool
        self._condition = threading.Condition(threading.Lock())
        self._items: collections.deque[_Outcome] = collections.deque()
        self._early: dict[int, _Outcome] = {}
        self._index = 0  # how many are in `_items` or were taken from there
        self._length: int | None = None

    def __iter__(self) -> "IMapIterator":
        return self

    def __next__(self) -> Any:
        return self.next()

    def next(self, timeout: float | None = None) -> Any:
        """The next result; multiprocessing.TimeoutError if it is not there after
        `timeout` seconds."""
        with self._condition:
            self._condition.wait_for(self._is_over_or_ready, timeout)
            if not self._items:
                if not self._is_over_or_ready():
                    raise _TimeoutError
                self._pool = None
                raise StopIteration
            success, value = self._items.popleft()
        if success:
            return value
        raise value

    def _is_over_or_ready(self) -> bool:
        return bool(self._items) or self._index == self._length

    def _arrived(self, index: int, future: "Future[Any]") -> None:
        self._put(index, _outcome(future))

    def _put(self, index: int, outcome: _Outcome) -> None:
        with self._condition:
            self._add(index, outcome)
            self._condition.notify()

    def _add(self, index: int, outcome: _Outcome) -> None:
        self._early[index] = outcome
        while self._index in self._early:
            self._items.append(self._early.pop(self._index))
            self._index += 1

    def _set_length(self, length: int) -> None:
        with self._condition:
            self._length = length
            self._condition.notify()


class IMapUnorderedIterator(IMapIterator):
    """Results of imap_unordered(), as they come."""

    def _add(self, index: int, outcome: _Outcome) -> None:
        self._items.append(outcome)
        self._index += 1


class _Feeder:
    """Takes items from the iterables of imap() and submits them, in a thread of its own:
    iterating may take any time."""

    def __init__(self, executor: ProcessPoolExecutor) -> None:
        self._executor = executor
        self._jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._room = threading.Semaphore(_AHEAD)
        self._stopped = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, result: IMapIterator, function: Any, iterable: Iterable[Any]) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="treadle-imap", daemon=True)
                self._thread.start()
        self._jobs.put((result, function, iterable))

    def close(self) -> None:
        """Feed what there is, then let the executor end."""
        with self._lock:
            if self._thread is not None:
                self._jobs.put(None)
                return
        self._executor.shutdown(wait=False)

    def stop(self) -> None:
        """Feed nothing more."""
        self._stopped = True
        self._room.release()
        self._jobs.put(None)

    def join(self) -> None:
        if self._thread is not None and not self._stopped:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped and (job := self._jobs.get()) is not None:
            self._feed(*job)
            del job
        self._executor.shutdown(wait=False)

    def _feed(self, result: IMapIterator, function: Any, iterable: Iterable[Any]) -> None:
        length = 0
        try:
            for item in iterable:
                self._room.acquire()
                if self._stopped:
                    break
                future = self._executor.submit(function, item)
                future.add_done_callback(self._release)
                future.add_done_callback(partial(result._arrived, length))
                length += 1
        except Exception as error:
            result._put(length, (False, error))
            length += 1
        result._set_length(length)

    def _release(self, future: "Future[Any]") -> None:
        self._room.release()


class _Executor(ProcessPoolExecutor):
    """The executor of a Pool."""

    @staticmethod
    def _check_max_tasks(max_tasks: int | None, forks: bool) -> None:
        # Checked by the pool; and workers that are replaced may be forked, as those of
        # multiprocessing's pool are.
        pass

    def start_all(self) -> None:
        """Start the workers now, as multiprocessing's pool does: forked ones have the
        state that the program is in when it makes the pool."""
        with self._shutdown_lock:
            for _ in range(self._max_workers):
                self._start_one(self._processes)
            self._start_manager()
            thread = self._executor_manager_thread
            assert thread is not None
            self._dispatcher = thread

    def join(self) -> None:
        """Wait for the end, after a shutdown()."""
        self._dispatcher.join()


class Pool:
    """A pool of processes with the interface of ``multiprocessing.Pool``.

    processes: the number of workers; None: one for each CPU.
    initializer, initargs: called in each worker before its first task.
    maxtasksperchild: the number of tasks after which a worker is replaced.
    context: a multiprocessing context, the name of a start method, or
        ``"zygote"``; None: this version's default, as for ProcessPoolExecutor.

    Where multiprocessing's pool waits for ever, because a worker has died with
    its task, the result here is BrokenProcessPool, and a new worker is started.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        maxtasksperchild: int | None = None,
        context: Any = None,
    ) -> None:
        self._state = INIT  # for __del__(), should this fail
        if processes is None:
            processes = _cpus()
        if processes < 1:
            raise ValueError("Number of processes must be at least 1")
        if maxtasksperchild is not None:
            if not isinstance(maxtasksperchild, int) or maxtasksperchild <= 0:
                raise ValueError("maxtasksperchild must be a positive int or None")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self._ctx = choose_context(context)
        self._processes = processes
        self._executor = _Executor(
            processes,
            self._ctx,
            initializer,
            initargs,
            max_tasks_per_child=maxtasksperchild,
            on_crash="respawn",
        )
        self._executor.start_all()
        self._feeder = _Feeder(self._executor)
        self._terminate = util.Finalize(
            self, _terminate, args=(self._executor, self._feeder), exitpriority=15
        )
        _open.add(self)
        self._state = RUN

    def __del__(self, _warn: Any = warnings.warn, _run: str = RUN) -> None:
        if self._state == _run:
            _warn(
                f"unclosed running multiprocessing pool {self!r}", ResourceWarning, source=self
            )

    def __repr__(self) -> str:
        cls = type(self)
        return (
            f"<{cls.__module__}.{cls.__qualname__} state={self._state} pool_size={len(self._pool)}>"
        )

    @property
    def _pool(self) -> list[Any]:
        """The workers' process objects."""
        return list((self._executor._processes or {}).values())

    def _repopulate_pool(self) -> None:
        """Workers that have ended are replaced without this being called."""

    def _check_running(self) -> None:
        if self._state != RUN:
            raise ValueError("Pool not running")

    def apply(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: dict[str, Any] = {},  # noqa: B006
    ) -> Any:
        """``func(*args, **kwds)`` in a worker: what it returns."""
        return self.apply_async(func, args, kwds).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: dict[str, Any] = {},  # noqa: B006
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> ApplyResult:
        """Start ``func(*args, **kwds)`` in a worker; an AsyncResult.

        ``callback`` gets the result, ``error_callback`` the exception, in a thread of
        the pool, before the AsyncResult is ready.
        """
        self._check_running()
        future = self._executor.submit(func, *args, **kwds)
        if callback is None and error_callback is None:
            return _FutureResult(self, future)
        result = ApplyResult(self, callback, error_callback)
        future.add_done_callback(result._arrived)
        return result

    def map(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = None
    ) -> list[Any]:
        """The results of ``func(item)`` for the items, in a list."""
        return self._map_async(func, iterable, mapstar, chunksize).get()  # type: ignore[no-any-return]

    def map_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> MapResult:
        """As map(), without waiting: an AsyncResult of the list."""
        return self._map_async(func, iterable, mapstar, chunksize, callback, error_callback)

    def starmap(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
    ) -> list[Any]:
        """The results of ``func(*item)`` for the items, in a list."""
        return self._map_async(func, iterable, starmapstar, chunksize).get()  # type: ignore[no-any-return]

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> MapResult:
        """As starmap(), without waiting: an AsyncResult of the list."""
        return self._map_async(func, iterable, starmapstar, chunksize, callback, error_callback)

    def _map_async(
        self,
        func: Callable[..., Any],
        iterable: Any,
        mapper: Callable[..., Any],
        chunksize: int | None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> MapResult:
        self._check_running()
        items = iterable if isinstance(iterable, Sequence) else list(iterable)
        if chunksize is None:
            chunksize = -(-len(items) // (self._processes * 4))
        result = MapResult(self, chunksize, len(items), callback, error_callback)
        for index in range(result._left):
            chunk = items[index * chunksize : (index + 1) * chunksize]
            future = self._executor.submit(mapper, (func, chunk))
            future.add_done_callback(partial(result._chunk_arrived, index))
        return result

    def imap(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int = 1
    ) -> Iterator[Any]:
        """An iterator over the results of ``func(item)``, in order.

        The iterable is read by a thread of the pool, at most some hundred items ahead
        of the results.
        """
        return self._imap(IMapIterator, func, iterable, chunksize)

    def imap_unordered(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int = 1
    ) -> Iterator[Any]:
        """As imap(), but results come in the order in which they are ready."""
        return self._imap(IMapUnorderedIterator, func, iterable, chunksize)

    def _imap(
        self,
        cls: type[IMapIterator],
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int,
    ) -> Iterator[Any]:
        self._check_running()
        if chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize!r}")
        result = cls(self)
        if chunksize == 1:
            self._feeder.add(result, func, iterable)
            return result
        self._feeder.add(result, mapstar, _chunks(func, iterable, chunksize))
        return (item for chunk in result for item in chunk)

    def close(self) -> None:
        """Take no more work; workers end when they have done what there is."""
        util.debug("closing pool")
        if self._state == RUN:
            self._state = CLOSE
            self._feeder.close()

    def terminate(self) -> None:
        """End the workers at once; results that are not in are BrokenProcessPool."""
        util.debug("terminating pool")
        self._state = TERMINATE
        self._terminate()

    def join(self) -> None:
        """Wait until the workers have ended; ValueError before close() or terminate()."""
        util.debug("joining pool")
        if self._state == RUN:
            raise ValueError("Pool is still running")
        if self._state not in (CLOSE, TERMINATE):
            raise ValueError("In unknown state")
        self._feeder.join()
        self._executor.join()

    def __reduce__(self) -> Any:
        raise NotImplementedError(
            "pool objects cannot be passed between processes or pickled"
        )

    def __enter__(self) -> "Pool":
        self._check_running()
        return self

    def __exit__(self, exc_type: object, exc_val: object, exc_tb: object) -> None:
        self.terminate()


def _cpus() -> int:
    if sys.version_info >= (3, 13):
        return os.process_cpu_count() or 1
    return os.cpu_count() or 1


def _chunks(
    func: Callable[..., Any], iterable: Iterable[Any], size: int
) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    iterator = iter(iterable)
    while chunk := tuple(itertools.islice(iterator, size)):
        yield func, chunk


def _terminate(executor: ProcessPoolExecutor, feeder: _Feeder) -> None:
    feeder.stop()
    executor.terminate_workers()


# As with multiprocessing, a program's end does not wait for pools that are still open.
_open: "weakref.WeakSet[Pool]" = weakref.WeakSet()


def _terminate_all() -> None:
    for pool in list(_open):
        pool._terminate()


threading._register_atexit(_terminate_all)  # type: ignore[attr-defined]

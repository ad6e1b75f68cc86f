"""ProcessPoolExecutor: the executor class around the native pool."""

import itertools
import operator
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from concurrent.futures import ProcessPoolExecutor as _StandardExecutor
from concurrent.futures import process as _process
from concurrent.futures.process import BrokenProcessPool as BrokenProcessPool
from traceback import format_exception
from typing import Any, ParamSpec, TypeVar, overload

from . import _native, _progress, _worker_logs, _workers
from ._submitting_map import submitting_map

# the stubs of the standard library leave out what is private
_standard: Any = _process

_P = ParamSpec("_P")
_T = TypeVar("_T")

# so many workers in a row may be killed before they are ready
_UNREADY_MOST = 10
# why a task was stopped, as _bury() has it
_ENDING_LIMIT = 1

_BROKEN = "A child process terminated abruptly, the process pool is not usable anymore"
_ABRUPTLY = (
    "A process in the process pool was terminated abruptly while the future was running or pending."
)


def _with_cause(exception: BaseException) -> BaseException:
    """Give what a call could not be pickled for the text of its traceback."""
    text = "".join(format_exception(type(exception), exception, exception.__traceback__))
    exception.__cause__ = _standard._RemoteTraceback(f'\n"""\n{text}"""')
    return exception


_native._init_procs(_with_cause)


def _default_workers() -> int:
    if sys.version_info >= (3, 13):
        return os.process_cpu_count() or 1
    return os.cpu_count() or 1


def _describe_end(exitcode: int | None) -> str:
    """How a process ended, in words."""
    if exitcode is None:
        return "ended"
    if exitcode < 0:
        try:
            name = signal.Signals(-exitcode).name
        except ValueError:
            name = f"signal {-exitcode}"
        return f"was killed by {name}"
    return f"terminated abruptly with exit code {exitcode}"


def _name_of(function: Any) -> str:
    return getattr(function, "__qualname__", None) or repr(function)


_GONE = (
    "The ProcessPoolExecutor was garbage collected with work pending after its last worker "
    "process had ended; the pending work can never be run."
)
_FORCED = (
    "A worker process exited while the pool was being forcefully shut down; work that was still "
    "enqueued will not be run."
)
_NOT_STARTED = (
    "A replacement worker process could not be started, leaving the pool without workers to run "
    "the remaining work."
)


class _Manager:
    """The Python half of a pool's dispatcher; holds the executor weakly."""

    def __init__(self, executor: "ProcessPoolExecutor", pool: _native.ProcPool) -> None:
        self.executor = weakref.ref(executor)
        self.pool = pool
        self.processes = executor._processes
        self.shutdown_lock = executor._shutdown_lock
        self.respawn = executor._on_crash == "respawn"
        self.unready = 0  # workers in a row that were lost before they were ready
        self.relay = executor._relay
        self.template = executor._template

    def run(self) -> None:
        if self.relay is not None:
            self.relay.start()
        while (index := self.pool._dispatch()) is not None:
            if index < 0:
                self.add_worker()
            else:
                self.worker_ended(index)
        for process in list(self.processes.values()):
            process.join()
        if self.template is not None:
            self.template.stop()
        if self.relay is not None:
            self.relay.close()

    def worker_ended(self, index: int) -> None:
        bury = self.pool._bury(index)
        pid, expected, function, seconds, retries, was_ready, ending, was_idle = bury
        process = self.processes.pop(pid, None)
        exitcode = None
        if process is not None:
            process.join(5)
            exitcode = process.exitcode
        executor = self.executor()
        if ending:
            self.pool._settle(self.error_of_ending(ending, function, seconds))
        elif expected and function is None:
            if was_idle:
                return  # until there is work for one: see add_worker()
        elif self.may_replace(was_ready, exitcode):
            self.settle(pid, exitcode, function, seconds, retries)
        else:
            self.break_pool(executor, pid, exitcode, function, seconds, was_ready)
            return
        self.replace_worker(executor)

    def may_replace(self, was_ready: bool, exitcode: int | None) -> bool:
        """Whether a lost worker is replaced; one whose initializer fails would be for ever."""
        if was_ready:
            self.unready = 0
        else:
            self.unready += 1
        killed = exitcode is not None and exitcode < 0
        return self.respawn and (was_ready or (killed and self.unready <= _UNREADY_MOST))

    def add_worker(self) -> None:
        """There is work, and workers that were idle have ended."""
        self.replace_worker(self.executor())

    def replace_worker(self, executor: "ProcessPoolExecutor | None") -> None:
        cause = None
        if executor is None:
            reason = _GONE
        elif executor._force_shutting_down:
            reason = _FORCED
        else:
            reason = _NOT_STARTED
            try:
                executor._replace_worker(self.processes)
            except Exception as error:
                cause = "".join(format_exception(error))
        stats = self.pool.stats()
        if stats["workers"] == 0 and (stats["queued"] or cause is not None):
            self.give_up(executor, reason, cause)

    def give_up(
        self, executor: "ProcessPoolExecutor | None", reason: str, cause: str | None
    ) -> None:
        """No worker is left, and there will be none."""

        def make() -> BaseException:
            broken = BrokenProcessPool(reason)
            if cause is not None:
                broken.__cause__ = _standard._RemoteTraceback(f"\n'''\n{cause}'''")
            return broken

        if executor is not None:
            executor._broken = reason
            executor._shutdown_thread = True
        self.pool._break(reason, make)

    def kill(self) -> None:
        """End the workers at once, and let nothing begin."""
        executor = self.executor()
        with self.shutdown_lock:
            if executor is not None:
                executor._force_shutting_down = True
            self.pool.wakeup()
            self.pool._cancel_all()
            for process in list(self.processes.values()):
                process.kill()

    def error_of_ending(self, ending: int, function: Any, seconds: float) -> BaseException:
        if ending == _ENDING_LIMIT:
            return TimeoutError(
                f"{_name_of(function)}() was stopped at its time limit, after {seconds:.3f} s"
            )
        return CancelledError(f"{_name_of(function)}() was terminated after {seconds:.3f} s")

    def message(
        self, pid: int, exitcode: int | None, function: Any, seconds: float, was_ready: bool
    ) -> str:
        text = f"Worker process {pid} {_describe_end(exitcode)}"
        if function is not None:
            return f"{text} while it ran {_name_of(function)}() for {seconds:.3f} s"
        return f"{text} while it ran no task" if was_ready else f"{text} before it was ready"

    def settle(
        self, pid: int, exitcode: int | None, function: Any, seconds: float, retries: int
    ) -> None:
        if function is None:
            return
        if retries > 0:
            self.pool._settle(None)
            return
        self.pool._settle(BrokenProcessPool(self.message(pid, exitcode, function, seconds, True)))

    def break_pool(
        self,
        executor: "ProcessPoolExecutor | None",
        pid: int,
        exitcode: int | None,
        function: Any,
        seconds: float,
        was_ready: bool,
    ) -> None:
        said = self.message(pid, exitcode, function, seconds, was_ready)
        with self.shutdown_lock:
            if executor is not None:
                executor._broken = _BROKEN
                executor._shutdown_thread = True

            def make() -> BaseException:
                broken = BrokenProcessPool(f"{_ABRUPTLY} {said}.")
                broken.__cause__ = _standard._RemoteTraceback(f"\n'''\n{said}'''")
                return broken

            self.pool._break(f"{_BROKEN}. {said}.", make)
            for process in list(self.processes.values()):
                process.terminate()


# What the standard class keeps in attributes of other types is answered natively.
class ProcessPoolExecutor(_native.ProcessPoolBase, _StandardExecutor):
    """A pool of processes; drop-in for ``concurrent.futures.ProcessPoolExecutor``.

    Beyond the standard arguments:

    on_crash: "break" (a lost worker breaks the pool, as the standard one) or
        "respawn" (the worker is replaced, only its task fails).
    mp_context: also the name of a start method, or "zygote": workers are forked by
        a warm, single-threaded process. None is this version's default, with a
        zygote where that is forkserver.
    preload: names of modules that the zygote imports, once for all workers.
    exit_function: called without arguments in a worker that ends after its last task.
    max_memory_per_child: bytes of resident memory above which a worker is replaced
        after its task.
    library_threads: how many threads BLAS, OpenMP and the like may use in a worker;
        "auto": the number of CPUs divided by max_workers; None: no limit. Variables
        such as OMP_NUM_THREADS that are set win. Libraries that a forked worker has
        loaded already are limited if threadpoolctl is installed.
    affinity: the CPUs that workers may run on; None: those of this process.
    worker_logs: handle workers' log records here, by this process's handlers: True
        from the level of the root logger on, or a level.
    idle_timeout: seconds after which a worker without work ends; None: never. Others
        are started when tasks need them. Not with "fork"; without mp_context a zygote.
    min_workers: how many workers stay however long they are idle.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        on_crash: str = "break",
        preload: Iterable[str] | None = None,
        exit_function: Callable[[], object] | None = None,
        max_memory_per_child: int | None = None,
        library_threads: int | str | None = "auto",
        affinity: Iterable[int] | None = None,
        worker_logs: bool | int | str = False,
        idle_timeout: float | None = None,
        min_workers: int = 0,
    ) -> None:
        _standard._check_system_limits()
        if max_workers is None:
            max_workers = _default_workers()
        elif max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        self._check_idle(idle_timeout, min_workers, max_workers)
        comes_and_goes = idle_timeout is not None
        mp_context = _workers.choose_context(
            mp_context, max_tasks_per_child, preload, comes_and_goes
        )
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        forks = mp_context.get_start_method(allow_none=False) == "fork"
        self._check_max_tasks(max_tasks_per_child, forks)
        if comes_and_goes and forks:
            raise ValueError(
                "idle_timeout is incompatible with the 'fork' multiprocessing start method, which "
                "would fork this process while it has threads; supply a different mp_context."
            )
        if on_crash not in ("break", "respawn"):
            raise ValueError(f"on_crash must be 'break' or 'respawn', not {on_crash!r}")
        self._max_workers = max_workers
        self._mp_context = mp_context
        self._safe_to_dynamically_spawn_children = not forks
        self._initializer: Callable[..., object] | None = initializer  # type: ignore[assignment]
        self._initargs = initargs
        self._max_tasks_per_child = max_tasks_per_child
        self._worker_options = _workers.worker_options(
            max_workers,
            exit_function=exit_function,
            library_threads=library_threads,
            affinity=affinity,
            max_memory=max_memory_per_child,
        )
        self._relay = None if worker_logs is False else _worker_logs.Relay(worker_logs)
        if self._relay is not None:
            self._worker_options["logs"] = self._relay.sender()
        self._on_crash = on_crash
        self._process = os.getpid()
        self._processes: Any = {}
        self._executor_manager_thread: threading.Thread | None = None  # type: ignore[assignment]
        self._manager: _Manager | None = None
        self._template: Any = None
        self._shutdown_thread = False
        self._shutdown_lock = threading.RLock()  # type: ignore[assignment]
        self._broken: bool | str = False  # type: ignore[assignment]
        self._force_shutting_down = False
        self._pool = self._setup(
            max_workers,
            max_tasks_per_child or 0,
            on_crash == "respawn",
            None,
            -1.0 if idle_timeout is None else idle_timeout,
            min_workers,
        )

    @staticmethod
    def _check_max_tasks(max_tasks: int | None, forks: bool) -> None:
        if max_tasks is None:
            return
        if not isinstance(max_tasks, int):
            raise TypeError("max_tasks_per_child must be an integer")
        if max_tasks <= 0:
            raise ValueError("max_tasks_per_child must be >= 1")
        if forks:
            raise ValueError(
                "max_tasks_per_child is incompatible with the 'fork' multiprocessing start "
                "method; supply a different mp_context."
            )

    @staticmethod
    def _check_idle(idle_timeout: float | None, min_workers: int, max_workers: int) -> None:
        if idle_timeout is not None and not idle_timeout >= 0:
            raise ValueError("idle_timeout must be None or a number of seconds >= 0")
        if not isinstance(min_workers, int):
            raise TypeError("min_workers must be an integer")
        if not 0 <= min_workers <= max_workers:
            raise ValueError("min_workers must be from 0 to max_workers")

    # Called by the native side when a task comes and no worker is idle.
    def _spawn_worker(self) -> None:
        with self._shutdown_lock:
            if self._shutdown_thread or self._processes is None:
                return
            # with fork all are started before the dispatcher's thread
            self._prepare_template()
            missing = self._max_workers - len(self._processes)
            for _ in range(1 if self._safe_to_dynamically_spawn_children else missing):
                self._start_one(self._processes)
            self._start_manager()

    def _worker_spec(self, index: int, descriptors: tuple[int, ...]) -> _workers.WorkerSpec:
        return _workers.WorkerSpec(
            index=index,
            descriptors=descriptors,
            context=self._mp_context,
            initializer=self._initializer,
            initargs=self._initargs,
            max_tasks=self._max_tasks_per_child,
            options=self._worker_options,
            tied=self._outlives_workers(threading.current_thread()),
        )

    def _prepare_template(self) -> None:
        """Before there is a thread: what forks the workers that take the place of others."""
        forks = not self._safe_to_dynamically_spawn_children
        if forks and self._on_crash == "respawn" and self._executor_manager_thread is None:
            if self._template is None:
                self._template = _workers.fork_template(self._worker_spec(-1, ()))

    def _start_one(self, processes: dict[int, Any]) -> None:
        pool = self._pool
        index, *descriptors = pool._add_worker()
        template = None if self._executor_manager_thread is None else self._template
        try:
            process = _workers.start(self._worker_spec(index, tuple(descriptors)), template)
        except BaseException:
            pool._worker_failed(index)
            raise
        assert process.pid is not None
        processes[process.pid] = process
        pool._worker_started(index, process.pid)

    def _outlives_workers(self, thread: threading.Thread) -> bool:
        """Whether a thread ends after the workers, unless the process is killed."""
        if thread is threading.main_thread():
            return thread.native_id == os.getpid()
        return thread is self._executor_manager_thread

    def _start_map(
        self,
        fn: Callable[..., Any],
        iterables: tuple[Iterable[Any], ...],
        timeout: float | None,
        chunksize: int | None,
        buffersize: int | None,
        unordered: bool,
        options: tuple[int, float] = (0, 0.0),
    ) -> Iterator[Any]:
        if type(self).submit is not ProcessPoolExecutor.submit or "submit" in self.__dict__:
            # a subclass that does something in submit() means it for map() too
            return submitting_map(self, fn, iterables, timeout, buffersize, unordered)
        star = len(iterables) != 1
        items: Iterable[Any] = zip(*iterables) if star else iter(iterables[0])
        if buffersize is None:
            items = list(items)
        else:
            # without workers, of which an empty input needs none, nobody would look into it
            for first in items:
                items = itertools.chain((first,), items)
                break
            else:
                items, buffersize = [], None
        count = operator.length_hint(items, self._max_workers)
        for _ in range(min(count, self._max_workers)):
            if len(self._processes or ()) < self._max_workers:
                self._spawn_worker()
        return self._map(
            fn, items, timeout, chunksize or 0, buffersize or 0, unordered, star, *options
        )

    def _checked_map(
        self,
        fn: Callable[..., Any],
        iterables: tuple[Iterable[Any], ...],
        timeout: float | None,
        chunksize: int | None,
        buffersize: int | None,
        progress: Any,
        unordered: bool,
        options: tuple[int, float] = (0, 0.0),
    ) -> Iterator[Any]:
        if chunksize is not None and chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        arguments = (fn, iterables, timeout, chunksize, buffersize, unordered, options)
        if not _progress.check(progress):
            return self._start_map(*arguments)
        bar = _progress.prepare(progress, iterables)
        return _progress.ProgressIterator(self._start_map(*arguments), bar, ours=progress is True)

    def map(
        self,
        fn: Callable[..., _T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        progress: Any = None,
    ) -> Iterator[_T]:
        """Return an iterator over ``fn(*items)`` for the items of ``iterables``, in order.

        All items are taken at once, or ``buffersize`` of them at any time: then an
        endless input is fine. Workers get ``chunksize`` items at a time; without it,
        as many as take about a millisecond. ``timeout`` is in seconds from this call;
        TimeoutError when a result is not there by then. An exception of ``fn`` is
        raised where its result would be, and ends the iterator. Closing it cancels
        what no worker has begun. ``progress`` is True for a tqdm bar, or an object
        with ``update(n)``.

        As ``concurrent.futures.ProcessPoolExecutor.map()``, without a future for each
        item; a chunk's results before an exception are not lost.
        """
        return self._checked_map(
            fn, iterables, timeout, chunksize, buffersize, progress, unordered=False
        )

    def map_unordered(
        self,
        fn: Callable[..., _T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        progress: Any = None,
    ) -> Iterator[_T]:
        """As map(), but the results of chunks come in the order in which they are ready."""
        return self._checked_map(
            fn, iterables, timeout, chunksize, buffersize, progress, unordered=True
        )

    def options(
        self, *, timeout: float | None = None, retries: int | None = None
    ) -> "ProcessExecutorView":
        """Return a view whose submit() and map() carry these options.

        timeout: seconds that a task (of map(): a chunk) may run; then its worker is
            killed and replaced, and the task ends with TimeoutError.
        retries: how often a task is run again whose worker was lost; for pools with
            on_crash="respawn".
        """
        return ProcessExecutorView(self, timeout, retries)

    def resize(self, max_workers: int) -> None:
        """Change the number of workers the pool may have.

        Workers that are too many end after their task; more are started as tasks
        need them.
        """
        if max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        with self._shutdown_lock:
            self._max_workers = max_workers
            self._set_max_workers(max_workers)
            self._pool._shrink(max_workers)
            stats = self._pool.stats()
            missing = min(stats["queued"] - stats["idle"], max_workers - stats["workers"])
            if not self._pool.closed and self._executor_manager_thread is not None:
                for _ in range(missing):
                    self._start_one(self._processes)

    def _replace_worker(self, processes: dict[int, Any]) -> None:
        with self._shutdown_lock:
            if self._broken:
                return
            stats = self._pool.stats()
            if self._pool.closed and not stats["queued"]:
                return
            if stats["workers"] < self._max_workers:
                self._start_one(processes)

    def _start_manager(self) -> None:
        if self._executor_manager_thread is not None:
            return
        manager = _Manager(self, self._pool)
        thread = threading.Thread(target=manager.run, name="treadle-process-pool")
        thread.start()
        self._manager = manager
        _running[thread] = manager
        self._executor_manager_thread = thread
        # the standard library's exit handler closes the pool and joins the thread
        _standard._threads_wakeups[thread] = self._pool

    def __exit__(self, exc_type: Any, exc_val: Any, exc_tb: Any) -> None:
        if exc_type is not None and issubclass(exc_type, KeyboardInterrupt):
            # Workers are not interrupted themselves: their tasks end with them.
            if self._manager is not None:
                self._manager.kill()
        self.shutdown(wait=True)

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
        """Accept no more tasks, and wait for those that there are.

        cancel_futures: cancel the tasks that no worker has begun.
        timeout: wait for this many seconds at most and return whether all
            workers have ended; without it, returns None.
        """
        if self._process != os.getpid():
            self._shutdown_thread = True
            return None if timeout is None else True
        with self._shutdown_lock:
            self._shutdown_thread = True
            self._pool.wakeup()
            if cancel_futures:
                self._pool._cancel_all()
            thread = self._executor_manager_thread
        ended = True
        if thread is not None and wait and thread is not threading.current_thread():
            thread.join(timeout)
            ended = not thread.is_alive()
        if ended or not wait:
            self._executor_manager_thread = None
            self._processes = None
        return None if timeout is None else ended

    def terminate_workers(self) -> None:
        """End the workers by SIGTERM; the pool is broken afterwards.

        As ``concurrent.futures.ProcessPoolExecutor.terminate_workers()`` of 3.14.
        """
        self._force_shutdown(operation="terminate")

    def kill_workers(self) -> None:
        """End the workers by SIGKILL; the pool is broken afterwards.

        As ``concurrent.futures.ProcessPoolExecutor.kill_workers()`` of 3.14.
        """
        self._force_shutdown(operation="kill")

    def _force_shutdown(self, operation: str) -> None:
        if operation not in ("terminate", "kill"):
            raise ValueError(f"Unsupported operation: {operation!r}")
        processes = dict(self._processes or {})
        self._force_shutting_down = True
        # so that no worker is started any more; the tasks are not waited for
        self.shutdown(wait=False, cancel_futures=True)
        for process in processes.values():
            try:
                if process.is_alive():
                    getattr(process, operation)()
            except (ValueError, ProcessLookupError):
                # closed, or gone already
                continue


class ProcessExecutorView:
    """An executor's submit() and map() with options; see ProcessPoolExecutor.options()."""

    def __init__(
        self, executor: ProcessPoolExecutor, timeout: float | None, retries: int | None
    ) -> None:
        if timeout is not None and not timeout > 0:
            raise ValueError("timeout must be None or a number of seconds > 0")
        if retries is not None and retries < 0:
            raise ValueError("retries must be 0 or more")
        if retries and executor._on_crash != "respawn":
            raise ValueError("retries need a pool with on_crash='respawn'")
        self._executor = executor
        self._timeout = timeout
        self._retries = retries

    def _values(self) -> tuple[int, float]:
        timeout = self._timeout or 0.0
        return self._retries or 0, timeout if timeout < 9e9 else 0.0

    def submit(
        self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> "_native.Future[_T]":
        """As the executor's submit(), with this view's options."""
        retries, limit = self._values()
        return self._executor._submit_with(retries, limit, fn, *args, **kwargs)

    def map(
        self,
        fn: Callable[..., _T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        progress: Any = None,
    ) -> Iterator[_T]:
        """As the executor's map(), with this view's options for each chunk; without a
        chunksize a chunk is one item if the view has a timeout."""
        return self._map(fn, iterables, timeout, chunksize, buffersize, progress, False)

    def map_unordered(
        self,
        fn: Callable[..., _T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        progress: Any = None,
    ) -> Iterator[_T]:
        """As map(), but the results of chunks come in the order in which they are ready."""
        return self._map(fn, iterables, timeout, chunksize, buffersize, progress, True)

    def _map(
        self,
        fn: Callable[..., _T],
        iterables: tuple[Iterable[Any], ...],
        timeout: float | None,
        chunksize: int | None,
        buffersize: int | None,
        progress: Any,
        unordered: bool,
    ) -> Iterator[_T]:
        if chunksize is None and (self._timeout or self._retries):
            chunksize = 1
        return self._executor._checked_map(
            fn, iterables, timeout, chunksize, buffersize, progress, unordered, self._values()
        )

    def options(
        self, *, timeout: float | None = None, retries: int | None = None
    ) -> "ProcessExecutorView":
        """Return a view with these options on top of this view's."""
        return ProcessExecutorView(
            self._executor,
            self._timeout if timeout is None else timeout,
            self._retries if retries is None else retries,
        )

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut the executor itself down."""
        self._executor.shutdown(wait, cancel_futures=cancel_futures)


# Dispatchers' threads, and what they run.
_running: "weakref.WeakKeyDictionary[threading.Thread, _Manager]" = weakref.WeakKeyDictionary()


def _was_interrupted() -> bool:
    """Whether the program ends because of an interrupt that nobody has handled."""
    last = sys.last_exc if hasattr(sys, "last_exc") else getattr(sys, "last_value", None)
    return isinstance(last, KeyboardInterrupt)


def _at_exit() -> None:
    """Wait for the pools that are still at work, as the standard library does; not after
    an interrupt, nor beyond one."""
    if _was_interrupted():
        _kill_all()
    try:
        for thread, manager in list(_running.items()):
            manager.pool.wakeup()
            thread.join()
    except KeyboardInterrupt:
        _kill_all()
        raise


def _kill_all() -> None:
    for manager in list(_running.values()):
        manager.kill()


# Called before the standard library's own, which was registered earlier.
threading._register_atexit(_at_exit)  # type: ignore[attr-defined]

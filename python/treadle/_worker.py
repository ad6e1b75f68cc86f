"""A worker process: what it knows, and what it does before, around and after its loop.

How tasks travel is no concern of this module: that is ``_native._work()``. It is
what a zygote imports for all workers, so it imports little itself.
"""

import fcntl
import os
import select
import signal
import sys
from collections.abc import Callable, Mapping
from concurrent.futures._base import LOGGER
from importlib import import_module
from multiprocessing import parent_process, reduction
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from . import _native

if TYPE_CHECKING:
    from ._worker_logs import Sender


class WorkerSpec:
    """Everything that a worker needs to know.

    index: its number in the pool; a replacement gets a free number again.
    descriptors: what ``_native._work()`` takes. A worker inherits them, or gets its own.
    context: the multiprocessing context that starts it.
    initializer, initargs: called before the first task.
    max_tasks: the number of tasks after which it ends; None: no limit.
    options: what ``worker_options()`` made.
    tied: whether it is to end with the thread that starts it, if it is a child of that.
    """

    def __init__(
        self,
        index: int,
        descriptors: tuple[int, ...],
        context: Any,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        max_tasks: int | None = None,
        options: Mapping[str, Any] = MappingProxyType({}),
        tied: bool = False,
    ) -> None:
        self.index = index
        self.descriptors = descriptors
        self.context = context
        self.initializer = initializer
        self.initargs = initargs
        self.max_tasks = max_tasks
        self.options = options
        self.tied = tied

    def __getstate__(self) -> dict[str, Any]:
        """For a worker that does not inherit our memory."""
        state = dict(self.__dict__, context=None)
        state["descriptors"] = [reduction.DupFd(fd) for fd in self.descriptors]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.descriptors = tuple(duplicate.detach() for duplicate in state["descriptors"])
        for fd in self.descriptors:
            os.set_inheritable(fd, False)


_index: int | None = None


def worker_id() -> int | None:
    """The number of this worker process in its pool, from 0; None in other processes.

    The worker that takes the place of one that has ended gets its number.
    """
    return _index


def run(spec: WorkerSpec) -> None:
    """What a worker process does from its start to its end."""
    guard = _settle(spec)
    if spec.initializer is not None:
        try:
            spec.initializer(*spec.initargs)
        except BaseException:
            LOGGER.critical("Exception in initializer:", exc_info=True)
            # The parent will notice that the process stopped and mark the pool broken
            return
    spec.initializer, spec.initargs = None, ()
    try:
        _native._work(
            spec.index,
            spec.descriptors,
            spec.max_tasks or 0,
            spec.options.get("pickler"),
            spec.options.get("max_memory") or 0,
            guard,
            spec.tied,
        )
    finally:
        _call_exit_function(spec.options.get("exit_function"))


# Why the main module could not be imported; set in a zygote's workers.
main_error: str | None = None


def explain_unpickling(error: BaseException) -> None:
    """Say in a note that it was a call that could not be unpickled here."""
    error.add_note(
        "raised in the worker while it unpickled the call: what is sent must be importable there"
    )
    if main_error is not None and "__main__" in str(error):
        error.add_note(
            "and the main module could not be imported in the worker; what it does only as a "
            'program belongs under  if __name__ == "__main__":\n\n' + main_error
        )


# The note that says so.
RESULT_NOTE = "raised in the worker while it pickled the result, which cannot be sent back"


def explain_pickling(error: BaseException) -> None:
    """Say in a note that it was the result that could not be pickled here."""
    error.add_note(RESULT_NOTE)


def _settle(spec: WorkerSpec) -> int:
    """Returns the descriptor that _end_with_parent() has set up."""
    global _index
    _index = spec.index
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A forked worker has the parent's handlers: terminate() is to end it, and no
    # loop of the parent is to hear of it.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    guard = _end_with_parent()
    if (cpus := spec.options.get("affinity")) is not None:
        os.sched_setaffinity(0, cpus)
    os.environ.update(spec.options.get("variables", {}))
    _limit_loaded_libraries(spec.options.get("library_threads"))
    sender: "Sender | None" = spec.options.get("logs")
    if sender is not None:
        sender.install()
    return guard


def _end_with_parent() -> int:
    """Have the kernel kill this process when the parent's end of its pipe is closed:
    also in the middle of a task, and without a thread that a task which forks would lose.
    Our end of the pipe; -1 if there is none."""
    parent = parent_process()
    if parent is None:
        return -1
    fd = parent.sentinel
    fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(fd, 0)
    if poll.poll(0):  # too late to be told
        os._exit(1)
    return fd


def _limit_loaded_libraries(threads: int | None) -> None:
    """Libraries that a forked worker has loaded do not look at variables any more."""
    if threads is None or "numpy" not in sys.modules:
        return
    try:
        module = import_module("threadpoolctl")
    except ImportError:
        return
    module.threadpool_limits(threads)


def _call_exit_function(function: Callable[[], object] | None) -> None:
    if function is not None:
        try:
            function()
        except Exception:
            LOGGER.critical("Exception in exit_function:", exc_info=True)

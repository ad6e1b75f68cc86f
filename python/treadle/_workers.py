"""How worker processes are started; what they do then is in ``_worker``."""

import os
import signal
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import context, forkserver, get_context, process
from typing import Any

from ._fork_template import ForkTemplate
from ._worker import WorkerSpec as WorkerSpec
from ._worker import run
from ._zygote import ZygoteContext, ZygoteProcess

# What numerical libraries look at when they are loaded.
THREAD_VARIABLES = (
    "BLIS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def choose_context(
    mp_context: "context.BaseContext | str | None",
    max_tasks_per_child: int | None = None,
    preload: Iterable[str] | None = None,
    comes_and_goes: bool = False,
) -> Any:
    """The multiprocessing context of a pool.

    ``mp_context`` may be a context, the name of a start method, or ``"zygote"``.
    None is what the standard pool of this version takes, with a zygote in the place
    of ``forkserver``, and of ``spawn`` where that is chosen for max_tasks_per_child.
    ``preload`` asks for a zygote, and so does ``comes_and_goes`` where that is fork:
    workers are started at any time. ValueError if the two contradict each other.
    """
    if preload is not None:
        if isinstance(mp_context, ZygoteContext) or mp_context not in (None, "zygote"):
            raise ValueError("preload goes with mp_context='zygote' or none; a context of yours has its own")
        return ZygoteContext(preload)
    if mp_context == "zygote":
        return ZygoteContext()
    if isinstance(mp_context, str):
        return get_context(mp_context)
    if mp_context is not None:
        return mp_context
    if max_tasks_per_child is not None:
        return _zygote_for("spawn")
    default = get_context()
    if comes_and_goes and default.get_start_method() == "fork":
        return _zygote_for("forkserver")
    return _zygote_for("forkserver") if default.get_start_method() == "forkserver" else default


def _zygote_for(method: str) -> Any:
    try:
        return ZygoteContext(stands_for=method)
    except NotImplementedError:
        return get_context(method)


def worker_options(
    max_workers: int,
    *,
    exit_function: Callable[[], object] | None = None,
    library_threads: "int | str | None" = "auto",
    affinity: Iterable[int] | None = None,
    max_memory: int | None = None,
) -> dict[str, Any]:
    """Check what a pool's options say about its workers, and put it together for them.

    exit_function: called without arguments in a worker that ends after its last task.
    library_threads: how many threads BLAS, OpenMP and the like may use in a worker;
        ``"auto"``: the number of CPUs divided by that of workers; None: no limit.
        Variables such as OMP_NUM_THREADS that are set win.
    affinity: the CPUs that workers may run on; None: those of this process.
    max_memory: bytes of resident memory above which a worker ends after its task.
    """
    if exit_function is not None and not callable(exit_function):
        raise TypeError("exit_function must be a callable")
    if max_memory is not None and (not isinstance(max_memory, int) or max_memory <= 0):
        raise ValueError("max_memory_per_child must be a number of bytes above 0")
    cpus = None if affinity is None else _check_affinity(affinity)
    if library_threads == "auto":
        available = len(cpus or os.sched_getaffinity(0))
        library_threads = max(1, available // max_workers)
    elif library_threads is not None and (
        not isinstance(library_threads, int) or library_threads < 1
    ):
        raise ValueError("library_threads must be 'auto', None, or a number of threads above 0")
    return {
        "exit_function": exit_function,
        "library_threads": library_threads,
        "affinity": cpus,
        "max_memory": max_memory,
    }


def _check_affinity(affinity: Iterable[int]) -> frozenset[int]:
    cpus = frozenset(affinity)
    allowed = os.sched_getaffinity(0)
    if not cpus or not cpus <= allowed:
        raise ValueError(f"affinity must name some of the CPUs {sorted(allowed)}, not {sorted(cpus)}")
    return cpus


def fork_template(spec: WorkerSpec) -> ForkTemplate | None:
    """A process that forks the workers that a pool with a fork context needs later, or None."""
    limits = _thread_limits(spec.options.get("library_threads"))
    spec.options = {**spec.options, "variables": limits}
    try:
        with _interrupts_held():
            return ForkTemplate(spec)
    except (OSError, AttributeError):  # no more processes, or a system without pidfds
        return None


def start(spec: WorkerSpec, template: ForkTemplate | None = None) -> process.BaseProcess:
    """Start a worker; the process object, as multiprocessing has it.

    template: what forks it, for a fork context, if it still exists.
    """
    limits = _thread_limits(spec.options.get("library_threads"))
    spec.options = {**spec.options, "variables": limits}
    method = spec.context.get_start_method()
    worker: process.BaseProcess = spec.context.Process(target=run, args=(spec,))
    by_zygote = isinstance(worker, ZygoteProcess)
    # that of another process may end before
    spec.tied = spec.tied and method in ("fork", "spawn") and not by_zygote
    if isinstance(worker, ZygoteProcess):
        worker._ignores_interrupt = worker._ends_with_parent = True
        worker._zygote_environment(limits)
    elif method == "forkserver":
        forkserver.ensure_running()  # which is not to inherit our mask
    execs = method == "spawn" and not by_zygote
    with _interrupts_held(), _environment(limits if execs else {}):
        if not _start_by_template(worker, spec, template):
            worker.start()
    _started.add(worker._popen)  # type: ignore[attr-defined]
    return worker


def _start_by_template(
    worker: process.BaseProcess, spec: WorkerSpec, template: ForkTemplate | None
) -> bool:
    if template is None:
        return False
    try:
        template.start(worker, spec)
    except OSError:
        return False  # somebody has killed it: then by a fork of this process
    return True


def _thread_limits(threads: int | None) -> dict[str, str]:
    if threads is None:
        return {}
    return {name: str(threads) for name in THREAD_VARIABLES if name not in os.environ}


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """A worker that inherits this mask is not interrupted before it ignores SIGINT."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_environment_lock = threading.Lock()


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """For an interpreter that is started meanwhile, and imports before it asks us."""
    if not changes:
        yield
        return
    with _environment_lock:
        os.environ.update(changes)
        try:
            yield
        finally:
            for name in changes:
                os.environ.pop(name, None)


# A worker takes the end of its pipe for the end of its parent. Other children of the
# parent inherit the parent's end, and must not hold it open.
_started: "weakref.WeakSet[Any]" = weakref.WeakSet()


def _close_inherited_ends() -> None:
    for popen in list(_started):
        finalizer = popen.finalizer
        if finalizer is not None and finalizer.still_active():
            for fd in finalizer._args:
                try:
                    os.close(fd)
                except OSError:
                    pass
            finalizer.cancel()
    _started.clear()


os.register_at_fork(after_in_child=_close_inherited_ends)

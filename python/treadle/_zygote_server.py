"""The zygote: a single-threaded process that forks workers when asked to.

It runs in an interpreter of its own, started by ``_zygote.Zygote``. It imports
what workers need, says how that went, and then serves requests that come over a
socket until the other end is closed or the parent process is gone. Each request
is one message with descriptors; the answer is the worker's number and a pidfd.
When a worker has ended, its exit code goes into the worker's status pipe.
"""

import atexit
import gc
import os
import pickle
import select
import signal
import socket
import struct
import sys
import threading
import traceback
import warnings
from importlib import import_module
from multiprocessing import process, resource_tracker, spawn
from multiprocessing import util as _util
from typing import Any, BinaryIO, NoReturn

from . import _worker  # what pools' workers run, here once for all

util: Any = _util  # parts that the stubs do not know

# A request: one byte of kind. Its descriptors: what the worker reads, the status
# pipe's end, the resource tracker's, then those that the process object names.
FORK = b"f"
# The same; the worker is killed when the parent process is gone.
FORK_BOUND = b"b"
# An answer: the worker's process number, or minus an errno.
ANSWER = struct.Struct("q")
# What a status pipe carries: records of a kind and a length, then that many bytes.
RECORD = struct.Struct("cI")
EXITED = b"x"  # the exit code, as EXIT_CODE
FAILED = b"e"  # why the worker did not get as far as its target: a traceback
EXIT_CODE = struct.Struct("i")

MAX_DESCRIPTORS = 250

# What every worker of a pool imports on its way to its first task, so better here.
_OF_WORKERS = ("concurrent.futures.process", "treadle._zygote")

# Milliseconds from the moment when nobody can ask any more to the parent's end, if it ends.
_PARENT_ENDS = 1000

_inherited: list[int] = []


def inherited_descriptor(index: int) -> int:
    """The descriptor that this process was given under ``index`` when it started."""
    return _inherited[index]


class Server:
    """Forks a worker for each request, until the other end is closed or the parent is gone."""

    def __init__(self, control: socket.socket, parent: int) -> None:
        self._control = control
        self._parent = parent
        self._workers: dict[int, tuple[int, int]] = {}  # by pidfd: process number, status pipe
        self._bound: set[int] = set()  # pidfds of those that end with the parent
        self._poll = select.poll()
        self._poll.register(control.fileno(), select.POLLIN)
        self._poll.register(parent, select.POLLIN)

    def serve(self) -> None:
        while True:
            for fd, _ in self._poll.poll():
                if fd in self._workers:
                    self._reap(fd)
                elif fd == self._parent or not self._answer_request():
                    self._end_bound()
                    return

    def _end_bound(self) -> None:
        """Kill who is to end with the parent, should that have ended: workers see to it
        themselves, but not those whose descriptors a task has closed."""
        ended = select.poll()
        ended.register(self._parent, select.POLLIN)
        if self._bound and ended.poll(_PARENT_ENDS):
            for pidfd in self._bound:
                try:
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                except ProcessLookupError:
                    pass

    def _answer_request(self) -> bool:
        """Serve one request; False if nobody is left to make any."""
        try:
            kind, descriptors, _, _ = socket.recv_fds(self._control, 1, MAX_DESCRIPTORS + 3)
        except ConnectionError:
            return False
        if kind not in (FORK, FORK_BOUND):
            return False
        try:
            pid = self._fork(descriptors)
            pidfd = os.pidfd_open(pid)
        except OSError as error:
            self._control.sendall(ANSWER.pack(-(error.errno or 1)))
            for fd in descriptors:
                os.close(fd)
            return True
        self._workers[pidfd] = (pid, descriptors[1])
        if kind == FORK_BOUND:
            self._bound.add(pidfd)
        self._poll.register(pidfd, select.POLLIN)
        for fd in (descriptors[0], *descriptors[2:]):
            os.close(fd)
        try:
            socket.send_fds(self._control, [ANSWER.pack(pid)], [pidfd])
        except ConnectionError:
            return False
        return True

    def _fork(self, descriptors: list[int]) -> int:
        with warnings.catch_warnings():
            # threads of libraries that put themselves to rights around a fork
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            code = 1
            try:
                self._leave()
                code = self._run(descriptors)
            except Exception:
                sys.excepthook(*sys.exc_info())
            finally:
                _exit(code)
        return pid

    def _run(self, descriptors: list[int]) -> int:
        """In the worker: what it does; its exit code."""
        return _run_worker(*descriptors)

    def _leave(self) -> None:
        """In the worker: close what only the zygote needs."""
        self._control.close()
        os.close(self._parent)
        for pidfd, (_, status) in self._workers.items():
            os.close(pidfd)
            os.close(status)
        self._workers.clear()
        self._bound.clear()

    def _reap(self, pidfd: int) -> None:
        pid, status = self._workers.pop(pidfd)
        self._bound.discard(pidfd)
        self._poll.unregister(pidfd)
        os.close(pidfd)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        _report(status, EXITED, EXIT_CODE.pack(code))
        os.close(status)


def _report(status: int, kind: bytes, text: bytes) -> None:
    try:
        os.write(status, RECORD.pack(kind, len(text)) + text)
    except OSError:
        pass  # nobody reads it any more


def _exit(code: int) -> NoReturn:
    try:
        atexit._run_exitfuncs()
    finally:
        util._flush_std_streams()
        os._exit(code)


def reset_exit_functions() -> None:
    """In a forked process: run at its end what multiprocessing runs, and nobody else's."""
    atexit._clear()
    atexit.register(util._exit_function)


def _run_worker(reader: int, status: int, tracker: int, *descriptors: int) -> int:
    """Become the process object that `reader` holds, and run it."""
    reset_exit_functions()
    resource_tracker._resource_tracker._fd = tracker  # type: ignore[attr-defined]
    _inherited[:] = descriptors
    parent = os.dup(reader)
    current = process.current_process()
    with open(reader, "rb") as stream:
        current._inheriting = True  # type: ignore[attr-defined]
        try:
            environment = pickle.load(stream)
            _change_environment(environment)
            _prepare(pickle.load(stream))
            worker = pickle.load(stream)
        except BaseException as error:
            text = "".join(traceback.format_exception(error))
            _report(status, FAILED, text.encode(errors="replace")[-32768:])
            return 1
        finally:
            del current._inheriting  # type: ignore[attr-defined]
            os.close(status)
    if not worker._ignores_interrupt:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return int(worker._bootstrap(parent))


def _prepare(data: dict[str, Any]) -> None:
    """As spawn.prepare(), but a main module that cannot be imported is no reason to
    end: whoever needs something of it is told."""
    main = {name: data.pop(name) for name in tuple(data) if name.startswith("init_main")}
    spawn.prepare(data)
    try:
        spawn.prepare(main)
    except (Exception, SystemExit) as error:
        _worker.main_error = "".join(traceback.format_exception(error))


def _change_environment(changes: dict[str, str | None]) -> None:
    for name, value in changes.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _import_all(config: dict[str, Any]) -> dict[str, Any]:
    """Import what workers need; what went wrong, by module."""
    errors = {}
    main_path = config["main_path"]
    if main_path is not None:
        current = process.current_process()
        current._inheriting = True  # type: ignore[attr-defined]
        try:
            spawn.import_main_path(main_path)
        except (Exception, SystemExit):
            pass  # workers will try for themselves, and say it
        finally:
            del current._inheriting  # type: ignore[attr-defined]
    for name in _OF_WORKERS:
        import_module(name)
    for name in config["preload"]:
        try:
            import_module(name)
        except Exception as error:
            errors[name] = f"{type(error).__name__}: {error}"
    return {"errors": errors, "threads": _threads()}


def _threads() -> list[str]:
    """Names of the threads besides this one that a fork would not stop."""
    ours = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if ours or len(os.listdir("/proc/self/task")) == 1:
        return ours
    # Libraries that know about fork() end their threads before one; see if they do.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    left = [task for task in os.listdir("/proc/self/task") if task != str(os.getpid())]
    return [_thread_name(task) for task in left]


def _thread_name(task: str) -> str:
    try:
        with open(f"/proc/self/task/{task}/comm") as file:
            return file.read().strip()
    except OSError:
        return task


def main(config_stream: BinaryIO, control: int, parent: int) -> None:
    """Run the zygote; `config_stream` holds what to import."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    with config_stream:
        config = pickle.load(config_stream)
    sys.argv[:] = config["argv"]
    _change_environment(config["environment"])
    util._close_stdin()
    with socket.socket(fileno=control) as channel:
        said = _import_all(config)
        util._flush_std_streams()
        gc.collect()
        gc.freeze()
        try:
            channel.sendall(pickle.dumps(said))
            Server(channel, parent).serve()
        except ConnectionError:
            pass
    # Nothing that was imported here is to run handlers at exit: workers do.
    os._exit(0)

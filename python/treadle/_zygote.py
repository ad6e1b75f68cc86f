"""A start method of multiprocessing: workers forked by a warm, single-threaded process.

``ZygoteContext`` is a multiprocessing context. Its processes follow the rules of
``forkserver``: what they are given is pickled, and they import the main module
under the name ``__mp_main__``. The zygote has imported that module and those
named by ``preload`` already, so that a worker costs little more than a fork.
``_zygote_server`` is what runs on the other side.
"""

import io
import os
import pickle
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Iterable
from multiprocessing import connection, context, popen_fork, process, reduction, resource_tracker, spawn
from multiprocessing import util as _util
from typing import Any

from . import _zygote_server as _server

util: Any = _util  # parts that the stubs do not know

# What a zygote's interpreter runs; the rest must wait until sys.path is right.
_COMMAND = (
    "import pickle, sys; f = open(%d, 'rb'); sys.path[:] = pickle.load(f); "
    "from treadle._zygote_server import main; main(f, %d, %d)"
)

# Seconds after which a zygote that does not answer is looked at.
_PATIENCE = 2.0

# How often a zygote that somebody killed is started for one worker.
_ATTEMPTS = 20

# Seconds that it may take to report an exit code after its worker has ended.
_REPORT = 1.0


class _Started:
    """What the parent holds of a worker."""

    def __init__(self, pid: int, pidfd: int, status: int, writer: int) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.status = status
        self.writer = writer


class Zygote:
    """The parent's end of a zygote, which is started when it is first needed and
    again if it has died. Any thread may use it."""

    def __init__(self, preload: tuple[str, ...], environment: tuple[tuple[str, str], ...]) -> None:
        self._preload = preload
        self._environment = dict(environment)
        self._with_main = True
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._said: dict[str, Any] | None = None
        self._base: dict[str, str] = {}
        self._pid: int | None = None
        self._pidfd = -1

    @property
    def pid(self) -> int | None:
        """The zygote's process number; None before the first worker was asked for."""
        return self._pid

    def fork(
        self, descriptors: list[int], bound: bool = False
    ) -> tuple[_Started, dict[str, str | None]]:
        """A new worker, and what its environment must change to be like ours now. One
        that is `bound` is killed when this process is gone."""
        if len(descriptors) > _server.MAX_DESCRIPTORS:
            raise ValueError("too many fds")
        with self._lock:
            for _ in range(_ATTEMPTS):
                try:
                    self._ensure_running()
                    return self._ask(descriptors, bound), self._changes()
                except (ConnectionError, EOFError):
                    self._forget()
                except OSError:
                    raise
                except BaseException:
                    self._forget()  # its answer may still come, and would be taken for the next
                    raise
            raise ConnectionError(
                f"the zygote that starts workers has died {_ATTEMPTS} times in a row"
            )

    def stop(self) -> None:
        """End the zygote; workers go on. Without effect if it does not run."""
        with self._lock:
            self._forget()

    def _forget(self) -> int | None:
        """End it; how it ended."""
        if self._control is None:
            return None
        self._control.close()
        self._control = None
        pid, self._pid = self._pid, None
        try:
            # It may be stopped, or busy with an import; there is nothing to be saved.
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.close(self._pidfd)
        try:
            return os.waitstatus_to_exitcode(os.waitpid(pid or 0, 0)[1])
        except ChildProcessError:
            return None

    def _after_fork_in_child(self) -> None:
        """The zygote is the parent's: close what keeps it alive, and know of none."""
        self._lock = threading.Lock()
        if self._control is not None:
            self._control.close()
            os.close(self._pidfd)
        self._control = self._pid = None

    def _ensure_running(self) -> None:
        if self._control is not None:
            return
        self._start()
        said = self._listen()
        while said["threads"] and (self._with_main or self._preload):
            self._do_without(said["threads"])
            self._forget()
            self._start()
            said = self._listen()
        if said["errors"]:
            self._forget()
            what = "; ".join(f"{name}: {text}" for name, text in said["errors"].items())
            raise ImportError(f"preload names what workers cannot import: {what}")

    def _do_without(self, threads: list[str]) -> None:
        """Threads would be lost in a fork: import less."""
        if self._with_main:
            self._with_main = False
            return
        names = ", ".join(repr(name) for name in self._preload)
        warnings.warn(
            f"importing {names} starts threads ({', '.join(threads)}), which a fork would stop: "
            "workers import them one by one instead",
            RuntimeWarning,
            stacklevel=2,
        )
        self._preload = ()

    def _start(self) -> None:
        data = spawn.get_preparation_data("zygote")
        config = {
            "argv": data["sys_argv"],
            "main_path": data.get("init_main_from_path") if self._with_main else None,
            "preload": self._preload,
            "environment": self._environment,
        }
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reader, writer = os.pipe()
        parent = os.pidfd_open(os.getpid())
        try:
            descriptors = [reader, theirs.fileno(), parent]
            command = [spawn.get_executable(), *util._args_from_interpreter_flags()]
            command += ["-c", _COMMAND % tuple(descriptors)]
            self._base = dict(os.environ)
            # It would end by an interrupt that arrives before it is told to ignore it.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                self._pid = util.spawnv_passfds(spawn.get_executable(), command, descriptors)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        except BaseException:
            ours.close()
            os.close(writer)
            raise
        finally:
            os.close(reader)
            os.close(parent)
            theirs.close()
        self._pidfd = os.pidfd_open(self._pid)
        self._control = ours
        with open(writer, "wb") as stream:
            try:
                stream.write(pickle.dumps(data["sys_path"]) + pickle.dumps(config))
            except BrokenPipeError:
                pass  # found out when it does not answer

    def _listen(self) -> dict[str, Any]:
        """What the zygote says once it has imported everything."""
        assert self._control is not None
        message = self._control.recv(1 << 20)
        if not message:
            connection.wait([self._pidfd], 1.0)
            exitcode = self._forget()
            if exitcode == -signal.SIGKILL:
                raise ConnectionError("somebody has killed the zygote")
            raise RuntimeError(
                "the zygote that starts workers has ended while it imported what they need, with "
                f"exit code {exitcode}; its standard error may say why"
            )
        self._control.settimeout(_PATIENCE)
        said: dict[str, Any] = pickle.loads(message)
        return said

    def _ask(self, descriptors: list[int], bound: bool) -> _Started:
        assert self._control is not None
        reader, writer = os.pipe()
        status, status_writer = os.pipe()
        try:
            given = [reader, status_writer, *self._always_given(), *descriptors]
            kind = _server.FORK_BOUND if bound else _server.FORK
            socket.send_fds(self._control, [kind], given)
            answer, received = self._answer()
            (pid,) = _server.ANSWER.unpack(answer)
            if pid < 0:
                raise OSError(-pid, f"cannot fork a worker: {os.strerror(-pid)}")
        except BaseException:
            os.close(writer)
            os.close(status)
            raise
        finally:
            os.close(reader)
            os.close(status_writer)
        return _Started(pid, received[0], status, writer)

    def _always_given(self) -> list[int]:
        tracker = resource_tracker.getfd()
        assert tracker is not None
        return [tracker]

    def _answer(self) -> tuple[bytes, list[int]]:
        assert self._control is not None
        while True:
            try:
                answer, received, _, _ = socket.recv_fds(self._control, _server.ANSWER.size, 1)
            except TimeoutError:
                if _is_stopped(self._pid):
                    raise EOFError from None  # as good as dead: another one takes over
                continue
            if not answer:
                raise EOFError
            return answer, received

    def _changes(self) -> dict[str, str | None]:
        now = dict(os.environ)
        changes: dict[str, str | None] = {
            name: value
            for name, value in now.items()
            if self._base.get(name) != value and name not in self._environment
        }
        changes.update((name, None) for name in self._base if name not in now)
        return changes


def _is_stopped(pid: int | None) -> bool:
    """Whether a process was stopped by a signal."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] in "Tt"
    except OSError:
        return False


class _DupFd:
    """Stands for a descriptor in what a worker unpickles."""

    def __init__(self, index: int) -> None:
        self.index = index

    def detach(self) -> int:
        return _server.inherited_descriptor(self.index)


class Popen(popen_fork.Popen):
    """Starts a process object by a zygote, and knows how it ended."""

    method = "zygote"
    DupFd = _DupFd

    def __init__(self, process_obj: "ZygoteProcess") -> None:
        self._fds: list[int] = []
        self._lock = threading.Lock()
        self._said = b""
        self.failure: str | None = None
        super().__init__(process_obj)

    def duplicate_for_child(self, fd: int) -> int:
        self._fds.append(fd)
        return len(self._fds) - 1

    def _launch(self, process_obj: "ZygoteProcess") -> None:
        preparation = spawn.get_preparation_data(process_obj.name)
        buffer = io.BytesIO()
        context.set_spawning_popen(self)  # type: ignore[arg-type]
        try:
            reduction.dump(preparation, buffer)
            reduction.dump(process_obj, buffer)
        finally:
            context.set_spawning_popen(None)
        started, changes = process_obj._zygote().fork(
            self._fds, process_obj._ends_with_parent
        )
        self._adopt(started, pickle.dumps(changes) + buffer.getbuffer())

    def _adopt(self, started: _Started, data: bytes) -> None:
        """Tell a process that was forked for us who it is."""
        self.pid = started.pid
        self.sentinel = started.pidfd
        self._status = started.status
        # The worker takes the end of this pipe for the end of its parent.
        self.finalizer = util.Finalize(
            self, util.close_fds, (started.pidfd, started.status, started.writer)
        )
        with open(started.writer, "wb", closefd=False) as stream:
            try:
                stream.write(data)
            except BrokenPipeError:
                pass  # it has died already, and will be found dead

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        if self.returncode is None:
            timeout = 0 if flag == os.WNOHANG else None
            if connection.wait([self.sentinel], timeout):
                with self._lock:
                    if self.returncode is None:
                        self.returncode = self._ending()
        return self.returncode

    def _ending(self) -> int:
        """The exit code that the zygote reports; 255 if it was killed or stopped before
        it could, as with a fork server."""
        while connection.wait([self._status], _REPORT):
            chunk = os.read(self._status, 65536)
            if not chunk:
                break
            self._said += chunk
        code, said = 255, self._said
        while len(said) >= _server.RECORD.size:
            kind, length = _server.RECORD.unpack_from(said)
            body = said[_server.RECORD.size : _server.RECORD.size + length]
            said = said[_server.RECORD.size + length :]
            if kind == _server.EXITED:
                (code,) = _server.EXIT_CODE.unpack(body)
            elif kind == _server.FAILED:
                self.failure = body.decode(errors="replace")
        return code

    def _send_signal(self, sig: int) -> None:
        if self.returncode is None:
            try:
                signal.pidfd_send_signal(self.sentinel, sig)
            except ProcessLookupError:
                pass


class ZygoteProcess(process.BaseProcess):
    """A process that a zygote forks."""

    _start_method = None
    # Whether it is started with SIGINT ignored, and stays so.
    _ignores_interrupt = False
    # Whether its zygote kills it when this process is gone.
    _ends_with_parent = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._zygote_key = _key((), ())

    def _zygote_environment(self, environment: dict[str, str]) -> None:
        """Have it forked by a zygote that sets these variables before it imports anything."""
        self._zygote_key = _key(self._zygote_key[0], environment.items())

    def _zygote(self) -> Zygote:
        return _zygote_for(self._zygote_key)

    @staticmethod
    def _Popen(process_obj: "ZygoteProcess") -> Popen:
        return Popen(process_obj)


_Key = tuple[tuple[str, ...], tuple[tuple[str, str], ...]]
_zygotes: dict[_Key, Zygote] = {}
_zygotes_lock = threading.Lock()


def _key(preload: Iterable[str], environment: Iterable[tuple[str, str]]) -> _Key:
    return tuple(preload), tuple(sorted(environment))


def _zygote_for(key: _Key) -> Zygote:
    """The zygote that all processes with the same needs share."""
    with _zygotes_lock:
        if key not in _zygotes:
            _zygotes[key] = Zygote(*key)
        return _zygotes[key]


def stop_zygotes() -> None:
    """End all zygotes of this process; one that is needed again is started again."""
    with _zygotes_lock:
        zygotes = list(_zygotes.values())
        _zygotes.clear()
    for zygote in zygotes:
        zygote.stop()


def _after_fork_in_child() -> None:
    global _zygotes_lock
    _zygotes_lock = threading.Lock()
    for zygote in _zygotes.values():
        zygote._after_fork_in_child()
    _zygotes.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
# Called in the reverse order of priorities: after what still needs workers.
util.Finalize(None, stop_zygotes, exitpriority=-100)


class ZygoteContext(context.BaseContext):
    """A multiprocessing context whose processes are forked by a zygote.

    preload: names of modules that the zygote imports, once for all processes.
    stands_for: the start method whose name ``get_start_method()`` answers, and
        whose rules processes follow: ``"forkserver"`` or ``"spawn"``.

    ImportError from ``Process.start()`` if a module of ``preload`` cannot be
    imported; RuntimeWarning if that starts threads, and then it is not preloaded.
    """

    def __init__(
        self,
        preload: Iterable[str] = (),
        *,
        stands_for: str = "forkserver",
    ) -> None:
        if isinstance(preload, str):
            raise TypeError(f"preload must be a list of module names, not the string {preload!r}")
        names = tuple(preload)
        if not all(type(name) is str for name in names):
            raise TypeError("preload must be a list of module names")
        if stands_for not in ("forkserver", "spawn"):
            raise ValueError(f"stands_for must be 'forkserver' or 'spawn', not {stands_for!r}")
        if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
            raise NotImplementedError("a zygote needs Linux and its pidfds")
        self._name = stands_for
        self._zygote_key = _key(names, ())

    @property
    def preload(self) -> tuple[str, ...]:
        """The modules that the zygote imports."""
        return self._zygote_key[0]

    def Process(self, *args: Any, **kwargs: Any) -> ZygoteProcess:
        """As ``multiprocessing.Process``, forked by this context's zygote."""
        made = ZygoteProcess(*args, **kwargs)
        made._zygote_key = self._zygote_key
        return made

    def get_start_method(self, allow_none: bool = False) -> str:
        """The name of the start method whose rules processes follow."""
        return self._name

    def get_context(self, method: str | None = None) -> context.BaseContext:  # type: ignore[override]
        """This context, or one of multiprocessing's by its name."""
        return self if method is None else super().get_context(method)

    def set_start_method(self, method: str | None, force: bool = False) -> None:
        """Raises ValueError: a context has one start method."""
        raise ValueError("cannot set start method of concrete context")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} preload={list(self.preload)}>"

"""Workers of a ``fork`` context that are needed later: forked by a process without threads.

A pool forks its first workers before it has a thread. Were one to be replaced by a fork of
the pool's process, the new worker could find any lock taken by a thread that it does not have.
So before its first worker a pool that replaces them forks a *template*: a process that does
nothing but fork workers when asked to. They have what this process had then, as the first
workers have. How they are asked for, and how they end, is as with a zygote.
"""

import gc
import os
import pickle
import signal
import socket
from multiprocessing import process
from typing import Any

from . import _zygote_server as _server
from ._worker import WorkerSpec, run
from ._zygote import Popen, Zygote


class ForkTemplate(Zygote):
    """The parent's end of a template, which is forked at once. Any thread may use it.

    spec: what its workers have in common.
    """

    def __init__(self, spec: WorkerSpec) -> None:
        super().__init__((), ())
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        parent = os.pidfd_open(os.getpid())
        try:
            self._pid = os.fork()
            if self._pid == 0:
                try:
                    ours.close()
                    _serve(theirs, parent, spec)
                finally:
                    os._exit(0)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(parent)
        self._pidfd = os.pidfd_open(self._pid)
        ours.settimeout(2.0)  # seconds after which one that does not answer is looked at
        self._control = ours

    def start(self, worker: process.BaseProcess, spec: WorkerSpec) -> None:
        """Start a process object of a fork context. OSError if the template has ended."""
        worker._Popen = lambda made: _Popen(made, self, spec)  # type: ignore[attr-defined]
        try:
            worker.start()
        finally:
            del worker._Popen  # type: ignore[attr-defined]

    def _ensure_running(self) -> None:
        if self._control is None:
            raise OSError("the process that forks workers has ended")

    def _always_given(self) -> list[int]:
        return []

    def _changes(self) -> dict[str, str | None]:
        return {}


class _Popen(Popen):
    method = "fork"

    def __init__(self, made: Any, template: ForkTemplate, spec: WorkerSpec) -> None:
        self._template, self._spec = template, spec
        super().__init__(made)

    def _launch(self, made: Any) -> None:
        started, _ = self._template.fork(list(self._spec.descriptors), bound=True)
        said = (self._spec.index, made.name, made._identity, made._parent_name, os.getpid())
        self._adopt(started, pickle.dumps(said))
        del self._template, self._spec


class _Server(_server.Server):
    """In the template."""

    spec: WorkerSpec

    def _run(self, descriptors: list[int]) -> int:
        _server.reset_exit_functions()
        reader, status, *others = descriptors
        os.close(status)
        parent = os.dup(reader)
        with open(reader, "rb") as stream:
            index, name, identity, parent_name, parent_pid = pickle.load(stream)
        base = self.spec
        spec = WorkerSpec(
            index, tuple(others), base.context, base.initializer, base.initargs, base.max_tasks, base.options
        )
        worker = spec.context.Process(target=run, args=(spec,), name=name)
        worker._identity = identity
        worker._parent_name, worker._parent_pid = parent_name, parent_pid
        return int(worker._bootstrap(parent))


def _serve(control: socket.socket, parent: int, spec: WorkerSpec) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    gc.freeze()
    server = _Server(control, parent)
    server.spec = spec
    server.serve()

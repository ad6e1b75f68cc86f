"""subprocess.Popen with a shorter way through the ordinary case."""

import os
import subprocess
import sys
from typing import Any

import _posixsubprocess

_fork_exec: Any = _posixsubprocess.fork_exec  # what it takes depends on the version


class Popen(subprocess.Popen[bytes]):
    """Starts a program that is given by its path by fork_exec(), in few steps.

    posix_spawn(), which the base class prefers where it can, costs the parent more.
    """

    def _execute_child(
        self, args: Any, executable: Any, preexec_fn: Any, close_fds: Any, pass_fds: Any,
        cwd: Any, env: Any, startupinfo: Any, creationflags: Any, shell: Any, *rest: Any,
    ) -> None:
        if preexec_fn is None and env is None and not pass_fds and not shell and type(args) is tuple:
            path = args[0] if executable is None else executable
            if type(path) is str and "/" in path:
                sys.audit("subprocess.Popen", path, list(args), cwd, env)
                if self._spawned(list(args), path, close_fds, cwd, rest[:6], *rest[6:]):
                    self._close_pipe_fds(*rest[:6])  # type: ignore[attr-defined]
                    return
        super()._execute_child(  # type: ignore[misc]
            args, executable, preexec_fn, close_fds, pass_fds, cwd, env, startupinfo,
            creationflags, shell, *rest,
        )

    def _spawned(
        self, args: list[Any], path: str, close_fds: Any, cwd: Any, pipes: tuple[int, ...],
        restore_signals: Any, gid: Any, gids: Any, uid: Any, umask: Any, start_new_session: Any,
        process_group: Any,
    ) -> bool:
        """Start the program. Where that fails the base class is to try again, and say why."""
        report, errpipe = os.pipe()  # what goes wrong in the child is written into it
        try:
            try:
                if errpipe <= 2:
                    return False  # the child's own standard streams go there
                last = (None, subprocess._USE_VFORK) if sys.version_info < (3, 14) else (None,)
                self.pid = _fork_exec(
                    args, (os.fsencode(path),), close_fds, (errpipe,), cwd, None, *pipes,
                    report, errpipe, restore_signals, start_new_session, process_group,
                    gid, gids, uid, umask, *last,
                )
                self._child_created = True
            except (TypeError, ValueError):
                return False
            finally:
                os.close(errpipe)
            if not os.read(report, 1):
                return True
        finally:
            os.close(report)
        self._child_created = False
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass  # SIGCHLD is ignored: the system has reaped it
        return False

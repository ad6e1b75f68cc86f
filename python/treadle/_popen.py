"""subprocess.Popen with a shorter way to a new process."""

import os
import subprocess
import sys
from typing import Any

import _posixsubprocess

_fork_exec: Any = _posixsubprocess.fork_exec  # what it takes depends on the version
_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()


class Popen(subprocess.Popen[bytes]):
    """Starts a program by fork_exec(), in few steps.

    posix_spawn(), which the base class prefers where it can, costs the parent more. What
    goes wrong goes wrong again in the base class, which says what it was; so does what takes a
    fork(), a preexec_fn.
    """

    def _execute_child(
        self, args: Any, executable: Any, preexec_fn: Any, close_fds: Any, pass_fds: Any,
        cwd: Any, env: Any, startupinfo: Any, creationflags: Any, shell: Any, *rest: Any,
    ) -> None:
        command = _command(args, executable, shell) if preexec_fn is None else []
        if command:
            program = command[0] if executable is None else executable
            sys.audit("subprocess.Popen", program, command, cwd, env)
            try:
                what = command, _candidates(program, env), close_fds
                where = cwd, _environment(env)
            except (AttributeError, TypeError, ValueError):
                pass
            else:
                if self._spawned(what, pass_fds, where, rest[:6], *rest[6:]):
                    self._close_pipe_fds(*rest[:6])  # type: ignore[attr-defined]
                    return
        super()._execute_child(  # type: ignore[misc]
            args, executable, preexec_fn, close_fds, pass_fds, cwd, env, startupinfo,
            creationflags, shell, *rest,
        )

    def _spawned(
        self, what: tuple[Any, ...], pass_fds: Any, where: tuple[Any, ...], pipes: tuple[int, ...],
        restore_signals: Any, gid: Any, gids: Any, uid: Any, umask: Any, start_new_session: Any,
        process_group: Any,
    ) -> bool:
        """Start the program; return whether that went well."""
        report, errpipe = os.pipe()  # what goes wrong in the child is written into it
        try:
            try:
                if errpipe <= 2:
                    return False  # the child's own standard streams go there
                last = (None, subprocess._USE_VFORK) if sys.version_info < (3, 14) else (None,)
                kept = tuple(sorted({*map(int, pass_fds), errpipe})) if pass_fds else (errpipe,)
                self.pid = _fork_exec(
                    *what, kept, *where, *pipes,
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


def _command(args: Any, executable: Any, shell: Any) -> list[Any]:
    """The program's arguments; none if that is for the base class to find out."""
    if isinstance(args, (str, bytes)):
        command = [args]
    elif type(args) in (tuple, list):
        command = list(args)
    else:
        return []
    if not shell:
        return command
    if hasattr(sys, "getandroidapilevel"):
        return []  # has its shell elsewhere
    return [executable or "/bin/sh", "-c", *command]


def _candidates(program: Any, env: Any) -> tuple[bytes, ...]:
    """The paths at which the program may be."""
    path = os.fsencode(program)
    if b"/" in path:
        return (path,)
    return tuple(os.path.join(os.fsencode(place), path) for place in os.get_exec_path(env))


def _environment(env: Any) -> list[bytes] | None:
    """What the program is to find in its environment; ValueError for an impossible name."""
    if env is None:
        return None
    items = list(env.items())
    try:
        entries = ["=".join(item).encode(_ENCODING, _ERRORS) for item in items]
        impossible = any("=" in name for name, _ in items)
    except TypeError:  # bytes, or paths
        items = [(os.fsencode(name), os.fsencode(value)) for name, value in items]
        entries = [name + b"=" + value for name, value in items]
        impossible = any(b"=" in name for name, _ in items)
    if impossible:
        raise ValueError("illegal environment variable name")
    return entries

"""Waiting for a process under a time limit, and ending it with all it started."""

import os
import select
import signal
import subprocess
import time


class Forked:
    """A process that os.fork() made, with the part of subprocess.Popen's interface that end() uses."""

    def __init__(self, pid):
        self.args = "the forked process"
        self.pid = pid
        self.returncode = None

    def wait(self, timeout=None):
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG) if self.returncode is None else (0, 0)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
            if self.returncode is not None:
                return self.returncode
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise subprocess.TimeoutExpired(self.args, timeout)
            self._sleep(left)

    def _sleep(self, seconds):
        """Until the process ends, or for so long."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except (AttributeError, OSError):  # not this system
            time.sleep(0.01 if seconds is None else min(seconds, 0.01))
            return
        try:
            select.select([descriptor], [], [], seconds)
        finally:
            os.close(descriptor)

    def send_signal(self, number):
        if self.returncode is None:
            os.kill(self.pid, number)


def end(process, limit):
    """Wait for the leader of a session at most `limit` seconds, then end the session.

    What was wrong with its end, or "". One that hangs gets SIGABRT first, upon which faulthandler prints its stacks.
    """
    try:
        process.wait(limit)
        hung = False
    except subprocess.TimeoutExpired:
        hung = True
        process.send_signal(signal.SIGABRT)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    if hung:
        return f"hung for {limit:g} s"
    return f"ended with status {process.returncode}" if process.returncode else ""


def tail_of(log):
    """The end of what a process wrote to the file `log`, without the C stacks of a crash."""
    log.seek(0)
    return log.read().decode(errors="replace").partition("Current thread's C stack trace")[0][-6000:]

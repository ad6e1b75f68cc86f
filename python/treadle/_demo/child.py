"""Servers in child processes: they say on a line where they serve, and go when their input ends."""

from __future__ import annotations

import select
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from treadle._demo.section import DemoError

START_SECONDS = 20.0
STOP_SECONDS = 2.0


@dataclass(frozen=True)
class Child:
    """A child that serves; `line` is what it said, the files are the other ends of its own."""

    pid: int
    line: str
    input: IO[bytes]
    output: IO[bytes]


@contextmanager
def running(command: Sequence[str], what: str, **options: Any) -> Iterator[Child]:
    """Start a child and yield it once it has said its line; it is stopped in every case.

    `what` names it in the DemoError for a child that says nothing; `options` are Popen's.
    """
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options)
    try:
        assert child.stdin is not None and child.stdout is not None
        yield Child(child.pid, _read_line(child, what), child.stdin, child.stdout)
    finally:
        _stop(child)


def _read_line(child: subprocess.Popen[bytes], what: str) -> str:
    assert child.stdout is not None
    ready, _, _ = select.select([child.stdout], [], [], START_SECONDS)
    line = child.stdout.readline().decode().strip() if ready else ""
    if not line:
        raise DemoError(f"{what} did not start (exit status {child.poll()})")
    return line


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Closing its input asks it to go; whoever does not listen is killed."""
    assert child.stdin is not None and child.stdout is not None
    try:
        child.stdin.close()
        child.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:
        child.kill()
        child.wait()
        child.stdout.close()

"""A server under load: the server on one core, the load generator on another.

Both are child processes.  The generator reads the server's CPU clock when it begins and when it
ends counting, so that neither the server's start nor its end is in the figure.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ccompiler
import resident
from harness import Sample, Unable
from treadle._demo import child
from treadle._demo.section import DemoError

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "load"
BUILD = HERE.parent / "build"
FLAGS = ("-D_GNU_SOURCE", "-Wall", "-Wextra")
PROGRAMS = {
    "generator": ("generator.c", "exchange.c", "latency.c", "net.c"),
    "echo_server": ("echo_server.c", "net.c"),
}
PATIENCE = 60.0
WARM_CONNECTIONS = 100


@dataclass(frozen=True)
class Load:
    """What the generator does.  `form` is tcp, unix, udp or http; `size` that of a message or of
    an HTTP body; `seconds` are counted after `warm_up`, or `requests` if that is not None."""

    form: str
    connections: int
    size: int
    warm_up: float = 0.2
    seconds: float = 0.7
    requests: int | None = None

    def arguments(self) -> list[str]:
        """The generator's command line for it, but for the address."""
        words = ["-k", self.form, "-c", str(self.connections), "-s", str(self.size)]
        words += ["-w", str(self.warm_up), "-d", str(self.seconds)]
        return words if self.requests is None else [*words, "-n", str(self.requests)]


@functools.cache
def program(name: str) -> str:
    """The path of one of the C programs, which is compiled if its sources have changed."""
    parts = sorted(SOURCES.glob("*.[ch]"))
    digest = hashlib.sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()[:16]
    path = BUILD / f"load-{digest}" / name
    if not path.exists():
        ccompiler.compile_to(path, [SOURCES / part for part in PROGRAMS[name]], *FLAGS)
    return str(path)


def plain_server(form: str, path: str) -> list[str]:
    """The command of the echo server in C."""
    return [program("echo_server"), form, path or "0"]


def loop_server(server: str, loop: str, path: str) -> list[str]:
    """The command of one of echo_servers.py on a loop."""
    return [sys.executable, str(HERE / "echo_servers.py"), server, loop, path]


def measure(command: Callable[[str], Sequence[str]], load: Load) -> Sample:
    """The server's CPU time for one request; `wall` is the time that went by for one.

    `command` makes the server's command from the path of the UNIX socket, if it is to use one.
    """
    with _served(command, load.form) as server:
        words = [program("generator"), *load.arguments(), "-a", server.line, "-p", str(server.pid)]
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=PATIENCE, preexec_fn=_on_last_core
        )
    if done.returncode:
        raise Unable(done.stderr.strip() or f"the load generator died ({done.returncode})")
    found = json.loads(done.stdout)
    if not found["requests"]:
        raise Unable("not one request was answered in time")
    return Sample(
        cost=found["server_cpu"] / found["requests"],
        wall=found["seconds"] / found["requests"],
        latency=found["latency"],
    )


def memory_of_idle(command: Callable[[str], Sequence[str]], connections: int) -> Sample:
    """Growth of the server's resident set for a connection that does nothing, in bytes."""
    with _served(command, "tcp") as server, _idle(server, WARM_CONNECTIONS):
        before = resident.resident(server.pid)
        with _idle(server, connections):
            return Sample((resident.resident(server.pid) - before) / connections)


@contextmanager
def _served(command: Callable[[str], Sequence[str]], form: str) -> Iterator[child.Child]:
    """A server on the first core."""
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryFile() as errors:
        path = os.path.join(scratch, "socket") if form == "unix" else ""
        words = command(path)
        try:
            with child.running(
                words, "the server", stderr=errors, preexec_fn=_on_first_core
            ) as server:
                yield server
        except DemoError as error:
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip()
            raise Unable(said.rpartition("\n")[2] or str(error)) from None


@contextmanager
def _idle(server: child.Child, connections: int) -> Iterator[None]:
    """That many connections, accepted by the server, that do nothing."""
    expected = _descriptors(server.pid) + connections
    words = [program("generator"), "-i", "-c", str(connections), "-a", server.line]
    with child.running(words, "the load generator", preexec_fn=_on_last_core):
        deadline = time.monotonic() + PATIENCE
        while _descriptors(server.pid) < expected:
            if time.monotonic() > deadline:
                raise Unable("the server did not accept all connections")
            time.sleep(0.05)
        yield


def _descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _on_first_core() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def _on_last_core() -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

"""The event loop, against asyncio's own and the other native ones: scheduling, traffic, memory.

What scheduling costs is measured in a process of its own for every sample, which has imported one
loop; the cost is the CPU time of that process for one operation.  What traffic costs is the CPU
time of a server for one request, against that of the other loops and of a server in plain C.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit
from typing import Any

import ccompiler
import cores
import loops
import resident
import traffic
from harness import Row, Sample, Side, Unable, Unit
from traffic import Load

HERE = Path(__file__).resolve().parent
PATIENCE = 120.0
QUICKER = 10
QUICK_LOAD = {"warm_up": 0.05, "seconds": 0.1}
SPARE_DESCRIPTORS = 200
NOISE = 0.02


@dataclass(frozen=True)
class Scheduling:
    """A row about a program of loop_programs.py.  `operations` is a multiple of its batch."""

    key: str
    title: str
    target: float
    operations: int
    quick: int


@dataclass(frozen=True)
class Traffic:
    """A row about a server of echo_servers.py; `allowance` is what it may cost above plain C."""

    key: str
    title: str
    target: float
    server: str
    load: Load
    allowance: float | None = None


def _many(key: str, title: str, target: float, operations: int = 100_000) -> Scheduling:
    return Scheduling(key, title, target, operations, operations // QUICKER)


SCHEDULING = (
    _many("chain", "call_soon chain", 1.4),
    _many("burst", "burst of call_soon with two arguments", 1.3),
    _many("threadsafe", "call_soon_threadsafe", 1.25),
    _many("timer-cancel", "call_later and cancel", 1.4),
    _many("timer-fire", "call_later, fired in a batch", 1.0),
    _many("sleep0", "sleep(0)", 1.25),
    _many("create-task", "create_task and await", 1.2, 50_000),
    _many("ping-pong", "future ping-pong", 1.35, 50_000),
    _many("gather", "gather of 1,000, a task", 1.0),
    _many("task-group", "TaskGroup of 1,000, a task", 1.15),
    _many("queue", "Queue(1) ping-pong, an item", 1.1, 30_000),
    _many("lines", "readline of 100 bytes, 64 KiB at a time", 2.0, 65_000),
    _many("timeout", "asyncio.timeout", 1.45, 30_000),
    _many("wait-for", "wait_for", 1.4, 30_000),
    _many("own-gather", "treadle.gather of 1,000, a task", 4.0),
    _many("own-wait-for", "treadle.wait_for", 3.0, 30_000),
    _many("own-wait", "wait() of 1,000 tasks, one", 1.5),
    _many("own-shield", "treadle.shield", 1.5, 30_000),
    _many("own-as-completed", "as_completed() of 1,000, one", 1.5),
    Scheduling("sleepers", "10,000 sleepers, one", 1.2, 10_000, 1_000),
    _many("to-thread", "to_thread, one at a time", 4, 5_000),
    Scheduling("executor", "gather of 1,000 run_in_executor, a job", 10, 20_000, 10_000),
    Scheduling("start-stop", "loop start and stop", 1.0, 500, 50),
    Scheduling("spawn", "subprocess: spawn of /bin/true", 1.0, 50, 10),
    Scheduling("cat", "subprocess: 4 MiB through /bin/cat", 1.0, 20, 10),
)
KIB = 1 << 10
ECHOES = (
    Traffic("tcp-10", "TCP 1 KiB, 10 connections", 1.03, "protocol", Load("tcp", 10, KIB), 0.08),
    Traffic("tcp-1", "TCP 1 KiB, 1 connection", 1.0, "protocol", Load("tcp", 1, KIB), 0.1),
    Traffic("tcp-500", "TCP 1 KiB, 500 connections", 1.0, "protocol", Load("tcp", 500, KIB), 0.1),
    Traffic("tcp-16k", "TCP 16 KiB, 10 connections", 1.0, "protocol", Load("tcp", 10, 16 * KIB)),
    Traffic("tcp-256k", "TCP 256 KiB, 10 connections", 1.1, "protocol", Load("tcp", 10, 256 * KIB)),
    Traffic("buffered", "BufferedProtocol 1 KiB", 1.0, "buffered", Load("tcp", 10, KIB)),
    Traffic("unix", "UNIX 1 KiB", 1.1, "unix", Load("unix", 10, KIB), 0.15),
    Traffic("sock", "sock_recv, sock_sendall 1 KiB", 1.3, "sock", Load("tcp", 10, KIB)),
    Traffic("streams", "streams 1 KiB", 1.35, "streams", Load("tcp", 10, KIB)),
    Traffic("udp", "UDP 1 KiB, 10 sockets", 1.0, "udp", Load("udp", 10, KIB), 0.0),
)
BODY_SIZE, BROWSERS = 13, 64
WEB = (
    Traffic("uvicorn", "uvicorn, httptools", 1.0, "uvicorn", Load("http", BROWSERS, BODY_SIZE)),
    Traffic("aiohttp", "aiohttp server", 1.0, "aiohttp", Load("http", BROWSERS, BODY_SIZE)),
)
WEB_PACKAGES = {"uvicorn": ("uvicorn", "httptools"), "aiohttp": ("aiohttp",)}


def rows(quick: bool) -> list[Row]:
    """All rows; `quick` divides the work by ten or so."""
    return [
        *(_scheduling(row, row.quick if quick else row.operations) for row in SCHEDULING),
        *(_traffic(row, quick) for row in (*ECHOES, *WEB)),
        _in_threads("loops-tasks", "create_task and await", "tasks", 2_000 if quick else 100_000),
        _in_threads("loops-echo", "echo of 1 KiB", "echo", 1_000 if quick else 30_000),
        _queued(100_000 if quick else 1_000_000),
        _idle(1_000 if quick else 10_000),
    ]


def versions() -> dict[str, str]:
    """The versions of what treadle is compared with."""
    return loops.versions()


def _scheduling(row: Scheduling, operations: int) -> Row:
    def run(name: str) -> Sample:
        return in_child("loop_programs.py", row.key, name, str(operations))

    return _row(row.key, row.title, row.target, run)


def _traffic(row: Traffic, quick: bool) -> Row:
    load = replace(row.load, **QUICK_LOAD) if quick else row.load

    def run(name: str) -> Sample:
        return traffic.measure(partial(traffic.loop_server, row.server, name), load)

    plain = partial(traffic.plain_server, load.form)
    web = load.form == "http"
    return _row(
        row.key,
        row.title,
        row.target,
        run,
        floor=None if web else Side("plain C", lambda: traffic.measure(plain, load)),
        allowance=row.allowance,
        unavailable=ccompiler.why_not() or _missing(WEB_PACKAGES.get(row.server, ())),
    )


def _in_threads(key: str, what: str, program: str, operations: int) -> Row:
    def side(count: int, name: str) -> Side:
        arguments = (program, str(count), str(operations))
        return Side(name, lambda: in_child("loops_in_threads.py", *arguments))

    return Row(
        key=key,
        title=f"free-threaded: {what}, 2 loops in 2 threads to 1",
        target=1.8,
        baseline=side(1, "1 loop"),
        subject=side(2, "2 loops"),
        unavailable=cores.why_no_python_on_second(),
    )


def _queued(callbacks: int) -> Row:
    def run(name: str) -> Sample:
        return in_child("loop_programs.py", "queued", name, str(callbacks))

    title = f"memory of {callbacks:,} queued callbacks, one"
    return _row("queued", title, 1.0, run, unit=Unit.BYTES, unavailable=resident.why_not())


def _idle(connections: int) -> Row:
    def run(name: str) -> Sample:
        server = partial(traffic.loop_server, "protocol", name)
        return traffic.memory_of_idle(server, connections)

    return _row(
        "idle",
        f"memory of {connections:,} idle connections, one",
        1.0,
        run,
        unit=Unit.BYTES,
        unavailable=ccompiler.why_not() or resident.why_not() or _too_many(connections),
    )


def _row(key: str, title: str, target: float, run: Callable[[str], Sample], **options: Any) -> Row:
    """A row with a side for each implementation."""

    def side(name: str) -> Side:
        return Side(name, lambda: run(name), unavailable=loops.why_not(name))

    return Row(
        key=key,
        title=title,
        target=target,
        baseline=side(loops.STOCK),
        subject=side(loops.SUBJECT),
        peers=tuple(map(side, loops.PEERS)),
        tolerance=NOISE if target == 1.0 else 0.0,
        **options,
    )


def _missing(packages: Sequence[str]) -> str | None:
    absent = [name for name in packages if find_spec(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else None


def _too_many(connections: int) -> str | None:
    _, hard = getrlimit(RLIMIT_NOFILE)
    if hard == RLIM_INFINITY or hard >= connections + SPARE_DESCRIPTORS:
        return None
    return f"only {hard} descriptors are allowed"


def in_child(program: str, *arguments: str) -> Sample:
    """Run one of our programs in a fresh interpreter; returns the sample it prints."""
    command = [sys.executable, str(HERE / program), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        raise Unable(f"no answer in {PATIENCE:g} s") from None
    if done.returncode:
        raise Unable(_last_line(done.stderr) or f"exit status {done.returncode}")
    return Sample(**json.loads(done.stdout))


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]

"""The benchmarks of the event loop: every program does its work on both loops."""

from __future__ import annotations

import asyncio

import pytest
import treadle

FACTORIES = {"asyncio": asyncio.SelectorEventLoop, "treadle": treadle.new_event_loop}
TARGETS = {
    **{"chain": 1.4, "burst": 1.3, "threadsafe": 1.25, "timer-cancel": 1.4, "timer-fire": 1.0},
    **{"sleep0": 1.25, "create-task": 1.2, "ping-pong": 1.35, "gather": 1.0, "task-group": 1.15},
    **{"queue": 1.1, "timeout": 1.45, "wait-for": 1.4, "sleepers": 1.2, "to-thread": 4},
    **{"own-gather": 4.0, "own-wait-for": 3.0, "own-wait": 1.5, "own-shield": 1.5, "own-as-completed": 1.5},
    **{"executor": 10, "start-stop": 1.0, "spawn": 1.0, "cat": 1.0, "queued": 1.0, "lines": 2.0},
}
TRAFFIC = {
    "tcp-10": (1.03, 0.08),
    "tcp-1": (1.0, 0.1),
    "tcp-500": (1.0, 0.1),
    "tcp-16k": (1.0, None),
    "tcp-256k": (1.1, None),
    "buffered": (1.0, None),
    "unix": (1.1, 0.15),
    "sock": (1.3, None),
    "streams": (1.35, None),
    "udp": (1.0, 0.0),
    "uvicorn": (1.0, None),
    "aiohttp": (1.0, None),
    "idle": (1.0, None),
}
SCALING = {"loops-tasks": (1.8, None), "loops-echo": (1.8, None)}


def test_the_rows_are_those_promised(bench) -> None:
    rows = {row.key: row for row in bench.bench_loop.rows(quick=False)}
    aims = {key: (row.target, row.allowance) for key, row in rows.items()}
    assert aims == {key: (target, None) for key, target in TARGETS.items()} | TRAFFIC | SCALING
    for key, row in rows.items():
        if key in SCALING:
            continue
        names = [side.name for side in row.sides if side is not row.floor]
        assert names == ["asyncio", "uvloop", "rloop", "zuvloop", "treadle"]
        assert (row.allowance is None) or row.floor is not None


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("key", [key for key in TARGETS if key != "queued"])
def test_every_program_runs(bench, key: str, name: str) -> None:
    operations = 5 if key in ("spawn", "cat", "start-stop") else 1_000
    sample = bench.loop_programs.PROGRAMS[key](FACTORIES[name], operations)
    assert sample.cost > 0 and sample.wall > 0


@pytest.mark.parametrize("name", FACTORIES)
def test_memory_of_queued_callbacks(bench, name: str) -> None:
    """In a child: a process that has freed memory before may not grow."""
    sample = bench.bench_loop.in_child("loop_programs.py", "queued", name, "50000")
    assert sample.cost > 8


@pytest.mark.parametrize("name", FACTORIES)
def test_a_row_is_measured_in_a_child(bench, name: str) -> None:
    (row,) = (row for row in bench.bench_loop.rows(quick=True) if row.key == "burst")
    result = bench.harness.measure(row.only([name]), 1, lambda text: None)
    assert set(result.samples) == {name} and result.failures == {}


@pytest.mark.parametrize("loops", [1, 2])
@pytest.mark.parametrize("program", ["tasks", "echo"])
def test_loops_in_threads(bench, program: str, loops: int) -> None:
    sample = bench.bench_loop.in_child("loops_in_threads.py", program, str(loops), "200")
    assert sample.cost > 0 and sample.cpu > 0


def test_a_child_that_fails_says_why(bench) -> None:
    with pytest.raises(bench.harness.Unable, match="KeyError: 'nothing'"):
        bench.bench_loop.in_child("loop_programs.py", "nothing", "asyncio", "1")


def test_a_peer_that_is_not_installed_is_missing(bench, monkeypatch) -> None:
    monkeypatch.setattr(bench.loops, "why_not", {"rloop": "not installed"}.get)
    (row,) = (row for row in bench.bench_loop.rows(quick=True) if row.key == "chain")
    result = bench.harness.measure(row.only(["rloop"]), 1, lambda text: None)
    assert result.samples == {} and result.met is None

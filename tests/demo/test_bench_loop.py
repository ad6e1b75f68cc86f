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
    **{"executor": 10, "start-stop": 1.0, "spawn": 1.0, "cat": 1.0},
}


def test_the_rows_are_those_promised(bench) -> None:
    rows = {row.key: row for row in bench.bench_loop.rows(quick=False)}
    assert {key: row.target for key, row in rows.items()} == TARGETS
    for row in rows.values():
        names = [side.name for side in row.sides]
        assert names == ["asyncio", "uvloop", "rloop", "zuvloop", "treadle"]


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("key", TARGETS)
def test_every_program_runs(bench, key: str, name: str) -> None:
    operations = 5 if key in ("spawn", "cat", "start-stop") else 1_000
    sample = bench.loop_programs.PROGRAMS[key](FACTORIES[name], operations)
    assert sample.cost > 0 and sample.wall > 0


@pytest.mark.parametrize("name", FACTORIES)
def test_a_row_is_measured_in_a_child(bench, name: str) -> None:
    (row,) = (row for row in bench.bench_loop.rows(quick=True) if row.key == "burst")
    result = bench.harness.measure(row.only([name]), 1, lambda text: None)
    assert set(result.samples) == {name} and result.failures == {}


def test_a_child_that_fails_says_why(bench) -> None:
    with pytest.raises(bench.harness.Unable, match="KeyError: 'nothing'"):
        bench.bench_loop.in_child("loop_programs.py", "nothing", "asyncio", "1")


def test_a_peer_that_is_not_installed_is_missing(bench, monkeypatch) -> None:
    monkeypatch.setattr(bench.loops, "why_not", {"rloop": "not installed"}.get)
    (row,) = (row for row in bench.bench_loop.rows(quick=True) if row.key == "chain")
    result = bench.harness.measure(row.only(["rloop"]), 1, lambda text: None)
    assert result.samples == {} and result.met is None
